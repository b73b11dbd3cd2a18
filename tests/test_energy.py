"""The cost of an inference: counts derived by hand, prices, tables."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from rows import COUNTED, TEST, TRAIN, altered, row, training
from surroundings import Command
from torch import Tensor, nn
from torch.nn import functional
from trainings import case as training_case
from trainings import rows_of, run

import adapters
from harness import suites
from harness.analysis import status, tables
from harness.cli.status import key_now
from harness.conformance import random_batch
from harness.records import EndedResult, OperationsResult, Row, Store, TrainedResult
from harness.reference.initialise import initialised
from harness.reference.operations import LayerOperations, ann_operations, spiking_operations
from harness.spec import ANN, LIF, Budget, Case, Count, Network, NeuNorm, Options, paper
from harness.spec.network import unpadded_macs
from harness.training import trial as counting

pytestmark = pytest.mark.usefixtures("no_data_of_the_machine")

Spike = tuple[int, int, int, int, int]


def network(notation: str, size: int = 4, **fields: Any) -> Network:
    shape, lif = (1, size, size), LIF(0.25, 0.75, 1.0)
    return Network.parse(notation, input_shape=shape, lif=lif, classes=2, population=1, **fields)


def spikes_of(net: Network, *first: Spike, T: int = 1, B: int = 1) -> list[Tensor]:
    """Those of the first layer, and none in any other."""
    spikes = [torch.zeros(T, B, *stage.output_shape) for stage in net.stages]
    for place in first:
        spikes[0][place] = 1
    return spikes


def counted(net: Network, spikes: list[Tensor], **fields: Any) -> tuple[LayerOperations, ...]:
    x = torch.zeros(len(spikes[0]), 1, *net.input_shape)
    U: list[Tensor | None] = [None] * len(spikes)
    return spiking_operations(net, **{"x": x, "spikes": spikes, "U": U, **fields})


def test_an_image_is_multiplied_once_and_event_frames_at_each_step() -> None:
    net = network("2C3(Encoding)-Voting")
    image, spikes = torch.ones(1, 1, 1, 4, 4), spikes_of(net, T=3)  # ones, and no spikes
    static = counted(net, spikes, x=image.expand(3, 1, 1, 4, 4))[0]
    frames = counted(net, spikes, x=image.repeat(3, 1, 1, 1, 1))[0]
    # 4 corners of 4 taps, 8 borders of 6, 4 of 9, for each of two maps
    assert static == LayerOperations(0, 16, 200, 0, 200) and frames.multiplies == 600
    assert unpadded_macs(net.stages[0]) == 200 < net.stages[0].macs


def test_neunorm_makes_every_value_of_a_pixel_a_product_unless_it_is_folded() -> None:
    net = network("2C3(Encoding)-3C3-Voting", neunorm=NeuNorm(0.9, "mean"))
    spikes = spikes_of(net, (0, 0, 0, 0, 0), T=2)  # in the corner, at the first step
    second = counted(net, spikes, U=[torch.ones(2, 4, 4), None, None])[1]
    # x is 0.05, then 0.045: both maps' values there are not zero at either step
    assert (second.events, second.operations) == (4, 4 * 4 * 3)
    # one spike; and x of one pixel at two steps, which both maps share
    assert (second.accumulates, second.multiplies) == (4 * 3, 2 * 4 * 3)


@pytest.mark.parametrize("size", [8, 9])
def test_the_folded_reading_is_a_convolution_of_the_spikes_themselves(size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    net = network("3C3(Encoding)-AP2-5C3-Voting", size=size)
    spikes = (torch.rand(2, 4, 3, size, size, generator=generator) < 0.3).double()
    weight = torch.randn(5, 3, 3, 3, generator=generator, dtype=torch.float64)
    images, even = spikes.flatten(0, 1), size // 2 * 2
    pooled = functional.conv2d(functional.avg_pool2d(images, 2), weight, padding=1)

    def unfolded(kernel: Tensor) -> Tensor:
        wide = kernel.repeat_interleave(2, 2).repeat_interleave(2, 3)
        return functional.conv2d(images[..., :even, :even], wide, stride=2, padding=2)

    torch.testing.assert_close(unfolded(weight / 4), pooled)
    every = [spikes, *spikes_of(net, T=2, B=4)[1:]]
    assert counted(net, every)[1].accumulates == unfolded(torch.ones_like(weight)).sum()


def test_an_ann_multiplies_each_nonzero_value_once() -> None:
    net = network("1C3(Encoding)-AP2-3C3-Voting")
    active = spikes_of(net, (0, 0, 0, 0, 0), (0, 0, 0, 1, 1))
    frames = torch.zeros(2, 1, 1, 4, 4)
    frames[0, 0, 0, 0, 0] = frames[1, 0, 0, 0, 0] = frames[1, 0, 0, 1, 1] = 1
    first, second, _ = ann_operations(net, frames, active)
    assert first == LayerOperations(2, 2, 4 + 9, 0, 4 + 9)  # frames are added up first
    assert second == LayerOperations(0, 1, 12, 0, 12)


COUNTS = ("spikes", "events", "operations", "accumulates", "multiplies")
INFERENCE = COUNTED
BARE = altered(COUNTED, contender=ANN)


# Of a network and that without spikes, and of another network.
ROWS: list[Row] = [
    row(OperationsResult, INFERENCE, key="a", source=TRAIN),
    row(OperationsResult, BARE, key="b", source=TRAIN, accumulates=(0, 0)),
    row(OperationsResult, altered(INFERENCE, dataset="nmnist"), key="c", source=TEST),
]


def test_counted_is_operations_times_horowitz_energies() -> None:
    ours, without, _ = tables.TABLES["energy"](ROWS).to_dict("records")
    assert (ours["framework"], without["framework"]) == ("reference", ANN)
    assert (ours["macs_millions"], ours["acs_millions"]) == (450 / 1e6, 500 / 1e6)
    assert ours["counted_uj_float32"] == pytest.approx((450 * 4.6 + 500 * 0.9) / 1e6)
    assert ours["spike_rate"] == pytest.approx(5 / (8 * 32 * 32 * 10))
    assert without["acs_millions"] == 0 and without["macs_millions"] == 950 / 1e6
    whole = sum(unpadded_macs(stage) for stage in INFERENCE.workload.network.stages)
    assert ours["ann_counted_uj_float32"] == pytest.approx(whole * 4.6 / 1e6)


def test_later_counts_of_a_network_replace_earlier_ones() -> None:
    again = row(OperationsResult, INFERENCE, key="a", source=TRAIN, counted_samples=40)
    assert list(tables.TABLES["energy"]([*ROWS, again])["samples"]) == [40, 20, 20]
    other = altered(again, seed=1, key="d")  # another seed's stand in the same line
    assert list(tables.TABLES["energy"]([*ROWS, other])["n"]) == [2, 1, 1]


def test_trained_networks_stand_with_their_accuracy_and_energy() -> None:
    rows: list[Row] = []
    for T, seed in ((2, 0), (2, 1), (4, 0), (4, 1)):  # twice as many spikes over twice the steps
        rows += training(seed, (0.2, 0.4 + 0.1 * seed), suite="timesteps", T=T)
        case, shared = rows[-1].case, {"key": rows[-1].key, "data": rows[-1].data}
        counts: dict[str, Any] = dict.fromkeys(
            COUNTS, (1000 * T,) * len(case.workload.network.stages)
        )
        rows.append(row(OperationsResult, case, **counts, **shared))
    table = tables.TABLES["energy"](rows)
    assert set(table["weights"]) == {"trained"} and list(table["accuracy"]) == [0.45, 0.45]
    assert list(table["T"]) == [2, 4] and list(table["n"]) == [2, 2]
    few, many = table["counted_uj_float32"]
    assert many == pytest.approx(2 * few) and few > 0


# held against the counts of NeuroBench and SpikingJelly; the suite `energy`

NOTATION = "4C3(Encoding)-6C3-AP2-6C3-AP2-8FC-Voting"  # spikes that are pooled, and are not


def energy_cases(**fields: Any) -> tuple[Case, ...]:
    return suites.suite("energy").cases(
        Options(suite="energy", frameworks=("reference",), device="cpu", **fields)
    )


def case(*, neunorm: bool) -> Case:
    _, network = paper.network(NOTATION, "cifar10", neunorm="mean" if neunorm else None)
    first, _ = energy_cases(datasets=("cifar10",), networks=(NOTATION,), steps=(3,))
    return altered(first, network=network)


def counts(count: Case, *, static: bool) -> tuple[nn.Module, Tensor, tuple[LayerOperations, ...]]:
    """A network that fires, a batch, and its counted operations."""
    x = random_batch(count.workload.network, count.workload.T, 3, static=static)
    module = initialised(count.workload.network, x, seed=0).eval()
    return module, x, counting.count_operations(count, module, [x])


@torch.no_grad()
def by_neurobench(module: nn.Module, x: Tensor) -> list[float]:
    """All MACs and ACs by the installed NeuroBench, live. Its float32 sums are exact here."""
    from neurobench.metrics.workload import SynapticOperations
    from neurobench.models import TorchModel

    model = TorchModel(module)
    model.register_hooks()
    module(x)
    none = torch.empty(x.shape[1])
    operations = SynapticOperations()(model, none, (none, none))
    model.cleanup_hooks()
    return [operations[f"Effective_{kind}"] * x.shape[1] for kind in ("MACs", "ACs")]


@pytest.mark.parametrize("neunorm", [False, True])
@pytest.mark.parametrize("static", [False, True])
def test_counts_by_value_are_neurobenchs(static: bool, neunorm: bool) -> None:
    count = case(neunorm=neunorm)
    module, x, layers = counts(count, static=static)
    totals = [0, 0]  # an accumulate is of spikes as they were sent
    for stage, layer in zip((None, *count.workload.network.stages[:-1]), layers, strict=True):
        assert layer.operations > 0
        accumulates = stage is not None and not (stage.pool or stage.neunorm_shape)
        totals[accumulates] += layer.operations
    assert by_neurobench(module, x) == pytest.approx(totals)


def test_counts_do_not_depend_on_framework_or_batch() -> None:
    count = case(neunorm=True)
    module, x, layers = counts(count, static=True)
    parts = counting.count_operations(count, module, x.split(1, dim=1))
    assert parts == layers
    other = adapters.load("snntorch").build(count.workload.network)
    for ours, theirs in zip(module.parameters(), other.parameters(), strict=True):
        theirs.data.copy_(ours.data)
    assert counting.count_operations(count, other, [x]) == layers


def test_the_suite_is_the_nine_networks_at_full_width_and_their_anns() -> None:
    cases = energy_cases()
    assert len(cases) == 18 and {count.workload.width for count in cases} == {Fraction(1)}
    assert {(count.workload.dataset, count.workload.scale) for count in cases} == {
        (dataset, scale) for dataset in paper.SETTINGS for scale in paper.SCALES
    }
    assert [count.contender.framework for count in cases] == ["reference", ANN] * 9
    assert all(isinstance(count, Count) for count in cases)
    on = energy_cases(neunorm="mean")
    assert [bool(count.workload.network.neunorm) for count in on] == [True, False] * 9


ASKED = {"networks": (NOTATION,), "datasets": ("nmnist",), "steps": (2,), "batch_size": 12}


def test_a_case_is_counted_once_shown_and_done(tmp_path: Path, command: Command) -> None:
    cases = energy_cases(**ASKED)
    for was_done in (False, True):
        assert [entry.was_done for entry in run(cases, tmp_path)] == [was_done] * 2
    ours, bare = rows_of(tmp_path, OperationsResult)
    assert (ours.contender.framework, bare.contender.framework) == ("reference", ANN)
    assert ours.result.counted_samples == 12 and min(ours.result.spikes) > 0
    assert ours.result.accumulates[0] == 0 == sum(bare.result.accumulates)
    rows, now = Store(tmp_path).read()[0], key_now("cpu")
    assert [status.state(entry, rows, now, Budget()) for entry in cases] == ["done", "done"]
    assert status.state(altered(cases[0], seed=1), [], now, Budget()) == "missing"
    code, out, _ = command("tables", "energy", "--out", tmp_path)
    assert code == 0 and "PyTorch" in out


def test_an_impossible_case_is_a_row_with_its_reason(tmp_path: Path) -> None:
    (first, _) = energy_cases(**ASKED)
    large, elsewhere = altered(first, batch_size=10**8), altered(first, weights_sha256="0" * 64)
    run((large, elsewhere), tmp_path)  # weights that are not here are not replaced by others
    one, other = rows_of(tmp_path, EndedResult)
    assert (one.result.status, other.result.status) == ("failed", "failed")
    assert "100000000" in one.result.reason.replace(",", "") and "weights" in other.result.reason
    assert rows_of(tmp_path, OperationsResult) == []


def test_a_training_counts_its_networks_operations(tmp_path: Path) -> None:
    trained = training_case(epochs=1, train=40, test=12, embedded=True)
    run((trained, altered(trained, contender=ANN)), tmp_path)
    ours, bare = rows_of(tmp_path, OperationsResult)
    assert ours.result.counted_samples == 12
    assert len(ours.result.spikes) == len(trained.workload.network.stages)
    assert bare.contender.framework == ANN
    assert sum(bare.result.accumulates) == 0 < sum(bare.result.multiplies)
    assert {row.key for row in rows_of(tmp_path, TrainedResult)} == {ours.key, bare.key}
    (again,) = run((trained,), tmp_path)
    run((replace(trained, suite="scale"),), tmp_path)
    assert (
        again.was_done and len(rows_of(tmp_path, OperationsResult)) == 3
    )  # one is the other suite's
    # counts alone make no training done
    counts = [row for row in rows_of(tmp_path, OperationsResult) if row.suite == trained.suite]
    assert status.state(trained, counts, key_now("cpu"), Budget()) == "missing"
