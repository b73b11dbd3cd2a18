"""The Python interface: `run` and `results`; a run before it starts is one `Work`."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from math import inf
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.analysis.words import counted
from harness.spec import Case, Contender, Fit, Options, UsageError, network_name
from harness.spec.options import GIVEN, RESULTS, Device, flag

if TYPE_CHECKING:  # pandas and torch take seconds
    from harness.jobs import Executor
    from harness.records import EndedResult, Row, Store
    from harness.records.run import CaseRows
    from harness.reports.stored import Results
    from harness.spec import Access, ProgressCallback
    from harness.suites import Suite

# Larger archives are fetched only when asked for: nobody expects gigabytes of a first run.
LARGEST_DOWNLOAD_MIB = 200


def device(choice: Device) -> Literal["cpu", "cuda"]:
    """Return the device to run on; "auto" is "cuda" if torch finds one. Raises UsageError."""
    if choice == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if choice == "cuda":
        raise UsageError("--device cuda, but torch finds no CUDA device: use --device cpu")
    return "cpu"


def cases(options: Options, suite: Suite) -> tuple[Case, ...]:
    """Return the cases of a suite on this machine, duplicates removed.

    Frameworks are those in `options`, else the suite's, else all known ones but the suite's
    `opt_in` and those of other packages that do not load. Raises UsageError for unknown names.
    """
    import adapters
    from adapters import facts

    facts.forget_versions()
    named = options.frameworks or suite.frameworks
    if named is None:
        skipped = {*suite.opt_in, *facts.broken()}
        named = tuple(name for name in adapters.names() if name not in skipped)
    for name in named:
        if name not in (*(suite.frameworks or ()), *suite.opt_in):  # an ANN is no adapter
            adapters.check_name(name)  # one that does not load is no error: it gets a row
    chosen = suite.cases(replace(options, frameworks=named, device=device(options.device)))
    # a network by its name and in another spelling of it is the same case
    return tuple(dict.fromkeys(chosen))


def suited(cases: tuple[Case, ...], suite: Suite, options: Options) -> tuple[Case, ...]:
    """Return the cases without timings in bf16 if this machine has no instructions for it.

    They stay if the suite trains, or if the user named a precision.
    """
    from harness.machine import host

    return cases if not suite.is_timed or options.precision else host.without_emulated_bf16(cases)


@dataclass(frozen=True)
class Work:
    """A run before it starts: its cases, and the folder, data and executor that they need."""

    options: Options
    suite: Suite
    cases: tuple[Case, ...]
    store: Store
    access: Access
    executor: Executor

    @classmethod
    def prepare(cls, options: Options, command: tuple[str, ...]) -> Work:
        """Prepare a run; `command` is recorded as it was typed.

        Raises UsageError for what cannot be run here, and for options that the suite does not have.
        """
        from harness import suites

        suite = suites.suite(options.suite)
        if suite.kind is not Fit:
            options.refuse("baselines", why="has no baselines")
        if not suite.long:
            options.refuse("long", why="has no trainings of --long")
            options.refuse("keep_weights", why="trains no network")
        if not suite.is_timed:
            shorter = "use --epochs, --samples or --width to shorten it"
            options.refuse("budget", why=f"does each case to its end ({shorter})")
        from harness import formats

        read = formats.read_networks(options.networks)
        if options.executor == "local" and options.device != "cuda":
            from harness.machine import child

            child.warm(short_spin=not suite.is_timed)  # it imports while this process does
        from harness import datasets
        from harness.formats import weights
        from harness.records import Store
        from harness.spec import Access

        chosen = cases(replace(options, files=read), suite)
        fetched = {case.workload.dataset for case in chosen}
        if options.download is None:
            sizes = {} if options.quick else datasets.DOWNLOAD_MIB
            fetched = {name for name in fetched if sizes.get(name, inf) <= LARGEST_DOWNLOAD_MIB}
        elif not options.download:
            fetched = set()
        root = datasets.data_root(options.data_root)
        access = Access(root, frozenset(fetched), options.fresh, options.keep_weights)
        store = Store(options.out.resolve())
        store.check_writable()
        for file in read:  # where trainings and timings find them
            weights.keep(store.out, file.weights)
        return cls(options, suite, chosen, store, access, executor(options.executor, command))

    @property
    def left_out(self) -> tuple[str, ...]:
        """Return why adapters of other packages do not run: they do not load, and none is named."""
        if self.options.frameworks or self.suite.frameworks is not None:
            return ()
        from adapters import facts

        return tuple(f"left out: {reason}" for reason in facts.broken().values())

    @property
    def suited(self) -> tuple[Case, ...]:
        """Cases to run, without timings in bf16 if this machine has no instructions for it."""
        return suited(self.cases, self.suite, self.options)

    def results(self, say: ProgressCallback) -> Iterator[CaseRows]:
        """Run the cases and yield results; a timed cell comes after one round and at its end."""
        work = self.suited, self.store, self.access
        if not self.suite.is_timed:
            return self.executor.train(*work, say)
        return self.executor.measure(*work, self.options.spending, say)

    def failed(self, rows: Iterable[Row]) -> list[Row[EndedResult]]:
        """Return rows of failed cases; missing frameworks count if named or the suite trains."""
        from harness.records import EndedResult, of_kind

        named = not self.suite.is_timed or self.options.frameworks is not None
        failures = ("failed", "not comparable", *(("missing",) if named else ()))
        return [row for row in of_kind(rows, EndedResult) if row.result.status in failures]


def executor(name: str, command: tuple[str, ...]) -> Executor:
    """Return the executor "local" or "ray"; `command` is recorded as it was typed.

    Raises UsageError where Ray is not installed.
    """
    if name == "local":
        from harness.jobs.local import Local

        return Local(command)
    try:
        from harness.jobs.ray import Ray
    except ImportError as error:
        raise UsageError(
            f"--executor {name} does not load ({error}): "
            f"install it with pip install 'snn-harness[{name}]'"
        ) from error
    return Ray(command)


class CasesFailed(UserWarning):
    """Cases of a run failed; `Results.failed` has the reasons."""


def run(suite: str, *, quiet: bool = False, **options: object) -> Results:
    """Measure a suite, keep each row under `out` as it comes, and return all rows of that folder.

    The options are those of `harness run`, which `harness run --help` explains. What was measured
    before is not measured again, and a run that was interrupted goes on. Prints a line for each
    case, unless `quiet`.

    Raises UsageError for a wrong request. Warns CasesFailed where the command would end with exit
    code 1: the other cases stand.
    """
    rows: dict[Case, tuple[Row, ...]] = {}
    with _in_python():
        chosen = Options.parse(suite=suite, **options)
        values = ((option, getattr(chosen, option.name)) for option in GIVEN)
        words = [f"{option.name}={value}" for option, value in values if value != option.default]
        work = Work.prepare(chosen, ("harness", "run", *words))
        if not quiet and (compiled := _compiled(work.suited)):
            names = ", ".join(compiled)
            print(f"{names}: compiled at first use, which may take minutes", flush=True)
        for sentence in () if quiet else work.left_out:
            print(sentence, flush=True)
        for result in work.results(lambda *_: None):
            rows[result.case] = result.rows
            if not quiet and not result.more:
                print(_ended(result, work), flush=True)
    if work.failed(chain.from_iterable(rows.values())):
        warnings.warn("cases failed: see .failed() for why", CasesFailed, stacklevel=2)
    return results(chosen.out)


def _ended(result: CaseRows, work: Work) -> str:
    """Return a case in a line: its rows, why it failed, or that there was no time for it."""
    case, why = result.case, [row.result.reason for row in work.failed(result.rows)]
    workload, name = case.workload, case.contender.name
    network = workload.dataset, network_name(workload), f"T={workload.T}"
    parts = (*network, name, f"seed {workload.seed}")
    did = "; ".join([counted(len(result.rows), "row"), *why])
    if result.left_seconds:
        fits = work.options.spending.fits(result.left_seconds)
        next_ = "call again to go on" if fits else "give a larger budget"
        did = f"not begun, it takes about {result.left_seconds:,.0f} s: {next_}"
    return f"{' '.join(filter(None, parts))}: {did}"


@contextmanager
def _in_python() -> Iterator[None]:
    """Have a UsageError name a keyword where the command line's names an option."""
    try:
        yield
    except UsageError as error:
        names = {flag(option.name): option.name for option in GIVEN}
        sentence = re.sub(r"--[a-z-]+", lambda match: names.get(match[0], match[0]), str(error))
        error.args = (sentence,)
        raise


