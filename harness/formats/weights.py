"""Store weights as safetensors files under OUT/weights, named by their SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from harness.machine.files import write_result
from harness.reference.initialise import as_drawn, copy_parameters, initialised
from harness.reference.network import ReferenceNetwork
from harness.spec import Conv, Network, UsageError, Workload

DTYPES = (torch.float32, torch.float64)
# The one metadata entry: safetensors orders several at random, and that would change the hash.
NETWORK_ENTRY = "network"


def parameter_shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of each parameter, in the order of the adapter contract.

    Names count the layers of neurons from 1: "1.weight", "1.bias", then "1.U" if NeuNorm acts on
    the layer's output.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for n, stage in enumerate(network.stages, 1):
        inputs, out = stage.input_shape[0], stage.output_shape[0]
        kernel = (stage.synapse.kernel,) * 2 if isinstance(stage.synapse, Conv) else ()
        shapes |= {f"{n}.weight": (out, inputs, *kernel), f"{n}.bias": (out,)}
        if stage.neunorm_shape is not None:
            shapes[f"{n}.U"] = stage.neunorm_shape
    return shapes


def encode(network: Network, parameters: Iterable[Tensor]) -> bytes:
    """Encode a network's parameters, given in layer order, as the bytes of a safetensors file.

    Equal weights give equal bytes. Raises ValueError if the shapes are not the network's.
    """
    tensors = [tensor.detach().cpu().contiguous() for tensor in parameters]
    expected, shapes = parameter_shapes(network), [tuple(tensor.shape) for tensor in tensors]
    if shapes != [*expected.values()]:
        raise ValueError(f"weights of shapes {shapes}, expected {expected}")
    named = dict(zip(expected, tensors, strict=True))
    return safetensors.torch.save(named, {NETWORK_ENTRY: str(network)})


def path_of(out: Path, sha256: str) -> Path:
    """Return the path of the weights with that hash in the result folder `out`."""
    return out / "weights" / f"{sha256}.safetensors"


def keep(out: Path, content: bytes) -> str:
    """Write encoded weights into the result folder `out`; return their hash. Raises Unwritable."""
    sha256 = hashlib.sha256(content).hexdigest()
    if not path_of(out, sha256).is_file():
        write_result(path_of(out, sha256), content)
    return sha256


def load(path: Path, network: Network) -> list[Tensor]:
    """Read the parameters of `network` from a safetensors file, in layer order.

    Raises UsageError if the file is damaged or of another network: the message names the parameter.
    """
    if not path.is_file():
        raise UsageError(f"{path} is no file: name an existing safetensors file")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            owner = (file.metadata() or {}).get(NETWORK_ENTRY, "another network")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, RuntimeError, ValueError) as error:
        reason = f"{error}".partition("\n")[0]
        raise UsageError(f"{path} is no file of weights, or a damaged one ({reason})") from error
    expected = parameter_shapes(network)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name in sorted(expected.keys() | shapes.keys()):
        if shapes.get(name) != expected.get(name):
            has, needs = shapes.get(name, "not there"), expected.get(name, "none")
            raise UsageError(f"{path}: {name} is {has}, {network} has {needs}: it is of {owner}")
        if tensors[name].dtype not in DTYPES or not bool(tensors[name].isfinite().all()):
            raise UsageError(f"{path}: {name} holds values that are no float32 or float64 numbers")
    return [tensors[name] for name in expected]


def load_kept(out: Path, sha256: str, network: Network) -> list[Tensor]:
    """Read the weights that the result folder `out` keeps under a hash, in layer order.

    Raises UsageError if the file is missing, was changed, or is of another network.
    """
    path = path_of(out, sha256)
    if not path.is_file():
        raise UsageError(f"its initial weights are missing: {path} is no file")
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise UsageError(f"{path} has been changed: its content has not the hash in its name")
    return load(path, network)


def initial_network(workload: Workload, x: Tensor, out: Path | None) -> ReferenceNetwork:
    """Build the reference network with its initial weights, of `x`'s dtype and device.

    Reads those that the workload names from the result folder `out`, else draws them by its seed;
    most initialisations scale them on x (T, B, C, H, W). Raises UsageError if `out` lacks them.
    """
    network, scheme = workload.network, workload.initialisation
    if workload.weights_sha256 is None:
        return initialised(network, x, seed=workload.seed, scheme=scheme)
    if out is None:
        raise UsageError("its initial weights are a file's, and no result folder is known")
    weights = load_kept(out, workload.weights_sha256, network)
    module = as_drawn(ReferenceNetwork, network).to(x.device, x.dtype)
    copy_parameters(nn.ParameterList(weights), module)
    return module
