"""What a run is asked for, as one `Options`; what it may use and spend.

The command line and Python give their values to `Options.parse`, so names, defaults, checks and
sentences are the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from functools import partial
from math import inf
from os import PathLike
from pathlib import Path
from typing import Literal, TypeVar, get_args, overload

from harness.spec import paper
from harness.spec.case import CUSTOM, Initialisation, Mode, NamedNetwork
from harness.spec.contender import Precision
from harness.spec.network import Network, Reading, UsageError, parse_fraction

__all__ = ["SUFFIX", "Access", "Budget", "NetworkFile", "Options", "ProgressCallback", "Tie"]

# How far a piece of work is, in [0, 1], and what it does.
ProgressCallback = Callable[[float, str], None]
SUFFIX = ".nir"  # of a file that describes a network
Tie = Literal["at", "above"]  # where a neuron fires whose potential is exactly its threshold
CLASSES = 10  # of all three data sets
RESULTS = Path("results/local")  # where results go, and are read from, unless a folder is named
PUBLISHED = Path("results/published")  # of the project's own machines, a folder each
DEFAULT_BUDGET, QUICK_BUDGET = 600.0, 115.0  # seconds
QUICK_LEAST, PAPER_ROUNDS = 2, 10  # rounds that a cell gets whatever the budget
_UNITS = {"s": 1, "m": 60, "h": 3600}
Device = Literal["auto", "cpu", "cuda"]
Runs = Literal["local", "ray"]
V = TypeVar("V")
Parser = Callable[[object], V]


@dataclass(frozen=True)
class NetworkFile:
    """A network that a file describes, with its weights and their hash."""

    name: str  # as it was given on the command line
    network: Network
    weights_sha256: str
    has_a: bool  # whether the surrogate's width is the file's; else it is the data set's
    weights: bytes = field(repr=False)  # the file that a result folder keeps

    def on(self, dataset: str) -> NamedNetwork:
        """Return the network for a data set. Raises UsageError if its input or classes differ."""
        settings, network = paper.settings(dataset), self.network
        if network.input_shape != settings.input_shape:
            raise UsageError(
                f"{self.name} is of inputs {network.input_shape}, {settings.title} has "
                f"{settings.input_shape}: choose another data set with --datasets"
            )
        if network.classes != CLASSES:
            raise UsageError(
                f"{self.name} has {network.classes} classes, {settings.title} has {CLASSES}"
            )
        if not self.has_a:
            network = replace(network, lif=replace(network.lif, a=settings.lif.a))
        return NamedNetwork(CUSTOM, network, Fraction(1), self.weights_sha256)


@dataclass(frozen=True)
class Access:
    """Where data are, which may be downloaded, whether old results count and weights are kept."""

    root: Path
    download: frozenset[str] = frozenset()  # data sets to fetch where they are missing
    fresh: bool = False  # measure anew what is done or begun
    keep_weights: bool = False  # of what is trained, in OUT/weights


SURE = 1.2  # times its estimate must fit into what is left for a cell to be begun


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The seconds and rounds that timing may take."""

    seconds: float = inf  # for all cells together
    rounds: int = 5  # of each cell; a figure of fewer than 5 has no rank
    least: int | None = None  # a cell gets so many even if time is up; None: all
    first: bool = False  # whether the first cell is measured however long it takes

    @property
    def may_stop_early(self) -> bool:
        """Whether a cell may end before it has all its rounds, because time is up."""
        return self.least is not None

    @property
    def fewest(self) -> int:
        """The rounds that a cell gets even if time is up."""
        return self.rounds if self.least is None else self.least

    def fits(self, takes: float, start: float = 0.0) -> bool:
        """Return whether a cell that takes so many seconds is begun, `start` seconds into a run."""
        return start + SURE * takes <= self.seconds


# Parsers of given values. Each raises UsageError for anything else.


def _parts(value: object, separator: str) -> list[str]:
    """Return the parts of an option's value: a text split, or a list as it is."""
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [*map(str, value)]
    return str(value).split(separator)


def parse_names(value: object) -> tuple[str, ...]:
    """Parse names, as `a,b` or an iterable, without repeats. Raises UsageError if there is none."""
    names = (part.strip() for part in _parts(value, ","))
    if unique := tuple(dict.fromkeys(filter(None, names))):
        return unique
    raise UsageError(f"{value!r} names nothing: name something, or leave it out")


def _matching(pattern: str, convert: Callable[[str], V], expected: str) -> Parser[V]:
    """Return a parser of texts of a pattern."""

    def parse(value: object) -> V:
        """Return a value converted, or raise UsageError unless it matches the pattern."""
        if not re.fullmatch(pattern, str(value)):
            raise UsageError(f"{str(value)[:40]!r}, expected {expected}")
        return convert(str(value))

    return parse


def _several(parse: Parser[V]) -> Parser[tuple[V, ...]]:
    """Return a parser of names into the values that `parse` makes of them, without repeats."""
    return lambda value: tuple(dict.fromkeys(map(parse, parse_names(value))))


