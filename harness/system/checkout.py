"""The checkout that the harness runs from: its commit, and what differs from it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
DIRTY = "+dirty"  # behind the commit where files differ from it
NO_COMMIT = "not known"  # and why: a row is not to lack it in silence


@cache  # once a process: each asks git
def commit() -> str | None:
    """The harness's commit; why it is not known, where it is not; None outside a checkout."""
    if not (ROOT / ".git").exists():
        return None
    try:
        head = _git("rev-parse", "--short=12", "HEAD").decode().strip()
        return head + (DIRTY if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or b""
        return f"{NO_COMMIT}: {said.decode(errors='replace').strip() or error}"


def diff_sha256() -> str | None:
    """The hash of what differs from that commit; None where nothing does, or git does not say."""
    if not (commit() or "").endswith(DIRTY):
        return None
    try:
        return hashlib.sha256(_git("diff", "HEAD", "--binary", "--no-ext-diff")).hexdigest()
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> bytes:
    # A clone may be somebody else's, as in a container: who runs its code has trusted it.
    command = ["git", "-C", str(ROOT), "-c", "safe.directory=*", *arguments]
    env = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(command, capture_output=True, timeout=10, check=True, env=env).stdout
