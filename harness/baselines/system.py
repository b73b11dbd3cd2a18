"""What is known of another system without running it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from harness.spec import Effort, Window

if TYPE_CHECKING:  # torch's import takes seconds
    from harness.baselines.contract import Method

Fidelity = Literal[
    "published code's parameters",
    "published equations",
    "after the description",  # a figure or a sentence had to do
]


@dataclass(frozen=True)
class System:
    """What a system's file says of it."""

    name: str
    title: str
    paper: str
    about: str  # the first line of its file
    datasets: tuple[str, ...]
    input: Literal["events", "frames", "images"]
    windows: tuple[Window, ...]
    fidelity: Fidelity
    deviations: tuple[str, ...]
    random: bool
    epochs: Mapping[Effort, int]
    steps: tuple[int, ...]
    revision: int
    packages: tuple[str, ...]
    build: Callable[[Effort, int], Method] = field(compare=False)
