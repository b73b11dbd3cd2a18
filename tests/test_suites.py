"""The suites: which cases they are, under which of the command line's choices."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from harness import api, suites
from harness.datasets import load_batch
from harness.proof.installation import installation_of
from harness.records.identity import columns
from harness.spec import (
    ANN,
    MASKED_ANN,
    Contender,
    Options,
    Timing,
    Training,
    UsageError,
    paper,
    schedule,
)
from harness.suites.trainings import ABLATIONS

SUITES = ["timesteps", "scale", "neunorm", "accuracy", "ablations"]
TRAINED = pytest.mark.parametrize("suite", SUITES)


def cases(suite: str, **fields: Any) -> list[Training]:
    chosen = suites.suite(suite)
    choices = {"frameworks": chosen.frameworks, "device": "cpu", **fields}
    trainings = chosen.cases(Options(suite=suite, **choices))
    return [case for case in trainings if isinstance(case, Training)]


def test_each_suite_trains_the_cases_of_its_figure_or_table() -> None:
    trainings = cases("timesteps")
    assert {case.tested_at for case in trainings} == {(1, 2, 4, 8)}
    assert {(case.workload.dataset, case.workload.scale) for case in trainings} == {
        ("cifar10", "CIFARNet")
    }
    places = [(case.workload.seed, case.workload.T) for case in trainings]  # a whole figure first
    assert places == [(seed, T) for seed in (0, 1, 2) for T in (1, 2, 4, 8)]
    assert {case.workload.T for case in cases("timesteps", steps=(3,))} == {3}

    trainings = [
        (case.workload.dataset, case.workload.scale) for case in cases("scale", seeds=(0,))
    ]
    assert trainings == [
        (d, s) for d in ("cifar10", "nmnist") for s in ("Small", "Middle", "Large")
    ]

    trainings = cases("neunorm", seeds=(0,))
    readings = [
        case.workload.network.neunorm and case.workload.network.neunorm.reading
        for case in trainings
    ]
    assert readings == [None, "mean", "literal"]
    (off,) = cases("neunorm", seeds=(0,), neunorm="off")
    assert off.workload.network.neunorm is None

    trainings = cases("accuracy", seeds=(0,))
    rows = [
        (c.workload.dataset, c.workload.scale, bool(c.workload.network.neunorm), c.contender.name)
        for c in trainings
    ]
    nets = [("nmnist", "OurModel"), ("dvs-cifar10", "OurModel")]
    images = [("cifar10", "CIFARNet"), ("cifar10", "AlexNet")]
    expected = [(*net, on, "fused") for net in nets + images for on in (False, True)]
    expected += [(*net, False, ANN) for net in images]
    assert sorted(rows) == sorted(expected)
    small = cases("accuracy", seeds=(0,), networks=("Small",), neunorm="off")
    assert [(c.workload.dataset, c.workload.scale, c.contender.name) for c in small] == [
        ("cifar10", "Small", name) for name in ("fused", ANN)
    ]
    rows = [
        (c.workload.dataset, c.workload.scale, False, c.contender.name)
        for c in cases("accuracy", neunorm="off")
    ]
    assert set(rows) == {row for row in expected if not row[2]}
    for frameworks in ((ANN,), ("fused",)):  # each side has a rate of its own
        alone = cases("accuracy", frameworks=frameworks, networks=("CIFARNet",), rate=0.4)
        assert {case.contender.name for case in alone} == {*frameworks}
        assert {case.optimiser.lr for case in alone} == {0.4}


def test_an_ann_of_several_masks_is_trained_where_it_is_named() -> None:
    named: dict[str, Any] = {"frameworks": (MASKED_ANN,), "networks": ("Small",), "seeds": (0,)}
    options = Options(suite="accuracy", dropout=0.5, device="cpu", **named)
    (case,) = api.cases(options, suites.suite("accuracy"))
    assert isinstance(case, Training) and case.workload.network.dropout == 0.5
    plain = replace(case, contender=Contender(ANN))
    assert case.forward_macs == case.workload.T * plain.forward_macs
    assert columns(case) != columns(plain)
    assert installation_of(case).deviations and not installation_of(plain).deviations
    with pytest.raises(UsageError, match="give --dropout"):
        api.cases(replace(options, dropout=None), suites.suite("accuracy"))
    with pytest.raises(UsageError, match="unknown framework 'ann'"):
        api.cases(replace(options, suite="scale"), suites.suite("scale"))


def test_bf16_and_float32_are_timed_unless_a_precision_is_named() -> None:
    for named, expected in ((None, {"fp32", "bf16"}), ("fp32", {"fp32"}), ("bf16", {"bf16"})):
        choices: dict[str, Any] = {"frameworks": ("fused",), "device": "cpu", "precision": named}
        trainings = suites.suite("acceleration").cases(Options(suite="acceleration", **choices))
        assert {case.contender.precision for case in trainings} == expected


@TRAINED
def test_the_default_is_reduced_and_quick_is_on_digits(suite: str) -> None:
    for case in cases(suite):
        assert case.workload.width == Fraction(1, 8) and case.workload.network.dropout == 0
        assert not case.sampling.embedded and case.workload.batch_size == 20
    for case in cases(suite, quick=True):
        assert case.sampling.embedded and case.workload.seed == 0


@TRAINED
def test_long_is_all_data_on_the_schedule_that_was_fixed(suite: str) -> None:
    trainings = cases(suite, long=True)
    assert len({case.workload.seed for case in trainings}) == 3
    for case in trainings:
        assert not case.sampling.embedded and case.workload.width < 1
        assert schedule.is_on_schedule(case) or suite == "ablations"  # of rates too
        assert case.stages == schedule.STAGES[case.workload.dataset]
        assert (
            case.epochs == {"cifar10": 50, "nmnist": 22, "dvs-cifar10": 30}[case.workload.dataset]
        )
        assert case.sampling.simulated == (case.workload.dataset == "nmnist")
        samples = 20_000 if suite == "ablations" or case.workload.dataset == "nmnist" else None
        assert case.sampling.train == samples


def test_long_accuracy_has_n_mnist_over_longer_windows_too() -> None:
    trainings = cases("accuracy", long=True, datasets=("nmnist",))
    windows = {(case.workload.T, case.sampling.bin_us) for case in trainings}
    assert windows == {(10, 5_000), (20, 5_000), (10, 30_000)}


@TRAINED
def test_paper_is_table_7_in_mixed_precision_on_a_gpu_alone(suite: str) -> None:
    precisions = {"bf16", "fp32"} if suite == "ablations" else {"bf16"}
    for case in cases(suite, paper=True, device="cuda"):
        assert case.workload.width == 1 and case.contender.precision in precisions
        assert case.epochs == (150 if case.workload.dataset == "cifar10" else 200)
        assert case.sampling.train is None and not case.sampling.embedded
        assert case.workload.network.dropout == (0.5 if case.workload.dataset == "cifar10" else 0.0)


def test_ablations_differ_in_one_thing_each() -> None:
    first, *others = cases("ablations", seeds=(0,), long=True)
    rates_of_adam = [name for name in ABLATIONS if name.startswith("Adam")]
    assert first.contender.precision == "bf16"
    assert len(others) == len(ABLATIONS) - 2 - len(rates_of_adam)
    old = columns(first).items()
    changes = [{name for name, value in old if value != columns(case)[name]} for case in others]
    two = [names for names in changes if len(names) > 1]  # at its own rate; at its own threshold
    assert [names for names in two if names != {"loss_function", "optimiser_lr"}] == [
        {"v_th", "initialisation"}
    ]
    assert two.count({"loss_function", "optimiser_lr"}) == 5
    rates = {case.optimiser.lr for case in others if case.loss == "cross-entropy"}
    shorter = 0.1 / 200  # 2 / (10 classes * 10 neurons * 4 steps)
    assert sorted(rates) == pytest.approx([shorter, 0.002, 0.01, 0.1])
    assert {case.contender.name for case in others} == {"fused:detached-reset", "fused"}
    assert {columns(case)["optimiser_fc_factor"] for case in others} == {None, 0.1}


@pytest.mark.parametrize(("dataset", "usual"), [("nmnist", 3e-4), ("dvs-cifar10", 1e-4)])
def test_ablations_on_events_compare_adams_rates(dataset: str, usual: float) -> None:
    first, *others = cases("ablations", seeds=(0,), datasets=(dataset,))
    assert first.optimiser.lr == usual
    rates = [case.optimiser.lr for case in others if case.optimiser.lr != usual]
    assert sorted(rates) == sorted({1e-3, 3e-4, 1e-4} - {usual})


def test_settings_the_paper_leaves_open_are_options_and_in_every_row() -> None:
    for value, u in (("uniform", None), (0.5, 0.5), ("0.5", 0.5)):
        options = Options.parse(suite="scale", neunorm="mean", neunorm_u=value, frameworks="fused")
        (case, *_) = suites.suite("scale").cases(options)
        assert (
            case.workload.network.neunorm
            and case.workload.network.neunorm.u == columns(case)["neunorm_u"] == u
        )
    chosen = Options.parse(
        suite="scale", frameworks="fused", epochs="3+2", dropout="0.5", datasets="cifar10"
    )
    for case in suites.suite("scale").cases(chosen):
        assert isinstance(case, Training) and case.workload.network.dropout == 0.5
        assert (case.stages, case.epochs) == ((3, 2), 5)
    for long, stages in ((True, (15,)), (False, ())):  # one number: the first rate; Table 7
        for case in cases("scale", long=long, epochs=(15,)):
            assert (case.stages, case.epochs) == (stages, 15)


def test_options_decide_the_cases() -> None:
    (case,) = cases(
        "scale", networks=("8C3(Encoding)-16FC-Voting",), datasets=("nmnist",), seeds=(7,),
        epochs=(3,), samples=50, width=Fraction(2), steps=(6,), batch_size=5, precision="fp64",
    )  # fmt: skip
    assert (
        str(case.workload.network) == "16C3(Encoding)-32FC-Voting"
        and case.workload.scale == "custom"
    )
    assert (
        case.workload.seed,
        case.workload.T,
        case.workload.batch_size,
        case.contender.precision,
    ) == (7, 6, 5, "fp64")
    assert (case.epochs, case.sampling.train) == (3, 50)


@pytest.mark.parametrize("suite", [name for name in SUITES if name != "accuracy"])
def test_a_notation_runs_as_written_unless_a_width_is_given(suite: str) -> None:
    notation = "8C3(Encoding)-AP4-32FC-Voting"
    for width, runs in ((None, notation), (Fraction(1, 8), "1C3")):
        trainings = cases(suite, width=width, networks=(notation,), quick=True)
        assert all(str(case.workload.network).startswith(runs) for case in trainings)
        assert {case.workload.width for case in trainings} == {width or 1}


def layers(**fields: Any) -> list[Timing]:
    choices = {"suite": "layer", "device": "cpu", "frameworks": ("reference", "norse", "fused")}
    layer_cases = suites.suite("layer").cases(Options(**{**choices, **fields}))
    return [case for case in layer_cases if isinstance(case, Timing)]


def test_a_layer_has_as_many_inputs_as_neurons_and_the_frameworks_own_neuron_too() -> None:
    layer_cases = layers()
    assert [*dict.fromkeys(case.workload.scale for case in layer_cases)] == [
        f"{size} neurons" for size in (256, 1024, 4096, 16384)
    ]
    places = [paper.paper_order(c.workload.dataset, c.workload.scale) for c in layer_cases]
    assert places == sorted(places)  # by size, not by name
    names = ["reference", "norse", "fused", "fused bf16", "norse:super"]
    assert [case.contender.full_name for case in layer_cases[:5]] == names
    for case in layer_cases:
        (stage,), workload = case.workload.network.stages, case.workload
        assert stage.input_shape == stage.output_shape == workload.network.input_shape[:1]
        assert (workload.T, workload.batch_size) == (500, 16)
    assert {case.workload.scale for case in layers(quick=True)} == {"256 neurons"}
    named = layers(networks=("32", "48 neurons"), steps=(3,), batch_size=2)
    assert {(c.workload.scale, c.workload.T) for c in named} == {
        ("32 neurons", 3),
        ("48 neurons", 3),
    }


@pytest.mark.parametrize("name", ["33", "0", "Small", "65552", "1e3", ""])
def test_a_layer_that_cannot_be_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(UsageError, match="a multiple of 16 up to 65536"):
        layers(networks=(name,))
    with pytest.raises(UsageError, match="the layer suite times one layer.*--width"):
        layers(width=Fraction(1, 2))


def test_a_layers_input_is_random_spikes_by_the_seed() -> None:
    batch, again = (load_batch("spikes-64", 50, 8, 1) for _ in range(2))
    assert batch.inputs.shape == (50, 8, 64, 1, 1) and {*batch.inputs.unique().tolist()} == {0, 1}
    assert batch.inputs.equal(again.inputs) and batch.source == again.source
    assert abs(batch.inputs.mean().item() - 0.1) < 0.01
    assert batch.labels.max() < paper.LAYER_CLASSES and batch.labels.dtype == again.labels.dtype
    assert not batch.inputs.equal(load_batch("spikes-64", 50, 8, 2).inputs)
