"""The paper's nine claims and one of ours as data, each with the test that decides it.

The tests were fixed before the runs. What was run at a reduced scale can at most reproduce or
contradict a trend "at reduced scale"; it says nothing of an accuracy that the paper states for the
full size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from functools import partial
from math import isnan
from statistics import geometric_mean

import numpy as np
import pandas as pd
from scipy import stats

from harness.analysis import timings
from harness.analysis.frame import Frame, Frames, Line, each_of, frames
from harness.analysis.paper_tables import measures, published
from harness.analysis.statistics import share
from harness.analysis.trainings import contrasts, convergence, trainings
from harness.analysis.verdict import (
    FEWEST_SEEDS,
    LEVEL,
    Effect,
    Range,
    Unit,
    Verdict,
    alike,
    decided,
    full_size,
    largest_first,
    unconverged,
    untested,
)
from harness.analysis.words import counted
from harness.records import Row
from harness.spec import ANN, FLOOR, contender, paper

# The least that would matter of each effect, fixed before the runs; of a trend that is there the
# interval must lie above 0, of one that is not there below this.
STEP = 0.01  # Fig. 4: accuracy a step of scale; less is what another seed or library gives
RISE = 0.01  # Fig. 5: accuracy from T = 1 to T = 8; as above
CLEARER = 0.01  # Fig. 6: votes; a fiftieth of the figure's colours, which nobody would see
SOONER = 0.1  # of the epochs without NeuNorm; the paper's 103 of 157 are 0.34
# Fig. 5: "4-8 steps suffice", and one step is "not bad".
SUFFICES = 0.02  # T = 4 may lose so much accuracy to T = 8
NOT_BAD = 0.75  # T = 1 keeps so much of what T = 8 is above chance
# A mean over seeds may stay so far below the published figure, or a spiking network below its ANN.
ACCURACY = 0.01
HALF = 0.5  # of what a table has NeuNorm gain: the least that would matter
EQUAL = 0.02  # accuracy: bf16 may differ by so much from float32, either way
ROUNDING = 1e-12  # relative: differences so close are the same number


@dataclass(frozen=True)
class Claim:
    """One claim of the paper."""

    id: str
    short: str  # in a few words
    claim: str  # in our words
    value: str  # as published
    test: str  # what decides it, in words
    suite: str  # whose rows answer it
    judge: Callable[[Frames], Verdict]


def verdicts(rows: Frames | Iterable[Row]) -> list[tuple[Claim, Verdict]]:
    """Each claim with its verdict, in the paper's order."""
    found = frames(rows)
    return [(claim, claim.judge(found)) for claim in CLAIMS]


# Effects are in points and shares as fractions of 1, accuracies in [0, 1], votes as they are.
COLUMNS = (
    *("id", "claim", "published", "verdict", "effect", "unit", "value", "low", "high", "n"),
    *("reason", "would_change"),
)


def table(judged: Iterable[tuple[Claim, Verdict]]) -> Frame:
    """Each claim with each effect that decides it: one line an effect.

    `value` is the mean over `n` seeds, `low` and `high` its 95 % interval; of Fig. 3, in times, the
    geometric mean over `n` cells, the least and the most. `reason` says why the verdict is this
    one. A claim without such figures has one line, whose `effect` is what was measured, in words.
    """
    lines: list[tuple[object, ...]] = []
    for claim, verdict in judged:
        front = (claim.id, claim.claim, claim.value, verdict.text)
        back = (verdict.reason, verdict.would_change)
        figures = [(each.name, each.unit, *astuple(each.found)) for each in verdict.effects]
        figures += [astuple(each) for each in verdict.ranges]
        for each in figures or [(verdict.figures, "", None, None, None, None)]:
            lines.append((*front, *each, *back))
    found = pd.DataFrame(lines, columns=list(COLUMNS))
    return found.astype({"value": float, "low": float, "high": float, "n": "Int64"})


