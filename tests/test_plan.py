"""How long a run takes, as it is said at its start, against how long the shipped ones took."""

from __future__ import annotations

from datetime import datetime
from math import inf
from pathlib import Path
from statistics import mean

import pytest

from harness.analysis.frame import grouped
from harness.records import CertificateRow, IterationRow, Record, Row, Store
from harness.spec import FLOOR, Budget, Timed
from harness.speed import plan
from harness.system import machine

SHIPPED = Path(__file__).parents[1] / "results" / "published" / "intel-xeon-amx"
DEFAULT_RUNS = ("20261127T133702", "20261127T162701")


@pytest.fixture(scope="module")
def shipped() -> list[Row]:
    return Store(SHIPPED).read("acceleration")[0]


@pytest.mark.parametrize("run", DEFAULT_RUNS)
def test_a_default_run_takes_about_as_long_as_is_said(
    run: str, shipped: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row for row in shipped if row.run.startswith(run)]
    times = sorted(datetime.fromisoformat(row.time) for row in rows)
    taken = (times[-1] - times[0]).total_seconds()
    cases = tuple(dict.fromkeys(Timed.of(row) for row in rows if isinstance(row, CertificateRow)))
    assert len(cases) == 63

    # as fast as convolutions were in its rounds
    floors = [row for row in rows if isinstance(row, IterationRow) and row.framework == FLOOR]
    floors = [row for row in floors if row.precision == "fp32"]
    cells = grouped(floors, lambda row: (row.dataset, row.scale)).values()
    seconds = sum(mean(row.seconds for row in cell) for cell in cells)
    rate = sum(plan.PASSES * _macs(cell[0]) for cell in cells) / seconds
    monkeypatch.setattr(plan, "_rate", lambda device: rate)
    monkeypatch.setattr(machine, "has_amx", lambda: True)  # as that machine has
    said = plan.seconds(cases, Budget(seconds=inf))
    assert 0.75 < said / taken < 1.33


def _macs(row: Record) -> float:
    case = Timed.of(row)
    return case.network.macs * case.T * case.batch_size
