"""What is measured once: the first stands, for all processes; what is damaged goes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rows import CASE

import adapters
from harness.spec import FLOOR
from harness.speed import contender
from harness.system import kept, machine
from harness.system.files import make_user_cache
from harness.system.kept import Shelf

pytestmark = pytest.mark.usefixtures("no_data_of_the_machine")


def _read(kept: object) -> float:
    if not isinstance(kept, float):
        raise ValueError(kept)
    return kept


SHELF = Shelf("some", _read, float)


def never() -> float:
    raise AssertionError("it was measured again")


def test_the_first_measurement_stands() -> None:
    assert SHELF.get(("a",), lambda: 0.5) == 0.5
    assert SHELF.get(("a",), never) == 0.5
    assert SHELF.get(("b",), lambda: 0.7) == 0.7


def test_what_another_process_kept_meanwhile_counts() -> None:
    def measure() -> float:
        SHELF.get(("a",), lambda: 0.5)
        return 0.9

    assert SHELF.get(("a",), measure) == 0.5


@pytest.mark.parametrize("text", ["", "{}", "[]", "3", '{"value": "fast"}', '{"value": {}}'])
def test_what_is_damaged_is_measured_anew(text: str) -> None:
    SHELF.get(("a",), lambda: 0.5)
    (place,) = make_user_cache("some").glob("*.json")
    place.write_text(text)
    assert SHELF.get(("a",), lambda: 0.3) == 0.3
    assert SHELF.get(("a",), never) == 0.3


def test_another_machine_measures_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SHELF.get(("a",), lambda: 0.5) == 0.5
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert SHELF.get(("a",), lambda: 0.6) == 0.6
    monkeypatch.setattr(machine, "cpu_name", lambda: "another")
    assert SHELF.get(("a",), lambda: 0.7) == 0.7


def test_a_timed_contender_has_measurements_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_alone", False)
    assert SHELF.get(("a",), lambda: 0.5) == 0.5  # on a busy machine, it may be
    kept.measure_alone()
    assert SHELF.get(("a",), lambda: 0.6) == 0.6
    assert SHELF.get(("a",), never) == 0.6


def test_a_contenders_process_measures_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_alone", False)
    contender.begin(replace(CASE, framework=FLOOR), adapters.load)
    assert kept._alone


def test_without_a_folder_it_is_measured_each_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("")
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(occupied))
    assert SHELF.get(("a",), lambda: 0.5) == 0.5
    assert SHELF.get(("a",), lambda: 0.6) == 0.6
