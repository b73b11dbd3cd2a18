"""The reference against traces derived by hand and an adjoint written by hand; its dropout, whose
masks every engine draws.
"""

from __future__ import annotations

import inspect
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from time import sleep

import pytest
import torch
from torch import Tensor
from torch_modules import TORCH, pair

from harness import reference
from harness.adapter import record_spikes
from harness.conformance import random_batch, small
from harness.reference import coding, dropout, neunorm, neuron
from harness.reference.ann import ANN
from harness.reference.initialise import as_drawn, copy_parameters, initialised
from harness.spec import LIF, Network, NeuNorm, Reading


def trace(currents: Tensor, lif: LIF) -> tuple[Tensor, Tensor]:  # (T, ...) -> (T, ...) twice
    """Potentials and spikes."""
    cell, state, potentials, spikes = neuron.LIFCell(lif), None, [], []
    for current in currents:
        o, state = cell(current, state)
        potentials.append(state[0])
        spikes.append(o)
    return torch.stack(potentials), torch.stack(spikes)


def test_traces_by_hand() -> None:
    for lif, currents, potentials, spikes in (
        # below the threshold it only decays and integrates: 0.25 * 0.3 + 0.3, 0.25 * 0.375 + 0.3
        (LIF(0.25, 0.75, 1.0), [0.3] * 3, [0.3, 0.375, 0.39375], [0, 0, 0]),
        # it fires exactly at the threshold, all being binary fractions, and starts from zero after
        (LIF(0.25, 0.625, 1.0), [0.5] * 4, [0.5, 0.625, 0.5, 0.625], [0, 1, 0, 1]),
        (LIF(0.5, 0.75, 1.0), [-1.0] * 2, [-1.0, -1.5], [0, 0]),  # it has no floor
    ):
        u, o = trace(torch.tensor(currents, dtype=torch.float64), lif)
        assert u.tolist() == pytest.approx(potentials) and o.tolist() == spikes


def test_surrogate_is_a_rectangle_of_area_one_and_strict_at_its_edge() -> None:
    distance = torch.tensor([-0.2501, -0.25, -0.2499, 0.0, 0.2499, 0.25, 0.2501])
    assert neuron.surrogate(distance, 0.5).tolist() == [0, 0, 2, 2, 2, 0, 0]


def test_gradient_of_two_steps_by_hand() -> None:
    # u1 = I1 (no spike), u2 = k u1 + I2 (a spike); L = o2, so dL/dI2 = h(u2) and
    # dL/dI1 = h(u2) k (1 - o1) - h(u2) k u1 h(u1): carry, and the reset through o1
    currents = torch.tensor([0.75, 0.75], dtype=torch.float64, requires_grad=True)
    trace(currents, LIF(0.5, 1.0, 4.0))[1][1].backward()
    h = 1 / 4
    assert currents.grad is not None
    assert currents.grad.tolist() == pytest.approx([h * 0.5 - h * 0.5 * 0.75 * h, h])


@pytest.mark.parametrize(
    "lif", [LIF(0.25, 0.75, 1.0), LIF(0.35, 0.05, 0.1), LIF(0.3, 0.25, 0.25)], ids=str
)
def test_autograd_agrees_with_the_adjoint_written_by_hand(lif: LIF) -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (12, 3, 50)
    currents = torch.randn(shape, generator=generator, dtype=torch.float64) * 2 * lif.v_th
    u, o = trace(currents.requires_grad_(), lif)
    back = torch.randn(shape, generator=generator, dtype=torch.float64)
    o.backward(back)
    u, o = u.detach(), o.detach()
    by_hand, du = torch.zeros(shape, dtype=torch.float64), torch.zeros_like(u[0])
    for t in reversed(range(len(u))):  # after the last step it is zero
        do = neuron.spike_gradient(back[t], du, u[t], lif)
        by_hand[t] = du = neuron.potential_gradient(do, du, u[t], o[t], lif)
    assert currents.grad is not None and 0.05 < o.mean() < 0.6
    assert (by_hand - currents.grad).abs().max() <= 1e-12 * currents.grad.abs().max()


@pytest.mark.parametrize(("reading", "c"), [("mean", 0.1 / 2), ("literal", 0.1 / 4)])
def test_neunorm_trace_by_hand(reading: Reading, c: float) -> None:
    module = neunorm.NeuNormStep(NeuNorm(0.9, reading), (2, 1, 1)).double()
    with torch.no_grad():
        module.U.copy_(torch.tensor([1.0, -2.0]).reshape(2, 1, 1))
    both = torch.ones(1, 2, 1, 1, dtype=torch.float64)
    first = torch.tensor([1.0, 0.0], dtype=torch.float64).reshape(1, 2, 1, 1)
    out, x = module(both)
    assert x.item() == pytest.approx(2 * c)  # eq. (9): c times two spikes
    assert out.flatten().tolist() == pytest.approx([1 - 2 * c, 1 + 4 * c])  # eq. (10)
    out, x = module(first, x)
    assert x.item() == pytest.approx(0.9 * 2 * c + c)
    assert out.flatten().tolist() == pytest.approx([1 - 2.8 * c, 5.6 * c])


def test_vote_is_a_populations_mean_and_the_loss_its_squared_error() -> None:
    spikes = torch.tensor([[[1, 1, 0, 0]], [[1, 0, 0, 1]]], dtype=torch.float64)  # (2, 1, 2 * 2)
    votes = coding.vote(spikes, classes=2)
    assert votes.tolist() == [[0.75, 0.25]]
    # against the one-hot label
    assert coding.loss(votes, torch.tensor([0])).item() == (0.25**2 + 0.25**2) / 2