def _paired(groups: Sequence[Mapping[int, float]]) -> np.ndarray:
    """Values by seed (rows) and group (columns), of the seeds that all groups have."""
    seeds = sorted(set.intersection(*(set(group) for group in groups))) if groups else []
    values = [[group[seed] for group in groups] for seed in seeds]
    return np.array(values).reshape(len(seeds), len(groups))


def _of(frames: Frames, suite: str, dataset: str | None = None) -> list[Line]:
    found = trainings(frames, suite)
    return [*each_of(found if dataset is None else found[found["dataset"] == dataset])]


def _percent(values: Iterable[float]) -> str:
    found = share(list(values))
    spread = "" if isnan(found.low) else f" [{100 * found.low:.1f}, {100 * found.high:.1f}]"
    return f"{100 * found.value:.1f} %{spread}"


def _rises(table: np.ndarray) -> float | None:
    """The p-value of Page's trend test: columns rise from first to last, seeds are the blocks."""
    return float(stats.page_trend_test(table).pvalue) if len(table) >= FEWEST_SEEDS else None


def _is_positive(gains: np.ndarray) -> float | None:
    """The one-sided p-value of Student's paired test, of its differences; None of too few."""
    if len(gains) < FEWEST_SEEDS:
        return None
    if np.ptp(gains) <= ROUNDING * np.abs(gains).max():  # no spread: SciPy would warn
        return 0.0 if gains[0] > 0 else 1.0
    return float(stats.ttest_rel(gains, np.zeros(len(gains)), alternative="greater").pvalue)


def fig4(frames: Frames) -> Verdict:
    """Whether accuracy rises with the scale, on each data set: its slope, and Page's trend test."""
    every = _of(frames, "scale")
    said, effects, used = [], [], []
    for dataset in dict.fromkeys(each.dataset for each in every):
        sets = alike([each for each in every if each.dataset == dataset], "scale", "network")
        by_scale = next((each for each in sets if set(paper.SCALES) <= set(each)), None)
        if by_scale is None:
            continue
        scales = [by_scale[name] for name in paper.SCALES]
        table, title = _paired([each.accuracies for each in scales]), paper.settings(dataset).title
        slopes = (table[:, -1] - table[:, 0]) / (len(paper.SCALES) - 1)  # least squares of three
        name, doubt = f"{title}, a step of scale", unconverged(scales)
        values = tuple(slopes.tolist())
        effects.append(Effect(name, "points", values, 0.0, STEP, _rises(table), doubt))
        used += scales
        said.append(f"{title} {', '.join(_percent(column) for column in table.T)}")
    if not effects:
        return untested("no data set has all three scales", "scale")
    return decided(effects, used, f"Small, Middle, Large: {'; '.join(said)}", "scale")


def fig5(frames: Frames) -> Verdict:
    """Of CIFAR-10: whether accuracy rises with T, and what T = 4 and T = 1 lose to T = 8."""
    sets = alike(_of(frames, "timesteps", "cifar10"), "T")
    by_steps = next((each for each in sets if {1, 4, 8} <= set(each)), None)
    if by_steps is None:
        return untested("T = 1, 4 and 8 were not all run on CIFAR-10", "timesteps")
    steps = sorted(by_steps)
    groups = [by_steps[T] for T in steps]
    table, doubt = _paired([each.accuracies for each in groups]), unconverged(groups)
    column = {T: table[:, n] for n, T in enumerate(steps)}
    chance = 1 / by_steps[8].case.network.classes

    def effect(name: str, values: np.ndarray, bounds: tuple[float, float]) -> Effect:
        return Effect(name, "points", tuple(values.tolist()), *bounds, doubt=doubt)

    rise = effect("T = 8 minus T = 1", column[8] - column[1], (0.0, RISE))
    kept = (column[1] - chance) - NOT_BAD * (column[8] - chance)
    effects = [
        replace(rise, p=_rises(table)),
        effect("T = 4 minus T = 8", column[4] - column[8], (-SUFFICES, -SUFFICES)),
        effect(f"T = 1 minus {100 * NOT_BAD:.0f} % of T = 8, above chance", kept, (0.0, 0.0)),
    ]
    figures = ", ".join(f"T = {T}: {_percent(column[T])}" for T in steps)
    return decided(effects, groups, figures, "timesteps")


