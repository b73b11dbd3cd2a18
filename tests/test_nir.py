"""NIR files: what leaves comes back, through us and through each importer that can; the others are
as docs/nir.md says.

A file has its layers under the names that `nir_file.write` gives: "01a_conv", "01b_lif", ...
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

nir = pytest.importorskip("nir", reason="needs nir, and nirtorch: pip install nir nirtorch")
nirtorch = pytest.importorskip("nirtorch", reason="needs nirtorch 2.6: pip install nirtorch")

if tuple(map(int, version("nirtorch").split(".")[:2])) < (2, 6):  # with sinabs' pins
    pytest.skip(
        "needs nirtorch 2.6 and nir 1.0.8: `make test` installs them", allow_module_level=True
    )

from harness.adapter import record_spikes  # noqa: E402
from harness.conformance import random_batch, small  # noqa: E402
from harness.formats import nir_file  # noqa: E402
from harness.formats.nir_file import DT, float32_below  # noqa: E402
from harness.formats.weights import encode  # noqa: E402
from harness.reference.initialise import initialised  # noqa: E402
from harness.reference.network import ReferenceNetwork  # noqa: E402
from harness.reference.neuron import fire  # noqa: E402
from harness.spec import LIF, Network, NeuNorm, Reading, Tie, UsageError  # noqa: E402

STEPS, SAMPLES = 4, 3
READINGS: tuple[Reading, ...] = ("mean", "literal")
DOC = Path(__file__).resolve().parents[1] / "docs" / "nir.md"
# static images and events, with and without pools, and each size of input
each_network = pytest.mark.parametrize(
    ("dataset", "scale"),
    [("cifar10", "Small"), ("cifar10", "Large"), ("nmnist", "Middle"), ("dvs-cifar10", "Middle")],
)
each_neunorm = pytest.mark.parametrize("neunorm", [None, *READINGS])


# what the importers of other frameworks make of a file


IMPORTERS_WARN = pytest.mark.filterwarnings("ignore")


def by_snntorch(path: Path) -> nn.Module:
    """Its neurons keep their state to themselves."""
    from snntorch.import_nir import import_from_nir

    return import_from_nir(nir.read(path))


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
        self.scale = nn.Buffer(torch.from_numpy(node.scale))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


def _affine(node: Any) -> nn.Linear:
    module = nn.Linear(*reversed(node.weight.shape))
    module.weight.data, module.bias.data = map(torch.from_numpy, (node.weight, node.bias))
    return module


MAP: dict[Any, Callable[[Any], nn.Module]] = {
    nir.Affine: _affine,  # nirtorch's own drops the bias
    # nirtorch's own flattens the batch too; NIR counts the dimensions of a sample
    nir.Flatten: lambda node: nn.Flatten(node.start_dim + 1, node.end_dim),
    nir.LIF: lambda node: Leaky(node, float(node.v_threshold.flat[0])),
    nir.LI: lambda node: Leaky(node, None),
    nir.Scale: Scaled,
}


def ending(module: nn.Module, *ends: str) -> list[Any]:
    """The layers' synapses or neurons, in order."""
    return [child for name, child in sorted(module.named_children()) if name.endswith(ends)]


def spikes_of(module: nn.Module, network: Network, x: Tensor) -> list[Tensor]:
    """Each layer's spikes (T, B, ...) on x (T, B, C, H, W), from zero state, with their gradients.

    A neuron's output is its spikes, alone or before its state.
    """
    by_layer: list[list[Tensor]] = [[] for _ in network.stages]
    for neuron, outputs in zip(ending(module, "_lif"), by_layer, strict=True):

        def keep(neuron: nn.Module, x: object, out: Any, outputs: list[Tensor] = outputs) -> None:
            outputs.append(out[0] if isinstance(out, tuple) else out)

        neuron.register_forward_hook(keep)
    state = None
    for frame in x:
        _, state = module(frame, state)
    return [torch.stack(outputs) for outputs in by_layer]


def expected_spikes(reference: ReferenceNetwork, x: Tensor) -> list[Tensor]:
    """Each layer's spikes of the reference; a silent layer would be equal to anything."""
    with record_spikes(reference) as taps:
        reference(x)
        spikes = [tap.collected() for tap in taps]
    assert all(0.01 < float(layer.double().mean()) < 0.9 for layer in spikes) or len(x[0]) == 1
    return spikes


def exported(
    network: Network, path: Path, *, static: bool, dtype: torch.dtype, tie: Tie = "at"
) -> tuple[ReferenceNetwork, Tensor]:
    """Writes the network with calibrated weights: the reference with them, and a batch."""
    x = random_batch(network, STEPS, SAMPLES, static=static).to(dtype)
    reference = initialised(network, x, seed=0)
    nir_file.write(path, network, list(reference.parameters()), tie)
    return reference, x


def equal(spikes: list[Tensor], expected: list[Tensor]) -> None:
    for ours, theirs in zip(spikes, expected, strict=True):
        assert torch.equal(ours.reshape(theirs.shape), theirs)


