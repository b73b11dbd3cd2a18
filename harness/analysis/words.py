"""Words of tables, verdicts and pages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from harness.spec import LOSS, SGD, Case, System, Trained, network_name, paper, schedule

X = TypeVar("X", float, str)

# Flags of data that must be shown with every figure.
FLAGS = ("partial", "lossy", "simulated", "substitute")

# How much of a recording another system is given.
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
_CONTENDER = re.compile("([^@:]*?)(?:@([^:]*?))?(?::(.*?))?(?: (bf16))?", re.DOTALL)


def contender_title(name: str) -> str:
    """Return a contender's name for readers: "norse@1.0:compiled" is "Norse 1.0, compiled"."""
    matched = _CONTENDER.fullmatch(name)
    framework, version, *rest = matched.groups("") if matched else (name, "")
    title = " ".join(filter(None, (TITLES.get(framework, framework), version)))
    return ", ".join(filter(None, (title, *rest)))


def counted(n: int, noun: str) -> str:
    """Return a number with its noun: "1 round", "2 rounds"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def few(names: Sequence[str], more: str, between: str = ", ") -> str:
    """Return up to three names; of more their number: "5 networks", with `more` = "networks"."""
    return between.join(names) if len(names) <= 3 else f"{len(names)} {more}"


def span(values: Iterable[X], form: str = "") -> str:
    """Return the least and the largest, "1.2 to 3.4"; one where they read the same; "" of none."""
    found = [*values]
    ends = (min(found), max(found)) if found else ()
    return " to ".join(dict.fromkeys(format(each, form) for each in ends))


def data_name(dataset: str, *, substitute: bool, simulated: bool = False) -> str:
    """Return the data in a few words: what stands in for a data set has its own name.

    Raises UsageError for a data set that the paper does not have.
    """
    title = paper.settings(dataset).title
    if substitute:
        return f"digits (for {title})"
    return f"simulated {title}" if simulated else title


def data_source(line: Mapping[Any, Any]) -> str:
    """Return the data source of a table's line, with its flags in brackets: "... (partial)"."""
    source = line["data_source"]
    flags = [name for name in FLAGS if line.get(name) and name not in source]
    return f"{source} ({', '.join(flags)})" if flags else source


def case_in_words(case: Case) -> str:
    """Return what tells a case from the others of its suite and data, in words."""
    if isinstance(case, System):
        window = WINDOWS[case.window].format(T=case.T)
        return " ".join(filter(None, (case.framework, window, f"seed {case.seed}")))
    reading = f" NeuNorm {case.network.neunorm.reading}" if case.network.neunorm else ""
    trained = isinstance(case, Trained)
    steps = ", ".join([steps_in_words(case), *unusual(case)]) if trained else f"T = {case.T}"
    return (
        f"{network_name(case)}{reading} {case.framework} {case.precision} {steps}, seed {case.seed}"
    )


def initial_weights(case: Case) -> str:
    """Return where its first weights are from: "calibrated", "torch", "file 1a2b3c4d"."""
    sha256 = case.weights_sha256
    return f"file {sha256[:8]}" if sha256 else case.initialisation


def steps_in_words(case: Trained) -> str:
    """Return T, for events with the bin's width: together, how much of a recording is seen."""
    if paper.settings(case.dataset).static:
        return f"T = {case.T}"
    return f"{case.T} x {case.training.bin_us / 1000:g} ms"


def unusual(case: Trained) -> Iterator[str]:
    """Yield in words the settings that are not those of a suite, except framework and precision."""
    lif, usual = case.network.lif, paper.settings(case.dataset)
    if lif.a != usual.lif.a:
        yield f"a = {lif.a:g}"
    if lif.v_th != usual.lif.v_th:
        yield f"V_th = {lif.v_th:g}"
    if (weights := initial_weights(case)) != "calibrated":
        yield f"initial weights {weights}"
    if case.training.loss != LOSS:
        yield case.training.loss
    if case.optimiser.lr != schedule.optimiser(case.dataset).lr:
        yield f"rate {case.optimiser.lr:g}"
    if isinstance(case.optimiser, SGD) and case.optimiser.fc_factor is not None:
        yield f"fully connected layers at {case.optimiser.fc_factor:g} of the rate"