def _with_and_without(found: Sequence[Line]) -> tuple[Line, Line] | None:
    """Trainings without NeuNorm and with its default reading."""
    sets = alike(found, "neunorm")
    return next(((of["off"], of["mean"]) for of in sets if {"off", "mean"} <= set(of)), None)


def _gain(
    pair: tuple[Line, Line], gains: np.ndarray, name: str, unit: Unit, matters: float
) -> Effect:
    """What NeuNorm gains, by a paired t test over seeds."""
    values, doubt = tuple(gains.tolist()), unconverged(pair)
    return Effect(name, unit, values, 0.0, matters, p=_is_positive(gains), doubt=doubt)


def fig6(frames: Frames) -> Verdict:
    """Whether the votes on CIFAR-10 are clearer with NeuNorm: a paired t test over seeds."""
    pair = _with_and_without(_of(frames, "neunorm", "cifar10"))
    if pair is None:
        return untested("CIFAR-10 was not run without and with NeuNorm", "neunorm")
    table = _paired([contrasts(frames, each) for each in pair])
    if not len(table):
        return untested("no seed was run both without and with NeuNorm", "neunorm")
    means = table.mean(0)
    figures = (
        f"mean vote for the right class minus a wrong one: {means[0]:.3f} off, {means[1]:.3f} on"
    )
    effect = _gain(pair, table[:, 1] - table[:, 0], "contrast of the votes", "votes", CLEARER)
    return decided([effect], pair, figures, "neunorm")


def conv(frames: Frames) -> Verdict:
    """Whether DVS-CIFAR10 is learnt in fewer epochs with NeuNorm: a paired t test over seeds."""
    pair = _with_and_without(_of(frames, "accuracy", "dvs-cifar10"))
    if pair is None:
        return untested("DVS-CIFAR10 was not run without and with NeuNorm", "accuracy")
    reached = (convergence(each, pair) for each in pair)
    table = _paired([{seed: float(n) for seed, (_, n) in of.items()} for of in reached])
    if not len(table):
        return untested("no seed was run both without and with NeuNorm", "accuracy")
    means = table.mean(0)
    figures = f"epochs to what both reach: {means[0]:.1f} without, {means[1]:.1f} with NeuNorm"
    effect = _gain(pair, 1 - table[:, 1] / table[:, 0], "epochs saved", "share", SOONER)
    return decided([effect], pair, figures, "accuracy")


def of_table(number: int, frames: Frames) -> Verdict:
    """Our rows of Table 3 to 6: at the paper's size each within ACCURACY of what is published.

    A reduced run says nothing of that, so there the order alone is judged that a table shows: that
    NeuNorm gains, that a spiking network does not fall behind the same structure without spikes.
    """
    found, rows = _of(frames, "accuracy"), published()
    ours = [*each_of(rows[(rows["table"] == number) & (rows["network"] != "")])]
    measured = [(row, each) for row in ours for each in found if measures(row, each)]
    if not measured:
        return untested("its rows were not run", "accuracy")
    full = [(row, each) for row, each in measured if full_size(each)]
    if {row.Index for row, _ in full} == {row.Index for row in ours}:
        effects = [_against(*pair) for pair in full]
        figures = "; ".join(effect.text for effect in effects)
        return decided(effects, [each for _, each in full], figures, "accuracy")
    networks = {(row.dataset, row.network) for row in ours}
    return _order(number, ours, [each for each in found if (each.dataset, each.scale) in networks])


