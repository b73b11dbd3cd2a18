"""The soft-LIF network with rates and with spikes: its neuron, its layers, what it learns."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness import baselines
from harness.baselines import soft_lif, soft_lif_ann
from harness.baselines.contract import Answers, Images
from harness.baselines.soft_lif import DT, LIF, TAU_S, Alpha, SpikingSoftLIF, simulate
from harness.baselines.soft_lif_ann import (
    CROP,
    Local,
    Neuron,
    RateNetwork,
    Sizes,
    SoftLIF,
    noise,
    pool,
    random_crops,
    soft_rate,
)
from harness.spec import UsageError

NEURON = Neuron()
SMALL = Sizes((4, 4, 4, 4), 8)


def doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def coloured(count: int, seed: int, size: int = 32, augmented: bool = False) -> Images:
    """Noise, brighter in red, green or blue: three classes in turn."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    pixels = generator.integers(0, 150, (count, 3, size, size))
    pixels[np.arange(count), labels] += 60
    return Images(pixels.astype(np.uint8), labels, 3, augmented)


def silent(fraction: float, doing: str) -> None: ...


def rates(images: Images, seed: int = 0, epochs: int = 5) -> SoftLIF:
    method = SoftLIF(SMALL, epochs, NEURON)
    method.fit(images, images, seed, silent)
    return method


def test_the_rate_at_threshold_is_that_by_hand() -> None:
    # rho(0) = 0.02 log 2 = 0.0138629; log(1 + 1 / rho) = 4.292304; 1 / (0.001 + 0.05 * 4.292304)
    assert soft_rate(doubles(1.0), NEURON).item() == pytest.approx(4.637891, rel=1e-6)


def test_the_rate_is_the_published_formula_where_that_has_no_trouble() -> None:
    for j in (0.8, 0.9, 1.1, 2.0, 10.0):
        rho = 0.02 * log(1 + exp((j - 1) / 0.02))
        expected = 1 / (0.001 + 0.05 * log(1 + 1 / rho))
        assert soft_rate(doubles(j), NEURON).item() == pytest.approx(expected, rel=1e-8)


def test_the_rate_tends_to_the_hard_one_with_sigma() -> None:
    j = doubles(-3.0, 0.9, 1.05, 1.5, 4.0, 40.0)
    hard = soft_lif.hard_rate(j, NEURON)
    assert hard[:2].tolist() == [0, 0]
    errors = [
        (soft_rate(j, replace(NEURON, sigma=sigma)) - hard).abs().max().item()
        for sigma in (0.1, 0.01, 1e-6)
    ]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 1e-3


def test_float32_is_enough_for_every_current_and_gradient() -> None:
    j = torch.linspace(-50, 50, 20_001)
    exact = j.double().requires_grad_()
    j.requires_grad_()
    rate, expected = soft_rate(j, NEURON), soft_rate(exact, NEURON)
    rate.sum().backward()
    expected.sum().backward()
    assert j.grad is not None and exact.grad is not None
    assert torch.isfinite(rate).all() and torch.isfinite(j.grad).all()
    torch.testing.assert_close(rate.double(), expected, rtol=1e-4, atol=0)
    torch.testing.assert_close(j.grad.double(), exact.grad, rtol=1e-3, atol=0)


def test_the_rate_never_falls_with_the_current() -> None:
    j = torch.linspace(-50, 50, 100_001)
    assert (soft_rate(j, NEURON).diff() >= 0).all()
    assert (soft_rate(j.double(), NEURON).diff() > 0).all()


def test_gradients_are_those_of_finite_differences() -> None:
    j = doubles(-4.0, 0.3, 0.599, 0.95, 1.0, 1.05, 1.7, 6.0).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: soft_rate(x, NEURON), (j,), eps=1e-7)


