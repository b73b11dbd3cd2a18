"""Panda & Roy's auto-encoders and the soft-LIF network: their neurons and layers by hand."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log

import numpy as np
import pytest
import torch
from recordings import answered, squares
from torch import Tensor, nn

from harness.baselines.contract import Images, silent
from harness.baselines.panda import (
    Coder,
    Panda,
    contrast_normalised,
    encoded,
    potential,
    signed_spikes,
    zca,
)
from harness.baselines.panda import Sizes as PandaSizes
from harness.baselines.soft_lif import (
    CROP,
    DT,
    LIF,
    TAU_S,
    Alpha,
    Local,
    Neuron,
    RateNetwork,
    Sizes,
    SoftLIF,
    SpikingSoftLIF,
    hard_rate,
    noise,
    pool,
    random_crops,
    simulate,
    soft_rate,
    spikes_by,
)

UNIT = Neuron()
SMALL = Sizes(filters=(4, 4, 4, 4), batch_size=8)


def doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# Panda & Roy


def fitted(train: Images, seed: int = 0) -> Panda:
    method = Panda(PandaSizes((4, 4, 8), 6, 8), 1)
    method.fit(train, train, seed, silent)
    return method


def test_contrast_is_normalised_and_brightness_taken_away() -> None:
    x = squares(4, 0)
    found = contrast_normalised(x)
    assert found.mean((1, 2, 3)).abs().max() < 1e-5
    torch.testing.assert_close(found.square().mean((1, 2, 3)), torch.ones(4))
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


def single(encode: float, decode: float) -> Coder:
    """One neuron that sees one place and gives it back."""
    coder = Coder(1, 1, 1).double()
    with torch.no_grad():
        coder.encoder.weight.fill_(encode)
        coder.decoder.weight.fill_(decode)
    return coder


def train_of(*values: float) -> Tensor:  # (T, 1, 1, 1, 1)
    return doubles(*values).reshape(-1, 1, 1, 1, 1)


def test_the_error_is_that_by_hand() -> None:
    # a potential that does not fire decays by k_tau a step
    given = torch.tensor([[1.0], [5.0], [0.0], [-2.0]])
    assert potential(given).item() == pytest.approx(0.9**3 + 5 * 0.9**2 + 0 - 2)
    spikes = train_of(1, 0, 1, 1, 0)  # what fires with its input, and is decoded as it was
    assert torch.equal(single(1.0, 1.0)(spikes), spikes)
    assert single(1.0, 1.0).error(spikes).item() == 0
    # u = 0.6, 1.14 (fires), 0.6: o = 0, 1, 0, decoded 0.9 * 2 = 1.8; the input 0.81 + 0.9 + 1
    coder = single(0.6, 2.0)
    assert coder(train_of(1, 1, 1)).flatten().tolist() == [0, 1, 0]
    assert coder.error(train_of(1, 1, 1)).item() == pytest.approx((1.8 - 2.71) ** 2)


@pytest.mark.parametrize(
    ("encode", "decode", "spikes", "expected"),
    [
        # one step, u = 0.8 is silent: dE/dw = 2 (0 - 1) * 3 * do/du * 1, do/du = 1 / a inside a / 2
        (0.8, 3.0, (1,), -6.0),
        (0.5 - 1e-9, 3.0, (1,), 0.0),
        # through time: u1 = w, u2 = 0.9 w + w, both silent, do/du = 1 inside the window of each;
        # do2/dw = 1.9 - 0.9 u1 do1/dw (eq. (5)'s reset), E = (d (0.9 o1 + o2) - 1.9)^2
        (0.51, 1.5, (1, 1), 2 * -1.9 * 1.5 * (0.9 + 0.9 * (1 - 0.51) + 1)),
    ],
)
def test_gradients_of_the_encoder_go_through_the_surrogate_and_time(
    encode: float, decode: float, spikes: tuple[float, ...], expected: float
) -> None:
    coder = single(encode, decode)
    coder.error(train_of(*spikes)).backward()
    assert coder.encoder.weight.grad is not None
    assert coder.encoder.weight.grad.item() == pytest.approx(expected)


def test_layers_leave_the_places_that_the_notation_says() -> None:
    coders = [Coder(3, 4, 5), Coder(4, 5, 5), Coder(5, 6, 4)]
    spikes = signed_spikes(torch.randn(2, 3, 32, 32), 3)
    for n, shape in ((1, (4, 14, 14)), (2, (5, 5, 5)), (3, (6, 2, 2))):
        assert encoded(coders[:n], spikes)[0].shape == (3, 2, *shape)
    assert encoded([], spikes)[1] == 0


def test_layers_learn_without_labels_and_are_frozen_then() -> None:
    train = squares(30, 0)
    ours, theirs = fitted(train), fitted(replace(train, labels=train.labels[::-1].copy()))
    assert len(ours.coders) == 3
    for first, second in zip(ours.coders, theirs.coders, strict=True):
        assert torch.equal(first.encoder.weight, second.encoder.weight)
        assert not any(weight.requires_grad for weight in first.parameters())
    assert not torch.equal(ours.read.weight, theirs.read.weight)


# Hunsberger & Eliasmith


def test_the_rate_is_that_by_hand_and_tends_to_the_hard_one_with_sigma() -> None:
    # rho(0) = 0.02 log 2 = 0.0138629; log(1 + 1 / rho) = 4.292304; 1 / (0.001 + 0.05 * 4.292304)
    assert soft_rate(doubles(1.0), UNIT).item() == pytest.approx(4.637891, rel=1e-6)
    j = doubles(-3.0, 0.9, 1.05, 1.5, 4.0, 40.0)
    hard = hard_rate(j, UNIT)
    assert hard[:2].tolist() == [0, 0]
    units = [replace(UNIT, sigma=sigma) for sigma in (0.1, 0.01, 1e-6)]
    errors = [(soft_rate(j, unit) - hard).abs().max().item() for unit in units]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 1e-3


def test_float32_is_enough_for_every_current_and_gradient() -> None:
    j = torch.linspace(-50, 50, 20_001)
    exact = j.double().requires_grad_()
    j.requires_grad_()
    rate, expected = soft_rate(j, UNIT), soft_rate(exact, UNIT)
    rate.sum().backward()
    expected.sum().backward()
    assert j.grad is not None and exact.grad is not None
    assert torch.isfinite(rate).all() and torch.isfinite(j.grad).all()
    torch.testing.assert_close(rate.double(), expected, rtol=1e-4, atol=0)
    torch.testing.assert_close(j.grad.double(), exact.grad, rtol=1e-3, atol=0)
    j = doubles(-4.0, 0.3, 0.599, 0.95, 1.0, 1.05, 1.7, 6.0).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: soft_rate(x, UNIT), (j,), eps=1e-7)


def test_noise_is_above_threshold_alone_and_leaves_no_rate_below_zero() -> None:
    torch.manual_seed(0)
    j = torch.tensor([0.5, 1.0, 1.01, 9.0]).expand(20_000, 4)
    rate = soft_rate(j, UNIT)
    found = rate + noise(rate, j, 10.0)
    assert torch.equal(found[:, :2], rate[:, :2])
    assert found.min().item() == 0  # a slow unit's noise is cut
    assert found[:, 3].std().item() == pytest.approx(10, rel=0.03)
    assert found[:, 3].mean().item() == pytest.approx(rate[0, 3].item(), abs=0.4)


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


def test_crops_are_parts_of_the_image_mirrored_or_not() -> None:
    torch.manual_seed(0)
    crops = random_crops(torch.arange(32 * 32).reshape(1, 1, 32, 32).expand(200, 3, 32, 32))
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
    rate, neuron, fired = hard_rate(j, UNIT), LIF(UNIT), torch.zeros_like(j)
    for n in range(1, 401):
        fired += neuron.step(j)
        assert torch.equal(fired, spikes_by(n * DT, rate, UNIT))
    # from rest v = j (1 - exp(-t / tau_rc)) is 1 at t = -tau_rc log(1 - 1 / j)
    neuron = LIF(UNIT)
    first = [neuron.step(doubles(3.0)).item() for _ in range(50)].index(1.0)
    assert first == int(-0.05 * log(1 - 1 / 3.0) / DT)


def test_a_neuron_is_silent_up_to_the_threshold_and_during_its_refractory_time() -> None:
    neuron = LIF(replace(UNIT, tau_ref=0.004))
    fired = torch.stack([neuron.step(doubles(-5.0, 0.99, 1.0, 1e6)) for _ in range(400)])
    assert fired.sum(0).tolist() == [0, 0, 0, 100]  # one in 4 ms


def test_the_alpha_synapse_gives_out_what_it_is_given() -> None:
    synapse = Alpha()
    response = [synapse.step(doubles(float(n == 0))).item() for n in range(200)]
    assert sum(response) == pytest.approx(1, abs=1e-12)

    def risen(t: float) -> float:  # the integral of t / tau^2 exp(-t / tau)
        return 1 - (1 + t / TAU_S) * exp(-t / TAU_S)

    expected = [risen((n + 1) * DT) - risen(n * DT) for n in range(200)]
    assert response == pytest.approx(expected, abs=1e-12)
    assert max(range(200), key=response.__getitem__) in (4, 5)  # it peaks after tau_s


def test_spikes_tend_to_the_rates_of_hard_units() -> None:
    torch.manual_seed(1)
    network = RateNetwork((6, 6, 6, 6), 5, replace(UNIT, sigma=1e-4)).eval()
    with torch.no_grad():
        for layer in network.layers:  # so large that neurons fire often
            layer.get_parameter("weight").mul_(2)
        x = torch.randn(3, 3, CROP, CROP)
        expected = network(x)
    errors = []
    for steps in (25, 50, 300):
        found = simulate(network, x, steps)[0][steps // 2 :].mean(0)
        errors.append(((found - expected).norm() / expected.norm()).item())
    assert errors == sorted(errors, reverse=True) and errors[2] < 0.1


@pytest.mark.parametrize("augmented", [False, True])
def test_images_are_cropped_at_random_in_training_where_that_is_allowed(augmented: bool) -> None:
    images = squares(12, 0, augmented)
    method = SoftLIF(SMALL, 1)
    method.fit(images, images, 0, silent)
    pick, every = method.inputs(images, silent), torch.arange(12)
    assert torch.equal(pick(every), pick(every))  # when it is asked, the middle
    method.network.train()
    assert torch.equal(pick(every), pick(every)) != augmented


def test_rates_and_spikes_are_of_one_network() -> None:
    train, test = squares(24, 0), squares(60, 1)  # more than one batch of images
    rates, spikes = SoftLIF(SMALL, 2), SpikingSoftLIF(SMALL, 2)
    for method in (rates, spikes):
        method.fit(train, train, 3, silent)
    found = spikes.predict(test)
    assert found.source is not None and (found.source == answered(rates, test)).all()
    some = spikes.predict(test.part(np.arange(50, 60)))
    assert (some.labels == found.labels[50:]).all()  # nor does the rest of a batch matter


def test_images_of_one_colour_are_no_trouble() -> None:
    grey = Images(np.full((9, 3, 32, 32), 90, np.uint8), np.arange(9) % 3, 3, False)
    soft = SoftLIF(SMALL, 1)
    soft.fit(grey, grey, 0, silent)
    assert answered(soft, grey).shape == answered(fitted(grey), grey).shape == (9,)
