"""A reader of recordings that may take its process with it: aedat aborts on some damaged ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import IO

import numpy as np

from harness.datasets import files
from harness.datasets.events import EVENT, Events

DECODE = Path(__file__).with_name("decode.py")
CPU_SECONDS = 60.0  # for one recording; a sound one takes less than one
_ROWS = ("t", "x", "y", "p")


class Reader:
    """Decodes .aedat4 files in a process beside ours, which is started when it is first needed.

    It lives until `close`, and never longer than this process does.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, path: Path) -> Events:
        """The events of a file. Raises UsageError where it is damaged."""
        answer = self._ask(path)
        if answer is None:
            answer = self._ask(path)  # once more: it may have died of something else
        if answer is None:
            raise files.damaged(path, "its reader died of it")
        if isinstance(answer, str):
            raise files.damaged(path, answer)
        return answer

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()  # waits for it, and closes the pipes
            self._process = None

    def _ask(self, path: Path) -> Events | str | None:
        """The events, what is wrong with the file, or None where the process died."""
        process = self._process = self._process or _start()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(str(path)).encode() + b"\n")
            process.stdin.flush()
            head = json.loads(process.stdout.readline())
            return head if isinstance(head, str) else _events(process.stdout, head)
        except (BrokenPipeError, ValueError):  # nothing, or less than was announced
            self.close()
            return None


def _start() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", str(DECODE), str(CPU_SECONDS)]  # -P: its folder has our names
    # what a reader prints when it dies is of no use to a user
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


def _events(answers: IO[bytes], count: int) -> Events:
    """Raises ValueError where there are fewer."""
    size = np.dtype(np.int64).itemsize * len(_ROWS) * count
    rows = np.frombuffer(answers.read(size), np.int64).reshape(len(_ROWS), count)
    events = np.empty(count, EVENT)
    for name, row in zip(_ROWS, rows, strict=True):
        events[name] = row
    return events
