"""Networks as data: the notation read, printed back, refused with the place; the paper's tables.
Cases as the fields of a row: whatever a suite makes comes back, what makes no case is said.
"""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from fuzzing import steady
from hypothesis import given
from hypothesis import strategies as st
from rows import CASE, COUNTED, altered, fitted_case, row, trained_case

from harness import spec
from harness.records import EndedResult, IterationResult, store
from harness.spec import LIF, AvgPool, Conv, Linear, Network, NeuNorm, Voting, paper

LIF_ = LIF(k_tau=0.3, v_th=0.25, a=0.25)


def parse(notation: str, shape: tuple[int, int, int] = (2, 34, 34)) -> Network:
    return Network.parse(notation, input_shape=shape, lif=LIF_)


def test_notation_becomes_layers_and_every_network_of_the_paper_prints_back() -> None:
    layers = (Conv(128, encoding=True), AvgPool(2), Conv(64), Linear(512), Voting())
    assert parse("128C3(Encoding)-AP2-64C3-512FC-Voting").layers == layers
    over_two_lines = parse("8C3(Encoding)-AP2-\n 16FC-Voting")
    assert str(over_two_lines) == "8C3(Encoding)-AP2-16FC-Voting"
    for network in paper.NETWORKS:
        assert str(parse(network.notation)) == network.notation


def test_bad_notation_names_the_place() -> None:
    for notation, place, expected in (
        ("", 1, "nC3"),
        ("8C3-Voting", 1, "nC3(Encoding)"),
        ("8C3(Encoding)", 14, "-Voting"),
        ("8C3(Encoding)-", 15, "nFC"),
        ("8C3(Encoding)-AP3x-Voting", 15, "AP2"),
        ("8C3(Encoding)-16FC-8C3-Voting", 20, "nFC or Voting"),
        ("8C3(Encoding)- AP2-AP2-Voting", 19, "nC3"),  # blanks do not count
        ("8C3(Encoding)-Voting-Voting", 22, "the end"),
        ("8C3(Encoding)-8C4-Voting", 15, "odd kernel"),
        ("8C3(Encoding)-0FC-Voting", 15, "a size from 1"),
        ("8C3(Encoding)-99999999999FC-Voting", 15, "a size from 1"),
        ("8C3(Encoding)-AP1-Voting", 15, "a pool of"),
        ("8C3(Encoding)-٣FC-Voting", 15, "nFC"),
    ):
        with pytest.raises(spec.NotationError) as error:
            parse(notation)
        assert f"character {place}:" in str(error.value)
        assert expected in str(error.value).partition("expected")[2]


PIECES = st.sampled_from(
    ["8C3(Encoding)", "8C3", "AP2", "16FC", "Voting", "-", "--", "(", ")", "C", "é", "0", "9" * 30]
    + ["8C3\nAP2"]
)
NOTATIONS = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=60).map("-".join))


@steady
@given(NOTATIONS)
def test_random_notation_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        name, network = paper.network(text, "cifar10")
    except spec.UsageError as error:
        assert "\n" not in str(error)
        return
    if name == "custom":
        assert paper.network(str(network), "cifar10")[1] == network


def test_layers_that_were_put_together_by_hand_are_checked_too() -> None:
    with pytest.raises(spec.NotationError, match="character 19: found 'AP2', expected nFC"):
        Network((Conv(8, encoding=True), Linear(8), AvgPool(), Voting()), (1, 4, 4), LIF_)
    with pytest.raises(spec.NotationError, match="map of 1x1 left"):
        parse("8C3(Encoding)-AP2-8C3-AP2-Voting", (1, 2, 2))


def test_stages_carry_shapes_through_pools_that_do_not_divide() -> None:
    stages = parse("8C3(Encoding)-AP2-16C3-AP2-32FC-Voting").stages
    assert [stage.input_shape for stage in stages] == [(2, 34, 34), (8, 17, 17), (1024,), (32,)]
    assert [stage.output_shape for stage in stages] == [(8, 34, 34), (16, 17, 17), (32,), (100,)]
    assert [stage.drops for stage in stages] == [True, True, False, False]
    # before convolutions only, and after the pool
    normed = replace(parse("8C3(Encoding)-8C3-AP2-16C3-AP2-32FC-Voting"), neunorm=NeuNorm())
    shapes = [stage.neunorm_shape for stage in normed.stages]
    assert shapes == [(8, 34, 34), (8, 17, 17), None, None, None]


def test_macs_are_counted_and_width_scales_channels_and_features_but_not_the_vote() -> None:
    assert parse("2C3(Encoding)-AP2-3FC-Voting", (1, 4, 4)).macs == 9 * 2 * 16 + 8 * 3 + 3 * 100
    scaled = parse("128C3(Encoding)-AP2-20C3-512FC-Voting").scaled(Fraction(1, 8))
    assert str(scaled) == "16C3(Encoding)-AP2-3C3-64FC-Voting"
    assert scaled.stages[-1].output_shape == (100,)


