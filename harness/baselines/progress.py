"""How far a piece of work is, where it is only a part of the whole."""

from __future__ import annotations

from harness.spec import Say


def silent(fraction: float, doing: str) -> None:
    """Tells nobody."""


def within(tell: Say, start: float, end: float) -> Say:
    """Tells of a piece that goes from the share `start` of the whole to the share `end`."""
    return lambda fraction, doing: tell(start + (end - start) * fraction, doing)