def _against(row: Line, each: Line) -> Effect:
    """The accuracy of trainings against a published one."""
    values, bar = tuple(each.accuracies.values()), row.accuracy - ACCURACY
    name = "ANN" if each.framework == ANN else f"NeuNorm {each.neunorm}"
    name += f", published {100 * row.accuracy:.2f} %"
    effect = Effect(name, "accuracy", values, bar, bar)
    # what is reached is reached, converged or not; what is not might have been, with more epochs
    reached = effect.found.low >= bar
    return effect if reached else replace(effect, doubt=unconverged([each]))


def _order(number: int, ours: Sequence[Line], found: Sequence[Line]) -> Verdict:
    """Whether reduced trainings stand in the order of the table."""
    effects, used = [], dict[int, Line]()
    pair = _with_and_without(found)
    if pair is not None and number != 6:  # which does not say whether NeuNorm was on
        effects.append(_neunorm(ours, pair))
        used |= {each.Index: each for each in pair}
    beside_ann = _beside_ann(found, "off" if number == 6 else "mean")
    if beside_ann is not None:
        effects.append(_not_below(*beside_ann))
        used |= {each.Index: each for each in beside_ann}
    if not effects:
        return untested("no two of its rows were run on the same data", "accuracy")
    shown = "; ".join(effect.text for effect in effects)
    verdict = decided(effects, [*used.values()], shown, "accuracy")
    return replace(verdict, scope="order")


def _neunorm(ours: Sequence[Line], pair: tuple[Line, Line]) -> Effect:
    """What NeuNorm gains in accuracy, beside what it gains in the table."""
    with_, without = (
        next(row.accuracy for row in ours if bool(row.neunorm) == on and row.framework != ANN)
        for on in (True, False)
    )
    gains = _paired([each.accuracies for each in pair])
    stated = f"NeuNorm gains (published {100 * (with_ - without):+.2f})"
    return _gain(pair, gains[:, 1] - gains[:, 0], stated, "points", HALF * (with_ - without))


def _beside_ann(found: Sequence[Line], reading: str) -> tuple[Line, Line] | None:
    """A spiking network with that reading, and the same structure without spikes: the largest."""

    def structure(each: Line) -> tuple[object, ...]:  # an ANN has no steps
        samples = each.train_samples, each.data_source
        return each.dataset, each.network, each.width, each.epochs, *samples

    anns = {structure(each): each for each in found if each.framework == ANN}
    pairs = [
        (each, anns[structure(each)])
        for each in found
        if each.framework != ANN and each.neunorm == reading and structure(each) in anns
    ]
    return min(pairs, key=largest_first, default=None)


def _not_below(spiking: Line, ann: Line) -> Effect:
    gains = _paired([ann.accuracies, spiking.accuracies])
    values = tuple((gains[:, 1] - gains[:, 0]).tolist())
    name, doubt = f"{spiking.scale} minus its ANN", unconverged([spiking, ann])
    return Effect(name, "points", values, -ACCURACY, -ACCURACY, doubt=doubt)


def bf16(frames: Frames) -> Verdict:
    """Whether training in bf16 ends as in float32: within EQUAL either way, over seeds."""
    sets = alike(_of(frames, "ablations"), "precision")
    both = next((each for each in sets if {"fp32", "bf16"} <= set(each)), None)
    if both is None:
        return untested("no training was run in float32 and in bf16", "ablations")
    groups = [both["fp32"], both["bf16"]]
    accuracies = _paired([each.accuracies for each in groups])
    differences, doubt = accuracies[:, 1] - accuracies[:, 0], unconverged(groups)
    effects = [
        Effect(name, "points", tuple(values.tolist()), -EQUAL, -EQUAL, doubt=doubt)
        for name, values in (
            ("bf16 minus float32", differences),
            ("float32 minus bf16", -differences),
        )
    ]
    return decided(effects, groups, effects[0].text, "ablations")


OCTAVE = "octave"
# What each form does for a layer of convolutions; the paper says how its own did only in so far as
# it is "Matlab".
FORMS = {
    "": "im2col and a product",
    "convn": "one convn for each output map",
    "conv2": "one conv2 for each sample and pair of maps",
}
COMMAND = "harness run --suite acceleration --frameworks reference,octave,octave:convn,octave:conv2"
TENS = 10.0  # "tens of times" begins here


