"""Rueckauer's conversion: SpikingJelly's neurons and scales against ours and against the hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import neuron
from test_baselines_converted import RATE, SMALL, TINY, learns_and_repeats, silent, squares
from torch import Tensor, fx, nn

from harness.baselines import converted, rueckauer
from harness.baselines.contract import Images
from harness.baselines.rueckauer import converted_by_spikingjelly
from harness.baselines.spiking import IF, Converted, run
from harness.spec import UsageError

pytestmark = pytest.mark.usefixtures("no_data_of_the_machine")


def module_of(snn: Converted) -> fx.GraphModule:
    assert isinstance(snn.step, fx.GraphModule)
    return snn.step


def scales(snn: Converted) -> list[float]:
    """By which the spikes of each layer are multiplied."""
    parts = (module_of(snn).get_submodule(f"spiking_{n}") for n in range(len(snn.neurons)))
    return [float(part.get_buffer("scaler1.scale")) for part in parts]


def one_unit() -> nn.Sequential:
    """Its activation is its input, which goes to each class."""
    network = nn.Sequential(
        nn.Linear(1, 1, bias=False), nn.ReLU(), nn.Linear(1, 10, bias=False)
    ).requires_grad_(False)
    for weights in network.parameters():
        weights.fill_(1.0)
    return network.eval()


def small() -> tuple[nn.Sequential, Tensor]:
    """A network of the shared one's kind, and images in [0, 1]."""
    torch.manual_seed(0)
    network = converted.built(converted.Plan(Fraction(1, 64), epochs=0)).requires_grad_(False)
    return network.eval(), converted.scaled(torch.from_numpy(squares(8).pixels))


@torch.no_grad()
def spikes_of(snn: Converted, x: Tensor, steps: int) -> list[Tensor]:
    """Of each layer, (T, B, ...)."""
    found: list[list[Tensor]] = [[] for _ in snn.neurons]
    handles = [
        each.register_forward_hook(lambda module, given, out, seen=seen: seen.append(out))
        for each, seen in zip(snn.neurons, found, strict=True)
    ]
    snn.restart()
    for _ in range(steps):
        snn.step(x)
    for handle in handles:
        handle.remove()
    return [torch.stack(each) for each in found]


@torch.no_grad()
def error(snn: Converted, x: Tensor, expected: Tensor, steps: Sequence[int]) -> list[float]:
    """How far the mean of the output layer is from what it should be, after those steps."""
    snn.restart()
    total, found = torch.zeros_like(expected), []
    for t in range(1, max(steps) + 1):
        total += snn.step(x)
        if t in steps:
            found.append(float((total / t - expected).abs().max()))
    return found


def test_every_unit_becomes_a_neuron_whose_threshold_is_subtracted() -> None:
    network, x = small()
    snn = converted_by_spikingjelly(network, (x,), "99.9%")
    kinds = [type(each) for each in module_of(snn).modules()]
    assert nn.ReLU not in kinds and kinds.count(neuron.IFNode) == 7 == len(snn.neurons)
    for each in snn.neurons:
        assert isinstance(each, neuron.IFNode)
        assert each.v_reset is None and each.v_threshold == 1
    assert snn.encode(x) is x  # pixels go in as they are


def test_a_scale_is_the_percentile_of_all_activations() -> None:
    x = torch.arange(1001.0)[:, None]  # from 0 to 1000
    for mode, expected in (("99.9%", 999.0), ("50%", 500.0), ("max", 1000.0)):
        assert scales(converted_by_spikingjelly(one_unit(), (x,), mode)) == [expected]
    both = (x, torch.full((5, 1), 100.0))
    found = scales(converted_by_spikingjelly(one_unit(), both, "max"))
    assert found == [pytest.approx(0.9 * 1000 + 0.1 * 100)]  # SpikingJelly's moving average


def test_by_default_there_is_one_batch_that_torch_can_rank() -> None:
    for effort in ("quick", "default", "paper"):
        plan, chosen = converted.planned(effort, 1), rueckauer._PARAMETERS[effort]
        widest = int(Fraction(256) * plan.width) * 32 * 32  # the second layer's
        assert chosen.together * widest < 16_000_000
        assert effort == "paper" or chosen.images <= chosen.together


