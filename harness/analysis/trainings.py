"""Trainings as tables: Figs. 4 to 6, ablations, and what Tables 3 to 6 are measured by.

A condition is what trainings share that differ in the seed alone: a line of every table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from math import nan, sqrt
from operator import itemgetter
from statistics import fmean, stdev
from typing import Any, NamedTuple

import pandas as pd
from scipy import stats

from harness.analysis.frame import Frame, Frames, Line, each_of, grouped
from harness.analysis.words import FLAGS
from harness.spec import DEAD_RATE, Case, Trained, network_name, paper, schedule
from harness.suites.trainings import ABLATIONS, AS_IT_IS

CONFIDENCE = 0.95
ALIKE = ("timesteps", "scale", "neunorm", "accuracy")  # suites whose trainings are the paper's
NEARLY = 0.9  # on this share of the way a curve is still steep, and further from noise than its end
DATA = ("train_samples", "test_samples", "data_source", *FLAGS)
FRONT = ("dataset", "scale", "framework", "neunorm", "T")
CONDITION = (
    *("width", "epochs", "train_samples", "test_samples", "batch_size", "dropout", "optimiser"),
    *("precision", "device", "initialisation", "bin_ms", "v_th", "a", "loss_function", "network"),
    *("stages", "neunorm_u"),
    *("data_source", *FLAGS),
)
SAME = (*FRONT, *CONDITION)  # what trainings of one condition share
FIELDS = Case.__dataclass_fields__
# Over the seeds; accuracies are in [0, 1].
FIGURES = (
    *("accuracy", "low", "high"),  # after the last epoch: the mean, with Student's 95 % interval
    "best_accuracy",  # best epoch by test accuracy, as papers tell it
    "chosen_accuracy",  # at the epoch that validates best
    *("n", "seconds_per_epoch"),  # n: seeds
)
# What verdicts and figures need of a condition, in addition to its columns.
PAGE_COLUMNS = (
    "suite",
    "case",  # with seed 0, and without what was asked of the trained network
    "keys",  # of its trainings, each with the suite whose rows count
    "own",  # whether any was run under the suite that was asked for
    "accuracies",  # after the last epoch, by seed
    "trained_epochs",  # of each training: a case has the most that there may be
    "at_first",  # held-out accuracy by seed and epoch, as long as the rate was the first one
    "lost",  # the seeds that learnt nothing: on what they were trained on they end near chance
    "machines",
)


class Mean(NamedTuple):
    """A mean over seeds with its 95 % interval; NaN where there are too few to tell."""

    value: float
    low: float
    high: float
    n: int


def mean(values: Sequence[float], confidence: float = CONFIDENCE) -> Mean:
    """Return the mean with Student's interval."""
    value = fmean(values) if len(values) else nan
    reach = _reach(stdev(values), len(values), confidence) if len(values) > 1 else nan
    return Mean(value, value - reach, value + reach, len(values))


def share(values: Sequence[float]) -> Mean:
    """Return the mean of shares, such as accuracies: its interval ends at 0 and at 1."""
    value, low, high, n = mean(values)
    return Mean(value, max(low, 0.0), min(high, 1.0), n)


def _reach(spread: float, n: int, confidence: float) -> float:
    """Half of Student's interval of a mean."""
    return float(stats.t.ppf((1 + confidence) / 2, n - 1)) * spread / sqrt(n)


