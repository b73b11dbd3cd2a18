"""A network of the paper and its weights as a NIR graph in a file (neuroir.org).

NIR's neuron is `tau dv/dt = (v_leak - v) + r I`. Over a step of `dt` by Euler's rule that is
`v = (1 - dt / tau) v + (dt / tau) r I`: eq. (5) with `k = 1 - dt / tau` and `r = tau / dt`.

A file is read by looking which network of the paper it may hold, and comparing it node by node with
the graph that we would write of that network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from itertools import pairwise
from math import isfinite
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor

from harness.formats.weights import parameter_forms
from harness.spec import (
    LIF,
    AvgPool,
    Conv,
    Layer,
    Linear,
    Network,
    NeuNorm,
    Reading,
    Tie,
    UsageError,
    Voting,
)
from harness.system.files import printable, unwritable, write_whole
from harness.system.installed import VERSION

DT = 1e-4  # seconds a step, where a file does not say: what snnTorch and SpikingJelly take it for
A = 1.0  # where a file does not say
NEAR = 1e-6  # relative: constants are often kept in float32
KINDS = ("Conv2d", "LIF", "AvgPool2d", "Flatten", "Affine", "NIRGraph")  # of the paper's networks
Above0 = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Decay = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class Said:
    """What a graph's metadata say: what NIR has no field for, and constants as they were before
    they became NIR's. A file from elsewhere may say nothing.
    """

    made_by: str = ""
    dt: Above0 = DT
    surrogate: Literal["rectangle"] = "rectangle"  # of width `a` and height 1 / a
    a: Above0 | None = None
    tie: Tie | None = None
    k_tau: Decay | None = None
    v_th: Above0 | None = None
    classes: Annotated[int, Field(gt=0)] = 10
    k_tau2: Decay | None = None
    neunorm: Reading | None = None


def library() -> ModuleType:
    """The package nir. Raises UsageError where it is not installed."""
    try:
        import nir
    except ImportError as error:
        raise UsageError(
            f"NIR files need the package nir ({error}): pip install 'snn-harness[nir]'"
        ) from error
    return nir


# from a network to a file


def write(path: Path, network: Network, parameters: Sequence[Tensor], tie: Tie = "at") -> None:
    """Writes a network with its weights, given in layer order, whole or not at all.

    `tie`: "at" has V_th as it is; "above" has the float32 number below it, for importers whose
    neuron fires above its threshold. Raises UsageError where the file is there or cannot be
    written, and for a neuron that does not leak.
    """
    nir, lif, norm = library(), network.lif, network.neunorm
    said = Said(
        f"snn-harness {VERSION}",
        a=lif.a,
        tie=tie,
        k_tau=lif.k_tau,
        v_th=lif.v_th,
        classes=network.classes,
        k_tau2=norm.k_tau2 if norm else None,
        neunorm=norm.reading if norm else None,
    )
    metadata = {name: value for name, value in vars(said).items() if value is not None}
    v_th = lif.v_th if tie == "at" else below(lif.v_th)
    given = [each.detach().cpu().numpy() for each in parameters]
    nodes = dict(_nodes(replace(network, lif=replace(lif, v_th=v_th)), given, DT))
    graph = nir.NIRGraph(nodes=nodes, edges=list(pairwise(nodes)), metadata=metadata)
    if path.exists():
        raise UsageError(f"{printable(path)} is there already: name a new file with --to")
    try:
        write_whole(path, lambda part: nir.write(part, graph))
    except OSError as error:
        raise unwritable(path, error) from error


def _nodes(
    network: Network, parameters: Sequence[NDArray[Any]], dt: float
) -> Iterator[tuple[str, Any]]:
    """The graph's chain: "00_input", "01a_conv", "01b_lif", "01c_pool", "01d_neunorm", ...

    The names' order is that of the chain: readers take nodes from a file by name, and nirtorch 2.6
    fails on a subgraph that comes before what it is given. Raises UsageError for a neuron that does
    not leak, and for weights of other shapes.
    """
    nir, forms = library(), parameter_forms(network)
    if len(parameters) != len(forms):
        raise UsageError(f"it has {len(parameters)} arrays of weights, {network} has {len(forms)}")
    named = dict(zip(forms, parameters, strict=True))
    for name, each in named.items():
        if each.shape != forms[name]:
            raise UsageError(f"{name} is of shape {each.shape}, {network} has {forms[name]}")
    digits = max(2, len(str(len(network.stages) + 1)))
    yield f"{0:0{digits}}_input", nir.Input(_ints(*network.input_shape))
    shape: tuple[int, ...] = network.input_shape
    for n, stage in enumerate(network.stages, 1):
        own: list[tuple[str, Any]] = []
        weight, bias = named[f"{n}.weight"], named[f"{n}.bias"]
        if isinstance(stage.synapse, Conv):
            own.append(("conv", _convolution(weight, bias, shape, stage.synapse.kernel // 2)))
        else:
            if len(shape) == 3:  # dimensions are those of a sample: NIR has no batch
                own.append(("flatten", nir.Flatten({"input": _ints(*shape)}, 0, -1)))
            own.append(("affine", nir.Affine(weight, bias)))
        shape = stage.output_shape
        constants = (*_leak(network.lif.k_tau, dt), 0.0, network.lif.v_th, 0.0)
        own.append(("lif", nir.LIF(*(np.full(shape, value) for value in constants))))
        if stage.pool is not None:
            size = stage.pool.size
            own.append(("pool", nir.AvgPool2d(_ints(size, size), _ints(size, size), _ints(0, 0))))
            shape = (shape[0], shape[1] // size, shape[2] // size)
        if network.neunorm is not None and f"{n}.U" in named:
            own.append(("neunorm", _neunorm(network.neunorm, named[f"{n}.U"], dt)))
        for letter, (name, node) in zip("abcd", own, strict=False):
            yield f"{n:0{digits}}{letter}_{name}", node
    yield f"{len(network.stages) + 1:0{digits}}_output", nir.Output(_ints(*shape))


def _convolution(weight: Any, bias: Any, shape: Sequence[int], padding: int) -> Any:
    one, half = _ints(1, 1), _ints(padding, padding)
    return library().Conv2d(_ints(*shape[1:]), weight, one, half, one, 1, bias)


def _neunorm(neunorm: NeuNorm, U: NDArray[Any], dt: float) -> Any:
    """NeuNorm, eqs. (9) and (10), of spikes (C, H, W): `spikes + (-U) x`, x of a leaky integrator.

    "sum" adds up the feature maps, "x" is the auxiliary neuron, "spread" gives it to every map,
    "minus_u" scales it; both meet in "join", which multiplies by one, since not every reader adds
    up what enters an output.
    """
    nir = library()
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
    """tau, and the r with which the input is not scaled, of a potential that decays by `k`."""
    if k == 1:
        raise UsageError("a neuron with a decay of 1 does not leak: NIR's LIF and LI cannot say it")
    return dt / (1 - k), 1 / (1 - k)


def _ints(*values: int) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def below(v_th: float) -> float:
    """The float32 number below a threshold: `u > below(v_th)` is `u >= v_th` for u in float32."""
    return float(np.nextafter(np.float32(v_th), np.float32(-np.inf)))


# from a file to a network


@dataclass(frozen=True)
class Imported:
    """What a file describes."""

    network: Network
    parameters: tuple[Tensor, ...]  # in layer order
    says_a: bool  # whether the surrogate's width is the file's; else it is `A`


def read(path: Path) -> Imported:
    """The network and weights of a NIR file.

    A neuron whose constants say that it fires above its threshold, as NIR's does, gets the float32
    number above it: then it fires at the same potentials. Raises UsageError with the node that the
    paper has not, and why, and where the file is damaged.
    """
    nir, shown = library(), printable(path)
    if not path.is_file():
        raise UsageError(f"{shown} is no file: name one that there is")
    # nir 1.0.4, the newest that sinabs allows, checks no types and has no such argument
    has_check = "type_check" in signature(nir.read).parameters
    unchecked: dict[str, Any] = {"type_check": False} if has_check else {}
    try:
        graph = nir.read(path, **unchecked)  # single numbers for all neurons are taken too
    except Exception as error:  # noqa: BLE001 of a damaged file nir raises whatever h5py does
        what = printable(f"{type(error).__name__}: {error}".partition("\n")[0][:200])
        raise UsageError(
            f"{shown} is no NIR file, a damaged one, or written by a newer nir than {nir.version}, "
            f"which reads it here ({what})"
        ) from error
    try:
        return _imported(graph)
    except UsageError as error:
        raise UsageError(f"{shown}: {error}") from error


def _imported(graph: Any) -> Imported:
    said, way = _said(graph.metadata), _chain(graph)
    given = np.ravel(way[0][1].input_type["input"])
    if given.dtype.kind not in "fiu" or len(given) != 3 or not np.isfinite(given).all():
        raise _wrong(*way[0], f"is of shape {given}, expected (C, H, W)")
    shape = tuple(map(int, given))
    layers: list[Layer] = []
    parameters: list[NDArray[Any]] = []
    lif, neunorm = None, None
    for name, node in way[1:-1]:
        match kind := type(node).__name__:
            case "Conv2d" | "Affine":
                weight = _numbers(name, node, "weight", 4 if kind == "Conv2d" else 2)
                parameters += [weight, _numbers(name, node, "bias", 1)]
                if kind == "Conv2d":
                    layers.append(Conv(len(weight), weight.shape[2], encoding=not layers))
                else:
                    layers.append(Linear(len(weight)))
            case "LIF":
                threshold = _first(name, node, "v_threshold")
                lif = lif or LIF(_decay(name, node, said, said.k_tau), threshold, said.a or A)
            case "AvgPool2d":
                layers.append(AvgPool(int(_first(name, node, "kernel_size"))))
            case "NIRGraph":
                found, U = _neunorm_of(name, node, said)
                neunorm = neunorm or found
                parameters.append(U)
            case "Flatten":
                pass
            case _:
                raise _wrong(name, node, f"is not of the paper's networks: they have {KINDS}")
    if lif is None or not layers or not isinstance(layers[-1], Linear):
        raise UsageError("it does not end with a product and its neurons, which vote")
    voters = layers[-1].features
    if voters % said.classes:
        raise UsageError(f"{voters} voting neurons are no multiple of {said.classes} classes")
    network = Network.parse(  # which checks sizes and order, as of any network
        "-".join(map(str, [*layers[:-1], Voting()])),
        input_shape=(shape[0], shape[1], shape[2]),
        lif=lif,
        neunorm=neunorm,
        classes=said.classes,
        population=voters // said.classes,
    )
    _compare(way, list(_nodes(network, parameters, said.dt)))
    v_th = lif.v_th
    if said.tie != "at":  # `u >= v_th` with the number above is `u > v_th`, for u in float32
        v_th = float(np.nextafter(np.float32(v_th), np.float32(np.inf)))
        if said.v_th is not None and below(said.v_th) == np.float32(lif.v_th):
            v_th = said.v_th
    network = replace(network, lif=replace(lif, v_th=v_th))
    return Imported(network, tuple(map(torch.from_numpy, parameters)), said.a is not None)


def _said(metadata: dict[str, Any]) -> Said:
    given = {k: v.item() if isinstance(v, np.generic) else v for k, v in metadata.items()}
    try:
        return TypeAdapter(Said).validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        name, value = first["loc"][0], printable(first["input"])[:40]
        raise UsageError(f"its metadata's {name} is {value}: {first['msg']}") from None


def _chain(graph: Any) -> list[tuple[str, Any]]:
    """All nodes from the input to the output, each with one before and one after it."""
    nodes, edges = graph.nodes, set(graph.edges)
    for source, target in edges:
        if source not in nodes or target not in nodes:
            raise UsageError(f"an edge leads from {source!r} to {target!r}: one is not there")
    for name, node in nodes.items():
        kind, found = type(node).__name__, [sum(e[side] == name for e in edges) for side in (1, 0)]
        if found != [kind != "Input", kind != "Output"]:
            raise _wrong(name, node, "has {} nodes before it and {} after it".format(*found))
    after, way = dict(edges), [name for name in nodes if type(nodes[name]).__name__ == "Input"]
    while way and way[-1] in after:
        way.append(after[way[-1]])
    if not way or len(way) != len(nodes):
        raise UsageError("its nodes are not one chain from an input to an output")
    return [(name, nodes[name]) for name in way]


def _wrong(name: str, node: Any, what: str) -> UsageError:
    return UsageError(f"node {printable(name)[:80]!r} ({type(node).__name__}) {what}")


def _numbers(name: str, node: Any, field: str, dimensions: int) -> NDArray[Any]:
    """A field of weights, in float64 where it has it, else in float32."""
    found = np.asarray(getattr(node, field))
    if found.ndim != dimensions:
        shape = f"of shape {found.shape}, expected {dimensions} dimensions"
        raise _wrong(name, node, f"has {field} {shape}")
    if found.dtype.kind != "f":
        raise _wrong(name, node, f"has {field} of {found.dtype}, expected floating-point numbers")
    if wrong := np.count_nonzero(~np.isfinite(found)):
        of = f"{wrong:,} of {found.size:,} numbers NaN or infinite"
        raise _wrong(name, node, f"has in {field} {of}")
    return found.astype(np.float64 if found.itemsize >= 8 else np.float32)


def _first(name: str, node: Any, field: str) -> float:
    """The first number of a field; `_compare` sees to it that the others are the same."""
    found = np.ravel(getattr(node, field))
    if not len(found) or found.dtype.kind not in "fiu" or not isfinite(found[0]):
        raise _wrong(name, node, f"has {field} {str(found[:1])[1:-1] or 'nothing'}, not a number")
    return float(found[0])


def _decay(name: str, node: Any, said: Said, named: float | None) -> float:
    """The factor k by which the potential decays in a step.

    That which the file names, or that of few digits, is taken where it comes to the same tau.
    """
    tau, digits = _first(name, node, "tau"), 12 if node.tau.itemsize >= 8 else 6
    if tau <= 0 or said.dt / tau > 1 + NEAR:
        raise _wrong(name, node, f"has tau {tau:.6g} s, expected {said.dt:.6g} s, a step, or more")
    k = max(0.0, 1 - said.dt / tau)
    candidates = [each for each in (named, round(k, digits)) if each is not None and each < 1]
    near = (c for c in candidates if abs(said.dt / (1 - c) - tau) <= 10.0**-digits * tau)
    return next(near, k)


def _neunorm_of(name: str, node: Any, said: Said) -> tuple[NeuNorm, NDArray[Any]]:
    """The NeuNorm that a subgraph may be, and its U."""
    x, minus_u = node.nodes.get("x"), node.nodes.get("minus_u")
    if type(x).__name__ != "LI" or type(minus_u).__name__ != "Scale":
        raise _wrong(name, node, "is a subgraph that is not NeuNorm")
    U = -_numbers(f"{name}/minus_u", minus_u, "scale", 3)
    k_tau2 = _decay(f"{name}/x", x, said, said.k_tau2)
    scale = _first(f"{name}/x", x, "r") * (1 - k_tau2)
    # the nearer one, which must then be equal; with one map both are the same
    readings: list[Reading] = [said.neunorm or "mean", "mean", "literal"]
    found = (NeuNorm(k_tau2, each) for each in readings)
    return min(found, key=lambda each: abs(each.scale(len(U)) - scale)), U


def _compare(found: list[tuple[str, Any]], wanted: list[tuple[str, Any]]) -> None:
    """Raises UsageError where the nodes are not those of the paper's network."""
    for (name, node), (_, ours) in zip(found, wanted, strict=False):
        if type(node) is not type(ours):
            raise _wrong(name, node, f"stands where the paper has a {type(ours).__name__}")
        if type(node).__name__ == "NIRGraph":
            if node.nodes.keys() != ours.nodes.keys() or {*node.edges} != {*ours.edges}:
                raise _wrong(name, node, "is a subgraph that is not NeuNorm")
            inside = [(f"{name}/{key}", node.nodes[key]) for key in ours.nodes]
            _compare(inside, list(ours.nodes.items()))
            continue
        for field, value in vars(ours).items():
            if field not in ("input_type", "output_type", "input_shape", "metadata"):
                _compare_field(name, node, field, value)
    if len(found) != len(wanted):
        raise UsageError(f"it has {len(found)} nodes on its way, the paper's network {len(wanted)}")


def _compare_field(name: str, node: Any, field: str, wanted: Any) -> None:
    found = getattr(node, field)
    a, b = np.asarray(found), np.asarray(wanted)
    if (field, str(found)) in (("padding", "same"), ("end_dim", "2")):
        return  # the same in other words
    if a.dtype.kind not in "fiu" or (a.shape != b.shape and a.size != 1):
        raise _wrong(name, node, f"has {field} of shape {a.shape}, expected numbers of {b.shape}")
    differs = ~np.isclose(*np.broadcast_arrays(a, b), rtol=NEAR, atol=NEAR**2)
    if differs.any():
        has, expected = (np.broadcast_to(each, differs.shape)[differs].flat[0] for each in (a, b))
        raise _wrong(name, node, f"has {field} {has:.6g}, the paper's network has {expected:.6g}")
