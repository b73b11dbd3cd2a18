"""The suites that train: which cases they are, under which of the command line's choices."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from harness import suites
from harness.spec import ANN, SGD, Options, Trained, UsageError
from harness.suites.trainings import ABLATIONS


def cases(suite: str, **fields: Any) -> list[Trained]:
    given = {"frameworks": ("fused",), "device": "cpu", **fields}
    found = suites.suite(suite).cases(Options(suite=suite, **given))
    assert all(isinstance(case, Trained) for case in found)
    return [case for case in found if isinstance(case, Trained)]


def test_timesteps_trains_over_each_t_and_tests_over_all() -> None:
    found = cases("timesteps")
    assert {case.T for case in found} == {1, 2, 4, 8}
    assert {case.training.tested_at for case in found} == {(1, 2, 4, 8)}
    assert {(case.dataset, case.scale) for case in found} == {("cifar10", "CIFARNet")}
    assert [case.seed for case in found] == [0] * 4 + [1] * 4 + [2] * 4  # a whole figure first
    assert {case.T for case in cases("timesteps", steps=(3,))} == {3}


def test_scale_trains_the_three_networks() -> None:
    found = [(case.dataset, case.scale) for case in cases("scale", seeds=(0,))]
    assert found == [(d, s) for d in ("cifar10", "nmnist") for s in ("Small", "Middle", "Large")]


def test_neunorm_trains_without_it_and_by_both_readings() -> None:
    found = cases("neunorm", seeds=(0,))
    readings = [case.network.neunorm and case.network.neunorm.reading for case in found]
    assert readings == [None, "mean", "literal"]
    assert all(case.training.confusion for case in found)


def test_accuracy_is_our_rows_of_tables_3_to_6_and_the_ann() -> None:
    found = cases("accuracy", seeds=(0,))
    rows = [(c.dataset, c.scale, bool(c.network.neunorm), c.framework) for c in found]
    assert set(rows) == {
        *(("nmnist", "OurModel", on, "fused") for on in (False, True)),
        *(("dvs-cifar10", "OurModel", on, "fused") for on in (False, True)),
        *(
            ("cifar10", name, on, "fused")
            for name in ("CIFARNet", "AlexNet")
            for on in (False, True)
        ),
        *(("cifar10", name, False, ANN) for name in ("CIFARNet", "AlexNet")),
    }
    assert len(rows) == len(set(rows))


TRAINED = pytest.mark.parametrize(
    "suite", ["timesteps", "scale", "neunorm", "accuracy", "ablations"]
)


@TRAINED
def test_the_default_is_reduced_and_quick_is_on_digits(suite: str) -> None:
    for case in cases(suite):
        assert case.width == Fraction(1, 8)
        assert not case.training.embedded and case.batch_size == 20
    for case in cases(suite, quick=True):
        assert case.training.embedded and case.seed == 0


@TRAINED
def test_long_is_all_data_the_rate_falling_as_early_as_the_papers(suite: str) -> None:
    for case in cases(suite, long=True):
        assert not case.training.embedded and case.width < 1
        assert len({each.seed for each in cases(suite, long=True)}) == 3
        if isinstance(case.optimiser, SGD):
            assert case.optimiser.step_epochs / case.training.epochs == pytest.approx(40 / 150, 0.1)
        assert case.training.simulated == (case.dataset == "nmnist")
        samples = {"nmnist": 20_000}.get(case.dataset)
        assert case.training.samples == (20_000 if suite == "ablations" else samples)


def test_long_accuracy_has_n_mnist_over_longer_windows_too() -> None:
    windows = {
        (case.T, case.training.bin_us)
        for case in cases("accuracy", long=True, datasets=("nmnist",))
    }
    assert windows == {(10, 5_000), (20, 5_000), (10, 30_000)}


def test_ablations_differ_in_one_thing_each() -> None:
    first, *others = cases("ablations", seeds=(0,), long=True)
    assert first.precision == "bf16" and len(others) == len(ABLATIONS) - 2
    of_two = []
    for case in others:
        old, new = vars(first.fields), vars(case.fields)
        changed = {name for name in old if old[name] != new[name]}
        if len(changed) != 1:
            of_two.append(changed)
    assert of_two == [{"loss_function", "optimiser_lr"}]  # at its own rate
    rates = sorted({case.optimiser.lr for case in others})
    assert rates == [pytest.approx(0.1 / 200), 0.1]  # 2 / (10 classes * 10 neurons * 4 steps)
    assert {case.framework for case in others} == {"fused:detached-reset", "fused"}


@pytest.mark.parametrize("suite", ["timesteps", "scale", "neunorm", "accuracy"])
def test_paper_is_table_7_in_mixed_precision_on_a_gpu_alone(suite: str) -> None:
    for case in cases(suite, paper=True, device="cuda"):
        assert case.width == 1 and case.precision == "bf16"
        assert case.training.epochs == (150 if case.dataset == "cifar10" else 200)
        assert case.training.samples is None and not case.training.embedded
    with pytest.raises(UsageError, match="takes months on a CPU"):
        cases(suite, paper=True)


def test_dropout_is_cifar10s_at_the_papers_size() -> None:
    paper = cases("accuracy", paper=True, device="cuda")
    dropout = {case.dataset: case.network.dropout for case in paper}
    assert dropout == {"cifar10": 0.5, "nmnist": 0.0, "dvs-cifar10": 0.0}
    assert {case.network.dropout for case in cases("accuracy")} == {0.0}


def test_the_command_line_chooses() -> None:
    (case,) = cases(
        "scale",
        networks=("8C3(Encoding)-16FC-Voting",),
        datasets=("nmnist",),
        seeds=(7,),
        epochs=3,
        samples=50,
        width=Fraction(2),
        steps=(6,),
        batch_size=5,
        precision="fp64",
    )
    assert str(case.network) == "16C3(Encoding)-32FC-Voting" and case.scale == "custom"
    assert (case.seed, case.T, case.batch_size, case.precision) == (7, 6, 5, "fp64")
    assert (case.training.epochs, case.training.samples) == (3, 50)


def test_what_a_suite_does_not_have_is_said() -> None:
    with pytest.raises(UsageError, match="unknown data set 'imagenet'"):
        cases("scale", datasets=("imagenet",))
    with pytest.raises(UsageError, match="leave --tuned out"):
        cases("scale", tuned=True)
    with pytest.raises(UsageError, match="leave --samples out"):
        cases("acceleration", samples=10)


@TRAINED
def test_a_network_that_is_written_out_runs_as_written_unless_a_width_is_given(suite: str) -> None:
    if suite == "accuracy":  # it has networks of its own
        return
    given: dict[str, Any] = {"networks": ("8C3(Encoding)-AP4-32FC-Voting",), "quick": True}
    for width, runs in ((None, "8C3(Encoding)-AP4-32FC-Voting"), (Fraction(1, 8), "1C3")):
        found = cases(suite, width=width, **given)
        assert all(str(case.network).startswith(runs) for case in found)
        assert {case.width for case in found} == {width or 1}