def conditions(ended: Frame, suite: str) -> Iterator[tuple[dict[str, Any], Frame]]:
    """Yield the rows of finished cases by condition, of each seed the last.

    With the condition's columns and case, as if it had been run under that suite.
    """
    flags = {name: ended[f"data_{name}"] | ended[f"data_test_{name}"] for name in FLAGS}
    cases = [_condition(*of, suite) for of in zip(ended["case"], ended["suite"], strict=True)]
    for _, rows in ended.assign(**flags, condition=cases).groupby(["condition", *DATA], sort=False):
        rows = rows.drop_duplicates("seed", keep="last")
        first: Line = next(each_of(rows.head(1)))
        case: Trained = first.condition
        lif, static = case.network.lif, paper.settings(case.dataset).static
        columns = {
            **{name: getattr(case, name) for name in SAME if name in FIELDS},
            **{name: getattr(first, name) for name in DATA},
            "scale": network_name(case),
            **{"width": str(case.width), "network": str(case.network), "neunorm": reading(case)},
            "optimiser": str(case.optimiser).replace(", fc_factor=None", ""),
            **{"epochs": case.training.epochs, "dropout": case.network.dropout},
            "stages": stages(case),
            "neunorm_u": first_u(case),
            "bin_ms": nan if static else case.training.bin_us / 1000,
            **{"v_th": lif.v_th, "a": lif.a, "loss_function": case.training.loss},
            "case": case,
            "machines": "; ".join(sorted(set(rows.loc[rows["cpu"] != "", "machine"]))),
        }
        yield columns, rows


def _condition(case: Trained, ran: str, suite: str) -> Trained:
    """Return how it was trained, without the seed and the tests of the trained network.

    The rows have the rest about its data.
    """
    asked = {"samples": None, "test_samples": None, "embedded": False}
    training = replace(case.training, tested_at=(), **asked)
    case = replace(case, suite=suite, seed=0, training=training)
    if suite != ran and paper.settings(case.dataset).static:
        # Table 1's Large of still images is Table 2's CIFARNet: what suites call it
        names = {"CIFARNet": "Large"} if suite == "scale" else {"Large": "CIFARNet"}
        case = replace(case, scale=names.get(case.scale, case.scale))
    return case


def stages(case: Trained) -> str:
    """Its epochs at each rate, "40+5+5"; "15" by Table 7; "until flat" by an earlier rule."""
    training = case.training
    if training.least_epochs is not None:
        return "until flat"
    return "+".join(map(str, training.stages or (training.epochs,)))


def first_u(case: Case) -> str:
    """U's first value, as tables name it; "" without NeuNorm."""
    norm = case.network.neunorm
    return "" if norm is None else "uniform" if norm.u is None else f"{norm.u:g}"


def reading(case: Case) -> str:
    """NeuNorm's, as tables, figures and verdicts name it."""
    return case.network.neunorm.reading if case.network.neunorm else "off"


@lru_cache(maxsize=32)
def trainings(frames: Frames, suite: str, *others: str) -> Frame:
    """Return the finished trainings of a suite: one line a condition, in the paper's order.

    With those of other suites, behind its own: of a seed that was trained more than once under one
    condition its own suite's counts, else the last.
    """
    ended = frames["trained"]
    ended = ended[ended["counts"] & ended["suite"].isin((suite, *others))]
    ended = ended.iloc[(ended["suite"] == suite).argsort(kind="stable")]
    lines = []
    for columns, rows in conditions(ended, suite):
        keys = dict(zip(rows["key"], rows["suite"], strict=True))
        columns |= {"suite": suite, "keys": keys, "own": suite in keys.values()}
        lines.append({**columns, **_figures(rows, courses(frames))})

    def in_order(line: dict[str, Any]) -> tuple[object, ...]:
        place = paper.paper_order(line["dataset"], line["scale"])
        return *place, *({**line, "neunorm": line["neunorm"].replace("off", "")}[n] for n in SAME)

    columns = [*FRONT, *FIGURES, "at_chance", *CONDITION, *PAGE_COLUMNS]
    return pd.DataFrame(sorted(lines, key=in_order), columns=columns)


def compared(frames: Frames, suite: str, *differing: str) -> Frame:
    """Return the trainings of a suite with those of others that differ only in `differing`."""
    found = trainings(frames, suite, *ALIKE)
    return found[sets(found, *differing)["own"].transform("any").astype(bool)]


