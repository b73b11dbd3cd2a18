"""The Python interface: `run`, `results`, `report`, and what a run is asked for as one `Options`.

`harness run` is built on this: `Options.of` reads its texts as it reads what Python gives. So
names, defaults, checks and sentences are the same.
"""

from __future__ import annotations

import inspect
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import MISSING, dataclass, field, fields
from fractions import Fraction
from math import inf
from os import PathLike, fspath
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, get_args

from harness.spec import (
    Budget,
    Case,
    Initialisation,
    NetworkFile,
    Precision,
    Reading,
    Selection,
    UsageError,
)

if TYPE_CHECKING:  # pandas and torch take seconds
    from harness.jobs import Executor
    from harness.records import EndedRow, Row, Store
    from harness.report.stored import Results
    from harness.spec import Access
    from harness.suites import Suite

# Where results go, and are read from, unless another folder is named.
RESULTS = Path("results/local")
# Larger archives are fetched only when asked for: nobody expects gigabytes of a first run.
LARGEST_DOWNLOAD_MIB = 200
DEFAULT_BUDGET, QUICK_BUDGET = 1200.0, 60.0  # seconds
QUICK_ROUNDS = 2  # that a cell gets whatever the budget: a first look, and nobody is ranked
LARGEST = 10**9
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
Device = Literal["auto", "cpu", "cuda"]
Parser = Callable[[object], Any]


# What is given, as values. Each raises UsageError for what is none.


def names(given: object) -> tuple[str, ...]:
    """The parts of `a,b`, or of several; twice the same is once."""
    several = isinstance(given, Iterable) and not isinstance(given, str)
    parts = [str(each) for each in given] if several else str(given).split(",")  # type: ignore[union-attr]
    found = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
    if not found:
        raise UsageError(f"{given!r} names nothing: name something, or leave it out")
    return found


def numbers(least: int) -> Parser:
    """A parser of whole numbers of at least `least`."""

    def parsed(given: object) -> tuple[int, ...]:
        parts = names(given)
        for part in parts:
            if not re.fullmatch(r"-?[0-9]{1,9}", part) or int(part) < least:
                raise UsageError(f"{part!r}, expected whole numbers of {least} or more")
        return tuple(dict.fromkeys(map(int, parts)))

    return parsed


def count(given: object) -> int:
    """One whole number above 0."""
    text = str(given)
    if not re.fullmatch(r"[0-9]{1,10}", text) or not 1 <= int(text) <= LARGEST:
        raise UsageError(f"{text!r}, expected a whole number from 1 to {LARGEST}")
    return int(text)


def fraction(given: object) -> Fraction:
    """A positive fraction: 1, 1/8, 0.5."""
    text, value = str(given), Fraction(0)
    with suppress(ValueError, ZeroDivisionError):
        value = Fraction(text) if re.fullmatch(r"[0-9./]{1,20}", text) else value
    if not 0 < value <= 16:
        raise UsageError(f"{text!r}, expected a fraction above 0 and up to 16, such as 1/8")
    return value


def seconds(given: object) -> float:
    """A time: 90, 90s, 10m, 1.5h."""
    match = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]+)?)([smh]?)", str(given).strip())
    value = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if value <= 0:
        raise UsageError(f"{given!r}, expected a time above 0 such as 90s, 10m or 1h")
    return value


def place(given: object) -> Path:
    """A path that the system can look for, there or not; an empty one is not the folder here."""
    text = fspath(given) if isinstance(given, PathLike) else str(given)
    if not text:
        raise UsageError("'' names no folder or file: name one, or leave it out")
    path = Path(text)
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return path
    except OSError as error:
        name = str(path) if len(str(path)) < 60 else f"{str(path)[:60]}..."
        raise UsageError(f"{name}: {error.strerror or error}; name another") from error
    return path


def folder(given: object) -> Path:
    """A folder that is there."""
    path = place(given)
    if not path.is_dir():
        raise UsageError(f"{path} is no folder: name one that there is, or leave it out")
    return path


