"""Read and write a network of the paper with its weights as a NIR graph (neuroir.org).

NIR's neuron is `tau dv/dt = (v_leak - v) + r I`. Over a step of `dt` by Euler's rule that is
`v = (1 - dt / tau) v + (dt / tau) r I`: eq. (5) with `k = 1 - dt / tau` and `r = tau / dt`.

`read` first collects which network of the paper the file may hold. It then compares the file node
by node with the graph that `write` would make of that network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor

from harness.formats.weights import encode, parameter_shapes
from harness.machine.files import unwritable, write_whole
from harness.machine.installed import VERSION
from harness.spec import LIF, Conv, Network, NetworkFile, NeuNorm, Reading, Tie, UsageError

try:
    import nir as package
except ImportError as error:
    raise UsageError(
        f"NIR files need the package nir ({error}): pip install 'snn-harness[nir]'"
    ) from error

nir: Any = package  # it takes arrays where its annotations say tuples
DT = 1e-4  # seconds a step if the file has no dt: snnTorch and SpikingJelly assume the same
DEFAULT_A = 1.0  # if the file has no surrogate
TOLERANCE = 1e-6  # relative: constants are often stored in float32
NODE_TYPES = ("Conv2d", "LIF", "AvgPool2d", "Flatten", "Affine", "NIRGraph")
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Decay = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class NirMetadata:
    """Metadata of a NIR graph: what NIR has no field for, and the constants in the paper's form.

    A file from another tool may have none of them.
    """

    made_by: str = ""
    dt: Positive = DT
    surrogate: Literal["rectangle"] = "rectangle"  # of width `a` and height 1 / a
    a: Positive | None = None
    tie: Tie | None = None
    k_tau: Decay | None = None
    v_th: Positive | None = None
    classes: Annotated[int, Field(gt=0)] = 10
    k_tau2: Decay | None = None
    neunorm: Reading | None = None


# from a network to a file


def write(path: Path, network: Network, parameters: Sequence[Tensor], tie: Tie = "at") -> None:
    """Write a network and its weights, given in layer order, to a new file.

    `tie` says where the importer's neuron fires: "at" its threshold (V_th is written) or only
    "above" it (the next float32 number below V_th is). Raises UsageError if the file exists or
    cannot be written, weights have other shapes, or the neuron does not leak (decay 1).
    """
    lif, norm = network.lif, network.neunorm
    described = NirMetadata(
        f"snn-harness {VERSION}", a=lif.a, tie=tie, k_tau=lif.k_tau, v_th=lif.v_th,
        classes=network.classes, k_tau2=norm.k_tau2 if norm else None,
        neunorm=norm.reading if norm else None,
    )  # fmt: skip
    metadata = {name: value for name, value in vars(described).items() if value is not None}
    v_th = lif.v_th if tie == "at" else float32_below(lif.v_th)
    arrays = [p.detach().cpu().numpy() for p in parameters]
    nodes = dict(_nodes(replace(network, lif=replace(lif, v_th=v_th)), arrays, DT))
    graph = nir.NIRGraph(nodes=nodes, edges=[*pairwise(nodes)], metadata=metadata)
    if path.exists():
        raise UsageError(f"{path} is there already: name a new file with --to")
    try:
        write_whole(path, lambda part: nir.write(part, graph))
    except OSError as error:
        raise unwritable(path, error) from error


def _nodes(
    network: Network, parameters: Sequence[NDArray[Any]], dt: float
) -> Iterator[tuple[str, Any]]:
    """Yield the nodes of the chain: "00_input", "01a_conv", "01b_lif", "01c_pool", "01d_neunorm".

    Names sort in the order of the chain, which importers read nodes by. Raises UsageError if the
    neuron does not leak, or the weights have other shapes.
    """
    shapes = parameter_shapes(network)
    if len(parameters) != len(shapes):
        raise UsageError(f"it has {len(parameters)} arrays of weights, {network} has {len(shapes)}")
    named = dict(zip(shapes, parameters, strict=True))
    for name, array in named.items():
        if array.shape != shapes[name]:
            raise UsageError(f"{name} is of shape {array.shape}, {network} has {shapes[name]}")
    digits = max(2, len(str(len(network.stages) + 1)))
    constants = (*_leak(network.lif.k_tau, dt), 0.0, network.lif.v_th, 0.0)
    yield f"{0:0{digits}}_input", nir.Input(_ints(*network.input_shape))
    shape: tuple[int, ...] = network.input_shape
    for n, stage in enumerate(network.stages, 1):
        layer: dict[str, Any] = {}
        weight, bias = named[f"{n}.weight"], named[f"{n}.bias"]
        if isinstance(stage.synapse, Conv):
            layer["conv"] = _convolution(weight, bias, shape, stage.synapse.kernel // 2)
        else:
            if len(shape) == 3:  # NIR counts the dimensions of a sample, without the batch
                layer["flatten"] = nir.Flatten({"input": _ints(*shape)}, 0, -1)
            layer["affine"] = nir.Affine(weight, bias)
        shape = stage.output_shape
        layer["lif"] = nir.LIF(*(np.full(shape, value) for value in constants))
        if stage.pool is not None:
            size = stage.pool.size
            layer["pool"] = nir.AvgPool2d(_ints(size, size), _ints(size, size), _ints(0, 0))
            shape = (shape[0], shape[1] // size, shape[2] // size)
        if network.neunorm is not None and f"{n}.U" in named:
            layer["neunorm"] = _neunorm(network.neunorm, named[f"{n}.U"], dt)
        for letter, (name, node) in zip("abcd", layer.items(), strict=False):
            yield f"{n:0{digits}}{letter}_{name}", node
    yield f"{len(network.stages) + 1:0{digits}}_output", nir.Output(_ints(*shape))


def _convolution(weight: Any, bias: Any, shape: Sequence[int], padding: int) -> Any:
    one, half = _ints(1, 1), _ints(padding, padding)
    return nir.Conv2d(_ints(*shape[1:]), weight, one, half, one, 1, bias)


def _neunorm(neunorm: NeuNorm, U: NDArray[Any], dt: float) -> Any:
    """Build NeuNorm, eqs. (9) and (10), on spikes (C, H, W): `spikes + (-U) x`.

    "sum" adds up the feature maps, "x" is the auxiliary neuron, "spread" copies it to every map.
    "join" multiplies by one: not every importer adds up the inputs of an output node.
    """
    maps, height, width = U.shape
    tau, gain = _leak(neunorm.k_tau2, dt)
    # c of eq. (9) is on the input, which NIR scales by r dt / tau
    r = neunorm.scale(maps) * gain
    ones, zeros = np.ones_like(U[:, :1, :1]), np.zeros_like(U[:, 0, 0])
    nodes = {
        "input": nir.Input(_ints(*U.shape)),
        "sum": _convolution(ones[None], zeros[:1], U.shape, 0),
        "x": nir.LI(*(np.full((1, height, width), value) for value in (tau, r, 0.0))),
        "spread": _convolution(ones[:, None], zeros, (1, height, width), 0),
        "minus_u": nir.Scale(-U),
        "join": nir.Scale(np.ones_like(U)),
        "output": nir.Output(_ints(*U.shape)),
    }
    return nir.NIRGraph(nodes=nodes, edges=[("input", "join"), *pairwise(nodes)])


def _leak(k: float, dt: float) -> tuple[float, float]:
    """Return NIR's tau (s) and r for a potential that decays by `k`, with the input unscaled."""
    if k == 1:
        raise UsageError("a neuron with a decay of 1 does not leak: NIR's LIF and LI cannot say it")
    return dt / (1 - k), 1 / (1 - k)


