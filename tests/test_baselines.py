"""Other systems: their registry, their cases, their samples, and the rows that come of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from rows import fitted_case
from test_table import said

from harness import baselines, datasets, suites
from harness.analysis import tables
from harness.baselines import parts, trial
from harness.baselines.contract import Answers, Images, Recordings, Samples
from harness.baselines.trial import Fits
from harness.datasets.events import BIN_US, EVENT
from harness.records import EndedRow, FittedRow, Row, Store, TestedRow
from harness.records.ledger import Ledger
from harness.records.run import Run, new_run
from harness.report.shown import shown
from harness.spec import Access, Case, Say, Selection, System, Training, UsageError
from harness.system import machine
from harness.training.epoch import DataSplits

pytestmark = pytest.mark.usefixtures("no_data_of_the_machine", "read_once")

SMALL = Training(1, samples=100, test_samples=20, embedded=True)


@dataclass(eq=False)
class Counts:
    """The class whose recordings have about as many events: a system for tests."""

    structure: str = "one number a class"
    chosen: str = ""
    said: int = 0

    def fit(self, train: Samples, validation: Samples, seed: int, tell: Say) -> None:
        assert isinstance(train, Recordings)
        tell(0.5, "counting")
        counts = np.diff(train.starts)
        self.means = np.array([counts[train.labels == n].mean() for n in range(train.classes)])
        self.chosen = f"seed {seed}, {len(validation)} held out"

    def predict(self, test: Samples) -> Answers:
        assert isinstance(test, Recordings)
        counts = np.diff(test.starts)
        labels = np.abs(counts[:, None] - self.means).argmin(1)
        return Answers(labels, {1: np.zeros_like(labels), 2: labels}, spikes=3.0, source=labels)


class Refuses(Counts):
    def fit(self, train: Samples, validation: Samples, seed: int, tell: Say) -> None:
        raise UsageError("fewer samples than neighbours: use more with --samples")


class Mumbles(Counts):
    def predict(self, test: Samples) -> Answers:
        return Answers(np.zeros(3, np.int64))


def declared(method: type[Counts], **changes: Any) -> ModuleType:
    module = ModuleType("counting", "A system for tests.\n\nMore.")
    words: dict[str, Any] = {
        "TITLE": "Counting",
        "PAPER": "Nobody 2020",
        "DATASETS": ("nmnist", "dvs-cifar10"),
        "INPUT": "events",
        "WINDOWS": ("whole", "first"),
        "FIDELITY": "published equations",
        "DEVIATIONS": ("it only counts",),
        "RANDOM": False,
        "build": lambda effort, epochs: method(),
    }
    vars(module).update({**words, **changes})
    return module


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def read_once(no_data_of_the_machine: None, monkeypatch: pytest.MonkeyPatch, kept: Path) -> None:
    """The recordings of one test are those of the next: simulating them takes seconds."""
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(kept / name))


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Declares a module as the system "counting" of another package."""

    def add(module: ModuleType) -> None:
        class Point:
            def load(self) -> ModuleType:
                return module

        monkeypatch.setattr(baselines, "_declared", lambda: {"counting": Point()})
        baselines.load.cache_clear()

    yield add
    baselines.load.cache_clear()


def run(case: Case, out: Path) -> list[Row]:
    """In this process, so that what a test has replaced is replaced."""
    at = Run(new_run(), machine.describe(torch.device("cpu")), "system")
    owner = Owner()
    ledger = Ledger(Store(out), owner, False, (at.id,))
    Fits(Access(out), at).trial(case, ledger)
    ledger.release()
    assert owner.said == sorted(owner.said)
    return Store(out).read()[0]


class Owner:
    def __init__(self) -> None:
        self.said: list[float] = []

    def say(self, fraction: float, doing: str) -> None:
        self.said.append(fraction)


def small(system: str = "counting", **changes: Any) -> System:
    return fitted_case(system, training=SMALL, **changes)


def test_every_system_of_ours_loads_and_says_what_it_is() -> None:
    for name in baselines.OURS:
        system = baselines.load(name)
        assert system.about and system.title and system.paper
        assert all(isinstance(steps, int) for steps in system.steps)
        assert set(system.epochs) in (set(), {"quick", "default", "paper"})


def test_every_row_that_the_paper_cites_has_a_system() -> None:
    from harness.analysis.frame import each_of
    from harness.analysis.paper_tables import published

    rows = list(each_of(published()))
    assert {name for row in rows for name in row.baselines} == set(baselines.OURS)
    for row in rows:
        assert bool(row.baselines) == (not row.network)
        assert all(row.dataset == baselines.load(each).datasets[0] for each in row.baselines)


