"""What every row says of the machine it was measured on."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rows import CASE

from harness.system import checkout, machine


def test_git_is_asked_once_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    run = subprocess.run

    def counted(command: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        asked.append(command)
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", counted)
    checkout.commit.cache_clear()
    first = machine.describe(torch.device("cpu"))
    once = len(asked)
    assert once and {command[0] for command in asked} == {"git"}
    assert machine.describe(torch.device("cpu")) == first
    assert len(asked) == once


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            subprocess.CalledProcessError(128, "git", b"", b"fatal: detected dubious ownership in"),
            "not known: git refuses a folder that somebody else owns",
        ),
        (FileNotFoundError("git"), "not known: git is not installed"),
        (subprocess.CalledProcessError(1, "git", b"", b"error: pathspec did not match"), None),
        (subprocess.TimeoutExpired("git", 10), None),
    ],
)
def test_why_the_commit_is_not_known_stands_in_the_row(
    error: Exception, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(subprocess, "run", fail)
    checkout.commit.cache_clear()
    try:
        inside = (Path(machine.__file__).parents[2] / ".git").exists()
        expected = reason if inside or "installed" not in (reason or "") else None
        assert machine.describe(torch.device("cpu")).commit == expected
    finally:
        checkout.commit.cache_clear()


def test_a_clone_that_somebody_else_owns_has_a_commit_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """git is told that it may read it: asked of a folder of another owner, as it tests for it."""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    checkout.commit.cache_clear()
    try:
        commit = machine.describe(torch.device("cpu")).commit
    finally:
        checkout.commit.cache_clear()
    if (Path(machine.__file__).parents[2] / ".git").exists():
        assert commit is not None and re.fullmatch(r"[0-9a-f]{12}(\+dirty)?", commit)


def test_what_differs_from_the_commit_is_hashed_where_somebody_else_owns_the_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "checkout.py"
    file.write_text("as it was\n")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@x"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(checkout, "__file__", str(file))
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    found = []
    for text in ("as it was\n", "changed\n", "again\n"):
        file.write_text(text)
        checkout.commit.cache_clear()
        found.append(checkout.diff_sha256())
    checkout.commit.cache_clear()
    assert found[0] is None and None not in found[1:] and len(set(found)) == 3


def test_the_processor_is_named_from_what_the_system_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "processor\t: 0\nmodel name\t: A Processor (R) 9 \nmodel name\t: another\n"
    monkeypatch.setattr("pathlib.Path.exists", lambda path: str(path) == "/proc/cpuinfo")
    monkeypatch.setattr("pathlib.Path.read_text", lambda path, **options: text)
    assert machine.cpu_name() == "A Processor (R) 9"
    monkeypatch.setattr("pathlib.Path.exists", lambda path: False)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert machine.cpu_name() == "arm64"


def test_one_with_a_matrix_unit_is_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in machine.FORCING:
        monkeypatch.delenv(name, raising=False)
    said = []
    for amx, bf16 in ((False, True), (True, True), (True, False)):
        monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda amx=amx: amx)
        monkeypatch.setattr(machine, "has_bf16", lambda device, bf16=bf16: bf16)
        said.append(machine.describe(torch.device("cpu")).capability)
    named = torch.backends.cpu.get_cpu_capability()
    assert said == [named, f"{named} and AMX", named]


@pytest.mark.parametrize("name", machine.FORCING)
def test_one_that_is_told_to_do_with_less_is_another_machine(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "AVX2")
    assert str(machine.describe(torch.device("cpu")).capability).endswith(" (forced)")


def test_bf16_is_left_out_where_the_device_has_no_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cases = (CASE, replace(CASE, precision="bf16"))
    monkeypatch.setattr(machine, "has_bf16", lambda device: True)
    assert machine.suited(cases) == cases
    monkeypatch.setattr(machine, "has_bf16", lambda device: False)
    assert machine.suited(cases) == cases[:1]
