"""Neurons, NeuNorm and networks as data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from math import floor, isfinite, prod
from typing import Literal, assert_never

from harness.spec import notation as paper_notation
from harness.spec.errors import NotationError, UsageError
from harness.spec.layers import LARGEST_LAYER, AvgPool, Conv, Layer, Linear, Stage, Voting

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
        return cls(paper_notation.parsed(notation), input_shape, lif, neunorm, classes, population)

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
        paper_notation.check_order(self.layers)
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