def test_noise_is_above_threshold_alone_and_leaves_no_rate_below_zero() -> None:
    torch.manual_seed(0)
    j = torch.tensor([0.5, 1.0, 1.01, 9.0]).expand(20_000, 4)
    rate = soft_rate(j, NEURON)
    found = rate + noise(rate, j, 10.0)
    assert torch.equal(found[:, :2], rate[:, :2])
    assert found.min().item() == 0  # a slow unit's noise is cut
    assert found[:, 3].std().item() == pytest.approx(10, rel=0.03)
    assert found[:, 3].mean().item() == pytest.approx(rate[0, 3].item(), abs=0.4)


def test_gradients_pass_noise_by() -> None:
    torch.manual_seed(0)
    j = torch.full((100,), 1.01, requires_grad=True)
    rate = soft_rate(j, NEURON)
    (rate + noise(rate, j, 10.0)).sum().backward()
    plain = torch.tensor(1.01, requires_grad=True)
    soft_rate(plain, NEURON).backward()
    assert j.grad is not None and plain.grad is not None
    torch.testing.assert_close(j.grad, plain.grad.expand(100))


def test_a_network_is_noisy_in_training_alone() -> None:
    torch.manual_seed(0)
    network = RateNetwork(SMALL.filters, 3, NEURON)
    x = torch.randn(2, 3, CROP, CROP)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


def test_pooling_is_of_three_by_three_and_of_what_is_there_at_the_far_edges() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    near, right = (0 + 1 + 2 + 4 + 5 + 6 + 8 + 9 + 10) / 9, (2 + 3 + 6 + 7 + 10 + 11) / 6
    below, corner = (8 + 9 + 10 + 12 + 13 + 14) / 6, (10 + 11 + 14 + 15) / 4
    assert pool(x).flatten().tolist() == pytest.approx([near, right, below, corner])
    assert pool(pool(torch.zeros(1, 1, CROP, CROP))).shape == (1, 1, 6, 6)


def test_places_that_share_filters_are_a_convolution() -> None:
    torch.manual_seed(0)
    layer, expected = Local(2, 3, 6).double(), nn.Conv2d(2, 3, 3, padding=1).double()
    assert expected.bias is not None
    with torch.no_grad():
        weight = expected.weight.flatten(2).permute(2, 1, 0)[:, None]  # (9, 1, C, F)
        layer.weight.copy_(weight.expand_as(layer.weight))
        layer.bias.copy_(expected.bias[:, None, None].expand_as(layer.bias))
    x = torch.randn(4, 2, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(x), expected(x))


def test_each_place_has_its_own_filters() -> None:
    layer = Local(2, 3, 6)
    x = torch.ones(1, 2, 6, 6)
    before = layer(x)
    with torch.no_grad():
        layer.weight[:, 6 * 2 + 5] += 1
    moved = (layer(x) != before).any(1)[0].nonzero()
    assert moved.tolist() == [[2, 5]]


def test_crops_are_parts_of_the_image_mirrored_or_not() -> None:
    torch.manual_seed(0)
    place = torch.arange(32 * 32).reshape(1, 1, 32, 32).expand(200, 3, 32, 32)
    crops = random_crops(place)
    assert crops.shape == (200, 3, CROP, CROP)
    corners, ways = set(), set()
    for crop in crops[:, 1]:
        step = int(crop[0, 1] - crop[0, 0])
        ways.add(step)
        first = int(crop.min())
        corners.add(divmod(first, 32))
        columns = torch.arange(CROP) if step == 1 else torch.arange(CROP).flip(0)
        assert torch.equal(crop, first + 32 * torch.arange(CROP)[:, None] + columns)
    assert ways == {1, -1} and len(corners) > 50
    assert {row for row, _ in corners} == {column for _, column in corners} == set(range(9))


def test_images_that_may_not_be_augmented_are_cropped_in_the_middle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(images: Tensor) -> Tensor:
        raise AssertionError("cropped at random")

    monkeypatch.setattr(soft_lif_ann, "random_crops", refuse)
    rates(coloured(12, 0), epochs=1)
    with pytest.raises(AssertionError, match="cropped at random"):
        rates(coloured(12, 0, augmented=True), epochs=1)