parse_count = _matching(
    "0*([1-9][0-9]{0,8}|1000000000)", int, "a whole number from 1 to 1000000000"
)
parse_share = _matching(r"0(\.[0-9]{1,6})?", float, "a share such as 0.5, or 0")
parse_rate = _matching(
    r"(?=[0-9.]*[1-9])[0-9]{1,6}(\.[0-9]{1,6})?|[1-9][0-9]{0,2}e-[1-9]",
    float,
    "a rate above 0 such as 0.1",
)
parse_number = _matching(r"-?[0-9]{1,6}(\.[0-9]{1,6})?", float, "a number such as 0.5, or uniform")
parse_steps = _several(_matching("0*[1-9][0-9]{0,8}", int, "whole numbers of 1 or more"))
parse_seeds = _several(_matching("[0-9]{1,9}", int, "whole numbers of 0 or more"))


def parse_first_value(value: object) -> float | Literal["uniform"]:
    """Parse the first value of NeuNorm's U: a number, or "uniform"."""
    return "uniform" if str(value) == "uniform" else parse_number(value)


def parse_stages(value: object) -> tuple[int, ...]:
    """Parse epochs: one number in all, or one for each rate, such as "40+5+5" or an iterable."""
    return tuple(map(parse_count, _parts(value, "+")))


def parse_seconds(value: object) -> float:
    """Parse a time into seconds: 90s, 10m, 1.5h; Python may also give a number of seconds."""
    text = str(value).strip() if isinstance(value, str) else f"{value}s"
    match = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]+)?)([smh]?)", text)
    if match and not match[2]:
        raise UsageError(f"{value!r} has no unit: {text}s, {text}m or {text}h?")
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if seconds <= 0:
        raise UsageError(f"{value!r}, expected a time above 0 such as 90s, 10m or 1h")
    return seconds


def parse_path(value: object) -> Path:
    """Parse a path, which need not exist; refuse an empty one, or one that cannot be looked up."""
    if not isinstance(value, str | PathLike):
        raise UsageError(f"{value!r} is no path: give a text or a Path")
    text = os.fsdecode(value)
    if not text:
        raise UsageError("'' names no folder or file: name one, or leave it out")
    try:
        Path(text).lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:  # a NUL is the latter
        name = text if len(text) < 60 else f"{text[:60]}..."
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"{name!r}: {why}; name another") from error
    return Path(text)


def parse_folder(value: object) -> Path:
    """Parse the path of a folder that exists."""
    path = parse_path(value)
    if not path.is_dir():
        raise UsageError(f"{path} is no folder: name one that there is, or leave it out")
    return path


def parse_switch(value: object) -> bool:
    """Parse a switch: True or False."""
    if not isinstance(value, bool):
        raise UsageError(f"it is on or off: give True or False, not {value!r}")
    return value


def _one_of(words: Collection[str]) -> Parser[str]:
    """Return a parser that accepts some words."""

    def parse(value: object) -> str:
        """Return a value as text, or raise UsageError unless it is one of the words."""
        if value not in words:
            raise UsageError(f"{str(value)[:40]!r} is not one of {', '.join(words)}")
        return str(value)

    return parse


@overload
def _option(panel: str, kind: object, about: str, metavar: str | None = None) -> None: ...
@overload
def _option(
    panel: str, kind: object, about: str, metavar: str | None = None, *, default: V
) -> V: ...
def _option(
    panel: str, kind: object, about: str, metavar: str | None = None, *, default: object = None
) -> object:
    """Return the field of an option; its kind is a parser, or the Literal of the words it takes."""
    words = get_args(kind)
    parser = _one_of(words) if words else kind
    metadata = {"parser": parser, "panel": panel, "help": about}
    return field(default=default, metadata=metadata | {"metavar": "|".join(words) or metavar})


