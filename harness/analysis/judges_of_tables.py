"""The tests that decide what Tables 3 to 6 claim, and that bf16 trains as float32 does.

At the paper's own size each accuracy is held against the published one. A reduced run says nothing
of that, so there the order alone is judged that a table shows: that NeuNorm gains, that a spiking
network does not fall behind the same structure without spikes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from harness.analysis import published
from harness.analysis.extent import alike, full_size, largest_first, unconverged
from harness.analysis.judges import gain, paired, with_and_without
from harness.analysis.paper import measures
from harness.analysis.published import Published
from harness.analysis.trained import Trainings, trainings
from harness.analysis.verdict import Effect, Verdict, decided, untested
from harness.records import Row
from harness.spec import ANN

# A mean over seeds may stay so far below the published figure, or a spiking network below its ANN.
ACCURACY = 0.01
HALF = 0.5  # of what a table has NeuNorm gain: the least that would matter
EQUAL = 0.02  # accuracy: bf16 may differ by so much from float32, either way


def table(number: int) -> Callable[[Sequence[Row]], Verdict]:
    """The judge of our rows of Table 3, 4, 5 or 6: each within ACCURACY of what is published."""

    def judge(rows: Sequence[Row]) -> Verdict:
        found = trainings(rows, "accuracy")
        ours = [row for row in published.published(number) if row.network]
        measured = [(row, each) for row in ours for each in found if measures(row, each.condition)]
        if not measured:
            return untested("its rows were not run", "accuracy")
        full = [(row, each) for row, each in measured if full_size(each)]
        if {row for row, _ in full} == set(ours):
            effects = [_against(*pair) for pair in full]
            figures = "; ".join(effect.text for effect in effects)
            return decided(effects, [each for _, each in full], figures, "accuracy")
        networks = {(row.dataset, row.network) for row in ours}
        return _order(number, ours, [each for each in found if _network(each) in networks])

    return judge


def _against(row: Published, each: Trainings) -> Effect:
    """The accuracy of trainings against a published one."""
    values, bar = tuple(each.accuracies.values()), row.accuracy - ACCURACY
    ann = each.condition.case.framework == ANN
    name = "ANN" if ann else f"NeuNorm {each.condition.reading}"
    name += f", published {100 * row.accuracy:.2f} %"
    effect = Effect(name, "accuracy", values, bar, bar)
    # what is reached is reached, converged or not; what is not might have been, with more epochs
    reached = effect.found.low >= bar
    return effect if reached else replace(effect, doubt=unconverged([each]))


def _network(each: Trainings) -> tuple[str, str]:
    return each.condition.case.dataset, each.condition.case.scale


def _order(number: int, ours: Sequence[Published], found: Sequence[Trainings]) -> Verdict:
    """Whether reduced trainings stand in the order of the table."""
    effects, used = [], []
    pair = with_and_without(found)
    if pair is not None and number != 6:  # which does not say whether NeuNorm was on
        effects.append(_neunorm(ours, pair))
        used += pair
    beside_ann = _beside_ann(found, "off" if number == 6 else "mean")
    if beside_ann is not None:
        effects.append(_not_below(*beside_ann))
        used += beside_ann
    if not effects:
        return untested("no two of its rows were run on the same data", "accuracy")
    shown = "; ".join(effect.text for effect in effects)
    verdict = decided(effects, list(dict.fromkeys(used)), shown, "accuracy")
    return replace(verdict, scope="order")


def _neunorm(ours: Sequence[Published], pair: tuple[Trainings, Trainings]) -> Effect:
    """What NeuNorm gains in accuracy, beside what it gains in the table."""
    with_, without = (
        next(row.accuracy for row in ours if bool(row.neunorm) == on and row.framework != ANN)
        for on in (True, False)
    )
    gains = paired([each.accuracies for each in pair])
    stated = f"NeuNorm gains (published {100 * (with_ - without):+.2f})"
    return gain(pair, gains[:, 1] - gains[:, 0], stated, "points", HALF * (with_ - without))


def _beside_ann(found: Sequence[Trainings], reading: str) -> tuple[Trainings, Trainings] | None:
    """A spiking network with that reading, and the same structure without spikes: the largest."""
    anns = {_structure(each): each for each in found if each.condition.case.framework == ANN}
    spiking = [each for each in found if each.condition.case.framework != ANN]
    pairs = [
        (each, anns[_structure(each)])
        for each in spiking
        if each.condition.reading == reading and _structure(each) in anns
    ]
    return min(pairs, key=largest_first, default=None)


def _structure(each: Trainings) -> tuple[object, ...]:
    """What a network shares with its ANN: structure, width, data; an ANN has no steps."""
    case = each.condition.case
    samples = each.condition.train_samples, each.condition.data_source
    return case.dataset, str(case.network), case.width, case.trained.epochs, *samples


def _not_below(spiking: Trainings, ann: Trainings) -> Effect:
    gains = paired([ann.accuracies, spiking.accuracies])
    values = tuple((gains[:, 1] - gains[:, 0]).tolist())
    name = f"{spiking.condition.case.scale} less its ANN"
    doubt = unconverged([spiking, ann])
    return Effect(name, "points", values, -ACCURACY, -ACCURACY, doubt=doubt)


def bf16(rows: Sequence[Row]) -> Verdict:
    """Whether training in bf16 ends as in float32: within EQUAL either way, over seeds."""
    sets = alike(
        trainings(rows, "ablations"), lambda each: each.condition.case.precision, "precision"
    )
    both = next((each for each in sets if {"fp32", "bf16"} <= set(each)), None)
    if both is None:
        return untested("no training was run in float32 and in bf16", "ablations")
    groups = [both["fp32"], both["bf16"]]
    accuracies = paired([each.accuracies for each in groups])
    differences, doubt = accuracies[:, 1] - accuracies[:, 0], unconverged(groups)

    def effect(name: str, values: Sequence[float]) -> Effect:
        return Effect(name, "points", tuple(values), -EQUAL, -EQUAL, doubt=doubt)

    effects = [
        effect("bf16 less float32", differences.tolist()),
        effect("float32 less bf16", (-differences).tolist()),
    ]
    return decided(effects, groups, effects[0].text, "ablations")