def fig3(frames: Frames) -> Verdict:
    """Whether plain PyTorch is tens of times faster, for each form of the Matlab code."""
    lines = timings.lines(frames)
    timed = against(lines)
    if timed.empty:
        return _without_matlab(lines)
    forms = [_form(str(variant), of) for variant, of in timed.groupby("variant", sort=False)]
    calls = [call for _, call in forms]
    status = "inconclusive"
    if len({*calls}) == 1 and calls[0] is not None:
        status = "reproduced" if calls[0] else "contradicted"
    said = {
        True: "tens of times or more",
        False: "not tens of times",
        None: "not the same in all cells, or too noisy to tell,",
    }
    return Verdict(
        status,
        f"plain PyTorch is faster, {'; '.join(each.name for each, _ in forms)}",
        (
            *(f"{said[call]} for {each.name.partition(': ')[0]}" for each, call in forms),
            "CPU against CPU, in GNU Octave or MATLAB as the rows say: what the paper's GPU would "
            "add to either side is not known, nor how its Matlab was written",
        ),
        "the Matlab code of the paper, timed on the same machine",
        ranges=tuple(each for each, _ in forms),
    )


def against(lines: Frame) -> Frame:
    """The lines of Matlab code that was timed beside plain PyTorch, proved to be its function."""
    return lines[
        (lines["framework"] == OCTAVE)
        & lines["variant"].isin(FORMS)
        & lines["in_figure_3"]
        & (lines["precision"] == "fp32")
        & (lines["standing"] != "none")
        & lines["speedup_vs_reference"].notna()
    ]


def _form(variant: str, of: Frame) -> tuple[Range, bool | None]:
    """How many times faster the reference is, over the cells; and whether tens of times, by the
    intervals: of the reference's speed-up, which is below 1 where it is faster.
    """
    times = sorted(1 / of["speedup_vs_reference"])
    low, high = (f"{each:.2g}" if each < 100 else f"{each:.0f}" for each in (times[0], times[-1]))
    text = f"{low} times" if low == high else f"{low} to {high} times"
    scaled = of["part"].notna().sum()
    text += f" ({scaled} of {counted(len(of), 'cell')} scaled)" if scaled else ""
    name = f"{contender(OCTAVE, variant)} ({FORMS[variant]}): {text}"
    call = None
    if (1 / of["speedup_high"] >= TENS).all():
        call = True
    elif (1 / of["speedup_low"] < TENS).all():
        call = False
    return Range(name, "times", geometric_mean(times), times[0], times[-1], len(times)), call


def _without_matlab(lines: Frame) -> Verdict:
    """No Matlab was timed: our ratios are said."""
    ratios = lines.loc[lines["in_figure_3"] & (lines["framework"] != FLOOR), "ratio_to_floor"]
    figures = ""
    if ratios.notna().any():
        figures = f"contenders take {ratios.min():.2f} to {ratios.max():.2f} times the floor"
    return Verdict(
        "not tested",
        figures,
        (
            "the Matlab implementation that it compares with is not public, and no other was "
            f"timed: `{COMMAND}`",
        ),
        f"Matlab code, timed in GNU Octave or MATLAB beside plain PyTorch: `{COMMAND}`",
    )


_OVER_SEEDS = f"95 % interval over at least {FEWEST_SEEDS} seeds"
_TABLE_TEST = (
    f"{_OVER_SEEDS} of the accuracy at the paper's size, in float32: reproduced where it lies "
    f"above {100 * ACCURACY:.0f} point below the published figure, contradicted where under that; "
    "at a reduced scale the order of its rows alone: what NeuNorm gains, of which "
    f"{100 * HALF:.0f} % would matter, and that a spiking network is not more than "
    f"{100 * ACCURACY:.0f} point below the same structure without spikes"
)