def test_equation_index_names_functions_that_cite_their_equation() -> None:
    assert sorted(reference.EQUATIONS) == list(range(5, 15))
    for number, function in reference.EQUATIONS.items():
        assert f"eq. ({number})" in inspect.getsource(function), (number, function)


def run(module: torch.nn.Module, x: Tensor) -> list[float]:
    with torch.no_grad(), record_spikes(module) as taps:
        module(x)
        return [tap.collected().mean().item() for tap in taps]


def test_calibrated_weights_fire_in_every_layer_where_torchs_are_dead() -> None:
    network = small("cifar10", "Large")
    x = random_batch(network, 4, 8, static=True)
    assert all(0.1 < rate < 0.3 for rate in run(initialised(network, x, seed=0), x))
    assert max(run(initialised(network, x, seed=0, scheme="torch"), x)[3:]) == 0
    for dataset in ("nmnist", "dvs-cifar10"):
        network = small(dataset, "Large", "mean")
        x = random_batch(network, 6, 4, static=False)
        x[0] = 0  # a recording can begin without an event
        assert all(0.05 < rate < 0.5 for rate in run(initialised(network, x, seed=0), x))


def test_no_potential_is_left_at_the_threshold_by_calibration() -> None:
    from harness.reference.initialise import _upper_quantile

    # the values around the quantile are 3 and 4: no neuron has the value halfway
    assert _upper_quantile(torch.tensor([5.0, 1.0, 4.0, 2.0, 3.0]), 0.4) == 3.5
    assert _upper_quantile(torch.tensor([4.0]), 0.15) == 2.0  # one neuron, one sample
    # among a hundred equal potentials, of an even background, it goes to the next gap
    values = torch.cat([torch.zeros(100), torch.full((100,), 2.0), torch.full((30,), 4.0)])
    assert _upper_quantile(values, 0.2) == 3.0
    assert _upper_quantile(values.double() * (1 + 1e-15 * torch.arange(230)), 0.2) == 3.0
    assert _upper_quantile(torch.ones(9), 0.2) == 1.0  # no gap: every threshold is one's own


def test_the_same_seed_gives_the_same_weights_and_leaves_the_generator_alone() -> None:
    network = small("cifar10")
    x = random_batch(network, 4, 2, static=True)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, second = (initialised(network, x, seed=3) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_weights_are_their_seeds_where_two_threads_draw_at_once() -> None:
    def build(network: Network) -> torch.nn.Module:
        sleep(0.02)  # another thread's seed could come between
        return torch.nn.Linear(network.classes, 1)

    network = small("cifar10")
    with ThreadPoolExecutor(4) as pool:
        both = [*pool.map(partial(as_drawn, build, network), (1, 2, 1, 2))]
    first = [next(module.parameters())[0, 0].item() for module in both]
    assert first[:2] == first[2:] and first[0] != first[1]


# dropout from a counter


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_its_share_and_scales_the_rest(p: float) -> None:
    keys = dropout.keys(torch.tensor(3), 5, 4)
    dropped = torch.stack([dropout.drop(torch.ones(4, 16, 12, 12), key, p) for key in keys])
    share = (dropped == 0).double().mean().item()
    assert abs(share - p) < 4 * (p * (1 - p) / dropped.numel()) ** 0.5  # four deviations
    assert dropped.max().item() == pytest.approx(1 / (1 - p))


def test_masks_of_steps_samples_neighbours_and_seeds_are_independent() -> None:
    def masks(seed: int) -> torch.Tensor:
        keys = dropout.keys(torch.tensor(seed), 3, 2)
        return (
            torch.stack([dropout.kept_mask(key, (16, 12, 12), 0.5) for key in keys]).double() * 2
            - 1
        )

    mask = masks(0)
    others = (mask.roll(1, 0), mask.roll(1, 1), mask.roll(1, 2), mask.roll(1, -1), masks(1))
    for other in others:
        assert abs((mask * other).mean().item()) < 4 / mask.numel() ** 0.5


def test_the_mask_does_not_depend_on_how_much_is_drawn_at_once() -> None:
    keys = dropout.keys(torch.tensor(7), 4, 3)
    assert torch.equal(dropout.keys(torch.tensor(7), 2, 3), keys[:2])
    one = dropout.kept_mask(keys[1][2:], (8, 5, 5), 0.3)
    assert torch.equal(one[0], dropout.kept_mask(keys[1], (8, 5, 5), 0.3)[2])


@pytest.mark.parametrize("name", TORCH)
def test_an_adapter_draws_a_mask_each_call_and_in_training_alone(name: str) -> None:
    """That it is the reference's: test_proof.py."""
    network = replace(small("cifar10", "Large"), dropout=0.5)
    module, reference, x = pair(name, network, 4, 2, static=True)
    plain, _, _ = pair(name, replace(network, dropout=0.0), 4, 2, static=True)
    copy_parameters(reference, plain)
    assert not torch.equal(module(x), module(x))
    assert torch.equal(module.eval()(x), plain(x))
    # a static image gives what its copies give
    assert torch.equal(reference.eval()(x), reference(x.contiguous()))


def test_an_ann_of_several_masks_gives_each_copy_of_an_image_its_own() -> None:
    network = replace(small("cifar10", "Large"), dropout=0.5)
    plain, several = as_drawn(ANN, network), as_drawn(partial(ANN, masks=3), network)
    x = torch.rand(1, 2, *network.input_shape)
    torch.manual_seed(0)
    copies = plain(x.repeat(1, 3, 1, 1, 1))[0]
    torch.manual_seed(0)
    assert torch.equal(several(x.expand(4, -1, -1, -1, -1)), copies.unflatten(0, (3, 2)))
    assert len({*copies[::2, 0].tolist()}) == 3  # of one image
    assert torch.equal(several.eval()(x), plain.eval()(x)) and several(x).shape[0] == 1
