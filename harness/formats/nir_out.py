"""A network and its weights as a NIR graph in a file (neuroir.org), as `nir.write` lays one out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from harness.formats import hdf5
from harness.formats.constants import DT, below, leak_of
from harness.formats.weights import parameter_forms
from harness.spec import Conv, Network, NeuNorm, Stage, UsageError
from harness.spec.given import Tie
from harness.system.files import printable, unwritable, write_whole
from harness.system.version import VERSION

FORMAT = "1.0.8"  # of the package nir whose graphs these are
SURROGATE = "rectangle"  # of width `a` around the threshold, of height 1 / a

Field = NDArray[Any] | str | float | int


@dataclass(frozen=True)
class Node:
    """A node of a graph: its type, and its fields by name."""

    name: str
    type: str
    fields: tuple[tuple[str, Field], ...] = ()
    inside: Graph | None = None  # of a subgraph


@dataclass(frozen=True)
class Graph:
    """Nodes, and the edges between them by name; what enters a node by several is added up."""

    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]
    metadata: tuple[tuple[str, Field], ...] = ()


def write(path: Path, network: Network, parameters: Sequence[Tensor], tie: Tie = "at") -> None:
    """Writes a network with its weights, given in layer order, whole or not at all.

    `tie`: "at" has V_th as it is; "above" has the float32 number below it, for importers whose
    neuron fires above its threshold. Raises UsageError where the file is there or cannot be
    written, and for a neuron that does not leak.
    """
    h5py = hdf5.library()
    graph = graph_of(network, parameters, tie)
    if path.exists():
        raise UsageError(f"{printable(path)} is there already: name a new file with --to")

    def fill(part: Path) -> None:
        with h5py.File(part, "w") as file:
            file.create_dataset("version", data=FORMAT, dtype=h5py.string_dtype())
            _write_graph(file.create_group("node"), graph, h5py.string_dtype())

    try:
        write_whole(path, fill)
    except OSError as error:
        raise unwritable(path, error) from error


def graph_of(network: Network, parameters: Sequence[Tensor], tie: Tie = "at") -> Graph:
    """The graph: "00_input", "01a_conv", "01b_lif", "01c_pool", "01d_neunorm", "02a_conv", ...

    The names' order is that of the chain: readers take nodes from a file by name, and nirtorch 2.6
    fails on a subgraph that comes before what it is given. Raises UsageError for a neuron that does
    not leak, ValueError for weights of other shapes.
    """
    given = [each.detach().cpu().numpy() for each in parameters]
    forms = parameter_forms(network)
    if [each.shape for each in given] != [shape for _, shape in forms]:
        raise ValueError(f"weights of other shapes than {forms}")
    named = {name: each for (name, _), each in zip(forms, given, strict=True)}
    digits = max(2, len(str(len(network.stages) + 1)))
    nodes = [Node(f"{0:0{digits}}_input", "Input", (("shape", _ints(network.input_shape)),))]
    for n in range(1, len(network.stages) + 1):
        own = f"{n}."
        weights = {k.removeprefix(own): v for k, v in named.items() if k.startswith(own)}
        for letter, node in zip("abcd", _layer(n, network, weights, tie), strict=False):
            nodes.append(replace(node, name=f"{n:0{digits}}{letter}_{node.name}"))
    last = f"{len(network.stages) + 1:0{digits}}_output"
    voters = network.classes * network.population
    nodes.append(Node(last, "Output", (("shape", _ints((voters,))),)))
    names = [node.name for node in nodes]
    edges = tuple(zip(names, names[1:], strict=False))
    return Graph(tuple(nodes), edges, tuple(_metadata(network, tie)))


def _layer(
    n: int, network: Network, weights: Mapping[str, NDArray[Any]], tie: Tie
) -> Iterator[Node]:
    """The nodes of a layer of neurons, from 1, in order."""
    stage, weight, bias = network.stages[n - 1], weights["weight"], weights["bias"]
    if isinstance(stage.synapse, Conv):
        half = stage.synapse.kernel // 2
        yield Node("conv", "Conv2d", _convolution(weight, bias, stage.input_shape, half))
    else:
        before = network.stages[n - 2]
        if isinstance(before.synapse, Conv):
            channels, height, width = before.output_shape
            size = before.pool.size if before.pool else 1
            shape = _ints((channels, height // size, width // size))
            # dimensions are those of a sample: NIR has no batch
            fields = (("input_type", shape), ("start_dim", 0), ("end_dim", -1))
            yield Node("flatten", "Flatten", fields)
        yield Node("affine", "Affine", (("weight", weight), ("bias", bias)))
    yield _lif(stage, network, tie)
    if stage.pool is not None:
        size = _ints((stage.pool.size,) * 2)
        yield Node(
            "pool",
            "AvgPool2d",
            (("kernel_size", size), ("stride", size), ("padding", _ints((0, 0)))),
        )
    if network.neunorm is not None and "U" in weights:
        yield Node("neunorm", "NIRGraph", inside=neunorm_graph(network.neunorm, weights["U"]))


def _convolution(
    weight: NDArray[Any], bias: NDArray[Any], shape: Sequence[int], padding: int
) -> tuple[tuple[str, Field], ...]:
    return (
        ("input_shape", _ints(shape[1:])),
        ("weight", weight),
        ("stride", _ints((1, 1))),
        ("padding", _ints((padding, padding))),
        ("dilation", _ints((1, 1))),
        ("groups", 1),
        ("bias", bias),
    )


def _lif(stage: Stage, network: Network, tie: Tie) -> Node:
    lif = network.lif
    leak = leak_of(lif.k_tau)
    v_th = lif.v_th if tie == "at" else below(lif.v_th)
    values = {"tau": leak.tau, "r": leak.gain, "v_leak": 0.0, "v_threshold": v_th, "v_reset": 0.0}
    shape = stage.output_shape
    return Node("lif", "LIF", tuple((k, np.full(shape, v)) for k, v in values.items()))


def neunorm_graph(neunorm: NeuNorm, U: NDArray[Any]) -> Graph:
    """NeuNorm, eqs. (9) and (10), of spikes (C, H, W): `spikes + (-U) x`, x of a leaky integrator.

    "sum" adds up the feature maps, "x" is the auxiliary neuron, "spread" gives it to every map,
    "minus_u" scales it; both meet in "join", which multiplies by one, since not every reader adds
    up what enters an output.
    """
    maps, height, width = U.shape
    leak = leak_of(neunorm.k_tau2)
    # c of eq. (9) is on the input, which NIR scales by r dt / tau
    r = neunorm.scale(maps) * leak.gain
    one, zero = np.ones_like(U[:1, :1, :1]), np.zeros_like(U[0, 0, :1])
    gather = np.repeat(one[None], maps, 1)  # (1, C, 1, 1)
    spread = np.repeat(one[None], maps, 0)  # (C, 1, 1, 1)
    li = {"tau": leak.tau, "r": r, "v_leak": 0.0}
    shape = (("shape", _ints(U.shape)),)
    nodes = (
        Node("input", "Input", shape),
        Node("sum", "Conv2d", _convolution(gather, zero, U.shape, 0)),
        Node("x", "LI", tuple((k, np.full((1, height, width), v)) for k, v in li.items())),
        Node("spread", "Conv2d", _convolution(spread, np.repeat(zero, maps), (1, *U.shape[1:]), 0)),
        Node("minus_u", "Scale", (("scale", -U),)),
        Node("join", "Scale", (("scale", np.ones_like(U)),)),
        Node("output", "Output", shape),
    )
    way = ("input", "sum", "x", "spread", "minus_u", "join", "output")
    edges = (("input", "join"), *zip(way, way[1:], strict=False))
    return Graph(nodes, edges)


def _metadata(network: Network, tie: Tie) -> Iterator[tuple[str, Field]]:
    """What NIR has no field for, and constants as they were before they became NIR's."""
    yield "made_by", f"snn-harness {VERSION}"
    yield "dt", DT
    yield "surrogate", SURROGATE
    yield "a", network.lif.a
    yield "tie", tie
    yield "k_tau", network.lif.k_tau
    yield "v_th", network.lif.v_th
    yield "classes", network.classes
    if network.neunorm is not None:
        yield "neunorm", network.neunorm.reading
        yield "k_tau2", network.neunorm.k_tau2


def _ints(values: Sequence[int]) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def _write_graph(group: Any, graph: Graph, text: Any) -> None:
    group.create_dataset("type", data="NIRGraph", dtype=text)
    group.create_dataset("edges", data=[list(edge) for edge in graph.edges], dtype=text)
    nodes = group.create_group("nodes")
    for node in graph.nodes:
        below_it = nodes.create_group(node.name)
        if node.inside is not None:
            _write_graph(below_it, node.inside, text)
            continue
        below_it.create_dataset("type", data=node.type, dtype=text)
        for name, value in node.fields:
            _write_field(below_it, name, value, text)
    if graph.metadata:
        said = group.create_group("metadata")
        for name, value in graph.metadata:
            _write_field(said, name, value, text)


def _write_field(group: Any, name: str, value: Field, text: Any) -> None:
    if isinstance(value, str):
        group.create_dataset(name, data=value, dtype=text)
    elif isinstance(value, np.ndarray) and prod(value.shape) > 1 and np.ptp(value) == 0:
        group.create_dataset(name, data=value, compression="gzip")  # one number over and over
    else:
        group.create_dataset(name, data=value)