def _ints(*values: int) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def float32_below(v_th: float) -> float:
    """Return the next float32 number below `v_th`: for float32 u, u > it means u >= `v_th`."""
    return float(np.nextafter(np.float32(v_th), np.float32(-np.inf)))


# from a file to a network


def read(name: str) -> NetworkFile:
    """Read the network and weights of the NIR file with this path.

    NIR's neuron fires only above its threshold: V_th is the next float32 number above it, unless
    metadata say "at". Raises UsageError if the file is damaged, or is of a network that is none of
    the paper's: the message names the node.
    """
    # nir 1.0.4, the newest that sinabs allows, checks no types and has no such argument
    has_check = "type_check" in signature(nir.read).parameters
    unchecked: dict[str, Any] = {"type_check": False} if has_check else {}
    try:
        graph = nir.read(Path(name), **unchecked)  # one number may stand for all neurons
    except Exception as error:  # noqa: BLE001 nir raises what h5py does for a damaged file
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise UsageError(
            f"{name} is no NIR file, a damaged one, or written by a newer nir than the installed "
            f"{nir.version} ({reason})"
        ) from error
    try:
        metadata = _read_metadata(graph.metadata)
        network, parameters = _network_of(graph, metadata)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error
    content = encode(network, map(torch.from_numpy, parameters))
    sha256 = hashlib.sha256(content).hexdigest()
    return NetworkFile(name, network, sha256, metadata.a is not None, content)


