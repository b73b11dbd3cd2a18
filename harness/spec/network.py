"""Neurons, NeuNorm, layers and networks as data, and the paper's notation of them."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import accumulate
from math import floor, inf, prod
from typing import Literal, assert_never

# A larger layer is a typing mistake, and would be allocated before anyone could say so.
LARGEST_LAYER = 65536
MOST_LAYERS = 500  # reading them takes the square of their number
MOST = 10**9  # of steps, samples, epochs, and the last of the seeds
Reading = Literal["mean", "literal"]


class UsageError(ValueError):
    """What the user asked for cannot be done; the message is one sentence that says what can."""


class NotationError(UsageError):
    """A network's notation is wrong; the message names the place and what was expected there."""


def expect(holds: bool, name: str, value: object, expected: str) -> None:
    """Raises UsageError where a value is none that anything can be run with."""
    if not holds:
        raise UsageError(f"{name} is {str(value)[:30]}, expected {expected}")


def checked(name: str, value: int, least: int = 1, most: int = MOST) -> None:
    """Raises UsageError for a number that nothing can be run with."""
    expect(least <= value <= most, name, value, f"{least} to {most}")


def fraction(given: object) -> Fraction:
    """A positive fraction: 1, 1/8, 0.5. Raises UsageError for what is none."""
    text, value = str(given), Fraction(0)
    if re.fullmatch(r"[0-9]{1,20}([./][0-9]{1,20})?", text):  # no exponent: 1e9999999 takes hours
        with suppress(ZeroDivisionError):
            value = Fraction(text)
    if not 0 < value <= 16:
        what = repr(text[:30])
        raise UsageError(f"{what}, expected a fraction above 0 and up to 16, such as 1/8")
    return value


@dataclass(frozen=True)
class Conv:
    """`nC3`: a convolution to n feature maps, stride 1, same size, with bias, and its neurons."""

    channels: int
    kernel: int = 3
    encoding: bool = False  # the first layer, which receives real values or event counts

    def __str__(self) -> str:
        return f"{self.channels}C{self.kernel}" + ("(Encoding)" if self.encoding else "")


@dataclass(frozen=True)
class AvgPool:
    """`AP2`: average pooling of the spikes of the convolution before it; no neurons."""

    size: int = 2

    def __str__(self) -> str:
        return f"AP{self.size}"


@dataclass(frozen=True)
class Linear:
    """`nFC`: a fully connected layer of n neurons."""

    features: int

    def __str__(self) -> str:
        return f"{self.features}FC"


@dataclass(frozen=True)
class Voting:
    """`Voting`: a trainable fully connected layer to `classes * population` neurons."""

    def __str__(self) -> str:
        return "Voting"


Layer = Conv | AvgPool | Linear | Voting


