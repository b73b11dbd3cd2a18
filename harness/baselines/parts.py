"""What another system is given: the samples of the paper's networks, split as theirs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness import datasets, spec
from harness.baselines.contract import Images, Recordings, Samples
from harness.baselines.system import System
from harness.datasets.events import BIN_US
from harness.spec import Access, Say, Source, UsageError
from harness.training.epoch import held_out


@dataclass(frozen=True, eq=False)
class Parts:
    """Samples to train on, those that are held out to choose by, and test samples."""

    train: Samples
    validation: Samples
    test: Samples
    train_source: Source
    test_source: Source
    split_sha256: str  # of the names in a split of ours; "" where it is official

    @property
    def seen(self) -> Recordings | None:
        """The recordings that it learns from; None where it learns from images."""
        return self.train if isinstance(self.train, Recordings) else None


def read(case: spec.System, system: System, access: Access, say: Say) -> Parts:
    """The samples of a case, as many as it wants, its recordings cut to its window.

    Raises UsageError where they cannot be had, and where no system can learn from them.
    """
    training = case.training
    wanted = datasets.Wanted(
        case.dataset,
        case.T,
        samples=training.samples,
        root=access.root,
        download=case.dataset in access.download,
        embedded=training.embedded,
    )
    parts = (_images if system.input == "images" else _recordings)(case, wanted, say)
    _check_classes(case, parts.train)
    for name, part in (
        ("training", parts.train),
        ("held-out", parts.validation),
        ("test", parts.test),
    ):
        if isinstance(part, Recordings):
            _check_events(f"{case.dataset}: {name}", part)
    return parts


def _recordings(case: spec.System, wanted: datasets.Wanted, say: Say) -> Parts:
    found = datasets.load_recordings(wanted, case.training.test_samples, say)
    train, test = (each.recordings for each in found)
    if case.window == "first":
        train, test = (each.first(case.T * BIN_US) for each in (train, test))
    kept, held = held_out(len(train))
    return Parts(
        train.part(kept.numpy()),
        train.part(held.numpy()),
        test,
        found[0].source,
        found[1].source,
        found[0].about.split_sha256,
    )


def _images(case: spec.System, wanted: datasets.Wanted, say: Say) -> Parts:
    found = datasets.load_splits(wanted, case.training.test_samples, say)
    train, test = (
        Images(each.raw.numpy(), each.labels.numpy(), case.network.classes, each.about.augmented)
        for each in found
    )
    kept, held = held_out(len(train))
    return Parts(
        train.part(kept.numpy()),
        train.part(held.numpy()),
        test,
        found[0].source,
        found[1].source,
        found[0].about.split_sha256,
    )


def _check_classes(case: spec.System, train: Samples) -> None:
    lacking = np.flatnonzero(np.bincount(train.labels, minlength=train.classes) == 0)
    if len(lacking):
        raise UsageError(
            f"{case.dataset}: no training sample is of class {', '.join(map(str, lacking))}: "
            "use more with --samples"
        )


def _check_events(called: str, part: Recordings) -> None:
    empty = np.flatnonzero(np.diff(part.starts) == 0)
    if len(empty):
        raise UsageError(
            f"{len(empty)} of {len(part)} {called} recordings have no event, the first is number "
            f"{empty[0]}: leave their files out, or fetch them anew"
        )
