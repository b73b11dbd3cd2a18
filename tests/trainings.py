"""Small trainings for tests: their cases, their data, and a trial in this process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from recordings import quiet
from rows import trained_case

from harness import records, spec
from harness.datasets import SplitRequest, load_split
from harness.jobs.local import WORK, Result
from harness.records.run import Run, new_run
from harness.records.store import Ledger
from harness.spec import paper
from harness.system import machine
from harness.training.epoch import DataSplits
from harness.training.trial import do

TINY = "8C3(Encoding)-AP2-8C3-AP2-16FC-Voting"
R = TypeVar("R", bound=records.Record)


def case(dataset: str = "cifar10", **fields: Any) -> spec.Trained:
    network, of = paper.network(TINY, dataset)[1], paper.settings(dataset)
    given: dict[str, Any] = {"suite": "accuracy", "dataset": dataset, "scale": "custom"}
    given |= {"network": replace(network, dropout=of.dropout), "optimiser": of.optimiser}
    given |= {"T": 2, "batch_size": 10}
    given |= {"training": spec.Training(epochs=2, samples=60, test_samples=30, embedded=True)}
    return trained_case(**given | fields)


def data(dataset: str = "cifar10", count: int = 60) -> DataSplits:
    wanted = SplitRequest(dataset, T=2, samples=count, embedded=True)
    train = load_split(wanted, "train", quiet)
    return DataSplits.of(train, load_split(replace(wanted, samples=30), "test", quiet))


def run(
    cases: tuple[spec.Case, ...], out: Path, *, fresh: bool = False, keep: bool = False
) -> list[Result]:
    """In this process, where what a test has replaced is replaced."""
    at = Run(new_run(), machine.describe(torch.device("cpu")), "system")
    access = spec.Access(out, fresh=fresh, keep_weights=keep)
    ended, done = [], list[float]()

    def say(fraction: float, doing: str) -> None:
        quiet(fraction, doing)
        done.append(fraction)

    for each in cases:
        done.clear()
        ledger = Ledger(records.Store(out), say, fresh, (at.id,))
        end = do(each, ledger, access, at, WORK[type(each)])
        ledger.release()
        assert done == sorted(done)
        ended.append(Result(each, end.rows, before=end.before))
    return ended


def rows_of(out: Path, kind: type[R]) -> list[R]:
    rows, damaged = records.Store(out).read()
    assert not damaged
    return [row for row in rows if isinstance(row, kind)]
