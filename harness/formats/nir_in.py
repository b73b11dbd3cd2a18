"""A network of the paper and its weights out of a NIR graph in a file, ours or another's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import numpy as np
from torch import Tensor

from harness.formats import hdf5
from harness.formats.constants import DT, above, below, decay_of, near
from harness.formats.nir_out import SURROGATE
from harness.formats.nodes import FileGraph, GraphNode, Metadata
from harness.formats.norm_in import neunorm_of
from harness.spec import (
    LIF,
    AvgPool,
    Conv,
    Layer,
    Linear,
    Network,
    NeuNorm,
    UsageError,
    Voting,
)
from harness.spec.given import Tie
from harness.spec.layers import LARGEST_LAYER
from harness.system.files import printable

CLASSES = 10  # where a file does not say
A = 1.0  # likewise: width of the surrogate, of which NIR says nothing


@dataclass(frozen=True)
class Imported:
    """What a file describes."""

    network: Network
    parameters: tuple[Tensor, ...]  # in layer order
    says_a: bool  # whether the surrogate's width is the file's; else it is `A`


def read(path: Path) -> Imported:
    """The network and weights of a NIR file, read in this process, which a damaged one may hang
    or end: of files from elsewhere `apart.read` is to be asked.

    A neuron whose constants say that it fires above its threshold, as NIR's does, gets the float32
    number above it: then it fires at the same potentials. Raises UsageError with the node that the
    paper has not, and why, and where the file is damaged. Nothing in it can run code.
    """
    with hdf5.opened(path) as root:
        top = root.folders.get("node")
        if top is None:
            raise UsageError("it is an HDF5 file without a NIR graph")
        graph = FileGraph.of(top)
        return _Walk(Metadata(graph.metadata)).imported(graph)


@dataclass
class _Walk:
    """What the way from input to output has come to so far."""

    said: Metadata
    given: tuple[int, int, int] = (0, 0, 0)  # (C, H, W) of the input
    shape: tuple[int, ...] = ()  # of what the next node is given
    layers: list[Layer] = field(default_factory=list)
    parameters: list[list[Tensor]] = field(default_factory=list)  # of each layer of neurons
    neurons: list[tuple[GraphNode, LIF]] = field(default_factory=list)
    norms: list[tuple[GraphNode, NeuNorm]] = field(default_factory=list)
    waits: GraphNode | None = None  # the synapse whose neurons come next

    def __post_init__(self) -> None:
        dt = self.said.number("dt")
        self.dt = DT if dt is None else dt
        surrogate = self.said.text("surrogate")
        if surrogate not in (None, SURROGATE):
            shown = printable(surrogate)[:40]
            raise UsageError(f"its surrogate is {shown!r}, the paper's is a {SURROGATE}")
        if self.dt <= 0:
            raise UsageError(f"the metadata's dt is {self.dt:g} s, expected a time above 0")

    def imported(self, graph: FileGraph) -> Imported:
        for node in graph.chain():
            self._step(node)
        a = self.said.number("a")
        network = self._network(A if a is None else a)
        flat = tuple(each for layer in self.parameters for each in layer)
        return Imported(network, flat, says_a=a is not None)

    def _step(self, node: GraphNode) -> None:
        if self.waits is not None and node.type != "LIF":
            raise node.wrong(f"follows {self.waits.name!r}, expected its neurons, a LIF")
        steps: dict[str, Callable[[GraphNode], None]] = {
            "Input": self._input,
            "Conv2d": self._convolution,
            "LIF": self._neurons,
            "AvgPool2d": self._pool,
            "NIRGraph": self._neunorm,
            "Flatten": self._flatten,
            "Affine": self._product,
            "Output": self._output,
        }
        if node.type not in steps:
            raise node.wrong(
                "is not of the paper's networks: they have Conv2d, LIF, AvgPool2d, Flatten, "
                "Affine, and NeuNorm as a subgraph"
            )
        steps[node.type](node)

    def _output(self, node: GraphNode) -> None:
        if not self.layers or not isinstance(self.layers[-1], Linear):
            raise node.wrong("does not follow the neurons of a product, which vote")
        self.layers[-1] = Voting()

    def _input(self, node: GraphNode) -> None:
        shape = node.integers("shape")
        if len(shape) != 3 or not all(0 < size <= LARGEST_LAYER for size in shape):
            raise node.wrong(f"is of shape {shape}, expected (C, H, W)")
        self.given = shape[0], shape[1], shape[2]
        self.shape = self.given

    def _maps(self, node: GraphNode) -> tuple[int, int, int]:
        if len(self.shape) != 3:
            raise node.wrong(f"is given {self.shape}, expected maps (C, H, W)")
        return self.shape[0], self.shape[1], self.shape[2]

    def _convolution(self, node: GraphNode) -> None:
        channels, height, width = self._maps(node)
        weight = node.values("weight").shape
        if len(weight) != 4 or weight[1] != channels or weight[2] != weight[3] or weight[3] % 2 < 1:
            raise node.wrong(f"has weights {weight}, expected (n, {channels}, k, k), k odd")
        half = weight[3] // 2
        same = node.fields.texts.get("padding") == ("same",)
        usual = {"stride": (1, 1), "dilation": (1, 1), "groups": (1, 1)}
        usual |= {} if same else {"padding": (half, half)}
        for name, expected in usual.items():
            if node.pair(name) != expected:
                raise node.wrong(f"has {name} {node.pair(name)}, the paper's has {expected}")
        self.layers.append(Conv(weight[0], weight[3], encoding=not self.layers))
        self._weights(node, weight)
        self.shape = (weight[0], height, width)

    def _product(self, node: GraphNode) -> None:
        if len(self.shape) != 1:
            raise node.wrong(f"is given {self.shape}, expected a Flatten before it")
        weight = node.values("weight").shape
        if len(weight) != 2 or weight[1] != self.shape[0]:
            raise node.wrong(f"has weights {weight}, expected (n, {self.shape[0]})")
        self.layers.append(Linear(weight[0]))
        self._weights(node, weight)
        self.shape = (weight[0],)

    def _weights(self, node: GraphNode, shape: tuple[int, ...]) -> None:
        self.parameters.append([node.tensor("weight", shape), node.tensor("bias", shape[:1])])
        self.waits = node

    def _neurons(self, node: GraphNode) -> None:
        if self.waits is None:
            raise node.wrong("follows no convolution or product")
        self.waits = None
        for name in ("v_leak", "v_reset"):
            value = node.constant(name, self.shape, 0.0)
            if value != 0:
                raise node.wrong(f"has {name} {value:g}: the paper's neuron rests at 0")
        tau, r = node.constant("tau", self.shape), node.constant("r", self.shape)
        k = self._decay(node, tau, "k_tau")
        if not near(r * self.dt / tau, 1):
            raise node.wrong(
                f"has r {r:.6g}, expected tau / dt = {tau / self.dt:.6g}: the paper's neuron does "
                f"not scale its input (dt is {self.dt:g} s)"
            )
        lif = LIF(k, self._threshold(node), A)
        if self.neurons and lif != self.neurons[0][1]:
            raise node.wrong(f"is {lif}, and {self.neurons[0][0].name!r} is {self.neurons[0][1]}")
        self.neurons.append((node, lif))

    def _decay(self, node: GraphNode, tau: float, name: str) -> float:
        try:
            return decay_of(tau, self.dt, node.digits("tau"), self.said.number(name))
        except UsageError as error:
            raise node.wrong(f"is not the paper's: {error}") from error

    def _threshold(self, node: GraphNode) -> float:
        found = node.constant("v_threshold", self.shape)
        if not 0 < found <= float(np.finfo(np.float32).max) / 2:
            raise node.wrong(f"has the threshold {found:g}, expected one above 0")
        said, tie = self.said.number("v_th"), self.said.text("tie")
        if tie is not None and tie not in get_args(Tie):
            raise UsageError(f"the metadata's tie is {printable(tie)[:40]!r}, expected at or above")
        if tie == "at":
            return found
        if said is not None and said > 0 and below(said) == np.float32(found):
            return said
        return above(found)

    def _pool(self, node: GraphNode) -> None:
        channels, height, width = self._maps(node)
        size = node.pair("kernel_size")
        if size[0] != size[1] or size[0] < 2:
            raise node.wrong(f"has windows of {size}, expected square ones of 2 or more")
        if node.pair("stride") != size or node.pair("padding") != (0, 0):
            raise node.wrong("has windows that overlap or reach over the edge")
        self.layers.append(AvgPool(size[0]))
        self.shape = (channels, height // size[0], width // size[0])

    def _flatten(self, node: GraphNode) -> None:
        channels, height, width = self._maps(node)
        if node.integers("start_dim") != (0,) or node.integers("end_dim") not in ((-1,), (2,)):
            raise node.wrong("leaves dimensions of a sample apart: start_dim 0 was expected")
        self.shape = (channels * height * width,)

    def _neunorm(self, node: GraphNode) -> None:
        neunorm, U = neunorm_of(node, self._maps(node), self.said, self.dt)
        if self.norms and neunorm != self.norms[0][1]:
            raise node.wrong(f"is {neunorm}, and {self.norms[0][0].name!r} is {self.norms[0][1]}")
        if not self.parameters or len(self.parameters[-1]) != 2:
            raise node.wrong("follows no convolution")
        self.norms.append((node, neunorm))
        self.parameters[-1].append(U)

    def _network(self, a: float) -> Network:
        classes = self.said.number("classes")
        count = CLASSES if classes is None else int(classes)
        voters = self.shape[0]
        if count < 1 or voters % count:
            raise UsageError(f"{voters} voting neurons are not as many for each of {count} classes")
        _, lif = self.neurons[0]
        network = Network.parse(  # which checks sizes and order, as of any network
            "-".join(map(str, self.layers)),
            input_shape=self.given,
            lif=LIF(lif.k_tau, lif.v_th, a),
            neunorm=self.norms[0][1] if self.norms else None,
            classes=count,
            population=voters // count,
        )
        for stage, found in zip(network.stages, self.parameters, strict=True):
            if (stage.neunorm_shape is not None) != (len(found) == 3):
                raise UsageError(
                    f"layer {stage.name} has NeuNorm where others have not: the paper's stands "
                    "between all convolutions, and nowhere else"
                )
        return network