def test_spikes_are_those_of_the_hand_and_of_our_neurons() -> None:
    snn = converted_by_spikingjelly(one_unit(), (torch.tensor([[2.0], [1.0]]),), "max")
    (spikes,) = spikes_of(snn, torch.tensor([[2 * RATE]]), 8)
    assert spikes.flatten().tolist() == [0, 1, 0, 1, 1, 0, 1, 1]
    network, x = small()
    snn = converted_by_spikingjelly(network, (x,), "99.9%")
    first = spikes_of(snn, x, 20)[0]
    ours = IF(1.0, "subtract")
    z = network[0](x) * (1 / scales(snn)[0])
    assert torch.equal(first, torch.stack([ours(z) for _ in range(20)]))


def test_a_first_layers_rate_tends_to_the_activation_as_one_over_T() -> None:
    network, x = small()
    snn = converted_by_spikingjelly(network, (x,), "max")
    scale, activation = scales(snn)[0], network[1](network[0](x))
    spikes = spikes_of(snn, x, 200)[0]
    for t in (5, 20, 200):
        assert (scale * spikes[:t].mean(0) - activation).abs().max() <= scale / t * 1.001


def test_the_answer_tends_to_the_sources_as_one_over_T() -> None:
    network, x = small()
    snn = converted_by_spikingjelly(network, (x,), "max")
    expected = network(x)
    few, many = error(snn, x, expected, (32, 512))
    assert many < few / 8  # 16 by the steps
    assert many < 0.05 * float(expected.abs().max())


def test_a_lower_percentile_cuts_off_what_is_larger() -> None:
    x = torch.arange(1001.0)[:, None]
    snn = converted_by_spikingjelly(one_unit(), (x,), "50%")
    given = torch.tensor([[250.0], [500.0], [1000.0]])
    assert spikes_of(snn, given, 8)[0].mean(0).flatten().tolist() == [0.5, 1, 1]


def test_the_source_stays_as_it_was() -> None:
    network, x = small()
    before, answers = {k: v.clone() for k, v in network.state_dict().items()}, network(x)
    snn = converted_by_spikingjelly(network, (x,), "99.9%")
    snn.step(x)
    assert [type(each) for each in network].count(nn.ReLU) == 7
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert torch.equal(network(x), answers)


def test_potentials_do_not_stay_from_one_batch_to_the_next() -> None:
    network, x = small()
    snn = converted_by_spikingjelly(network, (x,), "99.9%")
    first = spikes_of(snn, x, 10)
    snn.step(x.flip(0))
    for once, again in zip(first, spikes_of(snn, x, 10), strict=True):
        assert torch.equal(once, again)


def test_the_spikes_of_all_layers_are_counted() -> None:
    network, _ = small()
    images = squares(8)
    x = converted.scaled(torch.from_numpy(images.pixels))
    snn = converted_by_spikingjelly(network, (x,), "99.9%")
    expected = sum(int(each.sum()) for each in spikes_of(snn, x, 12)) / 8
    assert run(snn, images, (3, 12)).spikes == expected > 0


def test_a_silent_layer_is_refused() -> None:
    black = replace(squares(8), pixels=np.zeros((8, 3, 32, 32), np.uint8))
    method = rueckauer.Rueckauer(TINY, rueckauer.Parameters())
    with pytest.raises(UsageError, match=r"cannot scale the network \(.*\): train it on more"):
        method.fit(black, black, 0, silent)


def test_it_learns_in_silence_and_says_the_same_again(capfd: pytest.CaptureFixture[str]) -> None:
    parameters = rueckauer.Parameters((8, 48), images=40)
    learns_and_repeats(lambda: rueckauer.Rueckauer(SMALL, parameters), parameters.steps)
    assert capfd.readouterr() == ("", "")  # SpikingJelly has a progress bar


def test_a_description_holds_what_the_contract_asks_for() -> None:
    method = rueckauer.build("default", 1)
    assert method.chosen == "" and method.structure.endswith("-64FC-10")
    assert rueckauer.EPOCHS is converted.EPOCHS and rueckauer.PACKAGES == ("spikingjelly",)
    assert set(converted.DEVIATIONS) < set(rueckauer.DEVIATIONS)


def test_images_that_the_network_cannot_take_are_refused() -> None:
    images = squares(8)
    small = Images(images.pixels[:, :, :28, :28], images.labels, 4, augmented=False)
    with pytest.raises(UsageError, match="the images have 3x28x28 pixels, expected 3x32x32: give"):
        rueckauer.build("quick", 1).fit(small, small, 0, silent)