def _network_of(graph: Any, metadata: NirMetadata) -> tuple[Network, list[NDArray[Any]]]:
    """Return the network of the paper that a graph's chain of nodes spells, and its weights."""
    chain = _chain(graph)
    size = np.ravel(chain[0][1].input_type["input"])
    if size.dtype.kind not in "fiu" or len(size) != 3 or not np.isfinite(size).all():
        raise _error(*chain[0], f"is of shape {size}, expected (C, H, W)")
    notation, parameters = list[str](), list[NDArray[Any]]()
    lif, neunorm, voters = None, None, 0
    for name, node in chain[1:-1]:
        match kind := type(node).__name__:
            case "Conv2d" | "Affine":
                weight = _weights_of(name, node, "weight", 4 if kind == "Conv2d" else 2)
                parameters += [weight, _weights_of(name, node, "bias", 1)]
                form = f"C{weight.shape[2]}" if kind == "Conv2d" else "FC"
                voters = len(weight)
                notation.append(f"{voters}{form}" + ("" if notation else "(Encoding)"))
            case "LIF":
                threshold = _first_number(name, node, "v_threshold")
                k_tau = _decay(name, node, metadata, metadata.k_tau)
                lif = lif or LIF(k_tau, threshold, metadata.a or DEFAULT_A)
            case "AvgPool2d":
                notation.append(f"AP{_first_number(name, node, 'kernel_size'):.0f}")
            case "NIRGraph":
                node_neunorm, U = _neunorm_of(name, node, metadata)
                neunorm = neunorm or node_neunorm
                parameters.append(U)
            case "Flatten":
                pass
            case _:
                raise _error(name, node, f"is not of the paper's networks: they have {NODE_TYPES}")
    if lif is None or not notation or not notation[-1].endswith("FC"):
        raise UsageError("it does not end with a product and its neurons, which vote")
    if voters % metadata.classes:
        raise UsageError(f"{voters} voting neurons are no multiple of {metadata.classes} classes")
    network = Network.parse(  # checks sizes and order
        "-".join([*notation[:-1], "Voting"]),
        input_shape=(int(size[0]), int(size[1]), int(size[2])),
        lif=lif,
        neunorm=neunorm,
        classes=metadata.classes,
        population=voters // metadata.classes,
    )
    _compare(chain, list(_nodes(network, parameters, metadata.dt)))
    v_th = lif.v_th
    if metadata.tie != "at":  # `u >= v_th` with the number above is `u > v_th`, for u in float32
        v_th = float(np.nextafter(np.float32(v_th), np.float32(np.inf)))
        if metadata.v_th is not None and float32_below(metadata.v_th) == np.float32(lif.v_th):
            v_th = metadata.v_th
    return replace(network, lif=replace(lif, v_th=v_th)), parameters


def _read_metadata(stored: dict[str, Any]) -> NirMetadata:
    """Return a graph's metadata, checked. Raises UsageError that names a wrong value."""
    values = {k: v.item() if isinstance(v, np.generic) else v for k, v in stored.items()}
    try:
        return TypeAdapter(NirMetadata).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        name, value = first["loc"][0], first["input"]
        raise UsageError(f"its metadata's {name} is {value}: {first['msg']}") from None


def _chain(graph: Any) -> list[tuple[str, Any]]:
    """Return the named nodes in order from input to output. Raises UsageError if they branch."""
    nodes, edges = graph.nodes, set(graph.edges)
    for name, node in nodes.items():
        kind = type(node).__name__
        sources, targets = (sum(edge[side] == name for edge in edges) for side in (1, 0))
        if (sources, targets) != (kind != "Input", kind != "Output"):
            raise _error(name, node, f"has {sources} nodes before it and {targets} after it")
    following = dict(edges)
    chain = [name for name in nodes if type(nodes[name]).__name__ == "Input"]
    while chain and following.get(chain[-1]) in nodes:
        chain.append(following[chain[-1]])
    if not chain or len(chain) != len(nodes) or len(edges) != len(nodes) - 1:
        raise UsageError("its nodes are not one chain from an input to an output")
    return [(name, nodes[name]) for name in chain]


def _error(name: str, node: Any, fault: str) -> UsageError:
    return UsageError(f"node {name!r} ({type(node).__name__}) {fault}")