def _compiled(cases: tuple[Case, ...]) -> list[str]:
    """Return the contenders that are compiled here: compiled forms, and kernels of their own."""
    from adapters import facts, names

    def is_compiled(contender: Contender) -> bool:
        package = contender.package
        if package not in names() or facts.look_up(package).foreign:
            return False
        return contender.form == "compiled" or bool(facts.look_up(package).implementations)

    return [*dict.fromkeys(c.contender.name for c in cases if is_compiled(c.contender))]


_options, _run = inspect.signature(Options).parameters, inspect.signature(run).parameters
_named = [option for option in _options.values() if option.name not in ("suite", "files")]
run.__signature__ = inspect.Signature([_run["suite"], _run["quiet"], *_named])


def results(*folders: str | PathLike[str]) -> Results:
    """Return the rows of result folders, `results/local` where none is named.

    A folder is one that `harness run --out` has filled, or one that holds several such, as
    `results/published`. Warns of damaged lines. Raises UsageError if there are no rows.
    """
    from harness.reports.stored import Results, read_all

    return Results(tuple(read_all([*map(Path, folders or (RESULTS,))])))


def report(
    out: str | PathLike[str] = RESULTS, *, readme: str | PathLike[str] | None = None
) -> list[Path]:
    """Write OUT/report.html and OUT/tables/ from the rows under OUT/records; return the paths.

    `readme`: a file whose text between its marks is replaced, too. Warns of damaged lines. Raises
    UsageError where there are no rows, and where a file cannot be written.
    """
    from harness.reports import page, stored

    rows = stored.read_all([Path(out)])
    return page.write(rows, Path(out), None if readme is None else Path(readme))
