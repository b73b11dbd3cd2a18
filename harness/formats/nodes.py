"""The nodes and edges of a NIR graph in a file, and single fields of them, each checked as it is
asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.formats.hdf5 import Folder, Values
from harness.spec import UsageError
from harness.system.files import printable

MOST_WORDS = 64  # numbers of a field that says how a node is, not what it weighs


@dataclass(frozen=True)
class GraphNode:
    """A node as a file has it."""

    name: str
    type: str
    fields: Folder

    def wrong(self, what: str) -> UsageError:
        """That the node is not one of the paper's networks, and why."""
        return UsageError(f"node {printable(self.name)[:80]!r} ({self.type}) {what}")

    def values(self, name: str) -> Values:
        """A field of numbers, not read yet."""
        found = self.fields.numbers.get(name)
        if found is None:
            raise self.wrong(f"has no numbers {name!r}")
        return found

    def constant(self, name: str, shape: tuple[int, ...], usual: float | None = None) -> float:
        """The one value that a field has for all its neurons, of that shape or a single one.

        `usual`: where there is no such field.
        """
        if usual is not None and name not in self.fields.numbers:
            return usual
        found = self.values(name)
        if found.shape != shape and prod(found.shape) != 1:
            raise self.wrong(f"has {name} of shape {found.shape}, expected {shape}")
        read = found.read().astype(np.float64)
        if not np.isfinite(read).all() or read.min() != read.max():
            raise self.wrong(f"has a {name} that is not one number for all its neurons")
        return float(read.flat[0])

    def integers(self, name: str) -> tuple[int, ...]:
        """A small field of whole numbers, in order."""
        found = self.values(name)
        if prod(found.shape) > MOST_WORDS or found.dtype.kind not in "iu":
            raise self.wrong(f"has a {name} that is not a few whole numbers")
        return tuple(int(each) for each in found.read().ravel())

    def pair(self, name: str) -> tuple[int, int]:
        """A field of a number for each of height and width, or of one for both."""
        found = self.integers(name)
        if len(found) not in (1, 2):
            raise self.wrong(f"has a {name} of {len(found)} numbers, expected two")
        return found[0], found[-1]

    def digits(self, name: str) -> int:
        """How many digits the numbers of a field can be believed."""
        return 12 if self.values(name).dtype.itemsize >= 8 else 6

    def tensor(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """A field of weights, in float64 where it has it, else in float32."""
        found = self.values(name)
        if found.shape != shape:
            raise self.wrong(f"has {name} of shape {found.shape}, expected {shape}")
        if found.dtype.kind != "f":
            raise self.wrong(f"has {name} of {found.dtype}, expected floating-point numbers")
        read = found.read()
        kept = read.astype(np.float64 if read.dtype.itemsize >= 8 else np.float32)
        if not np.isfinite(kept).all():
            raise self.wrong(f"has {name} with what is no number")
        return torch.from_numpy(kept)

    def array(self, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """The same as an array."""
        return self.tensor(name, shape).numpy()


@dataclass(frozen=True)
class FileGraph:
    """A graph as a file has it."""

    nodes: Mapping[str, GraphNode]
    edges: tuple[tuple[str, str], ...]
    metadata: Folder | None

    @classmethod
    def of(cls, folder: Folder) -> FileGraph:
        """The graph in a group. Raises UsageError where it is none."""
        inside = folder.folders.get("nodes")
        if _type(folder) != "NIRGraph" or inside is None:
            raise UsageError(f"{folder.place or 'the file'!r} is no NIR graph: it has no nodes")
        for name in (*inside.numbers, *inside.texts):
            raise UsageError(f"node {printable(name)[:80]!r} is no node: a group was expected")
        nodes = {name: GraphNode(name, _type(each), each) for name, each in inside.folders.items()}
        edges = _edges(folder, nodes)
        return cls(nodes, edges, folder.folders.get("metadata"))

    def only(self, type: str) -> GraphNode:
        """Its one node of a type."""
        found = [node for node in self.nodes.values() if node.type == type]
        if len(found) != 1:
            raise UsageError(f"the graph has {len(found)} nodes of type {type}, expected one")
        return found[0]

    def after(self, node: GraphNode) -> list[GraphNode]:
        """The nodes that a node leads to."""
        return [self.nodes[target] for source, target in self.edges if source == node.name]

    def chain(self) -> list[GraphNode]:
        """All nodes from the input to the output, each with one before and one after it."""
        node, way, seen = self.only("Input"), [], set()
        last = self.only("Output")
        while node is not last:
            if node.name in seen:
                raise node.wrong("leads back to itself: the paper's networks have no cycle")
            seen.add(node.name)
            way.append(node)
            after = self.after(node)
            if len(after) != 1:
                raise node.wrong(f"leads to {len(after)} nodes, expected one")
            node = after[0]
        for name, each in self.nodes.items():
            if name not in seen and each is not last:
                raise each.wrong("is not on the way from the input to the output")
        return [*way, last]


def _type(folder: Folder) -> str:
    found = folder.texts.get("type", ("without a type",))
    return printable(found[0])[:40] if len(found) == 1 else "of several types"


def _edges(folder: Folder, nodes: Mapping[str, GraphNode]) -> tuple[tuple[str, str], ...]:
    flat: Sequence[str] = folder.texts.get("edges", ())
    edges = tuple(zip(flat[::2], flat[1::2], strict=False))
    if not edges or len(flat) % 2:
        raise UsageError("the graph's edges are not pairs of names")
    for name in flat:
        if name not in nodes:
            raise UsageError(f"an edge names the node {printable(name)[:80]!r}, which is not there")
    return tuple(dict.fromkeys(edges))


@dataclass(frozen=True)
class Metadata:
    """What a graph says beside its nodes; a file from elsewhere may say nothing."""

    folder: Folder | None

    def number(self, name: str) -> float | None:
        """A number. Raises UsageError where it is something else."""
        if self.folder is None or not self._has(name):
            return None
        found = self.folder.numbers.get(name)
        value = float(found.read().flat[0]) if found and prod(found.shape) == 1 else float("nan")
        if not isfinite(value):
            raise UsageError(f"the metadata's {name} is not one number")
        return value

    def text(self, name: str) -> str | None:
        """A text. Raises UsageError where it is something else."""
        if self.folder is None or not self._has(name):
            return None
        found = self.folder.texts.get(name, ())
        if len(found) != 1:
            raise UsageError(f"the metadata's {name} is not one text")
        return found[0]

    def _has(self, name: str) -> bool:
        assert self.folder is not None
        every = (self.folder.numbers, self.folder.texts, self.folder.folders)
        return any(name in each for each in every)