def _weights_of(name: str, node: Any, field: str, dimensions: int) -> NDArray[Any]:
    """Return a node's weights, in float64 if they are stored so, else in float32."""
    array = np.asarray(getattr(node, field))
    if array.ndim != dimensions or array.dtype.kind != "f":
        floats = f"{array.dtype} of shape {array.shape}, expected floats of {dimensions} dimensions"
        raise _error(name, node, f"has {field} {floats}")
    if bad := np.count_nonzero(~np.isfinite(array)):
        numbers = f"{bad:,} of {array.size:,} numbers NaN or infinite"
        raise _error(name, node, f"has in {field} {numbers}")
    return array.astype(np.float64 if array.itemsize >= 8 else np.float32)


def _first_number(name: str, node: Any, field: str) -> float:
    """Return the first number of a field; `_compare` checks that the others are equal."""
    array = np.ravel(getattr(node, field))
    if not len(array) or array.dtype.kind not in "fiu" or not isfinite(array[0]):
        raise _error(name, node, f"has {field} {array[:1]}, expected numbers")
    return float(array[0])


def _decay(name: str, node: Any, metadata: NirMetadata, unconverted: float | None) -> float:
    """Return the factor k by which the potential decays in a step.

    Rounding is undone: the metadata's k, else a k of few digits, is used if it gives the same tau.
    """
    tau, digits = _first_number(name, node, "tau"), 12 if node.tau.itemsize >= 8 else 6
    if tau <= 0 or metadata.dt / tau > 1 + TOLERANCE:
        raise _error(name, node, f"has tau {tau:.6g} s, expected {metadata.dt:.6g} s or more")
    k = max(0.0, 1 - metadata.dt / tau)
    candidates = [c for c in (unconverted, round(k, digits)) if c is not None and c < 1]
    equal = (c for c in candidates if abs(metadata.dt / (1 - c) - tau) <= 10.0**-digits * tau)
    return next(equal, k)


def _neunorm_of(name: str, node: Any, metadata: NirMetadata) -> tuple[NeuNorm, NDArray[Any]]:
    """Return the NeuNorm that a subgraph may be, and its U; `_compare` checks the rest."""
    x, minus_u = node.nodes.get("x"), node.nodes.get("minus_u")
    if type(x).__name__ != "LI" or type(minus_u).__name__ != "Scale":
        raise _error(name, node, "is a subgraph that is not NeuNorm")
    U = -_weights_of(f"{name}/minus_u", minus_u, "scale", 3)
    k_tau2 = _decay(f"{name}/x", x, metadata, metadata.k_tau2)
    scale = _first_number(f"{name}/x", x, "r") * (1 - k_tau2)
    # with one map both readings are the same
    readings: list[Reading] = [metadata.neunorm or "mean", "mean", "literal"]
    candidates = (NeuNorm(k_tau2, reading) for reading in readings)
    return min(candidates, key=lambda neunorm: abs(neunorm.scale(len(U)) - scale)), U


def _compare(chain: list[tuple[str, Any]], paper_chain: list[tuple[str, Any]]) -> None:
    """Raise UsageError at the first node that differs from the paper's chain."""
    for (name, node), (_, ours) in zip(chain, paper_chain, strict=False):
        if type(node) is not type(ours):
            raise _error(name, node, f"stands where the paper has a {type(ours).__name__}")
        if type(node).__name__ == "NIRGraph":
            if node.nodes.keys() != ours.nodes.keys() or {*node.edges} != {*ours.edges}:
                raise _error(name, node, "is a subgraph that is not NeuNorm")
            inside = [(f"{name}/{key}", node.nodes[key]) for key in ours.nodes]
            _compare(inside, list(ours.nodes.items()))
            continue
        for field, value in vars(ours).items():
            if field not in ("input_type", "output_type", "input_shape", "metadata"):
                _compare_field(name, node, field, value)
    if len(chain) != len(paper_chain):
        raise UsageError(f"it has {len(chain)} nodes, the paper's network has {len(paper_chain)}")


def _compare_field(name: str, node: Any, field: str, paper_value: Any) -> None:
    """Raise UsageError where a node's field differs from the paper's beyond rounding."""
    value = getattr(node, field)
    a, b = np.asarray(value), np.asarray(paper_value)
    if (field, str(value)) in (("padding", "same"), ("end_dim", "2")):
        return  # another spelling of the same value
    if a.dtype.kind not in "fiu" or (a.shape != b.shape and a.size != 1):
        raise _error(name, node, f"has {field} of shape {a.shape}, expected numbers of {b.shape}")
    differs = ~np.isclose(*np.broadcast_arrays(a, b), rtol=TOLERANCE, atol=TOLERANCE**2)
    if differs.any():
        has, expected = (np.broadcast_to(array, differs.shape)[differs].flat[0] for array in (a, b))
        raise _error(name, node, f"has {field} {has:.6g}, the paper's network has {expected:.6g}")
