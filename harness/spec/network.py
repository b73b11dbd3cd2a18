"""Neurons, NeuNorm, layers and networks as data, and the paper's notation of them."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, lru_cache
from math import floor, inf, prod
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

Reading = Literal["mean", "literal"]


class UsageError(ValueError):
    """A request that cannot be done; the message is one sentence and says what to do instead."""


class NotationError(UsageError):
    """A network's notation that is wrong; the message says where, and what was expected."""


def expect(holds: bool, name: str, value: object, expected: str) -> None:
    """Raise UsageError with the value and what was expected, unless `holds`."""
    if not holds:
        raise UsageError(f"{name} is {str(value)[:30]}, expected {expected}")


def parse_fraction(value: object) -> Fraction:
    """Parse a fraction above 0 and up to 16: 1, 1/8, 0.5. Raises UsageError for anything else."""
    text, fraction = str(value), Fraction(0)
    if re.fullmatch(r"[0-9]{1,20}([./][0-9]{1,20})?", text):  # no exponent: 1e9999999 takes hours
        with suppress(ZeroDivisionError):
            fraction = Fraction(text)
    if not 0 < fraction <= 16:
        raise UsageError(f"{text[:40]!r}, expected a fraction above 0 and up to 16, such as 1/8")
    return fraction


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
    """One layer of neurons: its synapse, and the pool, NeuNorm and dropout before the next one."""

    name: str  # its place from 1 and its notation: "2 256C3"
    synapse: Conv | Linear | Voting
    input_shape: tuple[int, ...]  # (C, H, W), or (N,) for a fully connected layer
    output_shape: tuple[int, ...]  # of its spikes, before the pool
    pool: AvgPool | None
    neunorm_shape: tuple[int, int, int] | None  # of U, where NeuNorm acts towards the next layer
    drops: bool  # whether dropout, where it is on, acts on the way to the next layer

    @property
    def neurons(self) -> int:
        """The number of neurons of the layer."""
        return prod(self.output_shape)

    @property
    def weights(self) -> int:
        """The number of weights of the synapse, without biases and U, which are few."""
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

    `mean`: c = (1 - k_tau2) / F. x is a moving average of the firing rate, as the text says.
    `literal`: c = (1 - k_tau2) / F**2. The paper prints k_tau2 + v F = 1 and c = v / F.
    """

    k_tau2: float = 0.9
    reading: Reading = "mean"
    # U's first value, which the paper does not state; None: uniform within 1 / sqrt(H W)
    u: float | None = None

    def __post_init__(self) -> None:
        expect(0 <= self.k_tau2 <= 1, "k_tau2", self.k_tau2, "a decay between 0 and 1")
        expect(self.reading in ("mean", "literal"), "NeuNorm", self.reading, "mean or literal")

    def scale(self, feature_maps: int) -> float:
        """Return the factor c of eq. (9) for a layer of F = `feature_maps`."""
        return (1 - self.k_tau2) / feature_maps ** (1 if self.reading == "mean" else 2)


# How the notation writes a layer, and what may follow one in the paper's structure. A larger size
# is a typing mistake, and would be built before anyone could say so.
_TOKEN = re.compile(
    r"(?P<channels>[1-9][0-9]{0,4})C(?P<kernel>[1-9]?[13579])(?P<encoding>\(Encoding\))?"
    r"|AP(?P<pool>[2-9]|[1-9][0-9]{1,4})|(?P<features>[1-9][0-9]{0,4})FC|Voting"
)
_TOKENS = (
    "nC3 of odd kernel size, nC3(Encoding), AP2 or a pool of more, nFC or Voting, each a size from "
    "1 to 99999"
)
_NEXT: dict[type[Layer] | None, tuple[str, ...]] = {
    None: ("nC3(Encoding)",),
    Conv: ("nC3", "AP2", "nFC", "Voting"),
    AvgPool: ("nC3", "nFC", "Voting"),
    Linear: ("nFC", "Voting"),
    Voting: ("the end",),
}
_SYMBOLS: dict[type[Layer], str] = {Conv: "nC3", AvgPool: "AP2", Linear: "nFC", Voting: "Voting"}


def _at(position: int, token: str, expected: str) -> NotationError:
    """Return an error that says what was found at a position of the notation, and expected."""
    text = repr(token[:40]) if token else "nothing"
    return NotationError(
        f"network notation: character {position}: found {text}, expected {expected}"
    )


def _layer(match: re.Match[str]) -> Layer:
    """Return the layer that a part of a notation means."""
    if match["channels"]:
        return Conv(int(match["channels"]), int(match["kernel"]), bool(match["encoding"]))
    if match["features"]:
        return Linear(int(match["features"]))
    return AvgPool(int(match["pool"])) if match["pool"] else Voting()


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
        dropout: float = 0.0,
    ) -> Network:
        """Parse a notation as in Tables 1 and 2: `128C3(Encoding)-AP2-512FC-Voting`.

        Raises `NotationError`, with the position, blanks not counted, and what was expected there.
        """
        layers: list[Layer] = []
        place = 1
        for part in re.sub(r"\s*-\s*", "-", notation.strip()).split("-"):
            match = _TOKEN.fullmatch(part)
            if match is None:
                raise _at(place, part, _TOKENS)
            layers.append(_layer(match))
            place += len(part) + 1
        return cls(tuple(layers), input_shape, lif, neunorm, classes, population, dropout)

    def __post_init__(self) -> None:
        for name, size in (("classes", self.classes), ("population", self.population)):
            expect(size > 0, name, size, "1 or more")
        for size in self.input_shape:
            expect(0 < size < 100_000, "a side of the input", size, "1 to 99999")
        expected, place = _NEXT[None], 1
        if prod(self.input_shape[1:]) == 1:  # no image: one layer of neurons is a network
            expected = (*expected, "Voting")
        for layer in self.layers:
            encoding = "(Encoding)" if isinstance(layer, Conv) and layer.encoding else ""
            if _SYMBOLS[type(layer)] + encoding not in expected:
                raise _at(place, str(layer), " or ".join(expected))
            expected, place = _NEXT[type(layer)], place + len(str(layer)) + 1
        if expected != _NEXT[Voting]:
            raise _at(place - 1, "", " or ".join(f"-{symbol}" for symbol in expected))
        _ = self.stages  # a pool that does not fit is refused here, not when the network is built

    def __str__(self) -> str:
        return "-".join(map(str, self.layers))

    @classmethod
    def __get_pydantic_core_schema__(cls, _: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Have rows write a network as `WrittenNetwork`."""
        from pydantic_core import core_schema  # half a second, which rows alone need

        written = handler(WrittenNetwork)
        as_written = core_schema.plain_serializer_function_ser_schema(
            WrittenNetwork.of_network, return_schema=written
        )
        return core_schema.no_info_after_validator_function(
            WrittenNetwork.parsed, written, serialization=as_written
        )

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The network's layers of neurons in order, each with its shapes, pool and NeuNorm.

        Raises NotationError where a pool is larger than its map.
        """
        stages: list[Stage] = []
        maps, size = self.input_shape, prod(self.input_shape)
        layers = (*self.layers, None, None)
        for n, layer in enumerate(self.layers):
            if isinstance(layer, AvgPool):
                continue
            first, second = layers[n + 1], layers[n + 2]
            pool = first if isinstance(first, AvgPool) else None
            follower = second if pool else first
            neunorm, shape = None, (size,)
            if isinstance(layer, Conv):
                _, height, width = maps
                shape, out = maps, (layer.channels, height, width)
                by = pool.size if pool else 1
                if min(height, width) < by:
                    raise NotationError(
                        f"network notation {self}: {pool} has a map of {height}x{width} left: "
                        "use fewer pools or a larger input"
                    )
                maps = (layer.channels, height // by, width // by)
                neunorm = maps if self.neunorm and isinstance(follower, Conv) else None
                size = prod(maps)
            else:
                voters = self.classes * self.population
                size = layer.features if isinstance(layer, Linear) else voters
                out = (size,)
            drops = isinstance(follower, Conv | Linear)
            name = f"{len(stages) + 1} {layer}"
            stages.append(Stage(name, layer, shape, out, pool, neunorm, drops))
        return tuple(stages)

    @property
    def weights(self) -> int:
        """The number of weights of all synapses."""
        return sum(stage.weights for stage in self.stages)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one forward pass of one image at one step."""
        return sum(stage.macs for stage in self.stages)

    def scaled(self, width: Fraction) -> Network:
        """Return the network with channels and features, not voters, times `width`, at least 1."""

        def scale(count: int) -> int:
            return max(1, floor(count * width + Fraction(1, 2)))

        def scaled(layer: Layer) -> Layer:
            """Return a layer with its channels or features scaled; a pool stays as it is."""
            match layer:
                case Conv():
                    return replace(layer, channels=scale(layer.channels))
                case Linear():
                    return Linear(scale(layer.features))
                case AvgPool() | Voting():
                    return layer

        return replace(self, layers=tuple(map(scaled, self.layers)))


