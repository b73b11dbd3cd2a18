"""The engine by events: the reference's function, whatever is chosen, and how it is chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial

import pytest
import torch
from conftest import compare
from torch import Tensor

import adapters
from harness.adapter import record_spikes
from harness.conformance import random_batch, small
from harness.reference import dropout
from harness.reference.initialise import copy_parameters, initialised
from harness.spec import LIF, Network, Reading, paper

pytest.importorskip("numba", reason="needs numba, the extra `fused`")
from adapters import fused as fused_adapter  # noqa: E402
from adapters.fused import choice, neurons  # noqa: E402
from adapters.fused.form import MARK, Events, Form, Ran  # noqa: E402
from adapters.fused.network import FusedNetwork, Layer  # noqa: E402
from adapters.fused.synapse import Synapse  # noqa: E402
from harness.system import clock  # noqa: E402

Choose = Callable[[bool, bool, bool], None]


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Choose:
    """Has all forward passes, weights' and inputs' gradients done by events or densely."""

    def chosen(forward: bool, weights: bool, inputs: bool) -> None:
        def ran(events: Events, weight: Tensor) -> Ran:
            window = events.window
            return Ran(events.density, window, forward, weights, inputs and window is not None)

        monkeypatch.setattr(choice, "chosen", ran)

    return chosen


def pair(
    network: Network, T: int, B: int, *, static: bool
) -> tuple[FusedNetwork, torch.nn.Module, Tensor]:
    """The engine and the reference with the same weights, and an input."""
    x = random_batch(network, T, B, static=static).double()
    x = x[:1].expand_as(x) if static else x
    reference = initialised(network, x, seed=0)
    module = FusedNetwork(network).double()
    copy_parameters(reference, module)
    return module, reference, x


def works(module: torch.nn.Module) -> list[Synapse]:
    return [each.work for each in module.modules() if isinstance(each, Layer)]


@pytest.mark.parametrize("p", [0.0, 0.4])
@pytest.mark.parametrize("neunorm", [None, "mean", "literal"])
@pytest.mark.parametrize("dataset", ["cifar10", "nmnist", "dvs-cifar10"])
@pytest.mark.parametrize(("T", "B"), [(1, 1), (3, 2)])
def test_by_events_it_is_the_reference(
    dataset: str, T: int, B: int, neunorm: Reading | None, p: float, choose: Choose
) -> None:
    network = replace(small(dataset, "Large", neunorm), dropout=p)
    module, reference, x = pair(network, T, B, static=dataset == "cifar10")
    choose(True, True, True)
    compare(module, reference, x)
    by_events = [work.ran is not None for work in works(module)]
    inputs = [work.ran is not None and work.ran.input_gradient for work in works(module)]
    # NeuNorm and a pool read the gradient of what is sent everywhere
    assert any(inputs) == (neunorm is None)
    # with dropout behind NeuNorm nothing can be sent as counts
    normalised_and_dropped = neunorm is not None and p > 0
    assert not by_events[0]
    assert any(by_events[1:]) and all(by_events[1:]) != normalised_and_dropped


@pytest.mark.parametrize(("forward", "gradient"), [(True, False), (False, True), (False, False)])
def test_each_part_is_chosen_by_itself(forward: bool, gradient: bool, choose: Choose) -> None:
    module, reference, x = pair(small("nmnist", "Middle", "mean"), 3, 2, static=False)
    choose(forward, gradient, False)
    compare(module, reference, x)
    said = fused_adapter.computed(module).split("; ")
    assert said[0] == "layer 1: dense"
    parts = [name for name, on in (("forward", forward), ("weight gradient", gradient)) if on]
    how = f"{' and '.join(parts)} by events" if parts else "dense"
    assert all(each.split(": ")[1].startswith(f"{how}, density 0.") for each in said[1:])


def test_the_dense_variant_never_counts() -> None:
    network = small("nmnist")
    module = adapters.load("fused:dense").build(network).double()
    reference = adapters.load("reference").build(network).double()
    copy_parameters(reference, module)
    compare(module, reference, random_batch(network, 3, 2, static=False).double())
    assert set(fused_adapter.computed(module).split("; ")) == {
        f"layer {n}: dense" for n in range(1, 5)
    }


def test_a_tap_changes_nothing(choose: Choose) -> None:
    choose(True, True, True)
    module, reference, x = pair(small("nmnist"), 3, 2, static=False)
    with record_spikes(module) as ours, record_spikes(reference) as theirs:
        module(x)
        reference(x)
        for left, right in zip(ours, theirs, strict=True):
            assert torch.equal(left.collected(), right.collected())


def test_by_events_it_is_as_dense_in_bf16(choose: Choose) -> None:
    module, _, x = pair(small("cifar10"), 1, 4, static=True)  # one step: a spike takes few with it
    module.float()
    found = {}
    for by_events in (False, True):
        choose(by_events, by_events, by_events)
        module.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            out = module(x.float())
        out.sum().backward()
        found[by_events] = [
            torch.clone(each.grad) for each in module.parameters() if each.grad is not None
        ]
    assert all(work.ran is not None and work.ran.forward for work in works(module)[1:])
    for dense, ours in zip(found[False], found[True], strict=True):
        assert ours.dtype == torch.float32
        assert torch.cosine_similarity(dense.flatten(), ours.flatten(), 0) > 0.99


def test_an_inference_in_parts_is_the_whole(choose: Choose) -> None:
    choose(True, True, True)
    module, _, x = pair(small("cifar10"), 4, 5, static=True)
    whole = module(x)
    with torch.no_grad():
        for at_once in (1, 8, 1000):
            module.at_once = at_once
            assert torch.equal(module(x), whole)


def test_smaller_networks_take_more_samples_at_once() -> None:
    of = {name: FusedNetwork(paper.network(name, "cifar10")[1]).at_once for name in paper.SCALES}
    assert set(of.values()) == {40}  # the paper's own
    eighth = paper.network("CIFARNet", "cifar10", width=Fraction(1, 8))[1]
    assert FusedNetwork(eighth).at_once == 4 * 40  # 32 maps of 32 x 32, for 128


@pytest.mark.parametrize("p", [0.0, 0.4])
def test_what_spiked_is_counted_and_dropout_takes_from_it(p: float) -> None:
    current = torch.randn(5, 3, 6, 7, 32, generator=torch.Generator().manual_seed(0))
    keys = dropout.keys(torch.tensor(11), 5, 3) if p else None
    form = Form(5, LIF(0.3, 0.25, 0.25), 2, None, 32, torch.float32, p=p, keys=keys)
    last = current.permute(0, 1, 4, 2, 3)
    events = neurons.events(last, None, form)
    assert events is not None
    assert torch.equal(
        neurons.values(events, torch.float32), neurons.spikes(last, None, form).flatten(0, 1)
    )
    assert events.spiking == int(events.counts.count_nonzero()) > 0


@pytest.mark.parametrize("p", [0.0, 0.4])
def test_marked_is_who_lies_inside_the_window(p: float) -> None:
    generator = torch.Generator().manual_seed(0)
    current = torch.randn(5, 3, 6, 7, 32, generator=generator) / 2
    lif = LIF(0.25, 0.5, 0.5)  # its window is open at 0.25 and 0.75
    current[0, 0, 0, 0, :5] = torch.tensor([0.25, 0.75, 0.26, 0.74, 0.5])
    keys = dropout.keys(torch.tensor(11), 5, 3) if p else None
    form = Form(5, lif, 1, None, 32, torch.float32, p=p, keys=keys)
    last = current.permute(0, 1, 4, 2, 3)
    bare = neurons.events(last, None, form)
    marked = neurons.events(last, None, replace(form, marks=True))
    assert bare is not None and marked is not None
    inside, v = [], torch.zeros_like(current[0])
    for arriving in current:
        u = lif.k_tau * v + arriving
        inside.append((u - lif.v_th).abs() < lif.a / 2)
        v = u * (u < lif.v_th)
    expected = torch.stack(inside).flatten(0, 1)
    if keys is not None:
        kept = torch.stack([dropout.kept(of_step, (32, 6, 7), p) for of_step in keys])
        expected &= kept.permute(0, 1, 3, 4, 2).flatten(0, 1)
    assert torch.equal((marked.counts & MARK) > 0, expected)
    assert marked.marked == int(expected.sum()) > 0
    assert torch.equal(neurons.values(marked, torch.float32), neurons.values(bare, torch.float32))
    assert (bare.marked, bare.window, marked.spiking) == (None, None, bare.spiking)


def shape(**changes: int) -> choice.Shape:
    of = choice.Shape("convolution", 8, 6, 6, 16, True, "float32", 1)
    return replace(of, **changes)


@pytest.mark.parametrize(
    ("seconds", "dense", "expected"),
    [
        ([1.0, 4.0], 2.5, 0.25),  # between
        ([1.0, 4.0], 99.0, 1.0),  # beyond all ones
        ([2.0, 3.0], 0.5, 0.0),
        ([2.0, 2.0], 3.0, 1.0),  # no slope: noise
        ([2.0, 2.0], 1.0, 0.0),
    ],
)
def test_break_even_is_where_the_lines_cross(
    seconds: list[float], dense: float, expected: float
) -> None:
    assert choice._crossing(seconds, dense) == pytest.approx(expected)


@pytest.mark.usefixtures("no_data_of_the_machine")
def test_break_even_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = iter([choice.BreakEven(0.5, 0.6, 0.0), choice.BreakEven(0.1, 0.2, 0.0)])
    monkeypatch.setattr(choice, "_measured", lambda of: next(measured))
    choice.break_even.cache_clear()
    try:
        for _ in range(2):  # in this process, and as if in a later one
            assert choice.break_even(shape()) == choice.BreakEven(0.5, 0.6, 0.0)
            choice.break_even.cache_clear()
        assert choice.break_even(shape(maps=9)) == choice.BreakEven(0.1, 0.2, 0.0)
    finally:
        choice.break_even.cache_clear()


def test_what_is_measured_is_a_density() -> None:
    for of in (shape(), replace(shape(), kind="product", valued=False, precision="float64")):
        found = choice._measured(of)
        assert all(0 <= each <= 1 for each in vars(found).values())


def test_density_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "break_even", lambda of: choice.BreakEven(0.2, 0.6, 0.4))
    weight, counts = torch.zeros(16, 8, 3, 3), torch.zeros(1, 5, 4, 5, dtype=torch.uint8)
    for spiking, forward, gradient in ((3, True, True), (30, False, True), (70, False, False)):
        events = Events(counts, 0.25, 4, spiking)
        assert choice.chosen(events, weight) == Ran(spiking / 100, None, forward, gradient, False)
    for marked, inputs in ((39, True), (40, False)):
        events = Events(counts, 1.0, 1, 30, marked=marked)
        assert choice.chosen(events, weight) == Ran(0.3, marked / 100, False, True, inputs)


def test_times_over_the_dense_forms_are_medians_of_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A round that is all slow, and one in which one of them is fast for once, move nothing."""
    calls: list[str] = []
    took = {"few": 1.0, "many": 3.0, "dense": 2.0}

    def seconds(work: choice.Work, device: torch.device) -> float:
        work()
        name, number = calls[-1], (len(calls) - 1) // 3
        slow = 10.0 if number == 2 else 0.1 if number == 3 and name == "dense" else 1.0
        return slow * took[name] / 1000

    monkeypatch.setattr(clock, "seconds", seconds)
    few, many, dense = (partial(calls.append, name) for name in took)
    assert choice.over([few, many], dense) == [0.5, 1.5]
    assert calls[:6] == ["few", "many", "dense"] * 2 and len(calls) >= 3 * (choice.ROUNDS + 1)