def check_gradients(
    module: nn.Module, out: Tensor, reference: ReferenceNetwork, x: Tensor, within: float
) -> None:
    """Of the sum of the voting spikes times random numbers, weights and biases in layer order."""
    back = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=out.dtype)
    synapses = ending(module, "_conv", "_affine")
    parameters = [p for synapse in synapses for p in (synapse.weight, synapse.bias)]
    gradients = torch.autograd.grad(out, parameters, back)
    expected = torch.autograd.grad(reference(x), list(reference.parameters()), back)
    for ours, theirs in zip(gradients, expected, strict=True):
        largest = theirs.abs().max()
        assert largest > 0
        assert (ours - theirs).abs().max() <= within * largest


@each_neunorm
@each_network
def test_export_and_back(dataset: str, scale: str, neunorm: Reading | None, tmp_path: Path) -> None:
    network, path = small(dataset, scale, neunorm), tmp_path / "network.nir"
    dtype = torch.float64 if neunorm == "mean" else torch.float32
    drawn = [p.detach() for p in ReferenceNetwork(network).to(dtype).parameters()]
    nir_file.write(path, network, drawn)
    file = nir_file.read(str(path))
    assert file.network == network and file.has_a
    assert file.weights == encode(network, drawn)


@IMPORTERS_WARN
@each_network
def test_spikingjelly_computes_the_reference(dataset: str, scale: str, tmp_path: Path) -> None:
    from spikingjelly.activation_based import surrogate
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    network, path = small(dataset, scale), tmp_path / "network.nir"
    reference, x = exported(network, path, static=dataset == "cifar10", dtype=torch.float64)
    module = import_from_nir(nir.read(path), dtype=torch.float64)
    for neuron in ending(module, "_lif"):
        neuron.module.surrogate_function = surrogate.Rect(alpha=1 / network.lif.a)
    spikes = spikes_of(module, network, x)
    equal(spikes, expected_spikes(reference, x))
    check_gradients(module, spikes[-1], reference, x, 1e-12)


@IMPORTERS_WARN
@pytest.mark.parametrize("tie", ["at", "above"])
@each_network
def test_snntorch_computes_every_spike_of_the_reference_one_sample_at_a_time(
    dataset: str, scale: str, tie: Tie, tmp_path: Path
) -> None:
    network, path = small(dataset, scale), tmp_path / "network.nir"
    static = dataset == "cifar10"
    reference, x = exported(network, path, static=static, dtype=torch.float32, tie=tie)
    for n in range(SAMPLES):
        module, one = by_snntorch(path), x[:, n : n + 1]
        lowered = torch.tensor(float32_below(network.lif.v_th))
        for neuron in ending(module, "_lif"):
            if tie == "at":  # its neuron fires above its threshold
                neuron.threshold = lowered
            assert torch.equal(neuron.threshold, lowered)
        equal(spikes_of(module, network, one), expected_spikes(reference, one))


@IMPORTERS_WARN
def test_snntorch_has_the_references_gradients_with_the_surrogate(tmp_path: Path) -> None:
    network, path = small("nmnist", "Middle"), tmp_path / "network.nir"
    reference, x = exported(network, path, static=False, dtype=torch.float32)
    module = by_snntorch(path)
    for neuron in ending(module, "_lif"):
        neuron.spike_grad = lambda distance: fire(distance, network.lif.a)
    out = spikes_of(module, network, x[:, :1])[-1].unsqueeze(1)
    check_gradients(module, out, reference, x[:, :1], 1e-5)


@each_neunorm
@each_network
def test_what_nir_defines_node_by_node_is_the_reference(
    dataset: str, scale: str, neunorm: Reading | None, tmp_path: Path
) -> None:
    network, path = small(dataset, scale, neunorm), tmp_path / "network.nir"
    reference, x = exported(network, path, static=dataset == "cifar10", dtype=torch.float64)
    module = nirtorch.nir_to_torch(nir.read(path), MAP, dtype=torch.float64)
    equal(spikes_of(module, network, x), expected_spikes(reference, x))


def test_the_support_table_is_of_the_versions_that_are_tested() -> None:
    text = DOC.read_text()
    for package in ("snntorch", "spikingjelly", "norse", "sinabs", "nirtorch"):
        line = re.search(rf"^\| {package} ([0-9.]+) ", text, re.MULTILINE | re.IGNORECASE)
        assert line is not None and line[1] == version(package), package


# what is written


def test_a_file_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "network.nir"
    path.write_text("mine")
    with pytest.raises(UsageError, match=r"network\.nir is there already"):
        exported(small("cifar10"), path, static=True, dtype=torch.float32)
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    "change",
    [{"lif": LIF(1.0, 0.75, 1.0)}, {"neunorm": NeuNorm(1.0)}],
    ids=["the potential", "NeuNorm"],
)
def test_what_does_not_leak_cannot_be_said(change: dict[str, Any], tmp_path: Path) -> None:
    network = replace(small("cifar10", neunorm="mean"), **change)
    weights = list(ReferenceNetwork(network).parameters())
    with pytest.raises(UsageError, match="a decay of 1 does not leak"):
        nir_file.write(tmp_path / "network.nir", network, weights)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("k", [0.0, 0.25, 0.3, 0.35, 0.9, 1 / 3, 0.123456789012345678])
def test_every_decay_comes_back_exactly(k: float, tmp_path: Path) -> None:
    network = replace(small("cifar10"), lif=LIF(k, 0.05, 0.1))
    weights = list(ReferenceNetwork(network).parameters())
    for tie in ("at", "above"):
        path = tmp_path / f"{tie}.nir"
        nir_file.write(path, network, weights, tie)
        assert nir_file.read(str(path)).network.lif == network.lif