# How `harness run --help` groups them.
_run, _case = partial(_option, "Options"), partial(_option, "Which cases")
_where = partial(_option, "Where")
Names = tuple[str, ...]
Numbers = tuple[int, ...]
NeuNormChoice = Literal["off", "mean", "literal"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a run is asked for. None leaves it to the suite."""

    suite: str = _run(str, "See `harness list suites`.", "NAME", default="")
    quick: bool = _run(parse_switch, "Timing: two minutes. Training: digits.", default=False)
    long: bool = _run(parse_switch, "Training for our verdicts: hours.", default=False)
    paper: bool = _run(parse_switch, "The paper's size; trains on CUDA alone.", default=False)
    budget: float | None = _run(parse_seconds, "For timings. Default: 10m; verify: 30s.", "2h")
    frameworks: Names | None = _case(parse_names, "Default: the suite's.", "NAME[:FORM],...")
    baselines: Names | None = _case(parse_names, "Of Tables 3 to 6. Default: all.", "NAME,...")
    networks: Names | None = _case(parse_names, "Only these.", "NAME|NOTATION|FILE.nir")
    datasets: Names | None = _case(parse_names, "Only these.", "NAME,...")
    steps: Numbers | None = _case(parse_steps, "Time steps, T.", "N,...")
    batch_size: int | None = _case(parse_count, "Samples of a batch.", "N")
    precision: Precision | None = _case(Precision, "Default: fp32, fused bf16 too.")
    device: Device = _case(Device, "Default: auto.", default="auto")
    seeds: Numbers | None = _case(parse_seeds, "Each a training or timed cell.", "N,...")
    epochs: Numbers | None = _case(parse_stages, "Of a training, at each rate.", "N|N+N+...")
    rate: float | None = _case(parse_rate, "Of a training, at first.", "0.1")
    samples: int | None = _case(parse_count, "Training samples, drawn once.", "N")
    width: Fraction | None = _case(parse_fraction, "Scales channels and features.", "1/8")
    dropout: float | None = _case(parse_share, "Of trainings. Default: 0.", "0.5")
    neunorm: NeuNormChoice | None = _case(NeuNormChoice, "Off, or a reading of eq. (9).")
    neunorm_u: float | Literal["uniform"] | None = _case(
        parse_first_value, "U's first value.", "X|uniform"
    )
    init: Initialisation = _case(
        Literal["calibrated", "torch"], "Initial weights.", default="calibrated"
    )
    inference: bool = _case(parse_switch, "Time forward passes, not steps.", default=False)
    tuned: bool = _case(parse_switch, "Channels-last and compiled too.", default=False)
    data_root: Path | None = _where(parse_folder, "Default: HARNESS_DATA, cache.", "DIR")
    download: bool | None = _where(parse_switch, "Fetch missing data.")
    fresh: bool = _where(parse_switch, "Measure again; old rows stay.", default=False)
    keep_weights: bool = _where(parse_switch, "Keep trained weights.", default=False)
    executor: Runs = _where(Runs, "Where cases run.", default="local")
    out: Path = _where(parse_path, "Default: results/local.", "DIR", default=RESULTS)
    files: tuple[NetworkFile, ...] = ()  # those among the networks, read: none is given so

    @classmethod
    def parse(cls, **texts: object) -> Options:
        """Parse texts or values of options, which are checked before anything slow is imported.

        Raises UsageError.
        """
        by_name, values = {option.name: option for option in GIVEN}, dict[str, object]()
        for name, value in texts.items():
            if name not in by_name:
                raise UsageError(f"unknown option {name!r}, choose from {', '.join(by_name)}")
            if value is not None and value is not by_name[name].default:
                try:
                    values[name] = by_name[name].metadata["parser"](value)
                except UsageError as error:
                    raise UsageError(f"{flag(name)}: {error}") from error
        options = replace(cls(), **values)
        if options.quick + options.long + options.paper > 1:
            raise UsageError("--quick, --long and --paper exclude each other: give one")
        return options

    @property
    def reading(self) -> Reading | None:
        """NeuNorm's reading; None where the option is off or not given."""
        return None if self.neunorm == "off" else self.neunorm

    @property
    def mode(self) -> Mode:
        """What is timed: training or inference."""
        return "inference" if self.inference else "training"

    @property
    def spending(self) -> Budget:
        """The budget of timings; if `quick`, a cell may end after two rounds, and has no rank.

        Without a budget of the user's, a slow or busy machine measures one cell all the same.
        """
        if self.quick:
            return Budget(seconds=self.budget or QUICK_BUDGET, least=QUICK_LEAST, first=True)
        if self.paper and not self.budget:
            return Budget(rounds=PAPER_ROUNDS)
        return Budget(seconds=self.budget or DEFAULT_BUDGET, first=self.budget is None)

    def refuse(self, *names: str, why: str) -> None:
        """Raise UsageError if one of these options is given, for which the suite has no use."""
        for name in names:
            if getattr(self, name) not in ((), getattr(Options, name)):
                raise UsageError(f"the {self.suite} suite {why}: leave {flag(name)} out")

    def network(
        self, name: str, dataset: str, *, neunorm: Reading | None, width: Fraction
    ) -> NamedNetwork:
        """Return a network by the paper's name, by its notation, or from a file.

        `neunorm` applies to all but files, `width` to the paper's networks if the option is not
        given. Raises UsageError for an unknown name, a file of other data or an option that a file
        does not take, NotationError for a wrong notation.
        """
        for file in self.files:
            if file.name == name:
                for option in ("width", "neunorm", "neunorm_u", "init"):
                    if getattr(self, option) != getattr(Options, option):
                        raise UsageError(f"{name} has its own: leave {flag(option)} out")
                return file.on(dataset)
        scale, network = paper.network(name, dataset, neunorm=neunorm)
        width = self.width or (Fraction(1) if scale == CUSTOM else width)
        return NamedNetwork(scale, network.scaled(width), width)


def flag(name: str) -> str:
    """Return an option as the command line writes it: `--batch-size`."""
    return f"--{name.replace('_', '-')}"


GIVEN = tuple(option for option in fields(Options) if option.metadata)  # what a user gives
