"""What conversions share: the one network, integrate-and-fire neurons; and Cao's and Sengupta's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from torch import nn

from harness.baselines import cao, converted, learn, sengupta, spiking
from harness.baselines.contract import Answers, Images, Method
from harness.baselines.spiking import IF, Converted, run
from harness.spec import UsageError

pytestmark = pytest.mark.usefixtures("no_data_of_the_machine")

TINY = converted.Plan(Fraction(1, 64), epochs=1)
SMALL = converted.Plan(Fraction(1, 32), epochs=15, batch_size=20)
RATE = 0.625  # of a unit whose spikes can be counted by hand: 5 in 8 steps


def squares(count: int, seed: int = 0) -> Images:
    """Images whose class is the quarter that is bright."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 4
    pixels = rng.integers(0, 60, (count, 3, 32, 32), np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[:, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] += 150
    return Images(pixels, labels, 4, augmented=False)


def silent(done: float, what: str) -> None: ...


def same(first: nn.Module, second: nn.Module) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The seeds of the trainings in the block."""
    seeds: list[int] = []
    train = learn.train

    def counting(*given: Any) -> None:
        seeds.append(given[4].seed)
        train(*given)

    with monkeypatch.context() as patch:
        patch.setattr(learn, "train", counting)
        yield seeds


def kept_file() -> Path:
    (file,) = converted.make_user_cache("networks").glob("*.pt")
    return file


def test_the_network_is_the_papers_without_biases() -> None:
    paper = converted.planned("paper", 1)
    expected = "128C3-256C3-AP2-512C3-AP2-1024C3-512C3-1024FC-512FC-10"
    assert converted.structure(paper) == f"3x32x32-{expected}"
    default = converted.planned("default", 1)
    expected = "16C3-32C3-AP2-64C3-AP2-128C3-64C3-128FC-64FC-10"
    assert converted.structure(default) == f"3x32x32-{expected}"
    network = converted.built(default)
    shapes = [tuple(each.shape) for each in network.parameters()]
    maps = [(16, 3), (32, 16), (64, 32), (128, 64), (64, 128)]
    assert shapes == [*((*each, 3, 3) for each in maps), (128, 4096), (64, 128), (10, 64)]
    assert [type(each) for each in network].count(nn.ReLU) == 7
    assert isinstance(network[-1], nn.Linear)


def test_without_biases_twice_the_input_is_twice_the_answer() -> None:
    network, x = converted.built(TINY), torch.rand(3, 3, 32, 32)
    assert torch.allclose(network(2 * x), 2 * network(x), rtol=1e-5, atol=1e-6)


def test_it_is_trained_once_for_all_that_start_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    images = squares(12)
    with counted(monkeypatch) as trainings:
        first = converted.shared(images, TINY, 5, silent)
        again = converted.shared(images, TINY, 5, silent)
    assert trainings == [5]
    assert same(first, again)
    assert not any(each.requires_grad for each in (*first.parameters(), *again.parameters()))


def test_whatever_decides_its_weights_makes_it_another(monkeypatch: pytest.MonkeyPatch) -> None:
    images = squares(12)
    first = converted.shared(images, TINY, 5, silent)
    others = (
        (images, TINY, 6),
        (squares(12, seed=1), TINY, 5),
        (replace(images, labels=images.labels[::-1].copy()), TINY, 5),
        (replace(images, augmented=True), TINY, 5),
        (images, replace(TINY, epochs=2), 5),
    )
    for given, plan, seed in others:
        with counted(monkeypatch) as trainings:
            other = converted.shared(given, plan, seed, silent)
        assert trainings == [seed]
        assert not same(first, other)
    with counted(monkeypatch) as trainings, monkeypatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: 99)  # sums are rounded otherwise
        converted.shared(images, TINY, 5, silent)
    assert trainings == [5]


def test_two_conversions_of_a_seed_have_one_source(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = []
    with counted(monkeypatch) as trainings:
        for method in (
            cao.Cao(SMALL, cao.Parameters((2,), choosing=4)),
            sengupta.Sengupta(SMALL, sengupta.Parameters((2,), 4, 40)),
        ):
            method.fit(squares(12), squares(8, 1), 5, silent)
            sources.append(method.predict(squares(8, 2)).source)
    assert trainings == [5]
    assert sources[0] is not None and np.array_equal(*sources)


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "folder"])
def test_a_damaged_file_is_trained_anew(damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images = squares(12)
    first = converted.shared(images, TINY, 5, silent)
    file = kept_file()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.unlink()
    match damage:
        case "folder":
            file.mkdir()
        case "cut":
            file.write_bytes(content[:100])
        case "changed":
            file.write_bytes(content)
        case _:
            file.touch()
    with counted(monkeypatch) as trainings:
        second = converted.shared(images, TINY, 5, silent)
        third = converted.shared(images, TINY, 5, silent)
    assert same(first, second) and same(first, third)
    assert len(trainings) == (2 if damage == "folder" else 1)  # a folder stays in the way


def test_what_cannot_be_kept_is_trained_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object) -> Path:
        raise OSError(28, "No space left on device")

    images = squares(12)
    for name in ("write_whole", "make_user_cache"):
        with counted(monkeypatch) as trainings, monkeypatch.context() as patch:
            patch.setattr(converted, name, full)
            first = converted.shared(images, TINY, 5, silent)
            assert same(first, converted.shared(images, TINY, 5, silent))
        assert trainings == [5, 5]


def test_who_comes_second_waits_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    images = squares(12)
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
    images = squares(40)
    by_class = images.part(np.argsort(images.labels, kind="stable"))  # as folders list them
    drawn = converted.drawn(by_class, 16, seed=3)
    assert len(drawn) == 16 and set(drawn.labels) == {0, 1, 2, 3}
    assert np.array_equal(drawn.pixels, converted.drawn(by_class, 16, seed=3).pixels)
    assert not np.array_equal(drawn.pixels, converted.drawn(by_class, 16, seed=4).pixels)
    assert len(converted.drawn(images, 100, seed=3)) == 40


@pytest.mark.parametrize(
    ("reset", "expected"),
    [("subtract", [0, 1, 0, 1, 1, 0, 1, 1]), ("zero", [0, 1, 0, 1, 0, 1, 0, 1])],
)
@pytest.mark.parametrize("threshold", [1.0, 2.0])
def test_a_neurons_spikes_are_those_of_the_hand(
    reset: spiking.Reset, expected: list[int], threshold: float
) -> None:
    neuron, z = IF(threshold, reset), torch.tensor([RATE * threshold])
    assert [int(neuron(z)) for _ in range(8)] == expected  # the last at the threshold itself
    assert z.item() == RATE * threshold


def test_a_potential_does_not_sink_below_the_floor() -> None:
    given = torch.tensor([-8.0, 1.0, 1.0, 1.0])
    deep, limited = IF(1.0, "zero"), IF(1.0, "zero", floor=-2.0)
    assert [int(deep(z)) for z in given] == [0, 0, 0, 0]
    assert [int(limited(z)) for z in given] == [0, 0, 0, 1]


def test_a_layers_rate_tends_to_the_units_activation_as_one_over_T() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(200, generator=generator, dtype=torch.float64)
    activation = z.relu()
    threshold = float(activation.max())
    neurons, spikes = IF(threshold, "subtract"), torch.zeros_like(z)
    for t in range(1, 513):
        spikes += neurons(z)
        assert (threshold * spikes / t - activation).abs().max() <= threshold / t + 1e-12


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
        snn = spiking.spiking(network, [first, second / first], "subtract")
        expected, total, errors = network(x), torch.zeros(20, 4), {}
        for t in range(1, 2049):
            total = total + snn(x)
            # a spike is 1, not its layer's threshold: without biases that is a factor of all
            errors[t] = float((second * total / t - expected).abs().max())
    assert errors[2048] < 0.01 * float(expected.abs().max())
    assert errors[2048] < errors[128] / 8  # 16 by the steps


def test_a_pixel_is_the_probability_of_its_spike() -> None:
    learn.seeded(0)
    x = torch.tensor([0.0, 0.25, 1.0]).repeat(10_000, 1)
    spikes = spiking.random_spikes(x)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    never, sometimes, always = spikes.mean(0).tolist()
    assert (never, always) == (0, 1)
    assert abs(sometimes - 0.25) < 4 * (0.25 * 0.75 / 10_000) ** 0.5  # four deviations


def by_hand(together: int, monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Of a white pixel and a red one; class 3 is given a quarter of each colour, 5 half of red."""
    layer = nn.Linear(3, 10, bias=False).requires_grad_(False)
    layer.weight.zero_()
    layer.weight[3], layer.weight[5, 0] = 0.25, 0.5
    snn = spiking.with_random_spikes(nn.Sequential(nn.Flatten(), layer, IF(1.0, "subtract")))
    pixels = np.full((2, 3, 1, 1), 255, np.uint8)
    pixels[1, 1:] = 0
    monkeypatch.setattr(spiking, "TOGETHER", together)
    return run(snn, Images(pixels, np.zeros(2, np.int64), 10, False), (1, 2, 4))


def test_the_class_is_that_of_most_spikes_after_each_number_of_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # white: class 3 fires at 2, 3, 4 and class 5 at 2, 4; red: class 3 at 4, class 5 at 2, 4
    answers = by_hand(2, monkeypatch)
    assert {step: labels.tolist() for step, labels in answers.at_steps.items()} == {
        1: [0, 0],  # none has fired
        2: [3, 5],
        4: [3, 5],
    }
    assert answers.labels.tolist() == [3, 5]
    assert answers.spikes == (5 + 3) / 2
    apart = by_hand(1, monkeypatch)  # potentials do not stay from one batch to the next
    assert apart.labels.tolist() == [3, 5] and apart.spikes == 4


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
    assert sengupta.balanced(network, torch.ones(1, 2), steps, silent) == expected
    both = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    assert sengupta.balanced(network, both, steps, silent) == expected  # the most of all images


def test_a_layer_without_excitation_is_refused() -> None:
    with pytest.raises(UsageError, match="layer 2 of the network .*train it on more images"):
        sengupta.balanced(of_weights(*HAND), torch.ones(1, 2), 1, silent)


def test_cao_takes_the_threshold_that_is_best_on_held_out_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[float] = []

    def answering(snn: Converted, images: Images, steps: tuple[int, ...]) -> Answers:
        neurons = [each for each in snn.neurons if isinstance(each, IF)]
        (threshold,) = {each.threshold for each in neurons}
        assert {each.floor for each in neurons} == {-10 * threshold}
        assert {each.reset for each in neurons} == {"zero"}
        assert len(neurons) == 8  # the output layer's too
        tried.append(threshold)
        return Answers(images.labels if threshold in (1.0, 2.0) else images.labels + 1)

    monkeypatch.setattr(cao, "run", answering)
    method = cao.Cao(TINY, cao.Parameters((2,), thresholds=(0.5, 1.0, 1.4, 2.0)))
    method.fit(squares(12), squares(8, 1), 0, silent)
    assert tried == [0.5, 1.0, 1.4, 2.0]
    assert method.chosen == "threshold = 1"
    method.predict(squares(4, 2))
    assert tried[-1] == 1.0


def learns_and_repeats(make: Callable[[], Method], steps: tuple[int, ...]) -> None:
    """A method fitted on squares knows squares, and another of the same seed says the same."""
    train, held_out, test = squares(60), squares(12, 1), squares(24, 2)
    told: list[float] = []
    first, again = make(), make()
    first.fit(train, held_out, 3, lambda done, what: told.append(done))
    again.fit(train, held_out, 3, silent)  # from the kept network
    answers, repeated = first.predict(test), again.predict(test)
    assert isinstance(answers, Answers) and isinstance(repeated, Answers)
    assert told == sorted(told) and told[0] >= 0 and told[-1] <= 1
    assert (answers.labels == test.labels).mean() > 0.6  # of four classes
    assert answers.source is not None and (answers.source == test.labels).mean() > 0.6
    assert tuple(answers.at_steps) == steps
    assert np.array_equal(answers.labels, answers.at_steps[max(steps)])
    assert answers.spikes is not None and answers.spikes > 0
    assert (first.chosen, answers.spikes) == (again.chosen, repeated.spikes)
    for step, labels in answers.at_steps.items():
        assert np.array_equal(labels, repeated.at_steps[step])


def test_cao_learns_and_says_the_same_again() -> None:
    steps, thresholds = (16, 96), (2.0, 2.8)
    learns_and_repeats(lambda: cao.Cao(SMALL, cao.Parameters(steps, thresholds)), steps)


def test_sengupta_learns_and_says_the_same_again() -> None:
    parameters = sengupta.Parameters((16, 96), images=10, balancing=20)
    learns_and_repeats(lambda: sengupta.Sengupta(SMALL, parameters), parameters.steps)


@pytest.mark.parametrize("module", [cao, sengupta])
def test_images_that_the_network_cannot_take_are_refused(module: ModuleType) -> None:
    images = squares(8)
    small = replace(images, pixels=images.pixels[:, :, :28, :28])
    with pytest.raises(UsageError, match="the images have 3x28x28 pixels, expected 3x32x32: give"):
        module.build("quick", 1).fit(small, small, 0, silent)
    with pytest.raises(UsageError, match="11 classes, expected at most 10: give"):
        module.build("quick", 1).fit(replace(images, classes=11), images, 0, silent)


def test_cao_needs_held_out_images() -> None:
    images = squares(8)
    with pytest.raises(UsageError, match="no held-out images .*give more images"):
        cao.Cao(TINY, cao.Parameters()).fit(images, images.part(np.arange(0)), 0, silent)


def test_sengupta_refuses_black_images() -> None:
    black = replace(squares(8), pixels=np.zeros((8, 3, 32, 32), np.uint8))
    with pytest.raises(UsageError, match="layer 1 of the network is given no spikes"):
        sengupta.Sengupta(TINY, sengupta.Parameters()).fit(black, black, 0, silent)


def test_a_description_holds_what_the_contract_asks_for() -> None:
    for module in (cao, sengupta):
        method = module.build("default", 1)
        assert re.fullmatch(r"3x32x32-16C3-.*-10", method.structure)
        assert module.EPOCHS is converted.EPOCHS
        assert set(converted.DEVIATIONS) < set(module.DEVIATIONS)
