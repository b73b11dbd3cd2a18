"""Baselines: their registry, cases, samples and rows, and what each of ours must do."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trainings
from recordings import answered, bars, events_of, recorded, squares, striped
from rows import altered, fitted_case, row

from harness import baselines, datasets, suites
from harness.analysis import tables
from harness.baselines import converted, trial
from harness.baselines.contract import Answers, Baseline, Images, Recordings, Samples, silent
from harness.datasets.events import BIN_US, EVENT
from harness.records import EndedResult, FittedResult, Row, Store, TestedResult, has, of_kind
from harness.spec import Access, Fit, Options, ProgressCallback, UsageError
from harness.training.epoch import DataSplits

pytestmark = pytest.mark.usefixtures("no_data_of_the_machine", "read_once")


class Counting:
    """The class whose recordings have about as many events: a system for tests."""

    TITLE, PAPER = "Counting", "Nobody 2020"
    DATASETS = ("nmnist", "dvs-cifar10")
    INPUT = "events"
    WINDOWS = ("whole", "first")
    FIDELITY = "published equations"
    DEVIATIONS = ("it only counts",)
    RANDOM = False

    structure = "one number a class"

    @classmethod
    def build(cls, effort: str, epochs: int) -> Any:
        return cls()

    def fit(self, train: Samples, validation: Samples, seed: int, tell: ProgressCallback) -> None:
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


@dataclass
class Point:
    """An entry point."""

    name: str
    target: Any

    def load(self) -> Any:
        return self.target


@pytest.fixture
def read_once(
    no_data_of_the_machine: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The recordings of one test are those of the next: simulating them takes seconds."""
    folder = tmp_path_factory.getbasetemp() / "recordings"
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(folder / name))


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Declares the system "counting" of another package, with these changes; and as "hats"."""

    def add(**changes: Any) -> None:
        changed = type("Changed", (Counting,), changes)
        points = [Point(name, changed) for name in ("counting", "hats")]
        monkeypatch.setattr(baselines, "entry_points", lambda group: points)
        forget()

    def forget() -> None:
        baselines._known.cache_clear()
        baselines.load.cache_clear()

    yield add
    forget()


def run(case: Fit, out: Path) -> list[Row]:
    """In this process, so that what a test has replaced is replaced; all rows that there are."""
    trainings.run((case,), out)
    return Store(out).read()[0]


def small(system: str = "counting", **changes: Any) -> Fit:
    return fitted_case(system, train=50, test=20, embedded=True, **changes)


# the registry


def test_every_row_that_the_paper_cites_has_a_system() -> None:
    cited = tables.published()
    assert {name for line in cited for name in line.baselines} == set(baselines.OURS)
    for cited_row in cited:
        assert bool(cited_row.baselines) == (not cited_row.network)
        assert all(
            cited_row.dataset == baselines.load(name).datasets[0] for name in cited_row.baselines
        )


def test_a_package_declares_a_class_or_a_module(declare: Any) -> None:
    declare(EPOCHS={"quick": 2})
    assert baselines.names() == (*baselines.OURS, "counting")
    system = baselines.load("counting")
    assert (system.title, system.epochs, system.revision) == ("Counting", {"quick": 2}, 0)
    assert baselines.load("hats").title == "HATS"  # a name of ours stays ours


def test_the_pages_example_is_loaded_fitted_and_asked(
    declare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path(__file__).parents[1] / "docs" / "baselines.md"
    (source,) = re.findall(r"```py\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    names: dict[str, Any] = {"__name__": "my_system"}
    exec(source, names)
    declare()  # forgets at its end what was declared
    point = Point("my-system", names["Counting"])
    monkeypatch.setattr(baselines, "entry_points", lambda group: [point])
    baselines._known.cache_clear()
    method = baselines.load("my-system").build("quick", 1)
    method.fit(bars(20, 0), bars(6, 1), 0, silent)
    assert answered(method, bars(8, 2)).shape == (8,) and method.structure == "2 numbers"


def test_one_that_is_unknown_or_says_too_little_or_something_odd_is_refused(
    declare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for changes, words in (
        ({"DATASETS": ("mnist3d",)}, "mnist3d"),
        ({"WINDOWS": "whole"}, "WINDOWS of the baseline counting are 'whole', expected a tuple"),
        ({"WINDOWS": ("all",)}, r"counting are \('all',\), expected some of first, whole"),
    ):
        declare(**changes)
        with pytest.raises(UsageError, match=words):
            baselines.load("counting")
    monkeypatch.delattr(Counting, "TITLE")
    declare()
    with pytest.raises(UsageError, match="the baseline counting has no TITLE"):
        baselines.load("counting")
    with pytest.raises(UsageError, match="unknown baseline 'hat', choose from lstm, "):
        baselines.check_name("hat")


# its cases


def cases(**fields: Any) -> list[Fit]:
    planned = suites.suite("baselines").cases(Options(suite="baselines", **fields))
    return [case for case in planned if isinstance(case, Fit)]


def seeds(cases: list[Fit]) -> set[int]:
    return {case.workload.seed for case in cases}


def test_a_broken_package_costs_no_other(declare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(point: Point) -> None:
        raise AttributeError("module 'json' has no attribute 'Nope'")

    declare()
    monkeypatch.setattr(Point, "load", broken)
    with pytest.raises(baselines.MissingBaseline, match="counting does not load .*'Nope'"):
        baselines.load("counting")
    assert {case.contender.name for case in cases()} == {*baselines.OURS}
    with pytest.raises(baselines.MissingBaseline):
        cases(baselines=("counting",))


def test_a_system_is_run_on_all_its_data_and_windows_by_default(declare: Any) -> None:
    declare()
    planned = cases(baselines=("counting",))
    places = [(case.workload.dataset, case.window) for case in planned]
    assert places == [(d, w) for d in ("nmnist", "dvs-cifar10") for w in ("whole", "first")]
    planned += cases(baselines=("counting",), seeds=(1, 2))
    assert seeds(planned) == {0}  # nothing of it is random
    (quick,) = cases(baselines=("counting",), quick=True)
    assert (quick.workload.dataset, quick.effort, quick.window) == ("nmnist", "quick", "whole")
    declare(RANDOM=True)
    assert seeds(cases(baselines=("counting",))) == {0, 1, 2}
    assert seeds(cases(baselines=("counting",), seeds=(1, 2))) == {1, 2}


def test_t_is_of_the_first_bins_alone(declare: Any) -> None:
    declare(DATASETS=("nmnist",))
    planned = cases(baselines=("counting",), steps=(2, 3))
    lengths = [(case.window, case.workload.T) for case in planned]
    assert lengths == [("whole", 10), ("first", 2), ("first", 3)]


def test_images_have_no_windows_whatever_a_base_class_says(declare: Any) -> None:
    declare(INPUT="images", DATASETS=("cifar10",))
    (case,) = cases(baselines=("counting",))
    assert case.window is None
    with pytest.raises(UsageError, match="cuts nothing of these to its first T bins: .*--steps"):
        cases(baselines=("counting",), steps=(2, 3))


# its samples


def test_samples_and_split_are_those_of_the_papers_networks() -> None:
    request = datasets.SplitRequest("nmnist", 5, samples=50, embedded=True)
    case = small(T=5, effort="quick", window="first")
    loaded = trial.load_samples(case, baselines.load("hats"), Access(Path()), silent)
    splits = DataSplits.from_splits(*datasets.load_splits(request, 20, silent))
    for name in ("train", "validation", "test"):
        ours, theirs = getattr(loaded, name), getattr(splits, name)
        assert isinstance(ours, Recordings) and ours.longest_us <= 5 * BIN_US
        assert (ours.frames(5) == theirs.raw.numpy()).all()
        assert (ours.labels == theirs.labels.numpy()).all()
    case = small("cao", dataset="cifar10", effort="quick", window=None, T=2)
    images = trial.load_samples(case, baselines.load("cao"), Access(Path()), silent).validation
    request = replace(request, dataset="cifar10")
    splits = DataSplits.from_splits(*datasets.load_splits(request, 20, silent))
    assert isinstance(images, Images)
    assert (images.pixels == splits.validation.raw.numpy()).all()


@pytest.mark.parametrize(
    ("counts", "labels", "words"),
    [
        ([*[3] * 10, 0, *[3] * 9], (0, 1) * 10, "1 of the nmnist recordings have no event"),
        ([3] * 20, (0,) * 20, "nmnist: no training sample is of class 1: use more"),
    ],
)
def test_recordings_that_nothing_can_learn_from_are_named(
    monkeypatch: pytest.MonkeyPatch, counts: list[int], labels: tuple[int, ...], words: str
) -> None:
    starts = np.cumsum([0, *counts], dtype=np.int64)
    recordings = Recordings(np.zeros(sum(counts), EVENT), starts, np.array(labels), (34, 34), 2)
    real = datasets.load_recordings

    def load(request: Any, test_samples: int | None, say: ProgressCallback) -> Any:
        train, test = real(request, test_samples, say)
        return replace(train, recordings=recordings), test

    monkeypatch.setattr(datasets, "load_recordings", load)
    with pytest.raises(UsageError, match=words):
        trial.load_samples(small("hats"), baselines.load("hats"), Access(Path()), silent)


# its rows


def test_rows_say_how_it_did(declare: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare()
    monkeypatch.setattr(trial, "TEST_BATCH", 7)  # it is asked for some samples at a time
    rows = run(small(), tmp_path)
    end, data = rows[-1], rows[-1].data
    assert has(end, FittedResult) and end.installation.deviations == "it only counts"
    fitted = end.result
    assert fitted.fidelity == "published equations"
    assert (fitted.structure, fitted.chosen) == ("one number a class", "seed 0, 5 held out")
    assert (fitted.sensor, fitted.random, fitted.spikes) == ((34, 34), False, 3.0)
    assert (data.train_samples, data.validation_samples, data.test_samples) == (45, 5, 20)
    assert fitted.test_accuracy == fitted.source_accuracy
    tested = [row.result for row in of_kind(rows, TestedResult)]
    assert [result.tested_T for result in tested] == [1, 2]
    assert tested[1].test_accuracy == fitted.test_accuracy
    assert fitted.window_us and fitted.window_us > 10 * BIN_US


def test_what_is_done_is_not_done_again(declare: Any, tmp_path: Path) -> None:
    declare()
    once = run(small(), tmp_path)
    assert run(small(), tmp_path) == once
    assert len(run(small(seed=1), tmp_path)) == 2 * len(once)
    declare(REVISION=1)
    assert len(run(small(), tmp_path)) == 3 * len(once)


def test_who_fails_is_a_failed_row(declare: Any, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise UsageError("fewer samples than neighbours")

    for changes, reason in (
        ({"fit": refuse}, "fewer samples than neighbours"),
        ({"predict": lambda *_: np.zeros(3, np.int64)}, "answers are (3,)"),
        ({"structure": None}, "does not fit a row (result.structure: "),
        ({"structure": b"3"}, "[field_name='structure', input_value=b'3'"),
        ({"structure": object()}, "does not fit a row (Unable to serialize"),
    ):
        declare(**changes)
        end = run(small(), tmp_path)[-1]
        assert has(end, EndedResult) and end.result.status == "failed"
        assert reason in end.result.reason


def test_a_cited_row_turns_live_by_its_systems_name() -> None:
    case = fitted_case("hats", dataset="dvs-cifar10")
    shared = {"test_accuracy": 0.4, "deviations": "it only counts"}
    hats = row(FittedResult, case, key="of a version", **shared)
    table = tables.TABLES["4"]([hats])
    (line,) = table.loc[table.framework == "hats"].to_dict("records")
    assert line["accuracy"] == 0.4 and line["published"] == 0.524
    assert (line["fidelity"], line["deviations"]) == ("after the description", "it only counts")
    assert line["n"] == 1 and np.isnan(line["low"])
    assert table[table.model.str.startswith("Lagorce")].accuracy.isna().all()
    assert set(table["dataset"]) == {"dvs-cifar10"}  # so `--datasets` leaves all of them
    renewed = altered(hats, key="of another version", framework_version="2")
    anew = tables.TABLES["4"]([hats, renewed])
    assert anew.loc[anew.framework == "hats", "n"].item() == 1  # a seed is one value


# each of ours


EPOCHS = {"hm2-bp": 20, "stbp": 20, "panda": 2, "cao": 12, "rueckauer": 12, "sengupta": 12}
EPOCHS |= {"lstm": 8, "phased-lstm": 9, "lee": 12, "soft-lif-ann": 5, "soft-lif": 5}
# Numbers that the seed decides, other than the parameters of `network`.
NUMBERS: dict[str, Callable[[Any], Any]] = {
    "hm2-bp": lambda method: method.hidden.weights,
    "random-forest": lambda method: [tree.random_state for tree in method.forest.estimators_],
    "hots": lambda method: method.prototypes[1],
    "panda": lambda method: method.read.weight.detach(),
}


def built(name: str) -> Baseline:
    return baselines.load(name).build("quick", EPOCHS.get(name, 8))


def samples_for(name: str, count: int, seed: int) -> Any:
    if baselines.load(name).input == "images":
        return squares(count, seed)
    return striped(count, seed) if name == "hm2-bp" else bars(count, seed)


def numbers(name: str, method: Any) -> Any:
    if name in NUMBERS:
        return np.asarray(NUMBERS[name](method))
    return torch.cat(
        [parameter.detach().flatten() for parameter in method.network.parameters()]
    ).numpy()


@pytest.mark.parametrize("name", baselines.OURS)
def test_what_is_easy_is_learned(name: str) -> None:
    train, held, test = samples_for(name, 48, 0), samples_for(name, 12, 1), samples_for(name, 24, 2)
    system, fractions, method = baselines.load(name), [], built(name)
    method.fit(train, held, 3, lambda fraction, doing: fractions.append(fraction))
    assert fractions == sorted(fractions) and fractions[0] >= 0 and fractions[-1] <= 1
    answers, labels = method.predict(test), answered(method, test)
    assert labels.dtype == np.int64 and (labels == test.labels).mean() > 0.8  # of 2, 3 or 4 classes
    if isinstance(answers, Answers) and system.steps:
        assert set(answers.at_steps) <= set(system.steps)
        assert np.array_equal(answers.labels, answers.at_steps[max(answers.at_steps)])
        assert answers.source is not None and (answers.source == test.labels).mean() > 0.8
    if isinstance(answers, Answers):
        assert answers.spikes is not None and answers.spikes > 0


@pytest.mark.parametrize("name", baselines.OURS)
def test_the_seed_decides_what_is_random_and_nothing_else(name: str) -> None:
    train, test = samples_for(name, 12, 0), samples_for(name, 8, 2)
    methods = [built(name) for _ in range(3)]
    for seed, method in zip((0, 0, 1), methods, strict=True):
        method.epochs = 1
        if isinstance(method, converted.Conversion):
            method.sizes = replace(method.sizes, width=Fraction(1, 32), steps=(1, 8))
        method.fit(train, train, seed, silent)
    first, again, other = methods
    assert np.array_equal(answered(first, test), answered(again, test))
    assert first.chosen == again.chosen and first.structure == again.structure != ""
    if baselines.load(name).random:
        assert np.array_equal(numbers(name, first), numbers(name, again))
        assert not np.array_equal(numbers(name, first), numbers(name, other))
    else:
        assert np.array_equal(answered(first, test), answered(other, test))


@pytest.mark.parametrize("name", [name for name in baselines.OURS if name not in EPOCHS])
def test_few_events_are_no_harm(name: str) -> None:
    method = built(name)
    method.fit(bars(12, 0), bars(6, 1), 0, silent)
    few = events_of((0, 0, 0, True)), events_of((9, 9, 20_000, True), (9, 9, 20_009, False))
    assert answered(method, recorded(*few, sensor=(20, 20))).shape == (2,)


@pytest.mark.parametrize("name", ["random-forest", "hots", "hats", "hfirst", "gabor-snn"])
def test_those_of_table_4_run_on_the_sensor_of_dvs_cifar10(name: str) -> None:
    method = built(name)
    method.fit(bars(20, 0, 128), bars(6, 1, 128), 0, silent)
    test = bars(10, 2, 128)
    assert (answered(method, test) == test.labels).mean() >= 0.8


def test_the_published_sizes_are_those_of_paper_effort() -> None:
    train = replace(bars(8, 0), sensor=(34, 34), classes=10)
    for name, expected in (
        ("lstm", "2312-LSTM512-10"),
        ("phased-lstm", "embedding 40-PLSTM110-10"),
        ("lee", "2312-800-10"),
        ("stbp", "2312-800-10"),
        ("hm2-bp", "2312-800-10"),
        ("cnn-frames", "8C5-MP2-8C5-MP2-8C5-MP2-256-10"),
        ("cnn-events", "32C5-MP2-64C5-MP2-128-10"),
        ("random-forest", "2312 counts-500 trees"),
        ("hfirst", "2x12 Gabors of 7x7, C1 4x4, one S2 neuron a class, C2 8x8"),
        ("hots", "16-32 prototypes (R = 2, 4; tau = 20, 160 ms), nearest neighbours"),
        ("hats", "7x7 cells of 5x5, 2 surfaces of 5x5 each: 2450-2"),
        ("gabor-snn", "24G7-LIF-AP4-1176-2"),
    ):
        method = baselines.load(name).build("paper", 0)
        method.fit(train, train, 0, silent)
        assert method.structure == expected
