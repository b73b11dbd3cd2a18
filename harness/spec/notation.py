"""The paper's notation of a network, `128C3(Encoding)-AP2-512FC-Voting`: read, and checked."""

from __future__ import annotations

import re
from typing import assert_never

from harness.spec.errors import NotationError
from harness.spec.layers import LARGEST_LAYER, AvgPool, Conv, Layer, Linear, Voting

_TOKEN = re.compile(
    r"(?P<channels>[0-9]+)C(?P<kernel>[0-9]+)(?P<encoding>\(Encoding\))?"
    r"|AP(?P<pool>[0-9]+)|(?P<features>[0-9]+)FC|(?P<voting>Voting)"
)
MOST_LAYERS = 500  # reading them takes the square of their number
_GRAMMAR = "nC3, nC3(Encoding), AP2, nFC or Voting"


def _at(position: int, token: str, expected: str) -> NotationError:
    found = repr(token) if token else "nothing"
    return NotationError(
        f"network notation: character {position}: found {found}, expected {expected}"
    )


def parsed(notation: str) -> tuple[Layer, ...]:
    """The layers of a notation. Raises NotationError with the place and what was expected there."""
    if notation.count("-") >= MOST_LAYERS:
        raise NotationError(f"a network of more than {MOST_LAYERS} layers: use fewer")
    tokens: list[tuple[int, Layer]] = []
    position = 1
    for part in notation.split("-"):
        text = part.strip()
        place = position + len(part) - len(part.lstrip())
        match = _TOKEN.fullmatch(text)
        if match is None:
            raise _at(place, text, _GRAMMAR)
        tokens.append((place, _layer(match, place)))
        position += len(part) + 1
    places = [place for place, _ in tokens]
    layers = tuple(layer for _, layer in tokens)
    check_order(layers, places)
    return layers


def _layer(match: re.Match[str], place: int) -> Layer:
    if match["voting"]:
        return Voting()
    text = match["channels"] or match["features"] or match["pool"]
    count = int(text) if len(text) <= 9 else LARGEST_LAYER + 1  # int() of a huge text is slow
    if not 1 <= count <= LARGEST_LAYER:
        raise _at(place, match[0][:40], f"a size from 1 to {LARGEST_LAYER}")
    if match["channels"]:
        kernel = int(match["kernel"][:3])
        if kernel % 2 == 0 or kernel > 99:
            raise _at(place, match[0][:40], "an odd kernel size up to 99, as in nC3")
        return Conv(count, kernel, encoding=bool(match["encoding"]))
    if match["features"]:
        return Linear(count)
    if count < 2:
        raise _at(place, match[0], "a pool of 2 or more, as in AP2")
    return AvgPool(count)


def check_order(layers: tuple[Layer, ...], places: list[int] | None = None) -> None:
    """Raises NotationError where a layer stands that the paper's structure has no place for."""
    if places is None:
        texts = [str(layer) for layer in layers]
        places = [1 + sum(len(text) + 1 for text in texts[:index]) for index in range(len(texts))]
    previous: Layer | None = None
    for place, layer in zip(places, layers, strict=True):
        expected = _may_follow(previous)
        if _symbol(layer) not in expected:
            raise _at(place, str(layer), " or ".join(expected))
        previous = layer
    if not isinstance(previous, Voting):
        end = places[-1] + len(str(previous)) if places else 1
        raise _at(end, "", " or ".join(f"-{symbol}" for symbol in _may_follow(previous)))


def _symbol(layer: Layer) -> str:
    match layer:
        case Conv(encoding=True):
            return "nC3(Encoding)"
        case Conv():
            return "nC3"
        case AvgPool():
            return "AP2"
        case Linear():
            return "nFC"
        case Voting():
            return "Voting"
        case _:
            assert_never(layer)


def _may_follow(previous: Layer | None) -> tuple[str, ...]:
    match previous:
        case None:
            return ("nC3(Encoding)",)
        case Conv():
            return ("nC3", "AP2", "nFC", "Voting")
        case AvgPool():
            return ("nC3", "nFC", "Voting")
        case Linear():
            return ("nFC", "Voting")
        case Voting():
            return ("the end",)
        case _:
            assert_never(previous)
