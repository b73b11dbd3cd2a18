"""Conversions: the one network, integrate-and-fire neurons; Cao's, Sengupta's and Rueckauer's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from recordings import squares
from torch import Tensor, fx, nn

from harness.baselines import cao, converted, learn, rueckauer, sengupta
from harness.baselines.contract import Answers, Images, silent
from harness.baselines.converted import IF, Reset, Spiking, run, spiking, with_random_spikes
from harness.baselines.rueckauer import converted_by_spikingjelly
from harness.baselines.sengupta import balanced
from harness.spec import UsageError

pytestmark = pytest.mark.usefixtures("no_data_of_the_machine")

TINY = converted.Plan(Fraction(1, 64), epochs=1)
RATE = 0.625  # of a unit whose spikes can be counted by hand: 5 in 8 steps


# the network without spikes


def shared(images: Images, plan: converted.Plan = TINY, seed: int = 5) -> tuple[nn.Module, bool]:
    """The network, and whether it had to be trained."""
    told: list[str] = []
    found = converted.shared(images, plan, seed, lambda done, what: told.append(what))
    return found, bool(told)


def same(first: nn.Module, second: nn.Module) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_the_network_is_the_papers_without_biases() -> None:
    expected = "3x32x32-128C3-256C3-AP2-512C3-AP2-1024C3-512C3-1024FC-512FC-10"
    assert converted.structure(Fraction(1)) == expected
    network = converted.built(Fraction(1, 8))
    shapes = [tuple(each.shape) for each in network.parameters()]
    maps = [(16, 3), (32, 16), (64, 32), (128, 64), (64, 128)]
    assert shapes == [*((*each, 3, 3) for each in maps), (128, 4096), (64, 128), (10, 64)]
    assert [type(each) for each in network].count(nn.ReLU) == 7
    assert isinstance(network[-1], nn.Linear)


def test_it_is_trained_once_for_all_that_start_from_it() -> None:
    images = squares(12, 0)
    (first, trained), (again, trained_again) = (shared(images) for _ in range(2))
    assert trained and not trained_again and same(first, again)
    assert not any(each.requires_grad for each in (*first.parameters(), *again.parameters()))
    for given, plan, seed in (  # whatever decides its weights makes it another
        (images, TINY, 6),
        (squares(12, 1), TINY, 5),
        (replace(images, labels=images.labels[::-1].copy()), TINY, 5),
        (replace(images, augmented=True), TINY, 5),
        (images, replace(TINY, epochs=2), 5),
    ):
        other, trained = shared(given, plan, seed)
        assert trained and not same(first, other)


@pytest.mark.parametrize("damage", ["changed", "folder"])
def test_a_damaged_file_is_trained_anew(damage: str) -> None:
    first, _ = shared(squares(12, 0))
    (file,) = converted.make_user_cache("networks").glob("*.pt")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.unlink()
    if damage == "folder":
        file.mkdir()
    else:
        file.write_bytes(content)
    (second, trained), (third, trained_again) = (shared(squares(12, 0)) for _ in range(2))
    assert same(first, second) and same(first, third)
    assert trained and trained_again == (damage == "folder")  # a folder stays in the way


@pytest.mark.parametrize("name", ["write_sealed", "make_user_cache"])
def test_what_cannot_be_kept_is_trained_each_time(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(converted, name, full)
    (first, trained), (again, trained_again) = (shared(squares(12, 0)) for _ in range(2))
    assert trained and trained_again and same(first, again)


def test_who_comes_second_waits_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    images = squares(12, 0)
    name = converted._name(images, TINY, 5)
    other = FileLock(converted.make_user_cache("networks") / f"{name}.lock")
    other.acquire()
    said: list[str] = []

    def tell(done: float, what: str) -> None:
        said.append(what)
        if len(said) == 2:
            other.release()

    monkeypatch.setattr(converted, "_LOOK", 0.02)
    converted.shared(images, TINY, 5, tell)
    assert said[:2] == ["another process trains the network: waiting for it"] * 2
    assert said[2].startswith("epoch 1/1")


def test_images_are_drawn_from_all_classes_and_the_seed_decides_which() -> None:
    images = squares(40, 0)
    by_class = images.part(np.argsort(images.labels, kind="stable"))  # as folders list them
    drawn, again, other = (converted.drawn(by_class, 16, seed) for seed in (3, 3, 4))
    assert len(drawn) == 16 and set(drawn.labels) == {0, 1, 2, 3}
    assert np.array_equal(drawn.pixels, again.pixels)
    assert not np.array_equal(drawn.pixels, other.pixels)
    assert len(converted.drawn(images, 100, seed=3)) == 40


# neurons


@pytest.mark.parametrize(
    ("reset", "expected"),
    [("subtract", [0, 1, 0, 1, 1, 0, 1, 1]), ("zero", [0, 1, 0, 1, 0, 1, 0, 1])],
)
@pytest.mark.parametrize("threshold", [1.0, 2.0])
def test_a_neurons_spikes_are_those_of_the_hand(
    reset: Reset, expected: list[int], threshold: float
) -> None:
    neuron, z = IF(threshold, reset), torch.tensor([RATE * threshold])
    assert [int(neuron(z)) for _ in range(8)] == expected  # the last at the threshold itself
    assert z.item() == RATE * threshold
    given = torch.tensor([-8.0, 1.0, 1.0, 1.0])  # a potential does not sink below the floor
    deep, limited = IF(1.0, "zero"), IF(1.0, "zero", floor=-2.0)
    assert [int(deep(z)) for z in given] == [0, 0, 0, 0]
    assert [int(limited(z)) for z in given] == [0, 0, 0, 1]


def test_a_networks_answer_tends_to_its_sources_as_one_over_T() -> None:
    generator = torch.Generator().manual_seed(1)
    network = nn.Sequential(
        *(nn.Linear(6, 12, bias=False), nn.ReLU(), nn.Linear(12, 9, bias=False), nn.ReLU()),
        nn.Linear(9, 4, bias=False),
    ).double()
    x = torch.rand(20, 6, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        for weights in network.parameters():
            weights.copy_(torch.randn(weights.shape, generator=generator, dtype=torch.float64))
        first, second = (float(network[:n](x).max()) for n in (2, 4))
        snn = spiking(network, [first, second / first], "subtract")
        expected, total, errors = network(x), torch.zeros(20, 4), {}
        for t in range(1, 2049):
            total = total + snn(x)
            # a spike is 1, not its layer's threshold: without biases that is a factor of all
            errors[t] = float((second * total / t - expected).abs().max())
    assert errors[2048] < 0.01 * float(expected.abs().max())
    assert errors[2048] < errors[128] / 8  # 16 by the steps


def test_a_pixel_is_the_probability_of_its_spike() -> None:
    learn.seeded(0)
    spikes = converted.random_spikes(torch.tensor([0.0, 0.25, 1.0]).repeat(10_000, 1))
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    never, sometimes, always = spikes.mean(0).tolist()
    assert (never, always) == (0, 1)
    assert abs(sometimes - 0.25) < 4 * (0.25 * 0.75 / 10_000) ** 0.5  # four deviations


@pytest.mark.parametrize("together", [2, 1])  # potentials do not stay from batch to batch
def test_the_class_is_that_of_most_spikes_after_each_number_of_steps(
    together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a white pixel and a red one; class 3 is given a quarter of each colour, 5 half of red.

    White: class 3 fires at 2, 3, 4 and class 5 at 2, 4; red: class 3 at 4, class 5 at 2, 4.
    """
    layer = nn.Linear(3, 10, bias=False).requires_grad_(False)
    layer.weight.zero_()
    layer.weight[3], layer.weight[5, 0] = 0.25, 0.5
    snn = with_random_spikes(nn.Sequential(nn.Flatten(), layer, IF(1.0, "subtract")))
    pixels = np.full((2, 3, 1, 1), 255, np.uint8)
    pixels[1, 1:] = 0
    monkeypatch.setattr(converted, "TOGETHER", together)
    answers = run(snn, Images(pixels, np.zeros(2, np.int64), 10, False), (1, 2, 4))
    found = {step: labels.tolist() for step, labels in answers.at_steps.items()}
    assert found == {1: [0, 0], 2: [3, 5], 4: [3, 5]}  # at first none has fired
    assert answers.labels.tolist() == [3, 5] and answers.spikes == (5 + 3) / 2


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
def test_thresholds_are_the_most_that_layers_before_them_give_by_spikes(
    steps: int, expected: tuple[float, float]
) -> None:
    network = of_weights(*HAND)
    assert balanced(network, torch.ones(1, 2), steps, silent) == expected
    both = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    assert balanced(network, both, steps, silent) == expected  # the most of all images


