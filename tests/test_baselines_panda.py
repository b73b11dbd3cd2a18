"""Spiking auto-encoders: their input spikes, their error, and that layers learn without labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harness import baselines
from harness.baselines import panda
from harness.baselines.contract import Images
from harness.baselines.panda import (
    NEURON,
    Coder,
    LayerWise,
    Sizes,
    contrast_normalised,
    each_step,
    encoded,
    potential,
    signed_spikes,
    whitening,
    zca,
)
from harness.spec import UsageError

SMALL = Sizes((4, 4, 8), 6, 8)


def lit(count: int, seed: int, size: int = 32) -> Images:
    """Noise, brighter at the left, the right or the top: three classes in turn."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    y, x = np.mgrid[:size, :size] * 2 < size
    bright = np.stack([x, ~x, y])[labels][:, None]
    pixels = generator.integers(0, 100, (count, 3, size, size)) + 100 * bright
    return Images(pixels.astype(np.uint8), labels, 3, False)


def fitted(
    train: Images,
    seed: int = 0,
    epochs: int = 2,
    tell: Callable[[float, str], None] = lambda fraction, doing: None,
) -> LayerWise:
    method = LayerWise(SMALL, epochs)
    method.fit(train, train, seed, tell)
    return method


def test_contrast_is_normalised_and_brightness_taken_away() -> None:
    x = lit(4, 0)
    found = contrast_normalised(x)
    assert found.mean((1, 2, 3)).abs().max() < 1e-5
    torch.testing.assert_close(found.square().mean((1, 2, 3)), torch.ones(4))
    dark = replace(x, pixels=(x.pixels // 16 * 8).astype(np.uint8))
    bright = replace(x, pixels=(x.pixels // 16 * 8 + 100).astype(np.uint8))
    torch.testing.assert_close(
        contrast_normalised(dark), contrast_normalised(bright), rtol=0, atol=1e-4
    )


def test_an_image_of_one_value_is_all_zero() -> None:
    grey = Images(np.full((2, 3, 32, 32), 77, np.uint8), np.array([0, 1]), 2, False)
    assert not contrast_normalised(grey).any()


def test_whitened_values_are_independent_of_one_deviation() -> None:
    torch.manual_seed(0)
    mixed = torch.randn(500, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64)
    covariance = mixed.T.cov()
    matrix = zca(covariance, 0.0)
    torch.testing.assert_close((mixed @ matrix).T.cov(), torch.eye(6, dtype=torch.float64))
    torch.testing.assert_close(matrix, matrix.T)
    with_floor = zca(torch.diag(torch.tensor([3.9, 0.0])), 0.1)
    torch.testing.assert_close(with_floor, torch.diag(torch.tensor([0.5, 0.1**-0.5])))


def test_whitening_leaves_white_images_and_sharpens_smooth_ones() -> None:
    torch.manual_seed(0)
    white = torch.randn(200, 3, 32, 32)
    smooth = F.avg_pool2d(white, 3, 1, 1) * 3

    def neighbours(x: Tensor) -> float:
        return float(torch.stack([x[..., 1:].flatten(), x[..., :-1].flatten()]).corrcoef()[0, 1])

    filters = whitening(white)
    middle = torch.zeros_like(filters)
    middle[range(3), range(3), 2, 2] = 1.1**-0.5
    assert (filters - middle).abs().max() < 0.1
    assert neighbours(smooth) > 0.6
    assert abs(neighbours(F.conv2d(smooth, whitening(smooth), padding=2))) < 0.25


def test_spikes_have_the_sign_and_on_average_the_size_of_their_value() -> None:
    x = torch.tensor([0.0, 0.3, -0.7, 1.0, 2.5, -4.0])
    torch.manual_seed(0)
    spikes = signed_spikes(x, 4_000)
    assert spikes.shape == (4_000, 6) and set(spikes.unique().tolist()) == {-1, 0, 1}
    expected = torch.tensor([0.0, 0.3, -0.7, 1.0, 1.0, -1.0])
    assert (spikes.mean(0) - expected).abs().max() < 0.03
    assert spikes[:, 0].abs().max() == 0 and spikes[:, 3].min() == 1


def test_spikes_of_a_generator_are_its_own() -> None:
    x = torch.full((5, 5), 0.5)
    first = signed_spikes(x, 8, torch.Generator().manual_seed(1))
    assert torch.equal(first, signed_spikes(x, 8, torch.Generator().manual_seed(1)))
    assert not torch.equal(first, signed_spikes(x, 8, torch.Generator().manual_seed(2)))


def test_a_potential_that_does_not_fire_decays_by_k_tau_a_step() -> None:
    x = torch.tensor([[1.0], [5.0], [0.0], [-2.0]])
    assert potential(x).item() == pytest.approx(0.9**3 + 5 * 0.9**2 + 0 - 2)


def test_a_function_of_each_step_is_one_of_all_at_once() -> None:
    x = torch.randn(3, 2, 4, 8, 8)
    found = each_step(lambda part: F.avg_pool2d(part, 2), x)
    torch.testing.assert_close(found, torch.stack([F.avg_pool2d(step, 2) for step in x]))


def single(encode: float, decode: float) -> Coder:
    """One neuron that sees one place and gives it back."""
    coder = Coder(1, 1, 1).double()
    with torch.no_grad():
        coder.encoder.weight.fill_(encode)
        coder.decoder.weight.fill_(decode)
    return coder


def train_of(*values: float) -> Tensor:  # (T, 1, 1, 1, 1)
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 1, 1, 1, 1)


def test_what_fires_with_its_input_and_is_decoded_as_it_was_has_no_error() -> None:
    spikes = train_of(1, 0, 1, 1, 0)
    assert torch.equal(single(1.0, 1.0)(spikes), spikes)
    assert single(1.0, 1.0).error(spikes).item() == 0


def test_the_error_is_that_by_hand() -> None:
    # u = 0.6, 1.14 (fires), 0.6: o = 0, 1, 0, decoded 0.9 * 2 = 1.8; the input 0.81 + 0.9 + 1
    coder = single(0.6, 2.0)
    assert coder(train_of(1, 1, 1)).flatten().tolist() == [0, 1, 0]
    assert coder.error(train_of(1, 1, 1)).item() == pytest.approx((1.8 - 2.71) ** 2)


def test_gradients_of_the_encoder_go_through_the_surrogate() -> None:
    # one step, u = 0.8 is silent: dE/dw = 2 (0 - 1) * 3 * do/du * 1, do/du = 1 / a inside a / 2
    for encode, expected in ((0.8, -6.0), (0.5 - 1e-9, 0.0)):
        coder = single(encode, 3.0)
        coder.error(train_of(1)).backward()
        assert coder.encoder.weight.grad is not None
        assert coder.encoder.weight.grad.item() == pytest.approx(expected)


def test_gradients_of_the_encoder_go_through_time() -> None:
    # u1 = w, u2 = 0.9 w + w: both silent, do/du = 1 inside the window of each.
    # do2/dw = 1.9 - 0.9 u1 do1/dw (eq. (5)'s reset), E = (d (0.9 o1 + o2) - 1.9)^2
    w, d = 0.51, 1.5
    coder = single(w, d)
    coder.error(train_of(1, 1)).backward()
    do1 = 1.0
    do2 = 0.9 * (1 - w * do1) + 1
    assert coder.encoder.weight.grad is not None
    assert coder.encoder.weight.grad.item() == pytest.approx(2 * -1.9 * d * (0.9 * do1 + do2))


def test_gradients_of_the_decoder_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    coder = Coder(2, 3, 3).double()
    spikes = signed_spikes(torch.rand(2, 2, 6, 6), 4).double()

    def error(weight: Tensor) -> Tensor:
        return torch.func.functional_call(
            _Error(coder), {"coder.decoder.weight": weight}, (spikes,)
        )

    weight = coder.decoder.weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(error, (weight,))


class _Error(torch.nn.Module):
    def __init__(self, coder: Coder) -> None:
        super().__init__()
        self.coder = coder

    def forward(self, spikes: Tensor) -> Tensor:
        return self.coder.error(spikes)


def test_first_weights_are_scaled_to_the_threshold() -> None:
    torch.manual_seed(0)
    coder = Coder(3, 8, 5)
    spikes = signed_spikes(0.5 * torch.randn(4, 3, 32, 32), 10)
    coder.scale(spikes)
    found = potential(each_step(coder.encoder, spikes))
    assert found.std().item() == pytest.approx(NEURON.v_th, rel=1e-4)
    assert 0.01 < coder(spikes).mean().item() < 0.5
    before = coder.encoder.weight.clone()
    coder.scale(torch.zeros_like(spikes))  # nothing to scale by
    assert torch.equal(coder.encoder.weight, before)


def test_layers_leave_the_places_that_the_notation_says() -> None:
    coders = [Coder(3, 4, 5), Coder(4, 5, 5), Coder(5, 6, 4)]
    spikes = signed_spikes(torch.randn(2, 3, 32, 32), 3)
    assert encoded(coders[:1], spikes).spikes.shape == (3, 2, 4, 14, 14)
    assert encoded(coders[:2], spikes).spikes.shape == (3, 2, 5, 5, 5)
    assert encoded(coders, spikes).spikes.shape == (3, 2, 6, 2, 2)
    assert encoded([], spikes).fired == 0


def test_the_error_falls_while_a_layer_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[float] = []
    real = Coder.error

    def listened(self: Coder, spikes: Tensor) -> Tensor:
        value = real(self, spikes)
        if self.encoder.in_channels == 3:  # the first layer
            errors.append(float(value.detach()))
        return value

    monkeypatch.setattr(Coder, "error", listened)
    fitted(lit(60, 0), epochs=6)
    assert np.mean(errors[-7:]) < 0.9 * np.mean(errors[:3])


def test_a_layer_is_frozen_before_the_next_one_learns() -> None:
    method = LayerWise(SMALL, 1)
    seen: list[Tensor] = []

    def look(fraction: float, doing: str) -> None:
        if method.coders:
            seen.append(method.coders[0].encoder.weight.detach().clone())

    train = lit(30, 0)
    method.fit(train, train, 0, look)
    assert len(seen) > 8 and all(torch.equal(each, seen[0]) for each in seen)
    assert len(method.coders) == 3
    assert not any(weight.requires_grad for coder in method.coders for weight in coder.parameters())


def test_layers_learn_without_labels() -> None:
    train = lit(30, 0)
    other = replace(train, labels=train.labels[::-1].copy())
    ours, theirs = fitted(train, epochs=1), fitted(other, epochs=1)
    for first, second in zip(ours.coders, theirs.coders, strict=True):
        assert torch.equal(first.encoder.weight, second.encoder.weight)
    assert not torch.equal(ours.read.weight, theirs.read.weight)


def test_what_is_easy_is_learned_and_progress_never_falls() -> None:
    said: list[float] = []
    method = fitted(lit(90, 0), tell=lambda fraction, doing: said.append(fraction))
    test = lit(60, 1)
    answers = method.predict(test)
    assert np.mean(answers.labels == test.labels) > 0.6
    assert said == sorted(said) and said[0] >= 0 and said[-1] <= 1
    assert answers.spikes is not None and answers.spikes > 0


def test_spikes_are_those_of_all_neurons_a_sample() -> None:
    method = fitted(lit(30, 0), epochs=1)
    test = lit(5, 1)
    whole = method.predict(test).spikes
    for coder in method.coders[1:]:
        coder.encoder.weight.data.zero_()
    first = method.predict(test).spikes
    method.coders[0].encoder.weight.data.zero_()
    assert whole is not None and first is not None and whole > first > 0
    assert method.predict(test).spikes == 0


def test_the_same_seed_gives_the_same_answers() -> None:
    train, test = lit(30, 0), lit(40, 1)
    first, again, other = (fitted(train, seed, epochs=1) for seed in (3, 3, 4))
    assert (first.predict(test).labels == again.predict(test).labels).all()
    assert (first.predict(test).labels == first.predict(test).labels).all()
    assert not torch.equal(first.coders[0].encoder.weight, other.coders[0].encoder.weight)


def test_images_without_contrast_are_no_trouble() -> None:
    grey = Images(np.full((9, 3, 32, 32), 9, np.uint8), np.arange(9) % 3, 3, False)
    assert fitted(grey, epochs=1).predict(grey).labels.shape == (9,)


def test_images_that_layers_leave_nothing_of_are_refused() -> None:
    with pytest.raises(UsageError, match=r"are 27x27 pixels, expected at least 28x28: enlarge"):
        fitted(lit(6, 0, size=27))
    fitted(lit(6, 0, size=panda.SMALLEST), epochs=1)


def test_images_of_another_size_than_it_learned_from_are_refused() -> None:
    method = fitted(lit(6, 0), epochs=1)
    with pytest.raises(UsageError, match=r"are 40x40 pixels, those that it learned from 32x32"):
        method.predict(lit(6, 0, size=40))


def test_it_is_a_system_and_says_what_it_is() -> None:
    system = baselines.load("panda")
    assert (system.input, system.datasets, system.random) == ("images", ("cifar10",), True)
    paper = system.build("paper", 1)
    assert (paper.structure, paper.chosen) == ("32c5-2s-32c5-2s-64c4-o", "")
    assert set(system.epochs) == {"quick", "default", "paper"} and system.steps == ()