def switch(given: object) -> bool:
    """On or off."""
    if not isinstance(given, bool):
        raise UsageError(f"it is on or off: give True or False, not {given!r}")
    return given


def choice(of: object) -> Parser:
    """A parser of one of a Literal's words."""
    words = get_args(of)

    def parsed(given: object) -> str:
        if given not in words:
            raise UsageError(f"{str(given)[:40]!r} is not one of {', '.join(words)}")
        return str(given)

    return parsed


def _option(
    parser: Parser,
    help_: str,
    metavar: str = "",
    default: object = None,
    panel: str = "Which cases",
) -> Any:
    about = {"parser": parser, "help": help_, "metavar": metavar, "panel": panel}
    return field(default=default, metadata=about)


def _switch(help_: str, panel: str = "Options", default: bool | None = False) -> Any:
    return _option(switch, help_, default=default, panel=panel)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a run is asked for. None leaves it to the suite."""

    suite: str = field(
        metadata={
            "parser": str,
            "help": "See `harness list suites`.",
            "metavar": "NAME",
            "panel": "Options",
        }
    )
    quick: bool = _switch("Timing: 90 s. Training: digits, minutes.")
    long: bool = _switch("Training until it has converged: hours.")
    paper: bool = _switch("The paper's size; trains on CUDA alone.")
    budget: float | None = _option(seconds, "Time for timings, about.", "10m", panel="Options")
    frameworks: tuple[str, ...] | None = _option(names, "Default: all known.", "NAME[:FORM],...")
    baselines: tuple[str, ...] | None = _option(names, "Other systems. Default: all.", "NAME,...")
    networks: tuple[str, ...] | None = _option(
        names, "Default: Table 1's.", "NAME|NOTATION|FILE.nir"
    )
    datasets: tuple[str, ...] | None = _option(names, "Default: all three.", "NAME,...")
    steps: tuple[int, ...] | None = _option(numbers(1), "Time steps, T.", "N,...")
    batch_size: int | None = _option(count, "Samples of a batch.", "N")
    precision: Precision | None = _option(choice(Precision), "Default: fp32.", "fp32|bf16|fp64")
    device: Device = _option(choice(Device), "Default: auto.", "auto|cpu|cuda", "auto")
    seeds: tuple[int, ...] | None = _option(numbers(0), "Each is a training.", "N,...")
    epochs: int | None = _option(count, "Of each training.", "N")
    samples: int | None = _option(count, "Training samples, drawn once.", "N")
    width: Fraction | None = _option(fraction, "Scales channels and features.", "1/8")
    neunorm: Reading | None = _option(choice(Reading), "NeuNorm, read so.", "mean|literal")
    init: Initialisation = _option(
        choice(Initialisation), "Initial weights.", "calibrated|torch", "calibrated"
    )
    inference: bool = _switch("Time forward passes, not steps.", "Which cases")
    tuned: bool = _switch("Channels-last, compiled and bf16 too.", "Which cases")
    data_root: Path | None = _option(folder, "Default: HARNESS_DATA, cache.", "DIR", panel="Where")
    download: bool | None = _switch("Fetch missing data.", "Where", None)
    fresh: bool = _switch("Measure again; old rows stay.", "Where")
    keep_weights: bool = _switch("Keep trained weights.", "Where")
    executor: Literal["local", "ray"] = _option(
        choice(Literal["local", "ray"]), "Where cases run.", "local|ray", "local", "Where"
    )
    out: Path = _option(place, "Default: results/local.", "DIR", RESULTS, "Where")

    @classmethod
    def of(cls, **given: object) -> Options:
        """What is given, read and checked before anything that takes time is imported.

        Raises UsageError.
        """
        known = {each.name: each for each in fields(cls)}
        for name in given:
            if name not in known:
                raise UsageError(f"unknown option {name!r}, choose from {', '.join(known)}")
        values: dict[str, Any] = {}
        for name, value in given.items():
            default = known[name].default
            if value is None or (default is not MISSING and value is default):
                continue
            try:
                values[name] = known[name].metadata["parser"](value)
            except UsageError as error:
                raise UsageError(f"--{name.replace('_', '-')}: {error}") from error
        if "suite" not in values:
            raise UsageError("no suite is named: `harness list suites` says which there are")
        found = cls(**values)
        found.check()
        return found

    def check(self) -> None:
        """Raises UsageError for what does not go together."""
        one_preset(quick=self.quick, long=self.long, paper=self.paper)
        of = self.experiment
        if self.baselines and self.suite != "baselines":
            raise UsageError(f"the {self.suite} suite has no other systems: leave --baselines out")
        if self.long and not of.long:
            raise UsageError(f"the {self.suite} suite has no trainings of --long: leave it out")
        if of.trains and self.budget is not None:
            raise UsageError(
                f"the {self.suite} suite does each case to its end: use {of.shorter} to make it "
                "shorter, and leave --budget out"
            )

    @property
    def experiment(self) -> Suite:
        """Its suite. Raises UsageError where there is none."""
        from harness import suites

        return suites.suite(self.suite)

    def selection(self, files: tuple[NetworkFile, ...] = ()) -> Selection:
        """What it selects of a suite; `files` are those among the networks, read."""
        return Selection(
            frameworks=frameworks_named(self.frameworks, self.experiment, quick=self.quick),
            files=files,
            device=device(self.device),
            initialisation=self.init,
            mode="inference" if self.inference else "training",
            **{name: getattr(self, name) for name in _SELECTED},
        )

    @property
    def spending(self) -> Budget:
        """What timing may cost."""
        usual = inf if self.paper else QUICK_BUDGET if self.quick else DEFAULT_BUDGET
        limit = usual if self.budget is None else self.budget
        return Budget(seconds=limit, rounds=QUICK_ROUNDS) if self.quick else Budget(seconds=limit)


_SELECTED = (
    *("datasets", "networks", "steps", "seeds", "epochs", "samples", "batch_size", "precision"),
    *("width", "neunorm", "quick", "long", "paper", "baselines", "tuned"),
)


def one_preset(*, quick: bool, long: bool, paper: bool) -> None:
    """Raises UsageError where more than one is given."""
    if quick + long + paper > 1:
        raise UsageError("--quick, --long and --paper exclude each other: give one")


def frameworks_named(
    given: tuple[str, ...] | None, suite: Suite, *, quick: bool
) -> tuple[str, ...]:
    """Those given, else the suite's, else the installed frameworks but for those that run only when
    named; without `quick` also our variants. Raises UsageError for an unknown one.
    """
    import adapters

    usual = suite.frameworks
    if usual is None:
        all_ = [name for name in adapters.names() if name not in suite.apart]
        usual = (*all_, *(() if quick else suite.beside))
    chosen = given or usual
    for name in chosen:
        adapters.check_name(name)  # one that does not load is no error: a row says so
    return chosen


def device(wanted: Device) -> Literal["cpu", "cuda"]:
    """Where to run: `auto` is a CUDA device where there is one."""
    if wanted == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise UsageError("--device cuda, but torch finds no CUDA device here: use --device cpu")
    return "cpu"


@dataclass(frozen=True)
class Work:
    """The cases of a run, and what they need."""

    options: Options
    cases: tuple[Case, ...]
    store: Store
    access: Access
    executor: Executor

    @classmethod
    def of(cls, options: Options) -> Work:
        """Raises UsageError for what cannot be run here."""
        from harness.formats import files

        read = files.named(options.networks, options.suite, keep_weights=options.keep_weights)
        if options.experiment.trains and options.executor == "local" and options.device != "cuda":
            from harness.system import child

            child.warm()
        from harness import datasets, jobs
        from harness.records import Store
        from harness.spec import Access

        selection = options.selection(tuple(each.file for each in read))
        # a network by its name and in another spelling of it is the same case
        cases = tuple(dict.fromkeys(options.experiment.cases(selection)))
        wanted = {case.dataset for case in cases}
        if options.download is None:
            sizes = {} if options.quick else datasets.DOWNLOAD_MIB
            wanted = {each for each in wanted if sizes.get(each, inf) <= LARGEST_DOWNLOAD_MIB}
        elif not options.download:
            wanted = set()
        root = datasets.data_root(options.data_root)
        access = Access(root, frozenset(wanted), options.fresh, options.keep_weights)
        store = Store(options.out.resolve())
        store.check_writable()
        files.keep(read, store.out)
        return cls(options, cases, store, access, jobs.executor(options.executor))

    def failed(self, rows: Iterable[Row]) -> list[EndedRow]:
        """Those rows that say that a case failed; what was named and is missing is among them."""
        from harness.records import EndedRow

        named = self.options.experiment.trains or self.options.frameworks is not None
        failures = ("failed", "not comparable", *(("missing",) if named else ()))
        return [row for row in rows if isinstance(row, EndedRow) and row.status in failures]


class CasesFailed(UserWarning):
    """Cases of a run failed; `Results.failed` says which, and why."""


def run(suite: str, *, quiet: bool = False, **options: object) -> Results:
    """Measures a suite, keeps each row under `out` as it comes; returns all rows of that folder.

    The options are those of `harness run`, which `harness run --help` explains. What was measured
    before is not measured again, and a run that was interrupted goes on. Says each case as it
    comes, unless `quiet`.

    Raises UsageError for what is wrong with what was asked. Warns CasesFailed where the command
    would end with exit code 1: the other cases stand.
    """
    asked = Options.of(suite=suite, **options)
    work = Work.of(asked)
    rows: list[Row] = []
    with _as_a_command(asked):
        for said, found in _results(work):
            rows += found
            if not quiet:
                print(said, flush=True)
    if work.failed(rows):
        warnings.warn("cases failed: see .failed() for why", CasesFailed, stacklevel=2)
    return results(asked.out)


def _results(work: Work) -> Iterator[tuple[str, tuple[Row, ...]]]:
    """What is said of each result, and its rows."""
    from harness.records import EndedRow
    from harness.spec import Timed

    given = work.store, work.access
    if not work.options.experiment.trains:
        timed = tuple(case for case in work.cases if isinstance(case, Timed))
        last: dict[Case, tuple[Row, ...]] = {}
        budget = work.options.spending
        for cell in work.executor.measure(timed, *given, budget, lambda *_: None):
            last[cell.cell] = cell.rows
        for case, rows in last.items():
            yield f"{case.dataset} {case.scale}: {len(rows)} rows", rows
        return
    for each in work.executor.train(work.cases, *given, lambda *_: None):
        why = [row.reason for row in each.rows if isinstance(row, EndedRow)]
        case = each.case
        name = f"{case.dataset} {case.scale} T={case.T} {case.framework} seed {case.seed}"
        yield f"{name}: {'; '.join(why) or 'done'}", each.rows


@contextmanager
def _as_a_command(options: Options) -> Iterator[None]:
    """While the block runs, the manifest of the run says what was asked for, and children, which
    import the main module of their parent, import no script: it would run anew in each of them.
    """
    former = sys.argv, sys.modules["__main__"]
    asked = {each.name: getattr(options, each.name) for each in fields(options)}
    usual = {each.name: each.default for each in fields(options)}
    said = [f"{name}={value!s}" for name, value in asked.items() if value != usual[name]]
    sys.argv, sys.modules["__main__"] = ["harness", "run", *said], ModuleType("__main__")
    try:
        yield
    finally:
        sys.argv, sys.modules["__main__"] = former


_parameters = inspect.signature(Options).parameters.values()
_quiet = inspect.Parameter(
    "quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation="bool"
)
run.__signature__ = inspect.Signature([*_parameters, _quiet])


def results(*folders: str | PathLike[str]) -> Results:
    """The rows of result folders, `results/local` where none is named.

    A folder is one that `harness run --out` has filled, or one of several such, as
    `results/published`. Warns of lines that are no rows. Raises UsageError where there are none.
    """
    from harness.report import folders as folders_
    from harness.report.stored import Results

    return Results(tuple(folders_.read([Path(each) for each in folders or (RESULTS,)])))