def test_a_package_declares_a_system_of_its_own(declare: Any) -> None:
    declare(declared(Counts))
    assert baselines.names() == (*baselines.OURS, "counting")
    system = baselines.load("counting")
    assert (system.title, system.about, system.revision) == ("Counting", "A system for tests.", 0)


def test_one_that_says_too_little_is_named_with_what_it_lacks(declare: Any) -> None:
    module = declared(Counts)
    del vars(module)["FIDELITY"]
    declare(module)
    with pytest.raises(UsageError, match="the baseline counting has no FIDELITY"):
        baselines.load("counting")


def test_steps_that_are_no_numbers_of_steps_are_refused(declare: Any) -> None:
    declare(declared(Counts, STEPS=540))
    with pytest.raises(UsageError, match="STEPS of the baseline counting are 540, expected"):
        baselines.load("counting")


def test_an_unknown_system_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown baseline 'hat', choose from lstm, "):
        baselines.check_name("hat")


def cases(**fields: Any) -> list[System]:
    found = suites.suite("baselines").cases(Selection(frameworks=(), **fields))
    return [case for case in found if isinstance(case, System)]


def test_a_system_is_run_on_all_its_data_and_windows_by_default(declare: Any) -> None:
    declare(declared(Counts))
    found = cases(baselines=("counting",))
    places = [(case.dataset, case.window) for case in found]
    assert places == [(d, w) for d in ("nmnist", "dvs-cifar10") for w in ("whole", "first")]
    asked = cases(baselines=("counting",), seeds=(1, 2))
    assert {case.seed for case in (*found, *asked)} == {0}  # nothing of it is random
    (quick,) = cases(baselines=("counting",), quick=True)
    assert (quick.dataset, quick.effort, quick.window) == ("nmnist", "quick", "whole")
    declare(declared(Counts, RANDOM=True))
    assert {case.seed for case in cases(baselines=("counting",))} == {0, 1, 2}
    assert {case.seed for case in cases(baselines=("counting",), seeds=(1, 2))} == {1, 2}


def test_options_of_networks_are_refused(declare: Any) -> None:
    declare(declared(Counts))
    with pytest.raises(UsageError, match="has no use for --tuned"):
        cases(baselines=("counting",), tuned=True)
    with pytest.raises(UsageError, match="counting cannot run on cifar10"):
        cases(baselines=("counting",), datasets=("cifar10",))


def test_its_rows_say_how_it_did_and_how_it_was_run(declare: Any, tmp_path: Path) -> None:
    declare(declared(Counts))
    rows = run(small(), tmp_path)
    end = rows[-1]
    assert isinstance(end, FittedRow)
    assert (end.deviations, end.fidelity) == ("it only counts", "published equations")
    assert (end.chosen, end.sensor, end.random) == ("seed 0, 10 held out", (34, 34), False)
    assert (end.train_samples, end.validation_samples, end.test_samples) == (90, 10, 20)
    assert end.test_accuracy == end.source_accuracy and end.spikes == 3.0
    tested = [(row.tested_T, row.test_accuracy) for row in rows if isinstance(row, TestedRow)]
    assert tested[1] == (2, end.test_accuracy) and len(tested) == 2
    assert end.window_us and end.window_us > 10 * BIN_US


def test_what_is_done_is_not_done_again(declare: Any, tmp_path: Path) -> None:
    declare(declared(Counts))
    once = run(small(), tmp_path)
    assert run(small(), tmp_path) == once
    assert len(run(replace(small(), seed=1), tmp_path)) == 2 * len(once)
    declare(declared(Counts, REVISION=1))
    assert len(run(small(), tmp_path)) == 3 * len(once)


def test_the_first_window_is_cut_to_t_bins(tmp_path: Path) -> None:
    case = small(effort="quick", window="first", T=4)
    system = replace(baselines.load("hats"), input="events")
    found = parts.read(case, system, Access(tmp_path), lambda fraction, doing: None)
    assert found.seen is not None and found.seen.longest_us <= 4 * BIN_US