def sets(found: Frame, *differing: str) -> Any:
    """Return trainings by all columns but those."""
    same = [name for name in SAME if name not in differing]
    return found.groupby(same, dropna=False, sort=False)


class LearningCurve(NamedTuple):
    """How a training went."""

    at_first: list[float]  # held-out accuracy by epoch, as long as the rate was the first one
    train_accuracy: float  # of the last epoch
    rates: Sequence[float]  # each layer's share of neurons that spike, in the last epoch


@lru_cache(maxsize=4)
def courses(frames: Frames) -> dict[tuple[str, str], LearningCurve]:
    """Return the held-out curve of each training, by its key and suite."""
    names = ["key", "suite", "epoch", "learning_rate", "validation_accuracy", "train_accuracy"]
    rows = frames["epoch"]
    rows = rows.loc[rows["counts"], [*names, "rates"]].sort_values("epoch")
    found = {}
    for key, of in grouped(zip(*map(rows.get, rows), strict=True), itemgetter(0, 1)).items():
        first = of[0][3]
        found[key] = LearningCurve([each[4] for each in of if each[3] == first], *of[-1][5:])
    return found


def _figures(ended: Frame, courses: Mapping[tuple[str, str], LearningCurve]) -> dict[str, Any]:
    """Return results and courses of trainings over the seeds, epoch by epoch."""
    taken, chance = ended["trained_epochs"], 1 / ended["classes"].iloc[0]
    trained = ended["epochs"].where(~(taken > 0), taken).astype(int)
    keys = zip(ended["key"], ended["suite"], strict=True)
    went = {s: courses[k] for s, k in zip(ended["seed"], keys, strict=True) if k in courses}
    lost = [s for s, of in went.items() if of.train_accuracy < schedule.LEARNT * chance]
    found = share([*ended["test_accuracy"]])
    return {
        **dict(zip(("accuracy", "low", "high", "n"), found, strict=True)),
        "best_accuracy": share([*ended["best_test_accuracy"]]).value,
        "chosen_accuracy": share([*ended["chosen_test_accuracy"]]).value,
        "seconds_per_epoch": fmean(ended["seconds"] / trained),
        "accuracies": dict(zip(ended["seed"], ended["test_accuracy"], strict=True)),
        "trained_epochs": tuple(trained),
        **{"at_chance": len(lost), "lost": tuple(lost)},
        "at_first": {seed: of.at_first for seed, of in went.items()},
    }


def gained_at_first(line: Line) -> float:
    """Return the gain of the last quarter of the epochs at the first rate over the one before.

    In held-out accuracy in [0, 1], the mean over seeds; NaN where epochs are too few. It decides
    nothing.
    """
    gains = []
    for curve in line.at_first.values():
        if quarter := len(curve) // 4:
            gains.append(fmean(curve[-quarter:]) - fmean(curve[-2 * quarter : -quarter]))
    return fmean(gains) if gains else nan


def _rows(rows: Frame, keys: Mapping[str, str]) -> Frame:
    return rows[rows["counts"] & (rows["key"].map(keys) == rows["suite"])]


def rows_of(frames: Frames, kind: str, line: Line) -> Frame:
    """Return the rows of a kind of a condition's trainings: epochs, tests or votes."""
    return _rows(frames[kind], line.keys)


def table(found: Frame, more: Mapping[str, Sequence[object]] | None = None) -> Frame:
    """Return the table of trainings: a line for each condition, over all its seeds.

    `more` are further columns. `epochs` is how many were trained, the mean over the seeds;
    `at_chance` how many of the n seeds learnt nothing (the means include them); `gained_at_first`
    as the function of that name.
    """
    shown = found[[*FRONT, *FIGURES, "at_chance"]].assign(**(more or {}))
    epochs = [round(fmean(each)) for each in found["trained_epochs"]]
    gained = [gained_at_first(each) for each in each_of(found)]
    condition = found[[*CONDITION, "machines"]].assign(epochs=epochs, gained_at_first=gained)
    return pd.concat([shown, condition], axis=1)


