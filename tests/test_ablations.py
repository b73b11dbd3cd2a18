"""Ablations: the changes of a training, how they are trained, and their table."""

from __future__ import annotations

from dataclasses import replace
from math import isnan
from pathlib import Path

import pytest
import torch
from rows import changed, retrained, training
from trainings import case, rows_of, run

import adapters
from harness.adapter import Variant
from harness.analysis import tables
from harness.analysis.ablations import ablated
from harness.analysis.frame import frames
from harness.conformance import Broken, checks, random_batch, small
from harness.records import CertificateResult, EndedResult, EpochResult, Row, TrainedResult
from harness.reference.initialise import initialised
from harness.reference.network import ReferenceNetwork
from harness.spec import SGD
from harness.suites.trainings import ABLATIONS, AS_IT_IS
from harness.training import step

pytestmark = pytest.mark.usefixtures("no_data_of_the_machine")


@pytest.mark.slow  # other kernels are compiled
@pytest.mark.parametrize("name", ["fused:detached-reset", "spikingjelly:detached-reset"])
def test_a_detached_reset_is_that_deviation_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = Variant((), adapters.load(name).build)  # as if it was equal
    monkeypatch.setattr(adapters, "variants_of", lambda name: {})
    monkeypatch.setattr(adapters, "load", lambda name: planted)
    names = ((check, str(check)) for check in checks("planted"))
    small_ones = [
        check for check, name in names if " Small " in name and name.endswith(" mean fp64")
    ]
    assert len(small_ones) == 3
    for check in small_ones:
        with pytest.raises(Broken, match="computes with no gradient through the reset$"):
            check()


def test_a_variant_is_trained_where_its_deviation_is_the_question(tmp_path: Path) -> None:
    subtracts = case(contender="snntorch:subtract", suite="ablations", may_deviate=True)
    run((subtracts, replace(subtracts, suite="accuracy", may_deviate=False)), tmp_path)
    (trained,) = rows_of(tmp_path, TrainedResult)
    assert trained.suite == "ablations" and "subtracts" in str(trained.installation.deviations)
    (ended,) = rows_of(tmp_path, EndedResult)
    assert (ended.suite, ended.result.status) == ("accuracy", "not comparable")
    assert "subtracts" in ended.result.reason
    assert {row.suite for row in rows_of(tmp_path, EpochResult)} == {"ablations"}
    proofs = [row.result for row in rows_of(tmp_path, CertificateResult)]
    outcomes = [proof.certified for proof in proofs if proof.layer is None]
    assert outcomes and not any(outcomes)


def test_fully_connected_layers_may_learn_slower_than_convolutions() -> None:
    network = small("cifar10", "Middle", "mean")
    parameters = list(ReferenceNetwork(network).parameters())
    assert {parameter.ndim for parameter in parameters} == {1, 2, 3, 4}
    optimise = step.optimiser(parameters, replace(SGD(), fc_factor=0.1))
    convolutions, fc = optimise.param_groups
    first = next(n for n, parameter in enumerate(parameters) if parameter.ndim == 2)
    assert [id(parameter) for parameter in convolutions["params"]] == [*map(id, parameters[:first])]
    assert [id(parameter) for parameter in fc["params"]] == [
        *map(id, parameters[first:])
    ]  # voting too
    assert len(step.optimiser(parameters, SGD()).param_groups) == 1


def test_a_change_trains_other_weights_under_a_key_of_its_own(tmp_path: Path) -> None:
    base = case(suite="ablations")
    names = "cross-entropy of the spikes", "fully connected layers at a tenth of the rate"
    cases = base, *(ABLATIONS[name](base) for name in names)
    run(cases, tmp_path)
    trained = rows_of(tmp_path, TrainedResult)
    assert len({row.key for row in trained}) == 3 and tuple(row.case for row in trained) == cases
    results = [row.result for row in rows_of(tmp_path, EpochResult)]
    usual, entropy, slower = (result.loss for result in results if result.epoch == 1)
    assert entropy > 10 * usual and slower != usual  # ln(10), not 0.1


def test_a_threshold_is_halved_with_the_initial_weights_of_the_usual_one() -> None:
    usual = small("cifar10", "Small", None)
    x = random_batch(usual, 2, 4, static=True)
    halved = replace(usual, lif=replace(usual.lif, v_th=usual.lif.v_th / 2))
    expected = list(initialised(usual, x, seed=0).parameters())
    halved_weights = list(initialised(halved, x, seed=0, scheme="twice-v_th").parameters())
    assert all(map(torch.equal, expected, halved_weights))
    scaled = list(initialised(halved, x, seed=0).parameters())
    assert not any(map(torch.equal, expected, scaled))  # calibrated anew


def rows_with(changes: dict[str, float], *, seeds: int = 3, dead: float = 0.2) -> list[Row]:
    """Trainings with those accuracies, by the change; the seeds' own are added to each."""
    every: list[Row] = []
    for seed in range(seeds):
        for change, accuracy in changes.items():
            rows = training(seed, (accuracy + 0.01 * seed,) * 2, suite="ablations")
            every += retrained(rows, case=ABLATIONS[change](rows[0].training))
    return changed(every, EpochResult, {"rates": (dead, 0.2)})


def test_each_change_is_compared_with_the_unchanged_training_seed_by_seed() -> None:
    rows = rows_with({AS_IT_IS: 0.5, "threshold halved": 0.4, "bf16": 0.51})
    first, *others = tables.TABLES["ablations"](rows).to_dict("records")
    assert first["change"] == AS_IT_IS and isnan(first["difference"])
    lines = {line["change"]: line for line in others}
    assert lines.keys() == {"threshold halved", "bf16"}
    halved = lines["threshold halved"]
    assert halved["difference"] == pytest.approx(-0.1)
    assert halved["difference_low"] == pytest.approx(-0.1)  # the seeds' own spread is not in it
    assert halved["accuracy"] == pytest.approx(0.41) and halved["n"] == 3
    assert halved["v_th"] == first["v_th"] / 2


def test_every_change_has_a_line_of_its_own_in_the_table() -> None:
    same = {"float32", *(name for name in ABLATIONS if name.startswith("Adam"))}  # as it is
    changes = dict.fromkeys((name for name in ABLATIONS if name not in same), 0.5)
    lines = ablated(frames(rows_with(changes, seeds=1)))
    assert [line.change for line in lines] == list(changes)
    assert not any(any(line.gains) for line in lines)  # to the same training, as accurate


def test_trainings_of_two_networks_with_one_notation_are_compared_apart() -> None:
    rows = rows_with({AS_IT_IS: 0.5, "bf16": 0.51}, seeds=1)
    other = rows_with({AS_IT_IS: 0.3, "bf16": 0.29}, seeds=1)
    weights = {"weights_sha256": "a" * 64}
    both = [*rows, *retrained(other, **weights)]
    differences = tables.TABLES["ablations"](both)["difference"].dropna().round(3)
    assert sorted(differences) == [-0.01, 0.01]


def test_layers_that_no_longer_fire_are_counted() -> None:
    rows = rows_with({AS_IT_IS: 0.5, "PyTorch's initial weights": 0.1}, dead=0.0005)
    assert set(tables.TABLES["ablations"](rows)["dead_layers"]) == {1.0}
    assert tables.TABLES["ablations"]([]).empty  # without rows there is no line
