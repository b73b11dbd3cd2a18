"""Neurons, NeuNorm, layers and networks as data, and the paper's notation of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from math import floor, isfinite, prod
from typing import Literal, assert_never


class UsageError(ValueError):
    """What the user asked for cannot be done; the message is one sentence that says what can."""


class NotationError(UsageError):
    """A network's notation is wrong; the message names the place and what was expected there."""


# A larger layer is a typing mistake, and would be allocated before anyone could say so.
LARGEST_LAYER = 65536


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
        inputs = self.input_shape[0]
        if isinstance(self.synapse, Conv):
            inputs *= self.synapse.kernel**2
        return inputs * self.neurons


Reading = Literal["mean", "literal"]


@dataclass(frozen=True)
class LIF:
    """Iterative leaky integrate-and-fire neuron, eqs. (5)-(6); rectangular surrogate, eq. (14)."""

    k_tau: float  # decay of the potential per step, k_tau1 in the paper
    v_th: float  # threshold; the neuron fires AT it
    a: float  # full width of the surrogate; its height is 1 / a

    def __post_init__(self) -> None:
        if not 0 <= self.k_tau <= 1:
            raise UsageError(f"k_tau is {self.k_tau}, expected a decay between 0 and 1")
        for name, value in (("v_th", self.v_th), ("a", self.a)):
            if not (isfinite(value) and value > 0):
                raise UsageError(f"{name} is {value}, expected a number above 0")


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
        if not 0 <= self.k_tau2 <= 1:
            raise UsageError(f"k_tau2 is {self.k_tau2}, expected a decay between 0 and 1")
        if self.reading not in ("mean", "literal"):
            raise UsageError(f"NeuNorm reading {self.reading!r}, expected mean or literal")

    def scale(self, feature_maps: int) -> float:
        """The constant c of eq. (9) for a layer of `feature_maps` feature maps."""
        match self.reading:
            case "mean":
                return (1 - self.k_tau2) / feature_maps
            case "literal":
                return (1 - self.k_tau2) / feature_maps**2
            case _:
                assert_never(self.reading)


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
        return cls(parsed(notation), input_shape, lif, neunorm, classes, population)

    def __post_init__(self) -> None:
        sizes = {
            **dict(zip(("input channels", "height", "width"), self.input_shape, strict=True)),
            "classes": self.classes,
            "voting neurons per class": self.population,
        }
        for name, size in sizes.items():
            if not 1 <= size <= LARGEST_LAYER:
                raise UsageError(f"{name}: {str(size)[:30]}, expected 1 to {LARGEST_LAYER}")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout is {self.dropout}, expected a probability below 1")
        check_order(self.layers)
        _ = self.stages  # a pool that does not fit is refused here, not when the network is built

    def __str__(self) -> str:
        return "-".join(map(str, self.layers))

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The layers of neurons, in order, each with its shapes."""
        return tuple(_stages(self))

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

        layers: list[Layer] = []
        for layer in self.layers:
            match layer:
                case Conv():
                    layers.append(replace(layer, channels=scale(layer.channels)))
                case Linear():
                    layers.append(Linear(scale(layer.features)))
                case AvgPool() | Voting():
                    layers.append(layer)
                case _:
                    assert_never(layer)
        return replace(self, layers=tuple(layers))


def _stages(network: Network) -> list[Stage]:
    stages: list[Stage] = []
    shape: tuple[int, ...] = network.input_shape
    layers = network.layers
    for index, layer in enumerate(layers):
        following = layers[index + 1] if index + 1 < len(layers) else None
        pool = following if isinstance(following, AvgPool) else None
        after = layers[index + 2] if pool is not None else following
        drops = isinstance(after, Conv | Linear)
        name = f"{len(stages) + 1} {layer}"
        match layer:
            case AvgPool():
                continue
            case Conv():
                maps, pooled = _map_shapes(layer, shape, pool, network)
                neunorm = pooled if network.neunorm and isinstance(after, Conv) else None
                stages.append(Stage(name, layer, shape, maps, pool, neunorm, drops))
                shape = pooled
            case Linear() | Voting():
                voters = network.classes * network.population
                features = layer.features if isinstance(layer, Linear) else voters
                stages.append(Stage(name, layer, (prod(shape),), (features,), None, None, drops))
                shape = (features,)
            case _:
                assert_never(layer)
    return stages


def _map_shapes(
    conv: Conv, shape: tuple[int, ...], pool: AvgPool | None, network: Network
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Shapes of the feature maps of `conv`, and of what is left of them after `pool`."""
    _, height, width = shape
    if pool is None:
        return (conv.channels, height, width), (conv.channels, height, width)
    if min(height, width) < pool.size:
        raise NotationError(
            f"network notation {network}: {pool} after {conv} has a map of {height}x{width} left, "
            f"expected at least {pool.size}x{pool.size}: use fewer pools or a larger input"
        )
    pooled = (conv.channels, height // pool.size, width // pool.size)
    return (conv.channels, height, width), pooled


# the notation


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
