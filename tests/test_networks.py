"""Tables 1, 2 and 7 as data, against the figures of the paper."""

from __future__ import annotations

import pytest

from harness.spec import LIF, UsageError, paper


def test_all_nine_networks_are_there() -> None:
    names = [(row.table, row.name, row.static) for row in paper.NETWORKS]
    assert len(names) == len(set(names)) == 9


def test_table_7() -> None:
    rows = {
        name: (row.lif, row.k_tau2, row.dropout, row.epochs) for name, row in paper.SETTINGS.items()
    }
    assert rows == {
        "cifar10": (LIF(0.25, 0.75, 1.0), 0.9, 0.5, 150),
        "dvs-cifar10": (LIF(0.35, 0.05, 0.1), 0.9, 0.0, 200),
        "nmnist": (LIF(0.3, 0.25, 0.25), 0.9, 0.0, 200),
    }


def test_a_network_comes_with_its_data_sets_neuron_and_input() -> None:
    name, network = paper.network("small", "dvs-cifar10", neunorm="mean")
    assert name == "Small"
    assert network.input_shape == (2, 42, 42)
    assert network.lif.v_th == 0.05
    assert network.neunorm is not None and network.neunorm.k_tau2 == 0.9


def test_a_notation_is_a_network_nobody_foresaw() -> None:
    name, network = paper.network("16C3(Encoding)-AP2-32FC-Voting", "cifar10")
    assert name == "custom"
    assert network.lif == LIF(0.25, 0.75, 1.0)


def test_a_name_of_the_other_kind_of_data_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="for event data, choose from Small, Middle, Large"):
        paper.network("CIFARNet", "nmnist")


def test_an_epoch_shows_every_sample() -> None:
    assert paper.settings("cifar10").iterations_per_epoch(20) == 2500
    assert paper.settings("cifar10").iterations_per_epoch(30_000) == 2
