"""The other systems of Tables 3 to 6: ours, and those of other packages.

A package declares one of its own as an entry point of the group `harness.baselines`; `contract`
says what it offers. None is imported before it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Literal

from harness.spec import Effort, UsageError, Window, paper
from harness.system import installed

if TYPE_CHECKING:  # torch's import takes seconds
    from harness.baselines.contract import Method

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


class Missing(UsageError):
    """A system's file does not load here; the message says what to install."""


@dataclass(frozen=True)
class SystemInfo:
    """What is known of a system without running it: `contract` says what each name means."""

    name: str
    build: Callable[[Effort, int], Method] = field(compare=False)
    title: str
    paper: str
    datasets: tuple[str, ...]
    input: Literal["events", "frames", "images"]
    windows: tuple[Window, ...]
    fidelity: Literal["published code's parameters", "published equations", "after the description"]
    deviations: tuple[str, ...]
    random: bool
    epochs: Mapping[Effort, int] = field(default_factory=dict)
    steps: tuple[int, ...] = ()
    revision: int = 0
    packages: tuple[str, ...] = ()


@cache
def _declared() -> Mapping[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def names() -> tuple[str, ...]:
    """Every known system: ours in the order of the tables, then what packages declare."""
    return (*OURS, *sorted(set(_declared()) - set(OURS)))


def check_name(name: str) -> None:
    """Raises UsageError where no such system is known."""
    if name not in names():
        raise UsageError(f"unknown baseline {name!r}, choose from {', '.join(names())}")


@cache
def load(name: str) -> SystemInfo:
    """What is known of that system. Raises UsageError where it is unknown or says too little,
    Missing where it does not load.
    """
    check_name(name)
    point = _declared().get(name) or EntryPoint(name, f"{__name__}.{_PLACES[name]}", ENTRY_POINTS)
    try:
        found = point.load()
    except Exception as error:  # noqa: BLE001 a package's import may raise anything
        hint = "pip install 'snn-harness[baselines]'" if name in _PLACES else "see its package"
        raise Missing(f"the baseline {name} does not load ({error}): {hint}") from error
    known: dict[str, Any] = {"name": name, "build": getattr(found, "build", None)}
    lacking: list[str] = []
    for each in fields(SystemInfo)[2:]:
        word = each.name.upper()
        if hasattr(found, word):
            known[each.name] = getattr(found, word)
        elif each.default is each.default_factory is MISSING:
            lacking.append(word)
    if lacking or not known["build"]:
        raise UsageError(f"the baseline {name} has no {', '.join(lacking) or 'build'}")
    system = SystemInfo(**known)
    for each in fields(SystemInfo):
        value = getattr(system, each.name)
        if str(each.type).startswith("tuple") and not isinstance(value, tuple):  # ("a"): no comma
            word = each.name.upper()
            raise UsageError(f"{word} of the baseline {name} are {value!r}, expected a tuple")
    for dataset in system.datasets:
        paper.settings(dataset)  # raises UsageError for another
    return system


def versions(system: SystemInfo) -> str | None:
    """The versions of the packages that compute for it, "numba 0.62"; None: of torch alone."""
    found = (f"{each} {installed.version(each) or 'missing'}" for each in system.packages)
    return ", ".join(found) or None
