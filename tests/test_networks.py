"""Tables 1, 2 and 7 as data, against the figures of the paper."""

from __future__ import annotations

import pytest

from harness.spec import LIF, UsageError, paper


def test_the_tables_are_there() -> None:
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
    with pytest.raises(UsageError, match="for event data, choose from Small, Middle, Large"):
        paper.network("CIFARNet", "nmnist")
