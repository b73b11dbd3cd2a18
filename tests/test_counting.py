"""Counts of operations against those of NeuroBench and SpikingJelly; the suite `energy`."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command
from test_learning import case as training_case
from test_learning import rows_of, run
from torch import Tensor, nn

import adapters
from harness import suites
from harness.analysis import status
from harness.cli.status import key_now
from harness.records import EndedRow, OperationsRow, Store, TrainedRow
from harness.reference.initialise import initialised
from harness.reference.network import ReferenceNetwork
from harness.reference.operations import LayerOperations
from harness.spec import ANN, Case, Options, Timed, Training, paper
from harness.training import trial as counting

pytestmark = pytest.mark.usefixtures("no_data_of_the_machine")

POOLED = "4C3(Encoding)-AP2-6C3-AP2-8FC-Voting"
PLAIN = "4C3(Encoding)-6C3-8FC-Voting"


def energy_cases(**fields: Any) -> tuple[Case, ...]:
    return suites.suite("energy").cases(
        Options(suite="energy", frameworks=("reference",), device="cpu", **fields)
    )


def case(notation: str, neunorm: bool = False) -> Case:
    _, network = paper.network(notation, "cifar10", neunorm="mean" if neunorm else None)
    made, _ = energy_cases(datasets=("cifar10",), networks=(notation,), steps=(3,))
    return replace(made, network=network)


def batch(of: Case, *, static: bool) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (3, *of.network.input_shape)
    if static:
        return torch.randn(*shape, generator=generator).expand(of.T, *shape)
    return torch.randint(0, 3, (of.T, *shape), generator=generator).float()


def counts(of: Case, *, static: bool) -> tuple[nn.Module, Tensor, tuple[LayerOperations, ...]]:
    """A network that fires, a batch, and what is counted of it."""
    x = batch(of, static=static)
    module = initialised(of.network, x, seed=0).eval()
    return module, x, counting.counted(of, module, [x])


def neurobenchs_rule(layer: nn.Module, given: Tensor) -> tuple[int, bool]:
    """Operations of one call, and whether they are accumulates: NeuroBench 2.3's rule, written out.

    Inputs and weights that are not zero are 1, biases 0, and what the layer then says is added up;
    they are accumulates where the whole input holds nothing but -1, 0 and 1.
    """
    ones = deepcopy(layer)
    assert isinstance(ones, nn.Conv2d | nn.Linear) and ones.bias is not None
    ones.weight.data = (ones.weight.data != 0).double()
    ones.bias.data = torch.zeros_like(ones.bias.data).double()
    spikes = bool(((given == 0) | (given.abs() == 1)).all())
    return int(ones((given != 0).double()).sum()), spikes


@torch.no_grad()
def by_neurobenchs_rule(module: ReferenceNetwork, x: Tensor) -> list[list[int]]:
    """MACs and ACs of each layer."""
    heard: list[list[Tensor]] = [[] for _ in module.layers]
    synapses: list[nn.Module] = [layer.synapse for layer in module.layers]

    def hear(synapse: nn.Module, given: tuple[Tensor, ...]) -> None:
        heard[synapses.index(synapse)].append(given[0])

    handles = [synapse.register_forward_pre_hook(hear) for synapse in synapses]
    module(x)
    for handle in handles:
        handle.remove()
    found = [[0, 0] for _ in module.layers]
    for n, synapse in enumerate(synapses):
        for given in heard[n]:
            operations, spiking = neurobenchs_rule(synapse, given)
            found[n][spiking] += operations
    return found


@pytest.mark.parametrize("neunorm", [False, True])
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("notation", [POOLED, PLAIN])
def test_counts_by_value_are_those_of_neurobenchs_rule(
    notation: str, static: bool, neunorm: bool
) -> None:
    of = case(notation, neunorm)
    module, x, layers = counts(of, static=static)
    assert isinstance(module, ReferenceNetwork)
    found = by_neurobenchs_rule(module, x)
    assert [each.operations for each in layers] == [macs + acs for macs, acs in found]
    assert all(each.operations > 0 for each in layers)
    befores = (None, *of.network.stages[:-1])
    for before, (macs, acs) in zip(befores, found, strict=True):
        product = before is None or before.pool or before.neunorm_shape
        assert (acs if product else macs) == 0


def test_neurobench_itself_counts_the_same() -> None:
    """Live: SynapticOperations of the installed NeuroBench. Its float32 sums are exact here."""
    pytest.importorskip("neurobench")
    from neurobench.metrics.workload import SynapticOperations
    from neurobench.models import TorchModel

    of = case(POOLED)
    module, x, layers = counts(of, static=True)
    model = TorchModel(module)
    model.register_hooks()
    with torch.no_grad():
        module(x)
    none = torch.empty(x.shape[1])
    found = SynapticOperations()(model, none, (none, none))
    model.cleanup_hooks()
    total = [each.operations / x.shape[1] for each in layers]
    assert found["Effective_MACs"] == pytest.approx(sum(total[:-1]))
    assert found["Effective_ACs"] == pytest.approx(total[-1])


def test_neurobench_takes_a_frame_without_a_pixel_above_1_for_spikes_and_we_do_not() -> None:
    of = case(PLAIN)
    x = (batch(of, static=False) > 1).float()
    module = initialised(of.network, x, seed=0)
    layers = counting.counted(of, module, [x])
    (macs, acs), *_ = by_neurobenchs_rule(module, x)
    assert (macs, acs) == (0, layers[0].operations)
    assert layers[0].multiplies == layers[0].operations


def test_spikingjelly_counts_the_same_where_spikes_enter_and_nothing_of_what_a_pool_made() -> None:
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import op_counter

    for notation in (PLAIN, POOLED):
        of = case(notation)
        module, x, layers = counts(of, static=True)
        synapses, products = op_counter.SynOpCounter(), op_counter.MACCounter()
        with torch.no_grad(), op_counter.DispatchCounterMode([synapses, products]):
            module(x)
        if notation == PLAIN:
            assert synapses.get_total() == sum(each.accumulates for each in layers)
            # its products are of the whole kernel, at the border too, and of zeros
            dense = of.network.stages[0].macs * x.shape[1]
            assert products.get_total() == dense > layers[0].multiplies
        else:
            assert synapses.get_total() == layers[-1].accumulates
            assert products.get_total() > sum(each.operations for each in layers[:-1])


def test_counts_do_not_depend_on_who_computes_or_how_many_at_a_time() -> None:
    of = case(POOLED, neunorm=True)
    module, x, layers = counts(of, static=True)
    parts = counting.counted(of, module, x.split(1, dim=1))
    assert parts == layers
    other = adapters.load("snntorch").build(of.network)
    for ours, theirs in zip(module.parameters(), other.parameters(), strict=True):
        theirs.data.copy_(ours.data)
    assert counting.counted(of, other, [x]) == layers


def test_the_suite_is_the_nine_networks_at_full_width_each_beside_its_ann() -> None:
    found = energy_cases()
    assert len(found) == 18 and {each.width for each in found} == {Fraction(1)}
    assert {(each.dataset, each.scale) for each in found} == {
        (dataset, scale) for dataset in paper.SETTINGS for scale in paper.SCALES
    }
    assert [each.framework for each in found] == ["reference", ANN] * 9
    assert all(isinstance(each, Timed) and each.mode == "inference" for each in found)
    on = energy_cases(neunorm="mean")
    assert [bool(each.network.neunorm) for each in on] == [True, False] * 9
    quick = energy_cases(quick=True)
    assert [each.width for each in quick] == [Fraction(1, 8)] * 2


SMALL = {"networks": (POOLED,), "datasets": ("nmnist",), "steps": (2,), "batch_size": 12}


def test_a_case_is_counted_once_shown_and_done(tmp_path: Path, command: Command) -> None:
    found = energy_cases(**SMALL)
    for before in (False, True):
        assert [each.before for each in run(found, tmp_path)] == [before] * 2
    ours, bare = rows_of(tmp_path, OperationsRow)
    assert (ours.framework, bare.framework, ours.counted_samples) == ("reference", ANN, 12)
    assert min(ours.spikes) > 0 and ours.accumulates[0] == 0 == sum(bare.accumulates)
    rows, now = Store(tmp_path).read()[0], key_now("cpu")
    assert [status.state(each, rows, now) for each in found] == ["done", "done"]
    assert status.state(replace(found[0], seed=1), [], now) == "missing"
    code, shown, _ = command("tables", "energy", "--out", tmp_path)
    assert code == 0 and "break-even" in shown


def test_a_case_that_cannot_be_is_a_row_with_its_reason(tmp_path: Path) -> None:
    (first, _) = energy_cases(**SMALL)
    large, elsewhere = replace(first, batch_size=10**8), replace(first, weights_sha256="0" * 64)
    run((large, elsewhere), tmp_path)  # weights that are not here are not replaced by others
    one, other = rows_of(tmp_path, EndedRow)
    assert (one.status, other.status) == ("failed", "failed")
    assert "100000000" in one.reason.replace(",", "") and "weights" in other.reason
    assert rows_of(tmp_path, OperationsRow) == []


def test_a_training_counts_what_its_network_takes_and_is_done_as_before(tmp_path: Path) -> None:
    given = training_case(training=Training(1, samples=40, test_samples=12, embedded=True))
    run((given, replace(given, framework=ANN)), tmp_path)
    ours, bare = rows_of(tmp_path, OperationsRow)
    assert (ours.counted_samples, len(ours.spikes)) == (12, len(given.network.stages))
    assert bare.framework == ANN and sum(bare.accumulates) == 0 < sum(bare.multiplies)
    assert {row.key for row in rows_of(tmp_path, TrainedRow)} == {ours.key, bare.key}
    (again,) = run((given,), tmp_path)
    run((replace(given, suite="scale"),), tmp_path)
    assert again.before and len(rows_of(tmp_path, OperationsRow)) == 3  # one is the other suite's
    # counts alone make no training done
    counts = [each for each in rows_of(tmp_path, OperationsRow) if each.suite == given.suite]
    assert status.state(given, counts, key_now("cpu")) == "missing"
