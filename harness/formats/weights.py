"""Weights as safetensors, which hold numbers alone: kept under OUT/weights by the file's hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from math import prod
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from harness.reference.initialise import initialised
from harness.reference.network import ReferenceNetwork
from harness.spec import Case, Conv, Network, UsageError
from harness.system.files import printable, write_result

DTYPES = (torch.float32, torch.float64)
# What is said of the network they are of. One entry: of several the order is not always the same,
# and with it the file's hash.
ABOUT = "network"


def parameter_forms(network: Network) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network's parameters, in the order of the adapter contract.

    They count its layers of neurons from 1: "1.weight", "1.bias", then "1.U" where NeuNorm acts on
    what leaves the layer.
    """
    forms: dict[str, tuple[int, ...]] = {}
    for n, stage in enumerate(network.stages, 1):
        out, weight = stage.output_shape[0], (prod(stage.input_shape),)
        if isinstance(stage.synapse, Conv):
            weight = (stage.input_shape[0], stage.synapse.kernel, stage.synapse.kernel)
        forms |= {f"{n}.weight": (out, *weight), f"{n}.bias": (out,)}
        if stage.neunorm_shape is not None:
            forms[f"{n}.U"] = stage.neunorm_shape
    return forms


def content(network: Network, parameters: Iterable[Tensor]) -> bytes:
    """The file of a network's parameters, given in layer order: the same weights, the same bytes.

    Raises ValueError where they are not the network's.
    """
    given = [each.detach().cpu().contiguous() for each in parameters]
    forms, shapes = parameter_forms(network), [tuple(each.shape) for each in given]
    if shapes != [*forms.values()]:
        raise ValueError(f"weights of shapes {shapes}, expected {forms}")
    return safetensors.torch.save(dict(zip(forms, given, strict=True)), {ABOUT: str(network)})


def hash_of(kept: bytes) -> str:
    """The hash that a file of weights is named by."""
    return hashlib.sha256(kept).hexdigest()


def path_of(out: Path, sha256: str) -> Path:
    """Where a result folder keeps the weights of that hash."""
    return out / "weights" / f"{sha256}.safetensors"


def keep(out: Path, kept: bytes) -> str:
    """Keeps a file of weights in a result folder: its hash, which is its name.

    Raises UsageError where it cannot be written.
    """
    sha256 = hash_of(kept)
    if not path_of(out, sha256).is_file():
        write_result(path_of(out, sha256), kept)
    return sha256


def load(path: Path, network: Network) -> list[Tensor]:
    """The parameters of `network`, in layer order.

    Raises UsageError where the file is damaged, or of another network: the message says where.
    """
    shown = printable(path)
    if not path.is_file():
        raise UsageError(f"{shown} is no file: name a safetensors file that there is")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            of = printable((file.metadata() or {}).get(ABOUT, "another network"))[:200]
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, RuntimeError, ValueError) as error:
        what = printable(f"{error}".partition("\n")[0][:200])
        raise UsageError(f"{shown} is no file of weights, or a damaged one ({what})") from error
    forms = parameter_forms(network)
    shapes = {name: tuple(each.shape) for name, each in found.items()}
    for name in sorted(forms.keys() | shapes.keys()):
        if shapes.get(name) != forms.get(name):
            has, wanted = shapes.get(name, "not there"), forms.get(name, "none")
            raise UsageError(f"{shown}: {name} is {has}, {network} has {wanted}: it is of {of}")
        if found[name].dtype not in DTYPES or not bool(found[name].isfinite().all()):
            raise UsageError(f"{shown}: {name} holds what is no float32 or float64 number")
    return [found[name] for name in forms]


def of_hash(out: Path, sha256: str, network: Network) -> list[Tensor]:
    """The weights that a result folder keeps under a hash.

    Raises UsageError where they are not there, are not what was kept, or are of another network.
    """
    path = path_of(out, sha256)
    if not path.is_file():
        raise UsageError(f"its initial weights are not here: {printable(path)} is no file")
    if hash_of(path.read_bytes()) != sha256:
        raise UsageError(f"{printable(path)} is not what its name says: it has been changed")
    return load(path, network)


def first_weights(case: Case, x: Tensor, out: Path | None) -> ReferenceNetwork:
    """The reference with a case's initial weights, of the type and on the device of batch `x`.

    They are those that it names, kept in the result folder `out`, else drawn and scaled on `x`.

    Raises UsageError where those that it names are not there.
    """
    if case.weights_sha256 is None:
        return initialised(case.network, x, seed=case.seed, scheme=case.initialisation)
    if out is None:
        raise UsageError("its initial weights are a file's, and no result folder is known")
    weights = of_hash(out, case.weights_sha256, case.network)
    with torch.random.fork_rng(devices=[]):
        module = ReferenceNetwork(case.network).to(x.dtype)
    with torch.no_grad():
        for parameter, value in zip(module.parameters(), weights, strict=True):
            parameter.copy_(value)
    return module.to(x.device)