def test_it_is_asked_for_some_samples_at_a_time_and_says_so(
    declare: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(declared(Counts))
    answered = []
    for together in (1000, 7):
        monkeypatch.setattr(trial, "TOGETHER", together)
        out = tmp_path / str(together)
        rows = run(small(), out)
        answered.append([(type(row), getattr(row, "test_accuracy", None)) for row in rows])
        (end,) = (row for row in rows if isinstance(row, FittedRow))
        assert (end.spikes, end.source_accuracy) == (3.0, end.test_accuracy)
    assert answered[0] == answered[1]


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        (Refuses, "fewer samples than neighbours: use more with --samples"),
        (Mumbles, r"its answers are (3,), expected (20,)"),
    ],
)
def test_one_that_cannot_is_a_failed_row(
    declare: Any, tmp_path: Path, method: type[Counts], reason: str
) -> None:
    declare(declared(method))
    (end,) = run(small(), tmp_path)
    assert isinstance(end, EndedRow) and (end.status, end.reason) == ("failed", reason)


def recordings(*counts: int, labels: tuple[int, ...]) -> Recordings:
    events = np.zeros(sum(counts), EVENT)
    starts = np.cumsum([0, *counts], dtype=np.int64)
    return Recordings(events, starts, np.array(labels, np.int64), (34, 34), 2)


def test_a_recording_without_events_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    given = recordings(*[3] * 10, 0, *[3] * 9, labels=(0, 1) * 10)
    with pytest.raises(UsageError, match=r"1 of \d+ nmnist: \w+ recordings have no event, the"):
        _read(monkeypatch, given)


def test_a_class_without_samples_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="nmnist: no training sample is of class 1: use more"):
        _read(monkeypatch, recordings(*[3] * 20, labels=(0,) * 20))


def _read(monkeypatch: pytest.MonkeyPatch, given: Recordings) -> None:
    real = datasets.load_recordings

    def load(wanted: Any, test_samples: int | None, say: Say) -> Any:
        train, test = real(wanted, test_samples, say)
        return replace(train, recordings=given), test

    monkeypatch.setattr(datasets, "load_recordings", load)
    system = baselines.load("hats")
    parts.read(small("hats"), system, Access(Path()), lambda fraction, doing: None)


def test_samples_and_split_are_those_of_the_papers_networks() -> None:
    wanted = datasets.Wanted("nmnist", 5, samples=100, embedded=True)
    case = small(T=5, effort="quick", window="first")
    given = parts.read(case, baselines.load("hats"), Access(Path()), lambda *_: None)
    splits = DataSplits.of(*datasets.load_splits(wanted, 20, lambda *_: None))
    for ours, theirs in (
        (given.train, splits.train),
        (given.validation, splits.validation),
        (given.test, splits.test),
    ):
        assert isinstance(ours, Recordings)
        assert (ours.frames(5) == theirs.raw.numpy()).all()
        assert (ours.labels == theirs.labels.numpy()).all()


def test_images_are_those_of_the_papers_networks_too() -> None:
    wanted = datasets.Wanted("cifar10", 2, samples=100, embedded=True)
    case = small("cao", dataset="cifar10", effort="quick", window=None, T=2)
    given = parts.read(case, baselines.load("cao"), Access(Path()), lambda *_: None)
    splits = DataSplits.of(*datasets.load_splits(wanted, 20, lambda *_: None))
    assert isinstance(given.validation, Images)
    assert (given.validation.pixels == splits.validation.raw.numpy()).all()


def test_a_cited_row_turns_live_by_its_systems_name(declare: Any, tmp_path: Path) -> None:
    declare(declared(Counts))
    rows = run(small(), tmp_path)
    hats = [replace(row, framework="hats", dataset="dvs-cifar10") for row in rows]
    table = tables.TABLES["4"](hats)
    found = table.loc[table.framework == "hats"]
    assert len(found) == 1
    line = found.iloc[0]
    end = rows[-1]
    assert isinstance(end, FittedRow)
    assert line["accuracy"] == end.test_accuracy and line["published"] == 0.524
    assert (line["fidelity"], line["deviations"]) == ("published equations", "it only counts")
    assert line["n"] == 1 and np.isnan(line["low"])
    assert table[table.model.str.startswith("Lagorce")].accuracy.isna().all()


def test_terminal_and_report_show_it(declare: Any, tmp_path: Path) -> None:
    declare(declared(Counts))
    rows = [replace(row, framework="cao", dataset="cifar10") for row in run(small(), tmp_path)]
    end = rows[-1]
    assert isinstance(end, FittedRow)
    for name in ("baselines", "5"):
        lines = said(shown(name, tables.TABLES[name](rows)))
        assert max(map(len, lines)) <= 80
        assert " ".join(lines).count(f"{100 * end.test_accuracy:.1f} ") == 1
