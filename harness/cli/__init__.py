"""The command line. It only selects and shows; torch is imported by the commands that need it."""

from __future__ import annotations

import sys
from typing import cast

import typer

# the commands, in the order that help shows them
from harness.cli import run  # noqa: F401  # isort: skip
from harness.cli import look  # noqa: F401  # isort: skip
from harness.cli import read  # noqa: F401  # isort: skip
from harness.cli.app import app
from harness.cli.console import err
from harness.spec import UsageError
from harness.system.installed import check_adapters


def main() -> None:
    """The console script. Wrong usage is one line on stderr and exit code 2, with no traceback."""
    # Typer carries click's classes since 0.26 and imports click's own before: this is either's base
    wrong_call = cast(type[Exception], typer.BadParameter.__mro__[2])
    try:
        check_adapters()
        code = app(standalone_mode=False)
    except UsageError as error:
        err.print(f"harness: {error}", markup=False, highlight=False, soft_wrap=True)
        code = 2
    except wrong_call as error:
        message = " ".join(error.format_message().split())  # type: ignore[attr-defined]
        err.print(f"harness: {message}", markup=False, highlight=False, soft_wrap=True)
        code = 2
    sys.exit(code if isinstance(code, int) else 0)