def test_tables_1_2_and_7_are_the_papers() -> None:
    names = [(network.table, network.name, network.static) for network in paper.NETWORKS]
    assert len(names) == len(set(names)) == 9
    assert {
        name: (column.lif, column.k_tau2, column.dropout, column.epochs)
        for name, column in paper.SETTINGS.items()
    } == {
        "cifar10": (LIF(0.25, 0.75, 1.0), 0.9, 0.5, 150),
        "dvs-cifar10": (LIF(0.35, 0.05, 0.1), 0.9, 0.0, 200),
        "nmnist": (LIF(0.3, 0.25, 0.25), 0.9, 0.0, 200),
    }
    # an epoch shows every sample
    assert paper.settings("cifar10").iterations_per_epoch(20) == 2500
    assert paper.settings("cifar10").iterations_per_epoch(30_000) == 2


def test_a_network_comes_with_its_data_sets_neuron_and_input() -> None:
    name, network = paper.network("small", "dvs-cifar10", neunorm="mean")
    assert (name, network.input_shape, network.lif.v_th) == ("Small", (2, 42, 42), 0.05)
    assert network.neunorm is not None and network.neunorm.k_tau2 == 0.9
    name, network = paper.network("16C3(Encoding)-AP2-32FC-Voting", "cifar10")
    assert (name, network.lif) == ("custom", LIF(0.25, 0.75, 1.0))
    with pytest.raises(spec.UsageError, match="for event data, choose from Small, Middle, Large"):
        paper.network("CIFARNet", "nmnist")


# cases


def comes_back(case: spec.Case) -> None:
    """Through a line of JSON."""
    ended = row(EndedResult, case)
    read = store.parse_row(json.loads(store.line_of(ended)))
    assert read == ended and read.case == case


OPTIMISERS = (
    spec.SGD(lr=1 / 3, momentum=0.1, step_epochs=10**9, factor=1e-9, fc_factor=0.7),
    spec.Adam(lr=1e9, betas=(0.0, 1 / 7)),
)
UNUSUAL: dict[str, Any] = {"T": 3, "batch_size": 1, "seed": 10**9, "width": Fraction(7, 10**9)}
UNUSUAL |= {"precision": "fp64", "initialisation": "torch"}
SAMPLING = spec.Sampling(train=10**9, test=1, embedded=True, bin_us=1, simulated=True)
TRAINED: dict[str, Any] = {"sampling": SAMPLING, "epochs": 10**8, "tested_at": (9, 1, 9)}


@pytest.mark.parametrize("neunorm", [NeuNorm(0.8, "literal"), NeuNorm(1 / 3, u=0.5)])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_no_setting_is_lost_or_replaced_by_the_usual_one(
    optimiser: spec.SGD | spec.Adam, neunorm: NeuNorm
) -> None:
    small = CASE.workload.network
    network = replace(small, classes=3, population=7, dropout=1 / 3, neunorm=neunorm)
    changed = {**UNUSUAL, "network": network}
    by_rate = {"optimiser": optimiser, "device": "cuda"}
    comes_back(altered(CASE, mode="inference", **changed, **by_rate))
    loss: dict[str, Any] = {"loss": "cross-entropy of votes", "least_epochs": 2}
    stages = {"stages": (1, 10**8 - 1), "may_deviate": True}
    comes_back(altered(trained_case(), **TRAINED, **changed, **by_rate, **loss, **stages))
    comes_back(fitted_case("hats", **TRAINED, **changed))
    comes_back(altered(COUNTED, device="cuda", **changed))


NETWORK = "case.workload.network"
BAD: list[tuple[str, object, str]] = [
    ("case.suite", "../../x", "suite: "),
    ("case.workload.dataset", "imagenet", "unknown data set 'imagenet'"),
    (f"{NETWORK}.notation", "8C3-Voting", "expected nC3\\(Encoding\\)"),
    # the digits of the last would take hours
    *[("case.workload.width", width, "width") for width in ("1/0", "-1/8", "1e999999999")],
    (f"{NETWORK}.neunorm", {"k_tau2": 2.0, "reading": "mean"}, "k_tau2 is 2.0"),
    (f"{NETWORK}.neunorm", {"k_tau2": 0.9, "reading": "median"}, "reading"),
    *[(f"{NETWORK}.lif.k_tau", decay, f"k_tau is {decay}") for decay in (-0.1, 1.5)],
    (f"{NETWORK}.lif.v_th", 0.0, "v_th is 0.0"),
    (f"{NETWORK}.input_shape", (3, 0, 32), "a side of the input is 0"),
    ("case.optimiser.kind", "lion", "optimiser"),
]


@pytest.mark.parametrize(("place", "value", "sentence"), BAD, ids=lambda part: str(part)[:40])
def test_fields_that_make_no_case_are_refused(place: str, value: object, sentence: str) -> None:
    content = json.loads(store.line_of(row(IterationResult)))
    *parts, last = place.split(".")
    part = content
    for name in parts:
        part = part[name]
    part[last] = value
    with pytest.raises(ValueError, match=sentence) as refused:
        store.parse_row(content)
    assert len(str(refused.value)) < 300