@pytest.mark.parametrize("j", [1.02, 1.3, 2.0, 5.0, 30.0, 1000.0])
def test_a_constant_current_fires_at_the_analytic_rate(j: float) -> None:
    current, steps = doubles(j), 2_000
    neuron = LIF(NEURON)
    fired = torch.stack([neuron.step(current) for _ in range(steps)]).sum(0)
    analytic = 1 / (0.001 + 0.05 * log(1 + 1 / (j - 1)))
    assert soft_lif.hard_rate(current, NEURON).item() == pytest.approx(analytic)
    assert abs(fired.item() / (steps * DT) - analytic) <= 1 / (steps * DT)


def test_every_spike_comes_when_the_analytic_count_says() -> None:
    j = 1 + 10 ** (4 * torch.rand(200, dtype=torch.float64) - 2)
    rate, neuron, fired = soft_lif.hard_rate(j, NEURON), LIF(NEURON), torch.zeros_like(j)
    for n in range(1, 401):
        fired += neuron.step(j)
        assert torch.equal(fired, soft_lif.spikes_by(n * DT, rate, NEURON))


def test_the_first_spike_comes_when_the_potential_has_risen() -> None:
    # from rest v = j (1 - exp(-t / tau_rc)) is 1 at t = -tau_rc log(1 - 1 / j)
    j = 3.0
    first = -0.05 * log(1 - 1 / j)
    neuron = LIF(NEURON)
    fired = [neuron.step(doubles(j)).item() for _ in range(50)]
    assert fired.index(1.0) == int(first / DT)


def test_a_neuron_is_silent_up_to_the_threshold_and_during_its_refractory_time() -> None:
    neuron = LIF(replace(NEURON, tau_ref=0.004))
    fired = torch.stack([neuron.step(doubles(-5.0, 0.99, 1.0, 1e6)) for _ in range(400)])
    assert fired.sum(0)[:3].tolist() == [0, 0, 0]
    assert fired.sum(0)[3].item() == 100  # one in 4 ms


def test_inhibition_does_not_add_up() -> None:
    rested, inhibited = LIF(NEURON), LIF(NEURON)
    for _ in range(100):
        inhibited.step(doubles(-50.0))
    for _ in range(60):
        assert torch.equal(inhibited.step(doubles(1.7)), rested.step(doubles(1.7)))


def test_the_alpha_synapse_gives_out_what_it_is_given() -> None:
    synapse = Alpha()
    response = [synapse.step(doubles(float(n == 0))).item() for n in range(200)]
    assert sum(response) == pytest.approx(1, abs=1e-12)

    def risen(t: float) -> float:  # the integral of t / tau^2 exp(-t / tau)
        return 1 - (1 + t / TAU_S) * exp(-t / TAU_S)

    expected = [risen((n + 1) * DT) - risen(n * DT) for n in range(200)]
    assert response == pytest.approx(expected, abs=1e-12)
    assert max(range(200), key=response.__getitem__) in (4, 5)  # it peaks after tau_s


def lively(neuron: Neuron) -> RateNetwork:
    """A network with weights so large that neurons fire often."""
    torch.manual_seed(1)
    network = RateNetwork((6, 6, 6, 6), 5, neuron).eval()
    with torch.no_grad():
        for layer in network.layers:
            layer.get_parameter("weight").mul_(2)
    return network


