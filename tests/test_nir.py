"""NIR files: what leaves comes back, through us and through each importer that can; the others are
as docs/nir.md says.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

nir = pytest.importorskip("nir", reason="needs nir, and nirtorch: pip install nir nirtorch")
nirtorch = pytest.importorskip("nirtorch", reason="needs nirtorch 2.6: pip install nirtorch")

if tuple(map(int, version("nirtorch").split(".")[:2])) < (2, 6):  # with sinabs' pins
    pytest.skip(
        "needs nirtorch 2.6 and nir 1.0.8: `make test` installs them", allow_module_level=True
    )

import importers  # noqa: E402
from importers import expected_spikes, spikes_of  # noqa: E402

from harness.conformance import NETWORKS, random_batch, small  # noqa: E402
from harness.formats import nir_file  # noqa: E402
from harness.formats.nir_file import above, below  # noqa: E402
from harness.reference.initialise import initialised  # noqa: E402
from harness.reference.network import ReferenceNetwork  # noqa: E402
from harness.spec import LIF, Network, NeuNorm, Reading, UsageError  # noqa: E402
from harness.spec.selection import Tie  # noqa: E402

READINGS: tuple[Reading, ...] = ("mean", "literal")
STEPS, SAMPLES = 4, 3
DOC = Path(__file__).resolve().parents[1] / "docs" / "nir.md"


def exported(
    network: Network, path: Path, *, static: bool, dtype: torch.dtype, tie: Tie = "at"
) -> tuple[ReferenceNetwork, Tensor]:
    """Writes the network with calibrated weights: the reference with them, and a batch."""
    x = random_batch(network, STEPS, SAMPLES, static=static).to(dtype)
    reference = initialised(network, x, seed=0)
    nir_file.write(path, network, list(reference.parameters()), tie)
    return reference, x


def check_fires(spikes: list[Tensor]) -> None:
    """A silent layer would be equal to anything."""
    assert all(0.01 < float(each.double().mean()) < 0.9 for each in spikes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
@pytest.mark.parametrize("neunorm", [None, *READINGS])
@pytest.mark.parametrize(("dataset", "scale"), NETWORKS)
def test_what_is_exported_comes_back_bit_for_bit(
    dataset: str, scale: str, neunorm: Reading | None, dtype: torch.dtype, tmp_path: Path
) -> None:
    network, path = small(dataset, scale, neunorm), tmp_path / "network.nir"
    drawn = [each.detach() for each in ReferenceNetwork(network).to(dtype).parameters()]
    nir_file.write(path, network, drawn)
    found = nir_file.read(path)
    assert found.network == network and found.says_a
    assert len(found.parameters) == len(drawn)
    for ours, theirs in zip(found.parameters, drawn, strict=True):
        assert ours.dtype == theirs.dtype and torch.equal(ours, theirs)


@pytest.mark.parametrize(("dataset", "scale"), NETWORKS)
def test_spikingjelly_computes_every_spike_and_gradient_of_the_reference(
    dataset: str, scale: str, tmp_path: Path
) -> None:
    from spikingjelly.activation_based import surrogate

    network, path = small(dataset, scale), tmp_path / "network.nir"
    reference, x = exported(network, path, static=dataset == "cifar10", dtype=torch.float64)
    module = importers.spikingjelly(path)
    for neuron in importers.neurons_of(module):
        neuron.module.surrogate_function = surrogate.Rect(alpha=1 / network.lif.a)
    found = spikes_of(module, network, x)
    wanted = expected_spikes(reference, x)
    check_fires(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.equal(ours, theirs)
    check_gradients(importers.parameters_of(module), found[-1], reference, x, 1e-12)


def check_gradients(
    parameters: list[torch.nn.Parameter],
    out: Tensor,
    reference: ReferenceNetwork,
    x: Tensor,
    within: float,
) -> None:
    """Of the sum of the voting spikes times random numbers."""
    back = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=out.dtype)
    found = torch.autograd.grad(out, parameters, back)
    wanted = torch.autograd.grad(reference(x), list(reference.parameters()), back)
    for ours, theirs in zip(found, wanted, strict=True):
        largest = theirs.abs().max()
        assert largest > 0
        assert (ours - theirs).abs().max() <= within * largest


@pytest.mark.parametrize("tie", ["at", "above"])
@pytest.mark.parametrize(("dataset", "scale"), NETWORKS)
def test_snntorch_computes_every_spike_of_the_reference_one_sample_at_a_time(
    dataset: str, scale: str, tie: Tie, tmp_path: Path
) -> None:
    network, path = small(dataset, scale), tmp_path / "network.nir"
    static = dataset == "cifar10"
    reference, x = exported(network, path, static=static, dtype=torch.float32, tie=tie)
    for n in range(SAMPLES):
        module, one = importers.snntorch(path), x[:, n : n + 1]
        lowered = torch.tensor(below(network.lif.v_th))
        for neuron in importers.neurons_of(module):
            if tie == "at":  # its neuron fires above its threshold
                neuron.threshold = lowered
            assert torch.equal(neuron.threshold, lowered)
        found = spikes_of(module, network, one)
        for ours, theirs in zip(found, expected_spikes(reference, one), strict=True):
            assert torch.equal(ours.reshape(theirs.shape), theirs)


def test_snntorch_has_the_reference_s_gradients_once_the_surrogate_is_attached(
    tmp_path: Path,
) -> None:
    network, path = small("nmnist", "Middle"), tmp_path / "network.nir"
    reference, x = exported(network, path, static=False, dtype=torch.float32)
    module = importers.snntorch(path)
    for neuron in importers.neurons_of(module):
        neuron.spike_grad = importers.rectangle(network.lif.a)
    out = spikes_of(module, network, x[:, :1])[-1].unsqueeze(1)
    parameters = importers.parameters_of(module)
    check_gradients(parameters, out, reference, x[:, :1], 1e-5)


@pytest.mark.parametrize("neunorm", [None, *READINGS])
@pytest.mark.parametrize(("dataset", "scale"), NETWORKS)
def test_what_nir_defines_node_by_node_is_the_reference(
    dataset: str, scale: str, neunorm: Reading | None, tmp_path: Path
) -> None:
    network, path = small(dataset, scale, neunorm), tmp_path / "network.nir"
    reference, x = exported(network, path, static=dataset == "cifar10", dtype=torch.float64)
    wanted = expected_spikes(reference, x)
    check_fires(wanted)
    found = spikes_of(importers.by_nirtorch(path), network, x)
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("framework", ["snntorch", "spikingjelly"])
def test_importers_without_li_and_scale_refuse_neunorm(
    framework: str, reading: Reading, tmp_path: Path
) -> None:
    path = tmp_path / "network.nir"
    exported(small("cifar10", neunorm=reading), path, static=True, dtype=torch.float32)
    with pytest.raises(ValueError, match="Unknown node type.*(LI|Scale)"):
        getattr(importers, framework)(path)


def test_snntorch_flattens_the_batch(tmp_path: Path) -> None:
    network, path = small("cifar10"), tmp_path / "network.nir"
    _, x = exported(network, path, static=True, dtype=torch.float32)
    with pytest.raises(RuntimeError, match="shape"):
        spikes_of(importers.snntorch(path), network, x)


def test_spikingjelly_refuses_a_neuron_that_forgets_at_once(tmp_path: Path) -> None:
    network = replace(small("cifar10"), lif=LIF(0.0, 0.75, 1.0))
    exported(network, tmp_path / "network.nir", static=True, dtype=torch.float32)
    assert nir_file.read(tmp_path / "network.nir").network == network
    with pytest.raises(ValueError, match="greater than 1"):
        importers.spikingjelly(tmp_path / "network.nir")


def test_norse_has_no_average_pool(tmp_path: Path) -> None:
    path = tmp_path / "network.nir"
    network = small("cifar10")
    _, x = exported(network, path, static=True, dtype=torch.float32)
    with importers.quiet():
        from norse.torch.utils.import_nir import from_nir

        with pytest.raises(KeyError, match="pool"):
            from_nir(importers.read(path), ignore_warnings=True)(x[0])


def dense(k: float) -> Any:
    """A graph of one product and its neurons, as we write them."""
    leak = 1 / (1 - k)
    values = {"tau": 1e-4 * leak, "r": leak, "v_leak": 0.0, "v_threshold": 0.75}
    neuron = nir.LIF(**{name: np.full(5, value) for name, value in values.items()})
    weight = np.eye(5, dtype=np.float32)
    return nir.NIRGraph.from_list(nir.Affine(weight, np.zeros(5, np.float32)), neuron)


def test_norse_ignores_r() -> None:
    with importers.quiet():
        from norse.torch.utils.import_nir import from_nir

        module = from_nir(dense(0.25), ignore_warnings=True, dt=1e-4)
        out = module(torch.full((1, 5), 0.9))[0]
    assert not out.any()  # 0.9 is above V_th; scaled by 1 - k it is not


def test_sinabs_takes_another_decay_and_subtracts() -> None:
    with importers.quiet():
        import sinabs.layers as sl
        from sinabs.activation import MembraneSubtract
        from sinabs.nir import from_nir

        module = from_nir(dense(0.25), batch_size=1)
    (neuron,) = (each for each in module.modules() if isinstance(each, sl.LIFSqueeze))
    tau = 1e-4 / 0.75
    assert float(neuron.alpha_mem_calculated.detach().max()) == pytest.approx(
        math.exp(-1 / tau), abs=1e-9
    )
    assert isinstance(neuron.reset_fn, MembraneSubtract)


def test_nirtorch_s_own_map_drops_the_bias() -> None:
    bias = np.arange(5, dtype=np.float32)
    module = nirtorch.nir_to_torch(nir.Affine(np.eye(5, dtype=np.float32), bias), {})
    assert not torch.equal(module.bias.detach(), torch.from_numpy(bias))


def test_the_support_table_is_of_the_versions_that_are_tested() -> None:
    text = DOC.read_text()
    for package in ("snntorch", "spikingjelly", "norse", "sinabs", "nirtorch"):
        found = re.search(rf"^\| {package} ([0-9.]+) ", text, re.MULTILINE | re.IGNORECASE)
        assert found is not None, package
        assert found[1] == version(package)


def test_a_file_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "network.nir"
    path.write_text("mine")
    with pytest.raises(UsageError, match=r"network\.nir is there already"):
        exported(small("cifar10"), path, static=True, dtype=torch.float32)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("which", ["neuron", "neunorm"])
def test_what_does_not_leak_cannot_be_said(which: str, tmp_path: Path) -> None:
    network = small("cifar10", neunorm="mean")
    if which == "neuron":
        network = replace(network, lif=LIF(1.0, 0.75, 1.0))
    else:
        network = replace(network, neunorm=NeuNorm(1.0))
    weights = list(ReferenceNetwork(network).parameters())
    with pytest.raises(UsageError, match="a decay of 1 does not leak"):
        nir_file.write(tmp_path / "network.nir", network, weights)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("k", [0.25, 0.3, 0.35, 0.9, 1 / 3, 0.123456789012345678])
def test_every_decay_comes_back_exactly(k: float, tmp_path: Path) -> None:
    network = replace(small("cifar10"), lif=LIF(k, 0.05, 0.1))
    weights = list(ReferenceNetwork(network).parameters())
    for tie in ("at", "above"):
        path = tmp_path / f"{tie}.nir"
        nir_file.write(path, network, weights, tie)
        assert nir_file.read(path).network.lif == network.lif


def test_thresholds_above_and_below_are_neighbours() -> None:
    for v_th in (0.05, 0.25, 0.75):
        assert below(v_th) < np.float32(v_th) < above(v_th)
        assert above(below(v_th)) == np.float32(v_th)
