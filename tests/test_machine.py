"""What every row says of the machine it was measured on."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import Any

import pytest
import torch
from rows import CASE

from harness.system import machine


def test_git_is_asked_once_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    run = subprocess.run

    def counted(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", counted)
    machine._commit.cache_clear()
    first = machine.describe(torch.device("cpu"))
    once = len(asked)
    assert once and {command[0] for command in asked} == {"git"}
    assert machine.describe(torch.device("cpu")) == first
    assert len(asked) == once


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
    said = []
    for has in (False, True):
        monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda has=has: has)
        said.append(machine.describe(torch.device("cpu")).capability)
    assert said == [torch.backends.cpu.get_cpu_capability(), f"{said[0]} and AMX"]


def test_bf16_is_left_out_where_the_device_has_no_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cases = (CASE, replace(CASE, precision="bf16"))
    monkeypatch.setattr(machine, "has_bf16", lambda device: True)
    assert machine.suited(cases) == cases
    monkeypatch.setattr(machine, "has_bf16", lambda device: False)
    assert machine.suited(cases) == cases[:1]
