"""Systems on images: the converted network and what three papers make of it; Panda and Roy's
auto-encoders and the soft-LIF network, their neurons and layers by hand.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import exp, inf, log

import numpy as np
import pytest
import torch
from recordings import answered, squares
from torch import Tensor, nn

from harness.baselines import converted, learn, panda, rueckauer, soft_lif
from harness.baselines.contract import Answers, Images, silent
from harness.baselines.converted import IF, balance_thresholds
from harness.baselines.panda import PandaSizes, contrast_normalised, potential, signed_spikes, zca
from harness.baselines.rueckauer import converted_by_spikingjelly
from harness.spec import UsageError

pytestmark = pytest.mark.usefixtures("no_data_of_the_machine")

TINY = converted.ConversionSizes(width=Fraction(1, 64))


# the network without spikes


def shared(images: Images, epochs: int = 1, seed: int = 5) -> tuple[nn.Module, bool]:
    """The network, and whether it had to be trained."""
    messages: list[str] = []
    arguments = TINY, epochs, seed, lambda done, what: messages.append(what)
    return converted.load_or_train_source(images, *arguments), bool(messages)


def same(first: nn.Module, second: nn.Module) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_the_network_is_the_papers_without_biases() -> None:
    expected = "3x32x32-128C3-256C3-AP2-512C3-AP2-1024C3-512C3-1024FC-512FC-10"
    assert converted.structure(Fraction(1)) == expected
    network = converted.build_source(Fraction(1, 8))
    shapes = [tuple(weight.shape) for weight in network.parameters()]
    maps = [(16, 3), (32, 16), (64, 32), (128, 64), (64, 128)]
    assert shapes == [*((*channels, 3, 3) for channels in maps), (128, 4096), (64, 128), (10, 64)]
    assert [type(layer) for layer in network].count(nn.ReLU) == 7
    assert isinstance(network[-1], nn.Linear)


def test_it_is_trained_once_for_all_that_start_from_it() -> None:
    images = squares(12, 0)
    (first, trained), (again, trained_again) = (shared(images) for _ in range(2))
    assert trained and not trained_again and same(first, again)
    assert not any(weight.requires_grad for weight in (*first.parameters(), *again.parameters()))
    for train, epochs, seed in (  # whatever decides its weights makes it another
        (images, 1, 6),
        (squares(12, 1), 1, 5),
        (replace(images, labels=images.labels[::-1].copy()), 1, 5),
        (replace(images, augmented=True), 1, 5),
        (images, 2, 5),
    ):
        other, trained = shared(train, epochs, seed)
        assert trained and not same(first, other)


def test_images_are_drawn_from_all_classes_and_the_seed_decides_which() -> None:
    images = squares(40, 0)
    by_class = images.part(np.argsort(images.labels, kind="stable"))  # as folders list them
    drawn, again, other = (converted.draw_images(by_class, 16, seed) for seed in (3, 3, 4))
    assert len(drawn) == 16 and set(drawn.labels) == {0, 1, 2, 3}
    assert np.array_equal(drawn.pixels, again.pixels)
    assert not np.array_equal(drawn.pixels, other.pixels)
    assert len(converted.draw_images(images, 100, seed=3)) == 40


def test_a_neurons_spikes_by_hand() -> None:
    z = torch.tensor([0.5])
    for neuron in (IF(1.0), IF(0.875)):  # at the threshold itself, and then from 0 again
        assert [int(neuron(z)) for _ in range(6)] == [0, 1, 0, 1, 0, 1]
    assert z.item() == 0.5
    currents = torch.tensor([-8.0, 1.0, 1.0, 1.0])  # a potential does not sink below the floor
    for floor, last in ((-inf, 0), (-2.0, 1)):
        neuron = IF(1.0, floor)
        assert [int(neuron(z)) for z in currents] == [0, 0, 0, last]


def test_a_pixel_is_the_probability_of_its_spike() -> None:
    learn.set_seed(0)
    spikes = converted.RandomSpikes()(torch.tensor([0.0, 0.25, 1.0]).repeat(10_000, 1))
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    never, sometimes, always = spikes.mean(0).tolist()
    assert (never, always) == (0, 1)
    assert abs(sometimes - 0.25) < 4 * (0.25 * 0.75 / 10_000) ** 0.5  # four deviations


@pytest.mark.parametrize("together", [2, 1])  # potentials do not stay from batch to batch
def test_the_class_has_most_spikes_by_step(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a white pixel and a red one; class 3 is given 0.4 of each colour, 5 half of red.

    White: class 3 fires at each step and class 5 at 2, 4; red: class 3 at 3, class 5 at 2, 4.
    """
    layer = nn.Linear(3, 10, bias=False).requires_grad_(False)
    layer.weight.zero_()
    layer.weight[3], layer.weight[5, 0] = 0.4, 0.5
    snn = nn.Sequential(nn.Flatten(), layer, IF(1.0))
    pixels = np.full((2, 3, 1, 1), 255, np.uint8)
    pixels[1, 1:] = 0
    monkeypatch.setattr(converted, "PREDICT_BATCH", together)
    images = Images(pixels, np.zeros(2, np.int64), 10, False)
    answers = converted.run(snn, IF, images, (1, 2, 4))
    classes = {step: labels.tolist() for step, labels in answers.at_steps.items()}
    assert classes == {1: [3, 0], 2: [3, 5], 4: [3, 5]}  # at first none has fired for red
    assert answers.labels.tolist() == [3, 5] and answers.spikes == (6 + 3) / 2