def test_what_cannot_be_converted_or_chosen_is_refused() -> None:
    with pytest.raises(UsageError, match="layer 2 of the network .*train it on more images"):
        balanced(of_weights(*HAND), torch.ones(1, 2), 1, silent)  # without excitation
    images = squares(8, 0)
    black = replace(images, pixels=np.zeros((8, 3, 32, 32), np.uint8))
    none = images.part(np.arange(0))
    for method, train, held, said in (
        (sengupta.Sengupta, black, black, "layer 1 of the network is given no spikes"),
        (rueckauer.Rueckauer, black, black, r"cannot scale the network \(.*\): train it on more"),
        (cao.Cao, images, none, "no held-out images .*give more images"),
    ):
        sizes = replace(method.SIZES["quick"], width=TINY.width)
        with pytest.raises(UsageError, match=said):
            method(sizes).fit(train, held, 0, silent)


# Cao


class Chosen(cao.Cao):
    """As if two thresholds were best."""

    def answers(self, snn: Spiking, images: Images) -> Answers:
        neurons = [each for each in snn.neurons if isinstance(each, IF)]
        (threshold,) = {each.threshold for each in neurons}
        assert {(each.floor, each.reset) for each in neurons} == {(-10 * threshold, "zero")}
        assert len(neurons) == 8  # the output layer's too
        return Answers(images.labels if threshold in (1.0, 2.0) else images.labels + 1)


