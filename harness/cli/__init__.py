"""The command line. It only selects and shows; torch is imported by the commands that need it."""

from __future__ import annotations

import sys

from harness.cli import endings


def main() -> None:
    """Run the command that was typed, and exit with its code."""
    sys.exit(endings.code_of(_called))


def _called() -> int:
    from harness.cli.app import call  # a second of imports, in which one may press Ctrl-C too

    return call(*sys.argv[1:])
