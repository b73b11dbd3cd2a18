"""Find and load the baselines of Tables 3 to 6: ours, and those of other packages.

A package declares one of its own as an entry point of the group `harness.baselines`. A baseline is
a class, or a module, with the fields of `BaselineInfo` in capitals, and `build(effort, epochs)`,
which gives a `contract.Baseline`. It is imported only when it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Literal, get_args

from harness.spec import Effort, UsageError, Window, paper

if TYPE_CHECKING:  # torch's import takes seconds
    from harness.baselines.contract import Baseline

ENTRY_POINTS = "harness.baselines"
# By name, the file and the class, in the order of the paper's tables.
_PLACES = {
    "lstm": "lstm:LSTM",
    "phased-lstm": "lstm:PhasedLSTM",
    "lee": "lee:Lee",
    "stbp": "stbp:STBP",
    "hm2-bp": "hm2_bp:HM2BP",
    "cnn-frames": "cnns:FrameCNN",
    "cnn-events": "cnns:EventCNN",
    "random-forest": "random_forest:RandomForest",
    "hfirst": "hfirst:HFirst",
    "hots": "hots:HOTS",
    "hats": "hats:HATS",
    "gabor-snn": "gabor:GaborSNN",
    "panda": "panda:Panda",
    "cao": "converted:Cao",
    "rueckauer": "rueckauer:Rueckauer",
    "sengupta": "converted:Sengupta",
    "soft-lif-ann": "soft_lif:SoftLIF",
    "soft-lif": "soft_lif:SpikingSoftLIF",
}
OURS = tuple(_PLACES)


class MissingBaseline(UsageError):
    """The module of a baseline cannot be imported; the message says what to install."""


@dataclass(frozen=True)
class BaselineInfo:
    """A baseline: the function that builds it, what it runs on, and what tables say of it."""

    name: str
    build: Callable[[Effort, int], Baseline]
    title: str  # as a table names it: "HATS"
    paper: str  # its publication: "Sironi et al. 2018"
    datasets: tuple[str, ...]  # that it can run on, the one of the paper's table first
    input: Literal["events", "frames", "images"]
    # how much of a recording it gets, the published window first: "whole", or "first" (T bins, as
    # the paper's networks get); () if its input is images
    windows: tuple[Window, ...]
    # where its parameters come from; a description is a figure or a sentence
    fidelity: Literal["published code's parameters", "published equations", "after the description"]
    deviations: tuple[str, ...]  # from the publication, in words
    random: bool  # whether its results depend on the seed
    epochs: Mapping[Effort, int] = field(default_factory=dict)  # by effort; empty: it has none
    steps: tuple[int, ...] = ()  # time steps after which it predicts by default; (): it has none
    revision: int = 0  # raised by hand when its results change
    packages: tuple[str, ...] = ()  # distributions that compute, besides torch and numpy


@cache
def _known() -> Mapping[str, EntryPoint]:
    """Return baselines by name; one that another package declares under a name of ours is ours."""
    ours = {
        name: EntryPoint(name, f"{__name__}.{place}", ENTRY_POINTS)
        for name, place in _PLACES.items()
    }
    others = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    return ours | {name: others[name] for name in sorted(others.keys() - ours.keys())}


def names() -> tuple[str, ...]:
    """List all known baselines: ours in the order of the tables, then those of other packages."""
    return tuple(_known())


def check_name(name: str) -> None:
    """Raise UsageError if no baseline has this name."""
    if name not in names():
        raise UsageError(f"unknown baseline {name!r}, choose from {', '.join(names())}")


@cache
def load(name: str) -> BaselineInfo:
    """Import a baseline and check its fields.

    Raises UsageError if the name is unknown or a field is wrong, MissingBaseline if it cannot be
    imported.
    """
    check_name(name)
    try:
        module = _known()[name].load()
    except Exception as error:  # noqa: BLE001 a package's import may raise anything
        hint = "pip install 'snn-harness[baselines]'" if name in OURS else "see its package"
        raise MissingBaseline(f"the baseline {name} does not load ({error}): {hint}") from error
    values: dict[str, Any] = {"name": name}
    for field_ in fields(BaselineInfo)[1:]:
        word = field_.name if field_.name == "build" else field_.name.upper()
        if hasattr(module, word):
            value = values[field_.name] = getattr(module, word)
            if str(field_.type).startswith("tuple") and not isinstance(value, tuple):  # no comma
                raise UsageError(f"{word} of the baseline {name} are {value!r}, expected a tuple")
        elif field_.default is field_.default_factory is MISSING:
            raise UsageError(f"the baseline {name} has no {word}")
    if values["input"] == "images":  # of which `Baseline` knows nothing
        values["windows"] = ()
    if not {*values["windows"]} <= {*get_args(Window)}:
        raise UsageError(
            f"WINDOWS of the baseline {name} are {values['windows']!r}, expected "
            f"some of {', '.join(get_args(Window))}"
        )
    baseline = BaselineInfo(**values)
    for dataset in baseline.datasets:
        paper.settings(dataset)  # raises UsageError for another
    return baseline
