"""The layers of the paper's notation, and what a layer of neurons amounts to."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

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