# Sengupta

# Spikes of x = (1, 1) are certain. z = (3, 2, 1): 3 is the threshold, and the layer fires at every
# step, at 2, 4, 6 and at 3, 6; were the threshold subtracted, at 2, 3, 5, 6 and at 3, 6.
HAND = ([[1.0, 2.0], [0.0, 2.0], [1.0, 0.0]], [[0.0, 1.0, 1.0]])


def of_weights(*weights: list[list[float]]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for rows in weights:
        layer = nn.Linear(len(rows[0]), len(rows), bias=False).requires_grad_(False)
        layer.weight.copy_(torch.tensor(rows))
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers)


@pytest.mark.parametrize(("steps", "expected"), [(2, (3, 1)), (5, (3, 1)), (6, (3, 2))])
def test_thresholds_are_the_most_of_what_comes(steps: int, expected: tuple[float, float]) -> None:
    network = of_weights(*HAND)
    assert balance_thresholds(network, torch.ones(1, 2), steps, silent) == expected
    both = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    assert balance_thresholds(network, both, steps, silent) == expected  # the most of all images


def test_what_cannot_be_converted_is_refused() -> None:
    with pytest.raises(UsageError, match="layer 2 of the network .*train it on more images"):
        balance_thresholds(of_weights(*HAND), torch.ones(1, 2), 1, silent)  # without excitation
    black = replace(squares(8, 0), pixels=np.zeros((8, 3, 32, 32), np.uint8))
    for method, reason in (
        (converted.Sengupta, "layer 1 of the network is given no spikes"),
        (rueckauer.Rueckauer, r"cannot scale the network \(.*\): train it on more"),
    ):
        sizes = replace(method.SIZES["quick"], width=TINY.width)
        with pytest.raises(UsageError, match=reason):
            method(sizes).fit(black, black, 0, silent)


class Chosen(converted.Cao):
    """As if two thresholds were best."""

    def answers(self, snn: nn.Module, images: Images) -> Answers:
        neurons = [module for module in snn.modules() if isinstance(module, IF)]
        ((threshold, floor),) = {(module.threshold, module.floor) for module in neurons}
        assert floor == -10 * threshold
        assert len(neurons) == 8  # the output layer's too
        return Answers(images.labels if threshold in (1.0, 2.0) else images.labels + 1)


def test_cao_takes_the_lowest_threshold_that_is_best_on_held_out_images() -> None:
    method = Chosen(converted.CaoSizes(width=TINY.width, thresholds=(0.5, 1.0, 1.4, 2.0)))
    method.fit(squares(12, 0), squares(8, 1), 0, silent)
    assert method.chosen == "threshold = 1"
    assert np.array_equal(method.predict(squares(4, 2)).labels, squares(4, 2).labels)