def scale(frames: Frames) -> Frame:
    """Fig. 4: accuracy of the Small, Middle and Large networks."""
    return table(by_scale(frames))


def by_scale(frames: Frames) -> Frame:
    """Return those of the suite, and of others the three scales."""
    found = compared(frames, "scale", "scale", "network")
    return found[found["own"].astype(bool) | found["scale"].isin(paper.SCALES)]


def timesteps(frames: Frames) -> Frame:
    """Fig. 5: accuracy against T. Column `tested_8`: the same networks tested over 8 steps."""
    found = compared(frames, "timesteps", "T")
    tested = [rows_of(frames, "tested", each) for each in each_of(found)]
    steps = sorted({T for rows in tested for T in rows["tested_T"]})

    def over(T: int) -> list[float]:
        return [share([*of.loc[of["tested_T"] == T, "test_accuracy"]]).value for of in tested]

    return table(found, {f"tested_{T}": over(T) for T in steps})


def accuracy(frames: Frames) -> Frame:
    """Return what was trained for Tables 3 to 6.

    `recorded_accuracy`: of networks trained on simulated events, on `recorded_samples` real
    recordings, with its interval over seeds.
    """
    found = trainings(frames, "accuracy")
    rows = [rows_of(frames, "transfer", each) for each in each_of(found)]
    if not any(map(len, rows)):
        return table(found)
    means = [share([*each["test_accuracy"]]) for each in rows]
    samples = [", ".join(map(str, each["recorded_samples"].unique())) for each in rows]
    more = {
        "recorded_accuracy": [each.value for each in means],
        "recorded_low": [each.low for each in means],
        "recorded_high": [each.high for each in means],
        "recorded_samples": samples,
    }
    return table(found, more)


def neunorm(frames: Frames) -> Frame:
    """NeuNorm off and on: accuracy, convergence, and the contrast of Fig. 6.

    `target` is the held-out accuracy of `goal`, for all readings the same, `epochs_to_target` how
    soon those seeds are there that come there; `contrast` is the mean vote for the right class less
    that for a wrong one, on Fig. 6's 500 samples, `contrast_of_all` on all test samples.
    """
    differing = "neunorm", "neunorm_u"
    found, targets = compared(frames, "neunorm", *differing), dict[int, float]()
    for _, of in sets(found, *differing):
        targets |= dict.fromkeys(of.index, goal([*each_of(of)]))
    reached = [epochs_to(targets[each.Index], each) for each in each_of(found)]
    votes = [contrasts(frames, each) for each in each_of(found)]
    all_votes = [contrasts(frames, each, whole=True) for each in each_of(found)]
    more = {
        "target": [targets[n] for n in found.index],
        "epochs_to_target": [mean([*each.values()]).value for each in reached],
        "contrast": [mean([*each.values()]).value for each in votes],
        "contrast_of_all": [mean([*each.values()]).value for each in all_votes],
    }
    return table(found, more)


