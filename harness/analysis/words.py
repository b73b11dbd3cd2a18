"""Words of tables, verdicts and pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from harness.spec import (
    LOSS,
    SGD,
    Case,
    Contender,
    Fit,
    Training,
    Workload,
    network_name,
    paper,
    schedule,
)

X = TypeVar("X", float, str)

# Flags of data that must be shown with every figure.
FLAGS = ("partial", "lossy", "simulated", "substitute")

# How much of a recording a baseline is given.
WINDOWS = {"first": "first {T} bins", "whole": "whole recording", None: ""}

# Frameworks by the names that their users know; others by their adapters' names.
TITLES = {"reference": "PyTorch", "norse": "Norse", "spikingjelly": "SpikingJelly"}
TITLES |= {
    "snntorch": "snnTorch",
    "jax": "JAX",
    "sinabs": "Sinabs",
    "octave": "Octave",
    "ann": "ANN",
}


def contender_title(name: str) -> str:
    """Return a contender's name for readers: "norse@1.0:compiled" is "Norse 1.0, compiled"."""
    bare = name.removesuffix(" bf16")
    contender, precision = Contender.parse(bare), "" if bare == name else "bf16"
    framework = TITLES.get(contender.framework, contender.framework)
    title = " ".join(filter(None, (framework, contender.version)))
    return ", ".join(filter(None, (title, contender.suffix, precision)))


def counted(n: int, noun: str) -> str:
    """Return a number with its noun: "1 round", "2 rounds"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def few(names: Sequence[str], more: str, between: str = ", ") -> str:
    """Return up to three names; of more their number: "5 networks", with `more` = "networks"."""
    return between.join(names) if len(names) <= 3 else f"{len(names)} {more}"


def span(values: Iterable[X], form: str = "") -> str:
    """Return the least and the largest, "1.2 to 3.4"; one where they read the same; "" of none."""
    numbers = [*values]
    ends = (min(numbers), max(numbers)) if numbers else ()
    return " to ".join(dict.fromkeys(format(end, form) for end in ends))


def data_name(dataset: str, *, substitute: bool, simulated: bool = False) -> str:
    """Return the data in a few words: what stands in for a data set has its own name.

    Raises UsageError for a data set that the paper does not have.
    """
    title = paper.settings(dataset).title
    if substitute:
        return f"digits (for {title})"
    return f"simulated {title}" if simulated else title


class TableLine(Protocol):
    """A line of a table, by the names of its columns."""

    def __getitem__(self, column: str, /) -> object: ...
    def __contains__(self, column: object, /) -> bool: ...


def data_source(line: TableLine) -> str:
    """Return the data source of a table's line, with its flags in brackets: "... (partial)"."""
    source = str(line["data_source"])
    flags = [flag for flag in FLAGS if flag in line and line[flag] and flag not in source]
    return f"{source} ({', '.join(flags)})" if flags else source


def case_in_words(case: Case) -> str:
    """Return what tells a case from the others of its suite and data, in words."""
    workload, contender = case.workload, case.contender
    if isinstance(case, Fit):
        window = WINDOWS[case.window].format(T=workload.T)
        return " ".join(filter(None, (contender.name, window, f"seed {workload.seed}")))
    norm, steps = workload.network.neunorm, f"T = {workload.T}"
    if isinstance(case, Training):
        steps = ", ".join([steps_in_words(case), *unusual(case)])
    network = network_name(workload) + (f" NeuNorm {norm.reading}" if norm else "")
    return f"{network} {contender.name} {contender.precision} {steps}, seed {workload.seed}"


def initial_weights(workload: Workload) -> str:
    """Return where its first weights are from: "calibrated", "torch", "file 1a2b3c4d"."""
    sha256 = workload.weights_sha256
    return f"file {sha256[:8]}" if sha256 else workload.initialisation


def steps_in_words(case: Training) -> str:
    """Return T, for events with the bin's width: together, how much of a recording is seen."""
    T = case.workload.T
    if paper.settings(case.workload.dataset).static:
        return f"T = {T}"
    return f"{T} x {case.sampling.bin_us / 1000:g} ms"


def unusual(case: Training) -> Iterator[str]:
    """Yield in words the settings that are not those of a suite, except framework and precision."""
    workload = case.workload
    lif, usual = workload.network.lif, paper.settings(workload.dataset)
    if lif.a != usual.lif.a:
        yield f"a = {lif.a:g}"
    if lif.v_th != usual.lif.v_th:
        yield f"V_th = {lif.v_th:g}"
    if (weights := initial_weights(workload)) != "calibrated":
        yield f"initial weights {weights}"
    if case.loss != LOSS:
        yield case.loss
    if case.optimiser.lr != schedule.optimiser(workload.dataset).lr:
        yield f"rate {case.optimiser.lr:g}"
    if isinstance(case.optimiser, SGD) and case.optimiser.fc_factor is not None:
        yield f"fully connected layers at {case.optimiser.fc_factor:g} of the rate"
