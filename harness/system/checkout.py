"""The checkout that the harness runs from: its commit, and what differs from it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from functools import cache
from pathlib import Path

# A clone may be somebody else's, as in a container: git then asks to be told that it is trusted.
# Whoever runs the code that lies in it has trusted it.
_TRUSTED = ("-c", "safe.directory=*")
DIRTY = "+dirty"  # behind the commit where files differ from it
NO_COMMIT = "not known"  # and why: a row is not to lack it in silence


@cache  # once a process: each asks git three times
def commit() -> str | None:
    """The harness's commit where it runs from a checkout; why it is not known, where it is not.

    None outside a checkout.
    """
    here = Path(__file__)
    try:
        # a checkout that holds the environment we are installed in is not ours
        if not _git("ls-files", "--error-unmatch", here.name):
            return None
        head = _git("rev-parse", "--short=12", "HEAD").decode().strip()
        return head + (DIRTY if _git("status", "--porcelain", "--untracked-files=no") else "")
    except FileNotFoundError:
        inside = (here.parents[2] / ".git").exists()
        return f"{NO_COMMIT}: git is not installed" if inside else None
    except subprocess.CalledProcessError as error:
        refused = b"dubious ownership" in error.stderr
        return f"{NO_COMMIT}: git refuses a folder that somebody else owns" if refused else None
    except (OSError, subprocess.SubprocessError):
        return None


def diff_sha256() -> str | None:
    """The hash of what differs from that commit; None where nothing does, or git does not say."""
    if not (commit() or "").endswith(DIRTY):
        return None
    try:
        diff = _git("diff", "HEAD", "--binary", "--no-ext-diff")
    except (OSError, subprocess.SubprocessError):
        return None
    return hashlib.sha256(diff).hexdigest() if diff else None


def _git(*arguments: str) -> bytes:
    return subprocess.run(
        ["git", "-C", str(Path(__file__).parent), *_TRUSTED, *arguments],
        capture_output=True,
        timeout=10,
        check=True,
        env={**os.environ, "LC_ALL": "C"},  # its reasons are read
    ).stdout