def goal(rivals: Sequence[Line]) -> float:
    """Return the held-out accuracy by which trainings are compared for speed of learning.

    NEARLY all of the way from chance to their mean over the last quarter of the epochs at the first
    rate. All have the same part in it: noise of one brings none of them there sooner.
    """
    curves = [curve for each in rivals for curve in each.at_first.values()]
    held = fmean(fmean(curve[-max(1, len(curve) // 4) :]) for curve in curves) if curves else nan
    chance = 1 / rivals[0].case.network.classes
    return chance + NEARLY * (held - chance)


def epochs_to(goal: float, line: Line) -> dict[int, float]:
    """Return, by seed, the epochs at the first rate until held-out accuracy reaches the goal.

    From chance on and in between by straight lines. Seeds that never reach it are left out.
    """
    found: dict[int, float] = {}
    for seed, curve in line.at_first.items():
        for done, (low, high) in enumerate(pairwise([1 / line.case.network.classes, *curve])):
            if low < goal <= high:
                found.setdefault(seed, done + (goal - low) / (high - low))
    return found


def votes(frames: Frames, line: Line, *, whole: bool = False) -> Frame:
    """Return the rows of a condition's votes, one a seed: on Fig. 6's 500 samples, or on all."""
    rows = rows_of(frames, "confusion", line).sort_values("confusion_samples")
    return rows.drop_duplicates("seed", keep="last" if whole else "first")


def contrasts(frames: Frames, line: Line, *, whole: bool = False) -> dict[int, float]:
    """Return, by seed, the mean vote for the right class less that for a wrong one."""
    found = {}
    for row in each_of(votes(frames, line, whole=whole)):
        right = [votes[n] for n, votes in enumerate(row.votes)]
        wrong = [
            each for n, votes in enumerate(row.votes) for each in (*votes[:n], *votes[n + 1 :])
        ]
        found[row.seed] = fmean(right) - fmean(wrong) if wrong else nan
    return found


def ablated(frames: Frames) -> Frame:
    """Return the changes that were trained, each set after the training that it is held against.

    Beside a condition's columns: the `change` in words, and its `gains`: accuracy less that without
    the change, by the seeds that both have.
    """
    found, lines = trainings(frames, "ablations"), []
    sets = grouped(
        each_of(found), lambda e: (_unchanged(e.case), *(getattr(e, name) for name in DATA))
    )
    for of in sets.values():
        by_case = {each.case: each for each in of}
        # without any change is the one from which most others follow
        made = max((_changed(case, by_case) for case in by_case), key=len)
        base = by_case[next(iter(made))].accuracies
        for case, change in made.items():
            ours = by_case[case].accuracies
            gains = tuple(ours[seed] - base[seed] for seed in sorted(ours.keys() & base.keys()))
            lines.append({"change": change, **by_case[case]._asdict(), "gains": gains})
    return pd.DataFrame(lines, columns=["change", *found.columns, "gains"])


def _unchanged(case: Trained) -> Trained:
    """Return what the changes leave alone."""
    return replace(
        case,
        framework=case.framework.partition(":")[0],
        precision="fp32",
        initialisation="calibrated",
        network=replace(case.network, lif=replace(case.network.lif, a=1.0, v_th=1.0)),
        training=replace(case.training, loss="mse"),
        optimiser=paper.settings(case.dataset).optimiser,
    )


def _changed(base: Trained, among: Mapping[Trained, Line]) -> dict[Trained, str]:
    """Return trainings by the change that makes them of `base`, itself first."""
    made: dict[Trained, str] = {}
    for each in ABLATIONS:
        made.setdefault(each.change(base), each.name)
    return {case: name for case, name in made.items() if case in among}


def ablations(frames: Frames) -> Frame:
    """Return a line for each change. Accuracies are in [0, 1].

    `difference` is to the training without it, by seeds that both have, with Student's 95 %
    interval; `dead_layers` how many layers fire at less than a thousandth at the end.
    """
    found = ablated(frames)
    gains = [mean(() if each.change == AS_IT_IS else each.gains) for each in each_of(found)]
    ends = [[*map(courses(frames).get, e.keys.items())] for e in each_of(found)]
    dead = [[float(sum(r < DEAD_RATE for r in of.rates)) for of in each if of] for each in ends]
    more = {
        "difference": [gain.value for gain in gains],
        "difference_low": [gain.low for gain in gains],
        "difference_high": [gain.high for gain in gains],
        "dead_layers": [mean(each).value for each in dead],
        "train_accuracy": [mean([of.train_accuracy for of in e if of]).value for e in ends],
    }
    made = table(found, more)
    made.insert(0, "change", found["change"])
    return made
