"""Networks as data: the notation read, printed back, refused with the place; the paper's tables."""

from __future__ import annotations

from fractions import Fraction

import pytest

from harness import spec
from harness.spec import LIF, AvgPool, Conv, Linear, Network, NeuNorm, Voting, paper

LIF_ = LIF(k_tau=0.3, v_th=0.25, a=0.25)


def parse(notation: str, shape: tuple[int, int, int] = (2, 34, 34)) -> Network:
    return Network.parse(notation, input_shape=shape, lif=LIF_)


def test_notation_becomes_layers_and_every_network_of_the_paper_prints_back() -> None:
    layers = (Conv(128, encoding=True), AvgPool(2), Conv(64), Linear(512), Voting())
    assert parse("128C3(Encoding)-AP2-64C3-512FC-Voting").layers == layers
    over_two_lines = parse("8C3(Encoding)-AP2-\n 16FC-Voting")
    assert str(over_two_lines) == "8C3(Encoding)-AP2-16FC-Voting"
    for row in paper.NETWORKS:
        assert str(parse(row.notation)) == row.notation


@pytest.mark.parametrize(
    ("notation", "place", "expected"),
    [
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
    ],
)
def test_bad_notation_names_the_place_and_what_was_expected(
    notation: str, place: int, expected: str
) -> None:
    with pytest.raises(spec.NotationError) as error:
        parse(notation)
    assert f"character {place}:" in str(error.value)
    assert expected in str(error.value).partition("expected")[2]


def test_layers_that_were_put_together_by_hand_are_checked_too() -> None:
    with pytest.raises(
        spec.NotationError, match=r"character 15: found 'AP2', expected the end|nFC"
    ):
        Network((Conv(8, encoding=True), Linear(8), AvgPool(), Voting()), (1, 4, 4), LIF_)
    with pytest.raises(spec.NotationError, match="map of 1x1 left"):
        parse("8C3(Encoding)-AP2-8C3-AP2-Voting", (1, 2, 2))


def test_stages_carry_shapes_through_pools_that_do_not_divide() -> None:
    stages = parse("8C3(Encoding)-AP2-16C3-AP2-32FC-Voting").stages
    assert [stage.input_shape for stage in stages] == [(2, 34, 34), (8, 17, 17), (1024,), (32,)]
    assert [stage.output_shape for stage in stages] == [(8, 34, 34), (16, 17, 17), (32,), (100,)]
    assert [stage.drops for stage in stages] == [True, True, False, False]
    # before convolutions only, and after the pool
    given = ((2, 34, 34), LIF_, NeuNorm())
    normed = Network(parse("8C3(Encoding)-8C3-AP2-16C3-AP2-32FC-Voting").layers, *given)
    shapes = [stage.neunorm_shape for stage in normed.stages]
    assert shapes == [(8, 34, 34), (8, 17, 17), None, None, None]


def test_macs_are_counted_and_width_scales_channels_and_features_but_not_the_vote() -> None:
    assert parse("2C3(Encoding)-AP2-3FC-Voting", (1, 4, 4)).macs == 9 * 2 * 16 + 8 * 3 + 3 * 100
    scaled = parse("128C3(Encoding)-AP2-20C3-512FC-Voting").scaled(Fraction(1, 8))
    assert str(scaled) == "16C3(Encoding)-AP2-3C3-64FC-Voting"
    assert scaled.stages[-1].output_shape == (100,)


def test_tables_1_2_and_7_are_the_papers() -> None:
    names = [(row.table, row.name, row.static) for row in paper.NETWORKS]
    assert len(names) == len(set(names)) == 9
    assert {
        name: (row.lif, row.k_tau2, row.dropout, row.epochs) for name, row in paper.SETTINGS.items()
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