def test_spikes_tend_to_the_rates_of_hard_units() -> None:
    network = lively(replace(NEURON, sigma=1e-4))
    x = torch.randn(3, 3, CROP, CROP)
    with torch.no_grad():
        expected = network(x)
    errors = []
    for steps in (25, 50, 300):
        found = simulate(network, x, steps).outputs[steps // 2 :].mean(0)
        errors.append(((found - expected).norm() / expected.norm()).item())
    assert errors == sorted(errors, reverse=True) and errors[2] < 0.1


def test_spikes_of_all_neurons_are_counted() -> None:
    network = lively(NEURON)
    x = torch.randn(3, 3, CROP, CROP)
    counts = [simulate(network, x, 100).spikes]
    with torch.no_grad():
        j, neuron = NEURON.current(network.layers[0](x)), LIF(NEURON)
        first = sum(neuron.step(j).sum().item() for _ in range(100))
        for layer in list(network.layers)[:0:-1]:  # the last is silenced first
            for parameter in layer.parameters():
                parameter.zero_()
            counts.append(simulate(network, x, 100).spikes)
    assert counts == sorted(counts, reverse=True) and len(set(counts)) == 4
    assert counts[3] == pytest.approx(first, rel=1e-3)  # float32 may move one by a step


def test_what_is_easy_is_learned_with_rates_and_with_spikes() -> None:
    train, test = coloured(90, 0, augmented=True), coloured(60, 1)
    method = SpikingSoftLIF(SoftLIF(SMALL, 5, NEURON))
    method.fit(train, train, 0, silent)
    answers = method.predict(test)
    assert answers.source is not None and answers.spikes is not None
    assert np.mean(answers.source == test.labels) > 0.8
    assert np.mean(answers.labels == test.labels) > 0.8
    assert tuple(answers.at_steps) == soft_lif.STEPS
    assert (answers.at_steps[max(soft_lif.STEPS)] == answers.labels).all()
    assert answers.spikes > 0


def test_the_same_seed_gives_the_same_network_to_both_systems() -> None:
    train, test = coloured(24, 0, augmented=True), coloured(30, 1)
    spiking = SpikingSoftLIF(SoftLIF(SMALL, 2, NEURON))
    spiking.fit(train, train, 3, silent)
    ann = rates(train, 3, epochs=2)
    for ours, theirs in zip(
        spiking.rates.network.parameters(), ann.network.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)
    first, again = spiking.predict(test), spiking.predict(test)
    assert isinstance(first, Answers) and first.source is not None
    assert (first.source == ann.predict(test)).all()
    assert (first.labels == again.labels).all() and first.spikes == again.spikes
    other = rates(train, 4, epochs=2)
    assert not torch.equal(ann.network.read.weight, other.network.read.weight)


def test_answers_do_not_depend_on_the_other_images() -> None:
    method = SpikingSoftLIF(rates(coloured(24, 0), epochs=1))
    test = coloured(60, 1)  # more than one batch
    whole = method.predict(test).labels
    assert (method.predict(test.part(np.arange(50, 60))).labels == whole[50:]).all()


def test_images_of_one_colour_are_no_trouble() -> None:
    grey = Images(np.full((6, 3, 32, 32), 90, np.uint8), np.arange(6) % 3, 3, False)
    assert rates(grey, epochs=1).predict(grey).shape == (6,)


def test_images_smaller_than_a_crop_are_refused() -> None:
    with pytest.raises(UsageError, match=r"are 20x20 pixels, expected at least 24x24: enlarge"):
        rates(coloured(6, 0, size=20))
    with pytest.raises(UsageError, match=r"are 20x20 pixels, expected at least 24x24: enlarge"):
        rates(coloured(6, 0), epochs=1).predict(coloured(6, 0, size=20))


def test_both_are_systems_and_say_what_they_are() -> None:
    for name in ("soft-lif", "soft-lif-ann"):
        system = baselines.load(name)
        assert system.input == "images" and system.datasets == ("cifar10",) and system.random
        paper = system.build("paper", 1)
        assert paper.structure == "24x24x3-64c5-ap3-64c5-ap3-64local3-32local3-fc"
        assert paper.chosen == ""
        assert set(system.epochs) == {"quick", "default", "paper"}
    assert baselines.load("soft-lif").steps == soft_lif.STEPS
    assert baselines.load("soft-lif-ann").steps == ()