def test_cao_takes_the_lowest_threshold_that_is_best_on_held_out_images() -> None:
    method = Chosen(cao.Sizes(width=TINY.width, thresholds=(0.5, 1.0, 1.4, 2.0)))
    method.fit(squares(12, 0), squares(8, 1), 0, silent)
    assert method.chosen == "threshold = 1"
    assert np.array_equal(method.predict(squares(4, 2)).labels, squares(4, 2).labels)


# Rueckauer


def scales(snn: Spiking) -> list[float]:
    """By which the spikes of each layer are multiplied."""
    assert isinstance(snn.step, fx.GraphModule)
    parts = (snn.step.get_submodule(f"spiking_{n}") for n in range(len(snn.neurons)))
    return [float(part.get_buffer("scaler1.scale")) for part in parts]


def one_unit() -> nn.Sequential:
    """Its activation is its input, which goes to each class."""
    return nn.Sequential(*list(of_weights([[1.0]], [[1.0]] * 10))[:3]).eval()


def small() -> tuple[nn.Sequential, Tensor]:
    """A network of the shared one's kind, and images in [0, 1]."""
    torch.manual_seed(0)
    network = converted.built(Fraction(1, 64)).requires_grad_(False)
    return network.eval(), converted.scaled(torch.from_numpy(squares(8, 0).pixels))


@torch.no_grad()
def spikes_of(snn: Spiking, x: Tensor, steps: int) -> Tensor:
    """Of the first layer, (T, B, ...)."""
    found: list[Tensor] = []
    handle = snn.neurons[0].register_forward_hook(lambda *given: found.append(given[2]))
    snn.restart()
    for _ in range(steps):
        snn.step(x)
    handle.remove()
    return torch.stack(found)


@torch.no_grad()
def error(snn: Spiking, x: Tensor, expected: Tensor, steps: Sequence[int]) -> list[float]:
    """How far the mean of the output layer is from what it should be, after those steps."""
    snn.restart()
    total, found = torch.zeros_like(expected), []
    for t in range(1, max(steps) + 1):
        total += snn.step(x)
        if t in steps:
            found.append(float((total / t - expected).abs().max()))
    return found


def test_a_scale_is_the_percentile_of_all_activations() -> None:
    x = torch.arange(1001.0)[:, None]  # from 0 to 1000
    for mode, expected in (("99.9%", 999.0), ("50%", 500.0), ("max", 1000.0)):
        assert scales(converted_by_spikingjelly(one_unit(), (x,), mode)) == [expected]
    both = (x, torch.full((5, 1), 100.0))
    found = scales(converted_by_spikingjelly(one_unit(), both, "max"))
    assert found == [pytest.approx(0.9 * 1000 + 0.1 * 100)]  # SpikingJelly's moving average


def test_spikes_are_those_of_the_hand_and_of_our_neurons() -> None:
    snn = converted_by_spikingjelly(one_unit(), (torch.tensor([[2.0], [1.0]]),), "max")
    spikes = spikes_of(snn, torch.tensor([[2 * RATE]]), 8)
    assert spikes.flatten().tolist() == [0, 1, 0, 1, 1, 0, 1, 1]
    network, x = small()
    snn = converted_by_spikingjelly(network, (x,), "99.9%")
    ours, z = IF(1.0, "subtract"), network[0](x) * (1 / scales(snn)[0])
    assert torch.equal(spikes_of(snn, x, 20), torch.stack([ours(z) for _ in range(20)]))


def test_the_answer_tends_to_the_sources_which_stay_as_they_were() -> None:
    network, x = small()
    before, expected = {k: v.clone() for k, v in network.state_dict().items()}, network(x)
    snn = converted_by_spikingjelly(network, (x,), "max")
    few, many = error(snn, x, expected, (32, 512))
    assert many < few / 8  # 16 by the steps
    assert many < 0.05 * float(expected.abs().max())
    assert [type(each) for each in network].count(nn.ReLU) == 7
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert torch.equal(network(x), expected)
