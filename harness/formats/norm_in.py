"""NeuNorm out of a subgraph of a NIR file: the very one that `nir_out.neunorm_graph` writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import numpy as np
from torch import Tensor

from harness.formats.constants import decay_of, near
from harness.formats.nodes import FileGraph, GraphNode, Metadata
from harness.spec import NeuNorm, Reading, UsageError

WAY = ("Conv2d", "LI", "Conv2d", "Scale", "Scale", "Output")  # behind the input, in order
Maps = tuple[int, int, int]  # (C, H, W)


def neunorm_of(node: GraphNode, maps: Maps, said: Metadata, dt: float) -> tuple[NeuNorm, Tensor]:
    """The NeuNorm that a subgraph is on maps (C, H, W), and its U.

    Raises UsageError with what in it is not as it should be.
    """
    try:
        return _found(FileGraph.of(node.fields), maps, said, dt)
    except UsageError as error:
        raise node.wrong(f"is a subgraph that is not NeuNorm: {error}") from error


def _found(graph: FileGraph, maps: Maps, said: Metadata, dt: float) -> tuple[NeuNorm, Tensor]:
    first = graph.only("Input")
    gather, x, spread, minus_u, join, last = _way(graph, first)
    edges = {(first.name, join.name), (first.name, gather.name)}
    way = (gather, x, spread, minus_u, join, last)
    edges |= {(a.name, b.name) for a, b in zip(way, way[1:], strict=False)}
    if set(graph.edges) != edges or len(graph.nodes) != len(way) + 1:
        raise UsageError("its spikes and what is taken from them do not meet in one node")
    channels, height, width = maps
    for end in (first, last):
        if end.integers("shape") != maps:
            raise end.wrong(f"is of another shape than {maps}")
    _check_ones(gather, (1, channels, 1, 1))
    _check_ones(spread, (channels, 1, 1, 1))
    if not (join.array("scale", maps) == 1).all():
        raise join.wrong("scales the spikes, which NeuNorm leaves as they are")
    return _constants(x, (1, height, width), channels, said, dt), -minus_u.tensor("scale", maps)


def _way(graph: FileGraph, first: GraphNode) -> Iterator[GraphNode]:
    """The nodes from the sum over maps to the output."""
    node = first
    for n, type in enumerate(WAY):
        after = [each for each in graph.after(node) if each.type == type]
        if n and len(after) != len(graph.after(node)) or len(after) != 1:
            raise node.wrong(f"does not lead to one {type}")
        node = after[0]
        yield node


def _check_ones(node: GraphNode, shape: tuple[int, int, int, int]) -> None:
    ones, zeros = node.array("weight", shape), node.array("bias", shape[:1])
    plain = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    if any(set(node.integers(name)) != {value} for name, value in plain.items()):
        raise node.wrong("is no plain convolution of one pixel")
    if not (ones == 1).all() or not (zeros == 0).all():
        raise node.wrong("weighs maps unlike: ones without a bias were expected")


def _constants(x: GraphNode, shape: Maps, channels: int, said: Metadata, dt: float) -> NeuNorm:
    if x.constant("v_leak", shape, 0.0) != 0:
        raise x.wrong("rests at another value than 0")
    tau, r = x.constant("tau", shape), x.constant("r", shape)
    k_tau2 = decay_of(tau, dt, x.digits("tau"), said.number("k_tau2"))
    named = said.text("neunorm")
    readings: tuple[Reading, ...] = get_args(Reading)
    # with one map both readings are the same
    for reading in sorted(readings, key=lambda each: (each != named, each != "mean")):
        neunorm = NeuNorm(k_tau2, reading)
        if near(r * dt / tau / neunorm.scale(channels), 1):
            return neunorm
    mean, literal = (np.format_float_positional(1 / channels**n, 6) for n in (1, 2))
    raise x.wrong(f"has r {r:.6g}, expected {mean} (mean) or {literal} (literal)")