@dataclass(frozen=True)
class Stage:
    """One layer of neurons: its synapse, and what stands before the next synapse."""

    name: str  # its place from 1 and its notation: "2 256C3"
    synapse: Conv | Linear | Voting
    input_shape: tuple[int, ...]  # (C, H, W), or (N,) for a fully connected layer
    output_shape: tuple[int, ...]  # of its spikes, before the pool
    pool: AvgPool | None
    neunorm_shape: tuple[int, int, int] | None  # of U, where NeuNorm acts towards the next layer
    drops: bool  # whether dropout, where it is on, acts on the way to the next layer

    @property
    def neurons(self) -> int:
        """Neurons of the layer."""
        return prod(self.output_shape)

    @property
    def weights(self) -> int:
        """Weights of the synapse; biases and U, which are few, are not counted."""
        return self.macs // prod(self.output_shape[1:])

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one forward pass of one image at one step."""
        kernel = self.synapse.kernel if isinstance(self.synapse, Conv) else 1
        return self.input_shape[0] * kernel**2 * self.neurons


@dataclass(frozen=True)
class LIF:
    """Iterative leaky integrate-and-fire neuron, eqs. (5)-(6); rectangular surrogate, eq. (14)."""

    k_tau: float  # decay of the potential per step, k_tau1 in the paper
    v_th: float  # threshold; the neuron fires AT it
    a: float  # full width of the surrogate; its height is 1 / a

    def __post_init__(self) -> None:
        expect(0 <= self.k_tau <= 1, "k_tau", self.k_tau, "a decay between 0 and 1")
        for name, value in (("v_th", self.v_th), ("a", self.a)):
            expect(0 < value < inf, name, value, "a number above 0")


@dataclass(frozen=True)
class NeuNorm:
    """Neuron normalisation, eqs. (9)-(10), under one of two readings of its constant c.

    `mean`: c = (1 - k_tau2) / F, so that x is a moving average of the firing rate, as the text
    says.
    `literal`: c = (1 - k_tau2) / F**2, as `k_tau2 + v F = 1` with the factor v / F is printed.
    """

    k_tau2: float = 0.9
    reading: Reading = "mean"

    def __post_init__(self) -> None:
        expect(0 <= self.k_tau2 <= 1, "k_tau2", self.k_tau2, "a decay between 0 and 1")
        expect(self.reading in ("mean", "literal"), "NeuNorm", self.reading, "mean or literal")

    def scale(self, feature_maps: int) -> float:
        """The constant c of eq. (9) for a layer of `feature_maps` feature maps."""
        return (1 - self.k_tau2) / feature_maps ** (1 if self.reading == "mean" else 2)


@dataclass(frozen=True)
class Network:
    """A network of the paper. `str()` gives its notation, `Network.parse` reads it back."""

    layers: tuple[Layer, ...]
    input_shape: tuple[int, int, int]  # (C, H, W)
    lif: LIF
    neunorm: NeuNorm | None = None
    classes: int = 10
    population: int = 10  # voting neurons per class
    # Probability while training, a fresh mask each step, of the inputs of all layers but the
    # encoding and the voting layer.
    dropout: float = 0.0

    @classmethod
    def parse(
        cls,
        notation: str,
        *,
        input_shape: tuple[int, int, int],
        lif: LIF,
        neunorm: NeuNorm | None = None,
        classes: int = 10,
        population: int = 10,
    ) -> Network:
        """The network of a notation as in Tables 1 and 2: `128C3(Encoding)-AP2-512FC-Voting`.

        Raises `NotationError`, with the place and what was expected there.
        """
        return cls(_parsed(notation), input_shape, lif, neunorm, classes, population)

    def __post_init__(self) -> None:
        for name, size in zip(("input channels", "height", "width"), self.input_shape, strict=True):
            checked(name, size, most=LARGEST_LAYER)
        checked("classes", self.classes, most=LARGEST_LAYER)
        checked("voting neurons per class", self.population, most=LARGEST_LAYER)
        expect(0 <= self.dropout < 1, "dropout", self.dropout, "a probability below 1")
        places = accumulate((len(str(layer)) + 1 for layer in self.layers), initial=1)
        _check_order(list(zip(places, self.layers, strict=False)))
        _ = self.stages  # a pool that does not fit is refused here, not when the network is built

    def __str__(self) -> str:
        return "-".join(map(str, self.layers))

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The layers of neurons, in order, each with its shapes."""
        stages: list[Stage] = []
        maps, size = self.input_shape, prod(self.input_shape)
        for index, layer in enumerate(self.layers):
            if isinstance(layer, AvgPool):
                continue
            following, second = (*self.layers, None, None)[index + 1 : index + 3]
            pool = following if isinstance(following, AvgPool) else None
            after = second if pool else following
            neunorm, given, out = None, (size,), ()
            if isinstance(layer, Conv):
                given, (_, height, width) = maps, maps
                by = pool.size if pool else 1
                if min(height, width) < by:
                    raise NotationError(
                        f"network notation {self}: {pool} after {layer} has a map of "
                        f"{height}x{width} left, expected at least {by}x{by}: use fewer pools or "
                        "a larger input"
                    )
                out = (layer.channels, height, width)
                maps = (layer.channels, height // by, width // by)
                neunorm = maps if self.neunorm and isinstance(after, Conv) else None
                size = prod(maps)
            else:
                voters = self.classes * self.population
                size = layer.features if isinstance(layer, Linear) else voters
                out = (size,)
            drops = isinstance(after, Conv | Linear)
            name = f"{len(stages) + 1} {layer}"
            stages.append(Stage(name, layer, given, out, pool, neunorm, drops))
        return tuple(stages)

    @property
    def weights(self) -> int:
        """Weights of all synapses."""
        return sum(stage.weights for stage in self.stages)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one forward pass of one image at one step."""
        return sum(stage.macs for stage in self.stages)

    def scaled(self, width: Fraction) -> Network:
        """The same structure with every channel and feature count times `width`, at least 1."""

        def scale(count: int) -> int:
            return max(1, floor(count * width + Fraction(1, 2)))

        def scaled(layer: Layer) -> Layer:
            match layer:
                case Conv():
                    return replace(layer, channels=scale(layer.channels))
                case Linear():
                    return Linear(scale(layer.features))
                case AvgPool() | Voting():
                    return layer
                case _:
                    assert_never(layer)

        return replace(self, layers=tuple(map(scaled, self.layers)))


# the notation


_TOKEN = re.compile(
    r"(?P<channels>[0-9]+)C(?P<kernel>[0-9]+)(?P<encoding>\(Encoding\))?"
    r"|AP(?P<pool>[0-9]+)|(?P<features>[0-9]+)FC|(?P<voting>Voting)"
)
# What may follow a layer in the paper's structure; None is the beginning.
_NEXT: dict[type[Layer] | None, tuple[str, ...]] = {
    None: ("nC3(Encoding)",),
    Conv: ("nC3", "AP2", "nFC", "Voting"),
    AvgPool: ("nC3", "nFC", "Voting"),
    Linear: ("nFC", "Voting"),
    Voting: ("the end",),
}
_SYMBOLS: dict[type[Layer], str] = {Conv: "nC3", AvgPool: "AP2", Linear: "nFC", Voting: "Voting"}


def _at(position: int, token: str, expected: str) -> NotationError:
    found = repr(token[:40]) if token else "nothing"
    return NotationError(
        f"network notation: character {position}: found {found}, expected {expected}"
    )


def _parsed(notation: str) -> tuple[Layer, ...]:
    """The layers of a notation. Raises NotationError with the place and what was expected there."""
    if notation.count("-") >= MOST_LAYERS:
        raise NotationError(f"a network of more than {MOST_LAYERS} layers: use fewer")
    layers: list[tuple[int, Layer]] = []
    position = 1
    for part in notation.split("-"):
        place = position + len(part) - len(part.lstrip())
        match = _TOKEN.fullmatch(part.strip())
        if match is None:
            raise _at(place, part.strip(), "nC3, nC3(Encoding), AP2, nFC or Voting")
        layers.append((place, _layer(match, place)))
        position += len(part) + 1
    _check_order(layers)
    return tuple(layer for _, layer in layers)


def _layer(match: re.Match[str], place: int) -> Layer:
    if match["voting"]:
        return Voting()
    text = match["channels"] or match["features"] or match["pool"]
    count = int(text) if len(text) <= 9 else LARGEST_LAYER + 1  # int() of a huge text is slow
    if not 1 <= count <= LARGEST_LAYER:
        raise _at(place, match[0], f"a size from 1 to {LARGEST_LAYER}")
    if match["channels"]:
        kernel = int(match["kernel"][:3])
        if kernel % 2 == 0 or kernel > 99:
            raise _at(place, match[0], "an odd kernel size up to 99, as in nC3")
        return Conv(count, kernel, encoding=bool(match["encoding"]))
    if match["features"]:
        return Linear(count)
    if count < 2:
        raise _at(place, match[0], "a pool of 2 or more, as in AP2")
    return AvgPool(count)


def _check_order(layers: list[tuple[int, Layer]]) -> None:
    """Raises NotationError where a layer stands, at its place in the notation, that the paper's
    structure has no place for.
    """
    expected, end = _NEXT[None], 1
    for place, layer in layers:
        encoding = "(Encoding)" if isinstance(layer, Conv) and layer.encoding else ""
        if _SYMBOLS[type(layer)] + encoding not in expected:
            raise _at(place, str(layer), " or ".join(expected))
        expected, end = _NEXT[type(layer)], place + len(str(layer))
    if expected != _NEXT[Voting]:
        raise _at(end, "", " or ".join(f"-{symbol}" for symbol in expected))


# how many synapses a value drives: those of its kernel's taps that reach an output


def reach(size: int, kernel: int) -> tuple[int, ...]:
    """How many outputs each place along one side of a map reaches: fewer at a border."""
    half = kernel // 2
    return tuple(min(size - 1, place + half) - max(0, place - half) + 1 for place in range(size))


def dense(stage: Stage) -> int:
    """Operations of one pass of one sample if no input is zero; what reaches over a border is none.

    `Stage.macs` counts the padding too.
    """
    if not isinstance(stage.synapse, Conv):
        return prod(stage.input_shape) * stage.neurons
    channels, height, width = stage.input_shape
    kernel = stage.synapse.kernel
    taps = sum(reach(height, kernel)) * sum(reach(width, kernel))
    return channels * taps * stage.output_shape[0]