# Rueckauer


def test_a_scale_is_the_percentile_of_all_activations() -> None:
    x = torch.arange(1001.0)[:, None]  # from 0 to 1000
    unit = nn.Sequential(*list(of_weights([[1.0]], [[1.0]] * 10))[:3]).eval()  # gives its input
    snn = converted_by_spikingjelly(unit, (x,))
    scales = [float(scale) for name, scale in snn.named_buffers() if "scaler1" in name]
    assert scales == [999.0]


CROP, UNIT = soft_lif.CROP, soft_lif.SoftLIFNeuron()
NARROW = soft_lif.SoftLIFSizes(filters=(4, 4, 4, 4), batch_size=8)


def doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# Panda & Roy


def panda_fitted(train: Images) -> panda.Panda:
    method = panda.Panda(PandaSizes((4, 4, 8), 6, 8), 1)
    method.fit(train, train, 0, silent)
    return method


def test_contrast_is_normalised_and_brightness_taken_away() -> None:
    x = squares(4, 0)
    normalised = contrast_normalised(x)
    assert normalised.mean((1, 2, 3)).abs().max() < 1e-5
    torch.testing.assert_close(normalised.square().mean((1, 2, 3)), torch.ones(4))
    dark, bright = (
        contrast_normalised(replace(x, pixels=(x.pixels // 16 * 8 + more).astype(np.uint8)))
        for more in (0, 100)
    )
    torch.testing.assert_close(dark, bright, rtol=0, atol=1e-4)


def test_whitened_values_are_independent_of_one_deviation() -> None:
    torch.manual_seed(0)
    mixed = torch.randn(500, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64)
    matrix = zca(mixed.T.cov(), 0.0)
    torch.testing.assert_close((mixed @ matrix).T.cov(), torch.eye(6, dtype=torch.float64))
    torch.testing.assert_close(matrix, matrix.T)
    with_floor = zca(torch.diag(torch.tensor([3.9, 0.0])), 0.1)
    torch.testing.assert_close(with_floor, torch.diag(torch.tensor([0.5, 0.1**-0.5])))


def test_spikes_have_the_sign_and_on_average_the_size_of_their_value() -> None:
    torch.manual_seed(0)
    spikes = signed_spikes(torch.tensor([0.0, 0.3, -0.7, 1.0, 2.5, -4.0]), 4_000)
    assert spikes.shape == (4_000, 6) and set(spikes.unique().tolist()) == {-1, 0, 1}
    expected = torch.tensor([0.0, 0.3, -0.7, 1.0, 1.0, -1.0])
    assert (spikes.mean(0) - expected).abs().max() < 0.03
    assert spikes[:, 0].abs().max() == 0 and spikes[:, 3].min() == 1


def single(encode: float, decode: float) -> panda.LayerAutoEncoder:
    """One neuron that sees one place and gives it back."""
    coder = panda.LayerAutoEncoder(1, 1, 1).double()
    with torch.no_grad():
        coder.encoder.weight.fill_(encode)
        coder.decoder.weight.fill_(decode)
    return coder


def train_of(*values: float) -> Tensor:  # (T, 1, 1, 1, 1)
    return doubles(*values).reshape(-1, 1, 1, 1, 1)


def test_the_error_is_that_by_hand() -> None:
    # a potential that does not fire decays by k_tau a step
    currents = torch.tensor([[1.0], [5.0], [0.0], [-2.0]])
    assert potential(currents).item() == pytest.approx(0.9**3 + 5 * 0.9**2 + 0 - 2)
    spikes = train_of(1, 0, 1, 1, 0)  # what fires with its input, and is decoded as it was
    assert torch.equal(single(1.0, 1.0)(spikes), spikes)
    assert single(1.0, 1.0).error(spikes).item() == 0
    # u = 0.6, 1.14 (fires), 0.6: o = 0, 1, 0, decoded 0.9 * 2 = 1.8; the input 0.81 + 0.9 + 1
    coder = single(0.6, 2.0)
    assert coder(train_of(1, 1, 1)).flatten().tolist() == [0, 1, 0]
    assert coder.error(train_of(1, 1, 1)).item() == pytest.approx((1.8 - 2.71) ** 2)


def test_layers_learn_without_labels_and_are_frozen_then() -> None:
    train = squares(30, 0)
    other = replace(train, labels=train.labels[::-1].copy())
    ours, theirs = panda_fitted(train), panda_fitted(other)
    assert len(ours.coders) == 3
    for first, second in zip(ours.coders, theirs.coders, strict=True):
        assert torch.equal(first.encoder.weight, second.encoder.weight)
        assert not any(weight.requires_grad for weight in first.parameters())
    assert not torch.equal(ours.read.weight, theirs.read.weight)


# Hunsberger & Eliasmith


def test_the_rate_is_that_by_hand_and_tends_to_the_hard_one_with_sigma() -> None:
    # rho(0) = 0.02 log 2 = 0.0138629; log(1 + 1 / rho) = 4.292304; 1 / (0.001 + 0.05 * 4.292304)
    assert soft_lif.SoftRate.apply(doubles(1.0), UNIT).item() == pytest.approx(4.637891, rel=1e-6)
    j = doubles(-3.0, 0.9, 1.05, 1.5, 4.0, 40.0)
    hard = soft_lif.lif_rate(j, UNIT)
    assert hard[:2].tolist() == [0, 0]
    units = [replace(UNIT, sigma=sigma) for sigma in (0.1, 0.01, 1e-6)]
    errors = [(soft_lif.SoftRate.apply(j, unit) - hard).abs().max().item() for unit in units]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 1e-3


def test_float32_is_enough_for_every_current_and_gradient() -> None:
    j = torch.linspace(-50, 50, 20_001)
    exact = j.double().requires_grad_()
    j.requires_grad_()
    rate, expected = soft_lif.SoftRate.apply(j, UNIT), soft_lif.SoftRate.apply(exact, UNIT)
    rate.sum().backward()
    expected.sum().backward()
    assert j.grad is not None and exact.grad is not None
    assert torch.isfinite(rate).all() and torch.isfinite(j.grad).all()
    torch.testing.assert_close(rate.double(), expected, rtol=1e-4, atol=0)
    torch.testing.assert_close(j.grad.double(), exact.grad, rtol=1e-3, atol=0)
    j = doubles(-4.0, 0.3, 0.599, 0.95, 1.0, 1.05, 1.7, 6.0).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: soft_lif.SoftRate.apply(x, UNIT), (j,), eps=1e-7)


def test_noise_is_above_threshold_alone_and_leaves_no_rate_below_zero() -> None:
    torch.manual_seed(0)
    j = torch.tensor([0.5, 1.0, 1.01, 9.0]).expand(20_000, 4)
    rate = soft_lif.SoftRate.apply(j, UNIT)
    noisy = rate + soft_lif.noise(rate, j, 10.0)
    assert torch.equal(noisy[:, :2], rate[:, :2])
    assert noisy.min().item() == 0  # a slow unit's noise is cut
    assert noisy[:, 3].std().item() == pytest.approx(10, rel=0.03)
    assert noisy[:, 3].mean().item() == pytest.approx(rate[0, 3].item(), abs=0.4)


def test_pooling_is_of_three_by_three_and_of_what_is_there_at_the_far_edges() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    near, right = (0 + 1 + 2 + 4 + 5 + 6 + 8 + 9 + 10) / 9, (2 + 3 + 6 + 7 + 10 + 11) / 6
    below, corner = (8 + 9 + 10 + 12 + 13 + 14) / 6, (10 + 11 + 14 + 15) / 4
    assert soft_lif.pool(x).flatten().tolist() == pytest.approx([near, right, below, corner])
    twice = soft_lif.pool(soft_lif.pool(torch.zeros(1, 1, CROP, CROP)))
    assert twice.shape == (1, 1, 6, 6)


def test_places_that_share_filters_are_a_convolution() -> None:
    torch.manual_seed(0)
    layer = soft_lif.LocallyConnected(2, 3, 6).double()
    expected = nn.Conv2d(2, 3, 3, padding=1).double()
    assert expected.bias is not None
    with torch.no_grad():
        weight = expected.weight.flatten(2).permute(2, 1, 0)[:, None]  # (9, 1, C, F)
        layer.weight.copy_(weight.expand_as(layer.weight))
        layer.bias.copy_(expected.bias[:, None, None].expand_as(layer.bias))
    x = torch.randn(4, 2, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(x), expected(x))


def test_crops_are_parts_of_the_image_mirrored_or_not() -> None:
    torch.manual_seed(0)
    image = torch.arange(32 * 32).reshape(1, 1, 32, 32)
    crops = soft_lif.random_crops(image.expand(200, 3, 32, 32))
    assert crops.shape == (200, 3, CROP, CROP)
    corners, ways = set(), set()
    for crop in crops[:, 1]:
        first, step = int(crop.min()), int(crop[0, 1] - crop[0, 0])
        ways.add(step)
        corners.add(divmod(first, 32))
        columns = torch.arange(CROP) if step == 1 else torch.arange(CROP).flip(0)
        assert torch.equal(crop, first + 32 * torch.arange(CROP)[:, None] + columns)
    assert ways == {1, -1} and len(corners) > 50
    assert {row for row, _ in corners} == {column for _, column in corners} == set(range(9))


def test_every_spike_comes_when_the_analytic_count_says() -> None:
    j = 1 + 10 ** (4 * torch.rand(200, dtype=torch.float64) - 2)
    j[:3] = doubles(-5.0, 0.99, 1.0)  # silent
    rate, neuron, fired = soft_lif.lif_rate(j, UNIT), soft_lif.LIFNeurons(UNIT), torch.zeros_like(j)
    for n in range(1, 401):
        fired += neuron.step(j)
        assert torch.equal(fired, soft_lif.spike_count(n * soft_lif.DT, rate, UNIT))
    # from rest v = j (1 - exp(-t / tau_rc)) is 1 at t = -tau_rc log(1 - 1 / j)
    neuron = soft_lif.LIFNeurons(UNIT)
    first = [neuron.step(doubles(3.0)).item() for _ in range(50)].index(1.0)
    assert first == int(-0.05 * log(1 - 1 / 3.0) / soft_lif.DT)


def test_the_alpha_synapse_gives_out_what_it_is_given() -> None:
    synapse = soft_lif.AlphaSynapse()
    response = [synapse.step(doubles(float(n == 0))).item() for n in range(200)]
    assert sum(response) == pytest.approx(1, abs=1e-12)

    def risen(t: float) -> float:  # the integral of t / tau^2 exp(-t / tau)
        return 1 - (1 + t / soft_lif.TAU_S) * exp(-t / soft_lif.TAU_S)

    expected = [risen((n + 1) * soft_lif.DT) - risen(n * soft_lif.DT) for n in range(200)]
    assert response == pytest.approx(expected, abs=1e-12)
    assert max(range(200), key=response.__getitem__) in (4, 5)  # it peaks after tau_s


@pytest.mark.parametrize("augmented", [False, True])
def test_images_are_cropped_at_random_in_training_where_that_is_allowed(augmented: bool) -> None:
    images = squares(12, 0, augmented)
    method = soft_lif.SoftLIF(NARROW, 1)
    method.fit(images, images, 0, silent)
    pick, every = method.inputs(images, silent), torch.arange(12)
    assert torch.equal(pick(every), pick(every))  # when it is asked, the middle
    method.network.train()
    assert torch.equal(pick(every), pick(every)) != augmented


def test_rates_and_spikes_are_of_one_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soft_lif, "BATCH", 5)
    train, test = squares(24, 0), squares(8, 1)
    rates, spikes = soft_lif.SoftLIF(NARROW, 2), soft_lif.SpikingSoftLIF(NARROW, 2)
    for method in (rates, spikes):
        method.fit(train, train, 3, silent)
    answers = spikes.predict(test)
    assert answers.source is not None and (answers.source == answered(rates, test)).all()
    some = spikes.predict(test.part(np.arange(6, 8)))
    assert (some.labels == answers.labels[6:]).all()  # nor does the rest of a batch matter