@dataclass(frozen=True)
class WrittenNetwork:
    """A network as rows have it: its layers in the paper's notation."""

    notation: str
    input_shape: tuple[int, int, int]
    lif: LIF
    classes: int
    population: int
    dropout: float
    neunorm: NeuNorm | None = None

    @classmethod
    def of_network(cls, network: Network) -> WrittenNetwork:
        """Return a network's fields as they are written, its layers as notation."""
        return cls(
            str(network), network.input_shape, network.lif, network.classes, network.population,
            network.dropout, network.neunorm,
        )  # fmt: skip

    @lru_cache(maxsize=4096)  # noqa: B019 values; a folder has thousands of rows of a few networks
    def parsed(self) -> Network:
        """Return the network. Raises UsageError where it makes no sense."""
        return Network.parse(
            self.notation, input_shape=self.input_shape, lif=self.lif, neunorm=self.neunorm,
            classes=self.classes, population=self.population, dropout=self.dropout,
        )  # fmt: skip


def reach(size: int, kernel: int) -> tuple[int, ...]:
    """Return how many outputs along a side each input feeds in a same-size convolution."""
    half = kernel // 2
    return tuple(min(size - 1, place + half) - max(0, place - half) + 1 for place in range(size))


def unpadded_macs(stage: Stage) -> int:
    """Count a layer's multiply-accumulates for one sample and step, without those on padding.

    Inputs of zero count. `Stage.macs` counts the padding too.
    """
    if not isinstance(stage.synapse, Conv):
        return stage.macs
    channels, height, width = stage.input_shape
    kernel = stage.synapse.kernel
    taps = sum(reach(height, kernel)) * sum(reach(width, kernel))
    return channels * taps * stage.output_shape[0]
