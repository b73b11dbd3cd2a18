"""Option texts to values; what is wrong becomes a sentence naming the value and what is allowed."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any, Literal, get_args

from harness.spec import Allocator, Initialisation, Precision, Reading, UsageError

# Larger archives are fetched only when asked for: nobody expects gigabytes of a first run.
LARGEST_DOWNLOAD_MIB = 200
DEVICES = ("auto", "cpu", "cuda")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def names(text: str | None) -> tuple[str, ...] | None:
    """`a,b` as its parts; None and nothing leave the choice to the suite."""
    if text is None:
        return None
    return tuple(part.strip() for part in text.split(",") if part.strip()) or None


def numbers(option: str, text: str | None, *, least: int) -> tuple[int, ...] | None:
    """`1,2,4` as whole numbers of at least `least`."""
    parts = names(text)
    if parts is None:
        return None
    for part in parts:
        if not re.fullmatch(r"-?[0-9]{1,9}", part) or int(part) < least:
            raise UsageError(f"{option} {part!r}, expected whole numbers of {least} or more")
    return tuple(int(part) for part in parts)


def at_least(least: int, option: str, value: int | None) -> int | None:
    """The value unless it is smaller than `least`."""
    if value is not None and value < least:
        raise UsageError(f"{option} {value}, expected {least} or more")
    return value


def precision(text: str) -> Precision:
    """One of the precisions."""
    return _one_of(get_args(Precision), "precision", text)


def initialisation(text: str) -> Initialisation:
    """How first weights are drawn."""
    return _one_of(get_args(Initialisation), "initialisation", text)


def allocator(text: str) -> Allocator:
    """What becomes of freed memory."""
    return _one_of(get_args(Allocator), "allocator", text)


def _one_of(known: tuple[Any, ...], what: str, text: str) -> Any:
    if text not in known:
        raise UsageError(f"unknown {what} {text!r}, choose from {', '.join(known)}")
    return text


def reading(text: str | None) -> Reading | None:
    """One of NeuNorm's readings, or None for none."""
    if text is None:
        return None
    for known in get_args(Reading):
        if text == known:
            return known
    raise UsageError(
        f"unknown NeuNorm reading {text!r}, choose from {', '.join(get_args(Reading))}"
    )


def width(text: str) -> Fraction:
    """A positive fraction: 1, 1/8, 0.5."""
    try:
        value = Fraction(text) if len(text) <= 20 else Fraction(0)
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if not 0 < value <= 16:
        raise UsageError(f"--width {text!r}, expected a fraction above 0 and up to 16, such as 1/8")
    return value


def seconds(option: str, text: str) -> float:
    """A time: 90, 90s, 10m, 1.5h."""
    match = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]+)?)([smh]?)", text.strip())
    value = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if value <= 0:
        raise UsageError(f"{option} {text!r}, expected a time above 0 such as 90s, 10m or 1h")
    return value


def percent(option: str, text: str) -> float:
    """`5%` as 0.05."""
    match = re.fullmatch(r"([0-9]{1,4}(?:\.[0-9]+)?) ?%?", text.strip())
    if match is None:
        raise UsageError(f"{option} {text!r}, expected a percentage such as 5%")
    return float(match[1]) / 100


def one_preset(*, quick: bool, paper: bool) -> None:
    """Raises UsageError where both are given."""
    if quick and paper:
        raise UsageError("--quick and --paper exclude each other: give one")


def device(text: str) -> Literal["cpu", "cuda"]:
    """Where to run: `auto` is a CUDA device where there is one."""
    if text not in DEVICES:
        raise UsageError(f"unknown device {text!r}, choose from {', '.join(DEVICES)}")
    if text == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if text == "cuda":
        raise UsageError("--device cuda, but torch finds no CUDA device here: use --device cpu")
    return "cpu"
