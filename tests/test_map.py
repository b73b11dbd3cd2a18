"""docs/code.md leads from a command to the page: it is held against a trace of the calls."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAP = (ROOT / "docs/code.md").read_text(encoding="utf-8").partition("## ")[0]
# Python imports this in each process that starts: a line for each function that was called.
TRACER = """
import os, sys, threading

log, seen = os.open(os.environ["TRACE"], os.O_APPEND | os.O_CREAT | os.O_WRONLY), set()

def trace(frame, event, value):
    code = frame.f_code
    if event == "call" and code not in seen:
        seen.add(code)
        last = max((line for *_, line in code.co_lines() if line), default=0)
        function = code.co_flags & 1 and not code.co_name.startswith("<")  # no body of a class
        if function and last - code.co_firstlineno >= 9:
            os.write(log, (code.co_filename + chr(10)).encode())

sys.setprofile(trace)
threading.setprofile(trace)
"""


@pytest.mark.slow
def test_the_map_has_each_file_from_the_command_to_the_page_and_its_steps_in_order(
    tmp_path: Path,
) -> None:
    (tmp_path / "sitecustomize.py").write_text(TRACER)
    path = os.pathsep.join((str(tmp_path), str(ROOT), *filter(None, [os.getenv("PYTHONPATH")])))
    command = "run --suite acceleration --quick --networks Small --frameworks snntorch,fused"
    subprocess.run(
        [sys.executable, "-m", "harness", *command.split(), "--out", str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": path, "TRACE": str(tmp_path / "trace")},
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    called = dict.fromkeys((tmp_path / "trace").read_text().splitlines())
    ours = [os.path.relpath(file, ROOT) for file in called if file.startswith(f"{ROOT}/harness/")]
    steps = [re.findall(r"\]\(\.\./([^)]+)\)", line) for line in re.findall(r"^\| \d.*", MAP, re.M)]
    assert {*ours} <= {file for files in steps for file in files}
    first = [ours.index(files[0]) for files in steps if files[0] in ours]
    assert first == sorted(first) and len(first) > len(steps) - 3