def _trend_test(effect: str, matters: str, test: str) -> str:
    return (
        f"{_OVER_SEEDS} of {effect}: reproduced where it lies above 0 and {test} has p < {LEVEL}, "
        f"contradicted where it lies below {matters}, the least that would matter; inconclusive "
        "where neither, or where training had not converged"
    )


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "fig3",
        "PyTorch trains tens of times faster than Matlab",
        "The iterative LIF in PyTorch trains tens of times faster than in Matlab",
        "tens of times (bars without figures)",
        "the time of GNU Octave or MATLAB over the reference's, for three ways to write the "
        "convolutions: each interval is to lie at 10 or above",
        "acceleration",
        fig3,
    ),
    Claim(
        "fig4",
        "Larger networks are more accurate",
        "Accuracy rises from Small to Middle to Large",
        "trend",
        _trend_test(
            "the accuracy a step of scale, on every data set that was run",
            f"{100 * STEP:.0f} point",
            "Page's trend test over seeds",
        ),
        "scale",
        fig4,
    ),
    Claim(
        "fig5",
        "Four steps suffice, one is not bad",
        "On CIFAR-10 longer T is better, 4 to 8 steps suffice, one step is not bad",
        "trend",
        _trend_test(
            "the rise from T = 1 to T = 8",
            f"{100 * RISE:.0f} point",
            "Page's trend test over seeds",
        )
        + f"; likewise that T = 4 is within {100 * SUFFICES:.0f} points of T = 8, and that T = 1 "
        f"keeps {100 * NOT_BAD:.0f} % of what T = 8 is above chance",
        "timesteps",
        fig5,
    ),
    Claim(
        "fig6",
        "NeuNorm makes votes clearer",
        "The confusion matrix over 500 random test images is clearer with NeuNorm",
        "comparison",
        _trend_test(
            "the gain in contrast of the votes", f"{CLEARER:g}", "a paired t test over seeds"
        ),
        "neunorm",
        fig6,
    ),
    Claim(
        "conv",
        "NeuNorm converges sooner",
        "NeuNorm converges sooner on DVS-CIFAR10",
        "best accuracy at epoch 157 without, 103 with",
        _trend_test(
            "the share saved of the epochs to the accuracy that both reach",
            f"{100 * SOONER:.0f} %",
            "a paired t test over seeds",
        ),
        "accuracy",
        conv,
    ),
    Claim(
        "tab3",
        "Accuracy on N-MNIST (Table 3)",
        "N-MNIST without and with NeuNorm",
        "99.44 %, 99.53 %",
        _TABLE_TEST,
        "accuracy",
        partial(of_table, 3),
    ),
    Claim(
        "tab4",
        "Accuracy on DVS-CIFAR10 (Table 4)",
        "DVS-CIFAR10 without and with NeuNorm",
        "58.1 %, 60.5 %",
        _TABLE_TEST,
        "accuracy",
        partial(of_table, 4),
    ),
    Claim(
        "tab5",
        "Accuracy on CIFAR-10 (Table 5)",
        "CIFAR-10 by CIFARNet without and with NeuNorm, and by the ANN of the same structure",
        "89.83 %, 90.53 %, 90.49 %",
        _TABLE_TEST,
        "accuracy",
        partial(of_table, 5),
    ),
    Claim(
        "tab6",
        "Accuracy of AlexNet (Table 6)",
        "CIFAR-10 by AlexNet",
        "85.24 %",
        _TABLE_TEST,
        "accuracy",
        partial(of_table, 6),
    ),
    Claim(
        "bf16",
        "Ours: bf16 trains as float32",
        "Training in bf16 ends as training in float32 does",
        "ours, not the paper's",
        f"{_OVER_SEEDS} of the difference of one training in both: reproduced where it lies "
        f"within {100 * EQUAL:.0f} points of 0, contradicted where beyond",
        "ablations",
        bf16,
    ),
)
