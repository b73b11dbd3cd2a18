"""Small trainings for tests: their cases, their data, and a trial in this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from recordings import quiet
from rows import altered, trained_case

from harness import spec
from harness.baselines.trial import fit
from harness.datasets import SplitRequest, load_split
from harness.machine import host
from harness.records import K, Row, Run, Store, of_kind
from harness.records.run import CaseRows, new_run
from harness.records.store import Ledger
from harness.spec import paper
from harness.training.epoch import DataSplits
from harness.training.trial import count, do, train

TINY = "8C3(Encoding)-AP2-8C3-AP2-16FC-Voting"
WORK: Mapping[type[spec.Case], Any] = {spec.Fit: fit, spec.Training: train, spec.Count: count}


def case(dataset: str = "cifar10", **fields: Any) -> spec.Training:
    """A tiny training of two epochs on digits."""
    network, settings = paper.network(TINY, dataset)[1], paper.settings(dataset)
    usual = trained_case(
        suite="accuracy", dataset=dataset, scale="custom", T=2, batch_size=10, train=60, test=30,
        embedded=True, network=replace(network, dropout=settings.dropout),
        optimiser=settings.optimiser,
    )  # fmt: skip
    return altered(usual, **fields)


def data(dataset: str = "cifar10", count: int = 60) -> DataSplits:
    request = SplitRequest(dataset, T=2, samples=count, embedded=True)
    train = load_split(request, "train", quiet)
    return DataSplits.from_splits(train, load_split(replace(request, samples=30), "test", quiet))


def run(
    cases: tuple[spec.Case, ...], out: Path, *, fresh: bool = False, keep: bool = False
) -> list[CaseRows]:
    """In this process, where what a test has replaced is replaced."""
    at = Run(id=new_run(), machine=host.describe(torch.device("cpu")), allocator="system")
    access = spec.Access(out, fresh=fresh, keep_weights=keep)
    ended, fractions = [], list[float]()

    def say(fraction: float, doing: str) -> None:
        quiet(fraction, doing)
        fractions.append(fraction)

    for case in cases:
        fractions.clear()
        ledger = Ledger(Store(out), say, fresh, (at.id,))
        ended.append(do(case, ledger, access, at, WORK[type(case)]))
        ledger.release()
        assert fractions == sorted(fractions)
    return ended


def rows_of(out: Path, kind: type[K]) -> list[Row[K]]:
    rows, damaged = Store(out).read()
    assert not damaged
    return of_kind(rows, kind)
