"""NIR files through the importers of other frameworks: every layer's spikes, as they compute them.

Each has its layers under the names that `nir_file.write` gives: "01a_conv", "01b_lif", ...
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import nir
import nirtorch
import torch
from torch import Tensor, nn

from harness.formats.nir_file import DT
from harness.reference.network import ReferenceNetwork
from harness.reference.neuron import fire
from harness.spec import Network


def read(path: Path) -> Any:
    """The file as the package nir reads it, with its own check of types."""
    return nir.read(path)


@contextmanager
def quiet() -> Iterator[None]:
    """What frameworks warn of when they are imported is theirs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def snntorch(path: Path) -> nn.Module:
    """snnTorch's import, whose neurons keep their state to themselves."""
    with quiet():
        from snntorch.import_nir import import_from_nir

        return import_from_nir(read(path))


def spikingjelly(path: Path) -> nn.Module:
    """SpikingJelly's import, in float64."""
    with quiet():
        from spikingjelly.activation_based.nir_exchange import import_from_nir

        return import_from_nir(read(path), dtype=torch.float64)


def by_nirtorch(path: Path) -> nn.Module:
    """nirtorch's own import with `MAP`, in float64: what NIR defines, node by node."""
    return nirtorch.nir_to_torch(read(path), MAP, dtype=torch.float64)


def spikes_of(module: nn.Module, network: Network, x: Tensor) -> list[Tensor]:
    """Each layer's spikes (T, B, ...) on x (T, B, C, H, W), from zero state, with their gradients.

    A neuron's output is its spikes, alone or before its state.
    """
    kept: list[list[Tensor]] = [[] for _ in network.stages]

    def keep(n: int) -> Callable[..., None]:
        def hook(neuron: nn.Module, given: object, out: Any) -> None:
            kept[n].append(out[0] if isinstance(out, tuple) else out)

        return hook

    neurons = neurons_of(module)
    assert len(neurons) == len(kept)
    handles = [each.register_forward_hook(keep(n)) for n, each in enumerate(neurons)]
    state = None
    for frame in x:
        _, state = module(frame, state)
    for handle in handles:
        handle.remove()
    return [torch.stack(each) for each in kept]


def parameters_of(module: nn.Module) -> list[nn.Parameter]:
    """Weights and biases in layer order."""
    synapses = _ending(module, "_conv", "_affine")
    return [each for synapse in synapses for each in (synapse.weight, synapse.bias)]


def neurons_of(module: nn.Module) -> list[Any]:
    """The layers' neurons, in order."""
    return _ending(module, "_lif")


def _ending(module: nn.Module, *ends: str) -> list[Any]:
    return [each for name, each in sorted(module.named_children()) if name.endswith(ends)]


def rectangle(a: float) -> Callable[[Tensor], Tensor]:
    """The paper's spike and surrogate of u - V_th."""
    return lambda distance: fire(distance, a)


class Leaky(nn.Module):
    """NIR's `tau dv/dt = (v_leak - v) + r I` by Euler's rule; a LIF fires and is reset at once."""

    def __init__(self, node: Any, v_threshold: float | None) -> None:
        super().__init__()
        self.rate = DT / float(node.tau.flat[0])
        self.r = float(node.r.flat[0])
        self.v_threshold = v_threshold

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        v = torch.zeros_like(x) if state is None else state
        v = v + self.rate * (self.r * x - v)
        if self.v_threshold is None:
            return v, v
        spikes = (v >= self.v_threshold).to(v.dtype)
        return spikes, v * (1 - spikes)


class Scaled(nn.Module):
    """NIR's Scale."""

    def __init__(self, node: Any) -> None:
        super().__init__()
        self.register_buffer("scale", torch.from_numpy(node.scale))

    def forward(self, x: Tensor) -> Tensor:
        return x * cast(Tensor, self.scale)


def _affine(node: Any) -> nn.Linear:
    module = nn.Linear(*reversed(node.weight.shape))
    module.weight.data, module.bias.data = map(torch.from_numpy, (node.weight, node.bias))
    return module


def _flatten(node: Any) -> nn.Flatten:
    return nn.Flatten(node.start_dim + 1, node.end_dim)  # NIR counts the dimensions of a sample


MAP: dict[Any, Callable[[Any], nn.Module]] = {
    nir.Affine: _affine,  # nirtorch's own drops the bias
    nir.Flatten: _flatten,  # nirtorch's own flattens the batch too
    nir.LIF: lambda node: Leaky(node, float(node.v_threshold.flat[0])),
    nir.LI: lambda node: Leaky(node, None),
    nir.Scale: Scaled,
}


def expected_spikes(reference: ReferenceNetwork, x: Tensor) -> list[Tensor]:
    """Each layer's spikes of the reference."""
    from harness.adapter import record_spikes

    with record_spikes(reference) as taps:
        reference(x)
        return [tap.collected() for tap in taps]
