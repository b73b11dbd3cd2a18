"""Answers: each claim's own test, and no contradiction from data that could not show one."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from fractions import Fraction
from math import exp, log, sqrt
from statistics import fmean, stdev
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from cells import matlab
from rows import (
    SEEDS,
    TEST,
    TRAIN,
    VOTES,
    all_altered,
    altered,
    changed,
    learnt,
    retrained,
    scales,
    training,
)

from harness import api, suites
from harness.analysis import claims, trainings
from harness.analysis.claims import CLAIMS, COLUMNS, Claim, Finding, findings, table
from harness.analysis.effect import AGAINST, Answer, Effect, excluded
from harness.analysis.figure_claims import (
    CLEARER,
    EQUAL,
    FEWER,
    NOT_BAD,
    RISE,
    SOONER,
    STEP,
    SUFFICES,
)
from harness.analysis.paired import NEW_SEEDS
from harness.analysis.table_claims import ACCURACY, HALF, PILOT, RUNGS
from harness.analysis.trainings import NEARLY, LearningCurve, epochs_to, goal
from harness.records import ConfusionResult, EpochResult, Row
from harness.spec import Network, Options, Training, paper, schedule
from harness.statistics import Mean, mean

ANY = pytest.mark.parametrize
# without NeuNorm, with it, and without spikes
OFF: dict[str, Any] = {}
ON: dict[str, Any] = {"neunorm": "mean"}
FIXED = {"stages": schedule.STAGES["cifar10"]}
BARE: dict[str, Any] = {"framework": "ann"}


def judged(claim: str, rows: list[Row]) -> list[Finding]:
    return [part for part in findings(rows) if part.claim.id == claim]


def one(claim: str, rows: list[Row]) -> Finding:
    (part,) = judged(claim, rows)
    return part


def answers(claim: str, rows: list[Row]) -> list[str]:
    return [part.answer for part in judged(claim, rows)]


def full(rows: list[Row]) -> list[Row]:
    """The same trainings as if they were of the paper's size."""
    by_network: dict[Network, list[Row]] = {}
    for row in rows:
        by_network.setdefault(row.workload.network, []).append(row)
    large: list[Row] = []
    for network, those in by_network.items():
        workload = those[0].workload
        settings = paper.settings(workload.dataset)
        _, wide = paper.network(workload.scale, workload.dataset)
        wide = replace(wide, neunorm=network.neunorm, dropout=settings.dropout)
        size = {"width": Fraction(1), "stages": (), "epochs": settings.epochs}
        large += retrained(those, network=wide, **size)
    return large


def some(rows: list[Row], seeds: int = SEEDS, **fields: Any) -> list[Row]:
    """The trainings of the first seeds, with other fields."""
    return retrained((row for row in rows if row.workload.seed < seeds), **fields)


def along(rows: list[Row], *curve: float, **where: Any) -> list[Row]:
    """The rows with that accuracy in training and validation, epoch by epoch; then the last."""

    def new(row: Row[EpochResult]) -> dict[str, Any]:
        value = curve[min(row.result.epoch, len(curve)) - 1]
        return dict.fromkeys(("train_accuracy", "validation_accuracy"), value)

    return changed(rows, EpochResult, new, **where)


UP = ((0.3, 0.4, 0.5), (0.31, 0.42, 0.5), (0.3, 0.38, 0.49))
RISING = scales(*UP)
FALLING = scales((0.5, 0.4, 0.3), (0.5, 0.4, 0.31), (0.5, 0.41, 0.3))
EVENTS = scales(*UP, dataset="nmnist")
CLOSE = scales(*[(0.5, 0.5, 0.5 + n) for n in (-0.002, 0.001, 0.003)])
# of 2 % of errors on N-MNIST, and half of one in 150, a step takes 11 % away, and 4 %
LESS = scales(*[(0.98 + n, 0.983 + n, 0.985 + n) for n in (0, 1e-4, 2e-4)], dataset="nmnist")
HARDLY = scales(*[(0.98 + n, 0.981 + n, 0.982 + n) for n in (0, 1e-4, 2e-4)], dataset="nmnist")
TINY = scales(*[(0.5 + n, 0.501 + n, 0.504 + n) for n in (0.0, 0.0001, 0.0002)])
NOISY = scales((0.46, 0.48, 0.5), (0.42, 0.4, 0.5), (0.5, 0.51, 0.488), (0.44, 0.4, 0.5))
NOISE_ALONE = scales((0.5, 0.4, 0.3), (0.4, 0.4, 0.51), (0.3, 0.41, 0.4))
UNSEEN = scales(*[(0.3, 0.6, 0.5)] * 3)  # its interval is above nothing, its trend is not
# the paper's Small and wider ones are no larger networks of the same size
WHOLE = [row for row in full(RISING) if row.workload.scale == "Small"]
WIDER = [r for r in scales((0.3, 0.4, 0.5), width=Fraction(1, 4)) if r.workload.scale != "Small"]
WIDE_TOO = scales(*UP, width=Fraction(1, 4))
EARLIER = retrained(RISING, stages=(), epochs=90, least_epochs=30)
CLEAR = "width 1/8; dropout 0; 50 epochs; +9.7 [+9.4, +10.0]; p < 0.001"

# Of accuracies and shares in percent; its words have them.
BOUNDS = {
    **{"fig4": (STEP, FEWER), "fig5": (RISE, SUFFICES, NOT_BAD), "fig6": (CLEARER / 100,)},
    **{"conv": (SOONER, NEARLY), "bf16": (EQUAL,)},
    **dict.fromkeys(("tab3", "tab4"), (ACCURACY, HALF)),
    **dict.fromkeys(("tab5", "tab6"), (ACCURACY,)),
}


def test_the_ten_claims_are_listed_and_untested_without_rows() -> None:
    untested = findings([])
    assert [part.claim.id for part in untested] == [
        *("fig3", "fig4", "fig5", "fig6", "conv", "tab3", "tab4", "tab5", "tab6", "bf16")
    ]
    for part in untested:
        claim = part.claim
        assert claim.claim and claim.value and len(claim.claim.split()) <= 10
        bounds = {f"{100 * bound:g}" for bound in BOUNDS.get(claim.id, ())}
        assert bounds <= {*re.findall(r"[0-9]+(?:\.[0-9]+)?", claim.test)}
        assert part.text == "not tested" and part.figure == ""
        assert f"run `harness run --suite {claim.suite} " in part.why


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_a_claims_command_trains_the_seeds_and_the_schedule_that_were_fixed(claim: Claim) -> None:
    flags = re.findall(r"--([a-z-]+)(?: ([^-]\S*))?", claim.command)
    texts = {name.replace("-", "_"): value or True for name, value in flags}
    cases = api.cases(Options.parse(**texts, device="cpu"), suites.suite(claim.suite))
    if claim.suite == "acceleration":
        assert {case.contender.name for case in cases} >= {
            "reference",
            "octave:convn",
            "octave:conv2",
        }
        return
    trained = [case for case in cases if isinstance(case, Training)]
    assert all(map(schedule.is_on_schedule, trained)) or claim.id == claims.OURS
    seeds = len({case.workload.seed for case in trained})
    assert re.search(rf"\b{seeds} (seeds|pairs)|N-MNIST {seeds}\)", claim.test)


def all_of(part: Finding) -> str:
    """All texts of an answer."""
    bound = part.evidence.bound_text if part.evidence else ""
    return " ".join((part.text, part.why, part.figure, bound))


@ANY(
    ("rows", "answer", "text"),
    [
        (RISING, "reproduced", CLEAR),
        (some(full(RISING), precision="bf16"), "reproduced", ", bf16, "),
        (
            [r for r in RISING if paper.SCALES.index(r.workload.scale) == r.workload.seed],
            "not tested",
            "common seed",
        ),
        (FALLING, "contradicted", "an effect of +1.0 is excluded"),
        (full(CLOSE), "contradicted", ""),
        (full(NOISY), "open", "seeds were fixed, leave it open, and none will be added"),
        (full(NOISE_ALONE), "cannot be decided here", "6 seeds of this spread decide it in"),
        (full(TINY), "same direction, smaller", "an effect of +1.0 is excluded"),
        (UNSEEN, "open", "the trend's p is not below 0.05"),
        (LESS, "reproduced", "+11 % [+11; matters: +10 %"),
        (HARDLY, "same direction, smaller", "+4 % ["),
        # what was trained by another rule decides nothing
        (EARLIER, "open", "another schedule"),
        (retrained(RISING, stages=(20, 5, 5), epochs=30), "open", "another schedule"),
        # trainings of unlike sizes are never compared
        ([*WHOLE, *RISING], "reproduced", ""),
        ([*WHOLE, *WIDER], "not tested", ""),
        # the fixed schedule counts, then seeds enough, what learnt from most, and most seeds
        ([*EARLIER, *some(FALLING, train_samples=90)], "contradicted", ""),
        ([*some(FALLING, train_samples=90), *RISING], "reproduced", ""),
        ([*RISING, *WIDE_TOO], "reproduced", "width 1/4"),
        ([*RISING, *some(WIDE_TOO, 1)], "reproduced", "width 1/8"),
        *(([*RISING, *some(FALLING, 3, lr=lr)], "reproduced", "n=5") for lr in (0.01, 1)),
        # fewer seeds than were fixed decide nothing: nobody looks in between
        *((some(rows, 3), "open", "3 of 4 seeds") for rows in (RISING, FALLING)),
        (some(RISING, 1), "open", "1 of 4 seeds, which were fixed; +10.0, n=1"),
    ],
)
def test_fig4_is_answered_by_paired_seeds(rows: list[Row], answer: str, text: str) -> None:
    part = one("fig4", rows)
    assert part.answer == answer
    assert [words for words in text.split("; ") if words not in all_of(part)] == []


def test_each_data_set_is_a_part_with_an_answer_of_its_own() -> None:
    assert answers("fig4", [*RISING, *EVENTS]) == ["reproduced", "reproduced"]
    assert answers("fig4", [*FALLING, *EVENTS]) == ["contradicted", "reproduced"]
    assert answers("fig4", [*RISING, *some(EVENTS, 4)]) == ["reproduced", "open"]


def test_a_training_counts_whatever_suite_it_was_run_under_and_once() -> None:
    large = [row for row in RISING if row.workload.scale == "Large"]
    smaller = [row for row in RISING if row.workload.scale != "Large"]
    # CIFARNet is Table 1's Large; further tests of the trained network make no other training
    elsewhere = {"suite": "timesteps", "scale": "CIFARNet", "tested_at": (1, 2)}
    moved = retrained(large, **elsewhere)
    assert answers("fig4", smaller) == ["not tested"]
    assert one("fig4", [*smaller, *moved]).figure == one("fig4", RISING).figure
    other = learnt([(0.9,)], {"scale": "CIFARNet"}, suite="accuracy", seeds=SEEDS + 1)
    for rows in ([*RISING, *other], [*other, *RISING]):  # its own suite's counts
        assert one("fig4", rows).figure == one("fig4", RISING).figure
    assert "+29.8" in one("fig4", [*smaller, *moved, *other]).figure  # else the last
    # what an ablation changes is none of the paper's
    changed_by_one = retrained(large, suite="ablations", may_deviate=True)
    assert answers("fig4", [*smaller, *changed_by_one]) == ["not tested"]


def dead(rows: list[Row], **where: Any) -> list[Row]:
    """The rows, with trainings that learn nothing and end early."""
    chance: dict[str, Any] = {"test_accuracy": 0.1}
    return retrained(changed(along(rows, 0.1, **where), EpochResult, chance, **where))


def test_a_seed_at_chance_counts_and_is_named_with_the_figure() -> None:
    part = one("fig4", dead(RISING, seed=2, scale="Large"))
    assert part.figure == "+9.8; 1 of 5 learnt nothing"  # an interval around -10 says nothing
    assert part.answer in ("open", "cannot be decided here")
    assert isinstance(part.evidence, Effect) and min(part.evidence.by_seed) == pytest.approx(-0.1)
    # of Fig. 5 the trend alone rests on T = 2
    dead_steps = dead(steps(GOOD_STEPS), seed=2, T=2)
    learnt = ["nothing" not in part.figure for part in judged("fig5", dead_steps)]
    assert learnt == [False, True, True]


@ANY("parts", [1, 3, 12])
def test_noise_contradicts_a_barely_true_claim_at_most_at_the_level(parts: int) -> None:
    """However many parts are tested at once: one of them falls at most as often as the level."""
    drawn, draws = random.Random(0), 600

    def falls() -> bool:  # how large the noise is cancels out
        return any(
            excluded([effect(*(drawn.gauss(STEP, 0.02) for _ in range(4))) for _ in range(parts)])
        )

    assert sum(falls() for _ in range(draws)) <= 1.5 * AGAINST * draws


def effect(*values: float, **more: Any) -> Effect:
    """One that is reproduced above 0, and contradicted below STEP."""
    return Effect("", "", 0.0, STEP, 4, pd.Series(values), **more)


def test_contradictions_are_corrected_for_all_parts_of_all_claims() -> None:
    """Holm: the least of m is held against the level / m, the next against it / (m - 1)."""
    low, lower = (effect(-x, -x - 0.004, -x + 0.004, -x) for x in (0.0, 0.02))
    assert AGAINST / 12 < low.p_below < AGAINST
    assert excluded([low]) == [True]
    vague = [effect(-0.1, 0.1, -0.1, 0.1) for _ in range(11)]
    assert not any(excluded([low, *vague]))
    assert excluded([lower, *vague]) == [True] + [False] * 11
    few = effect(-0.5, -0.5, -0.51)  # takes no part
    assert excluded([low, few]) == [True, False]


def test_the_named_number_of_seeds_has_a_power_of_80_percent() -> None:
    vague = effect(0.03, -0.005, 0.02, 0.005)
    needed = vague.seeds_needed
    assert needed is not None and vague.power(needed) >= 0.8 > vague.power(needed - 1)
    assert effect(-0.1, -0.11, -0.09).seeds_needed == 4  # more than there are


def test_a_share_is_averaged_and_tested_as_a_log_ratio_and_shown_as_a_share() -> None:
    twice = log(2)
    share = replace(effect(log(4), log(2), 0.0, unit="share"), least_effect=log(10 / 9))
    assert share.mean.value == pytest.approx(twice)  # half as many and twice as many are none
    assert "+50 % [-" in share.figure and "least that matters: +10 %" in share.bound_text
    part = replace(findings([])[4], evidence=share)
    (line,) = table([part]).to_dict("records")
    reach = 4.302652729911275 * twice / sqrt(3)
    ends = [1 - exp(-twice + reach), 1 - exp(-twice - reach)]
    assert [line[name] for name in ("value", "low", "high")] == pytest.approx([0.5, *ends])


def steps(curve: dict[int, float], spread: float = 0.001) -> list[Row]:
    by_seed = [
        [value + spread * ((seed + n) % 3) for n, value in enumerate(curve.values())]
        for seed in range(SEEDS)
    ]
    return learnt(by_seed, *({"T": T} for T in curve), suite="timesteps")


def clearer(*gains: float) -> list[Row]:
    """A seed for each gain of NeuNorm: the votes of rows.py, with more for the right class."""

    def votes(row: Row[ConfusionResult]) -> dict[str, Any]:
        seed, has_neunorm = row.workload.seed, row.workload.network.neunorm
        more = 0.01 * seed + (gains[seed] if has_neunorm else 0)
        clear = [[v + more * (a == b) for b, v in enumerate(row)] for a, row in enumerate(VOTES)]
        return {"votes": tuple(map(tuple, clear))}

    rows = learnt([(0.5, 0.5)], OFF, ON, suite="neunorm", seeds=len(gains))
    return changed(rows, ConfusionResult, votes)


def sooner(*epochs: tuple[int, int]) -> list[Row]:
    """By seed, from the first new one on: the epochs to 50 % without and with NeuNorm."""
    place: dict[str, Any] = {"suite": "accuracy", "dataset": "dvs-cifar10", "scale": "OurModel"}
    place["stages"] = schedule.STAGES["dvs-cifar10"]
    return [
        row
        for seed, pair in enumerate(epochs, NEW_SEEDS.start)
        for reading, n in zip((None, "mean"), pair, strict=True)
        for curve in [(0.2,) * (n - 1) + (0.5,)]
        for row in training(seed, curve, reading, learning=curve, **place)
    ]


def noisy(drawn: random.Random, seeds: int, pace: float) -> Any:
    """Trainings whose held-out accuracy rises alike but for noise of seeds and of epochs."""

    def curve(data: float) -> list[float]:
        scale = exp(data + drawn.gauss(0, 0.15)) * 4 / pace
        return [0.1 + 0.4 * (1 - exp(-n / scale)) + drawn.gauss(0, 0.015) for n in range(1, 31)]

    shared = random.Random(seeds)  # a seed is of the same data, without NeuNorm and with
    curves = {seed: curve(shared.gauss(0, 0.1)) for seed in range(seeds)}
    learning = {seed: LearningCurve(c, 1.0, (), c, c, 1.0) for seed, c in curves.items()}
    return SimpleNamespace(curves=learning, chance=0.1)


@ANY("seeds", [3, 6])
def test_noise_alone_saves_no_epochs_and_the_interval_covers_zero(seeds: int) -> None:
    drawn, draws = random.Random(0), 1000

    def saved(pace: float = 1.0) -> Mean:
        pair = [noisy(drawn, seeds, factor) for factor in (1.0, pace)]
        without, with_ = (epochs_to(goal(pair), line) for line in pair)
        return mean([log(without[seed] / with_[seed]) for seed in range(seeds)])

    means = [saved() for _ in range(draws)]
    values = [mean.value for mean in means]
    assert abs(fmean(values)) < 3 * stdev(values) / sqrt(draws)
    assert 0.90 <= sum(mean.low <= 0 <= mean.high for mean in means) / draws <= 0.97
    assert fmean(saved(2.0).value for _ in range(99)) == pytest.approx(log(2), abs=0.1)


def test_a_seed_that_never_reaches_the_goal_leaves_the_claim_open() -> None:
    rows = sooner(*[(6, 3)] * 8)

    def lower(row: Row[EpochResult]) -> dict[str, Any]:
        is_it = row.workload.seed == 15 and row.workload.network.neunorm
        return {"test_accuracy": min(row.result.test_accuracy, 0.4 if is_it else 1.0)}

    low = changed(rows, EpochResult, lower)
    part = one("conv", retrained(low))
    assert part.answer == "open" and part.figure.endswith("n=7")
    assert "with seed 15 it never reached 45." in part.why and "more epochs" in part.why
    more = retrained((row for row in low if row.workload.seed == 15), seed=16)
    assert one("conv", [*rows, *more]).figure.endswith("n=8")  # no seed of the plan
    assert answers("conv", dead(rows)) == ["not tested"]


def test_until_its_new_seeds_are_trained_conv_is_open_with_what_the_old_say() -> None:
    new = sooner(*[(6, 3)] * 8)
    old = [
        row
        for seed in NEW_SEEDS
        for row in retrained((r for r in new if r.workload.seed == seed), seed=seed - 8)
    ]
    part = one("conv", old)
    assert part.answer == "open" and "seeds 8 to 15" in part.text and "+51 %" in part.figure
    assert "Without seed" in part.doubts and part.choice == "U = 1"


def alexnet(behind: float) -> list[Row]:
    """AlexNet with NeuNorm, and the same structure without spikes; pilot and chosen rates."""
    by_seed = [(0.5 + n - behind, 0.5 + n) for n in (0.0, 0.001, 0.002)]
    rows = learnt(by_seed, ON, BARE, suite="accuracy", scale="AlexNet")
    return [*rows, *pilot(0.0), *searched()]


def searched(*rates: float) -> list[Row]:
    """CIFARNet and its ANN at those first rates with the seed that chooses one: 0.1, by default."""
    rows: list[Row] = []
    for rate in rates or (0.05, 0.1, 0.2):
        learning, at_rate = (0.5 - abs(rate - 0.1),), {"lr": rate, "T": 4}
        for side in (OFF, BARE):
            fields: dict[str, Any] = {"suite": "accuracy", **FIXED, **at_rate, **side}
            rows += training(trainings.RATE_SEED, (0.5,), learning=learning, **fields)
    return rows


def pilot(moved: float) -> list[Row]:
    """CIFARNet and its ANN with seed 0 on the fixed schedule, and on to epoch 80 at its second
    rate, by which the gap moves so much.
    """
    short = learnt([(0.4, 0.5)], OFF, BARE, suite="accuracy", seeds=1)
    longer: dict[str, Any] = {"suite": "accuracy", "seeds": 1, "stages": PILOT}
    return [*short, *learnt([(0.4 + moved, 0.5)], OFF, BARE, **longer)]


WORSE_ANN = learnt([(0.1,)], BARE, suite="accuracy", scale="AlexNet")


def of_table_3(*by_seed: tuple[float, float]) -> list[Row]:
    """By seed: without and with NeuNorm."""
    place: dict[str, Any] = {"dataset": "nmnist", "scale": "OurModel", "suite": "accuracy"}
    return learnt(by_seed, OFF, ON, seeds=3, **place)


def in_bf16(*differences: float) -> list[Row]:
    by_seed = [(0.5, 0.5 + difference) for difference in differences]
    both = {"precision": "fp32"}, {"precision": "bf16"}
    rows = learnt(by_seed, *both, suite="ablations", seeds=6)
    # a schedule of its own
    return retrained(rows, stages=(), epochs=15)


GOOD_STEPS = {1: 0.45, 2: 0.5, 4: 0.535, 8: 0.54}
BAD_STEPS = {1: 0.45, 2: 0.5, 4: 0.51, 8: 0.54}
YES, NO = "reproduced", "contradicted"
CANNOT: Answer = "cannot be decided here"


@ANY(
    ("claim", "rows", "expected", "text"),
    [
        ("fig5", steps(GOOD_STEPS), [YES, YES, YES], ""),
        ("fig5", steps(BAD_STEPS), [YES, NO, YES], "-3.0"),
        # a T that fewer seeds have takes none from the others
        (
            "fig5",
            [r for r in steps(BAD_STEPS) if r.workload.T != 2 or r.workload.seed == 0],
            [YES, NO, YES],
            "-3.0",
        ),
        ("fig5", steps({**GOOD_STEPS, 1: 0.2}), [YES, YES, NO], ""),
        ("fig5", steps({1: 0.54, 2: 0.53, 4: 0.52, 8: 0.51}), [NO, YES, YES], ""),
        # 0.5 - 0.1, and a mean of 0.01 a seed
        ("fig6", clearer(0.1, 0.11, 0.09, 0.1), [YES], "+0.100 [+0.087, "),
        ("fig6", clearer(-0.1, -0.11, -0.1, -0.1), [NO], ""),
        ("fig6", clearer(0.001, 0.001, 0.002, 0.001), ["same direction, smaller"], ""),
        ("fig6", clearer(0.0, -0.001, 0.002, -0.001), [NO], ""),  # it ends below 0.01
        ("fig6", clearer(-0.1, 0.11, 0.0, 0.0), [CANNOT], ""),
        ("fig6", clearer(-0.1, -0.11, -0.1), ["open"], "3 of 4 seeds"),
        # 0.1 + 0.9 * (0.5 - 0.1) is 0.26 / 0.3 of the way from 0.2 to 0.5
        ("conv", sooner(*[(6, 3)] * 8), [YES], "+51 %"),
        ("conv", sooner(*[(6, 3)] * 7), ["open"], "7 of 8 seeds"),
        ("conv", sooner(*[(3, 6), (3, 5)] * 4), [NO], ""),
        ("conv", sooner(*[(3, 6), (6, 3)] * 4), [CANNOT], ""),
        # less than the noise of a pair of runs, and more
        ("tab3", of_table_3((0.98, 0.981), (0.981, 0.98), (0.98, 0.98)), [CANNOT], "9 of 10,000"),
        ("tab3", of_table_3((0.98, 0.99), (0.981, 0.99), (0.98, 0.99)), [YES], ""),
        ("tab6", alexnet(0.0), [YES], ""),
        ("tab6", alexnet(0.009), [YES], ""),  # it may stay a point below
        ("tab6", alexnet(0.05), [NO], ""),
        ("bf16", in_bf16(0.001, -0.002, 0.0), [YES], "+0.0 ["),
        ("bf16", in_bf16(-0.05, -0.051, -0.05), [NO], "-5.0 ["),
        ("bf16", in_bf16(0.05, 0.051, 0.05), [NO], "-5.0 ["),  # neither way
        ("bf16", in_bf16(0.05, -0.05, 0.0), [CANNOT], ""),
        ("bf16", some(in_bf16(0.0, 0.001), 5), ["open"], "5 of 6 seeds"),
    ],
)
def test_each_claim_has_its_own_test(
    claim: str, rows: list[Row], expected: list[str], text: str
) -> None:
    parts = judged(claim, rows)
    assert [part.answer for part in parts] == expected
    assert text in " ".join(map(all_of, parts))
    assert all(part.text.startswith(f"{part.short}, width 1/8") for part in parts)


@ANY(
    ("more", "answer", "text"),
    [
        (pilot(0.0), NO, ""),
        (pilot(0.009), NO, ""),
        (pilot(0.011), CANNOT, "the gap moves by +1.1 points"),
        (pilot(-0.011), CANNOT, "the gap moves by -1.1 points"),
        (pilot(0.0)[: len(pilot(0.0)) // 2], "open", "the pilot of both was not run"),
        # other steps, and another dropout, are other trainings
        ([*pilot(0.0), *learnt([(0.45,)], {"T": 8}, suite="timesteps", seeds=1)], NO, ""),
        ([*pilot(0.0), *some(WORSE_ANN, dropout=0.5)], NO, ""),
    ],
)
def test_parity_needs_a_pilot_of_the_gap(more: list[Row], answer: str, text: str) -> None:
    alone = [row for row in alexnet(0.05) if row.workload.scale == "AlexNet"]
    part = one("tab6", [*alone, *searched(), *more])
    assert part.answer == answer and text in part.why


def test_parity_is_answered_at_the_rates_that_were_chosen() -> None:
    usual = [row for row in alexnet(0.05) if row.workload.scale == "AlexNet"]
    part = one("tab6", [*usual, *searched(), *pilot(0.0)])
    assert part.choice == "rate 0.1" and part.answer == NO
    fast = retrained(usual, lr=0.2)
    assert one("tab6", [*searched(), *pilot(0.0), *fast]).answer == "not tested"
    # at the grid's edge nothing is chosen, and Table 5 says so with its figure
    edge = [
        *[row for row in BEHIND if row.workload.seed != trainings.RATE_SEED],
        *searched(0.1, 0.2),
    ]
    (part,) = (part for part in judged("tab5", edge) if part.title == PARITY)
    assert part.answer == "open" and "(rate)" in part.text
    assert "0.05 is next" in part.why and part.figure.startswith("-8.0")
    # nor where the rates beside it were left out
    gap = one("tab6", [*usual, *pilot(0.0), *searched(0.04, 0.09, 0.2)])
    assert gap.answer == "not tested" and "0.18 is next" in gap.why


def of_table_5(*by_seed: tuple[float, float, float]) -> list[Row]:
    """By seed: without and with NeuNorm, and the ANN; the pilot."""
    gap = [(by_seed[0][0], by_seed[0][2])]
    longer = learnt(gap, OFF, BARE, suite="accuracy", seeds=1, stages=PILOT)
    return [*learnt(by_seed, OFF, ON, BARE, suite="accuracy"), *longer, *searched()]


def rungs(*gaps: float, seeds: int = 4) -> list[Row]:
    """Small behind its ANN by these gaps, from an eighth of the width to the whole."""
    offsets = (0.0, 0.001, -0.001, 0.0005, -0.0005)  # of the seeds, the more the wider the network
    return [
        row
        for n, (width, gap) in enumerate(zip(RUNGS, gaps, strict=True))
        for row in learnt(
            [(0.6 - gap + n * offset, 0.6) for offset in offsets], OFF, BARE,
            suite="accuracy", scale="Small", width=width, seeds=seeds, T=4,
        )
    ]  # fmt: skip


def test_whether_the_gap_closes_is_answered_by_all_widths_at_one_rate() -> None:
    def closing(rows: list[Row]) -> Finding:
        (part,) = (part for part in judged("tab5", [*GOOD, *rows]) if "closes" in part.title)
        assert part.is_ours and part.choice == "rate 0.1"
        return part

    def is_half_ann(row: Row) -> bool:
        return row.workload.width == Fraction(1, 2) and row.contender.framework == "ann"

    whole = rungs(0.04, 0.03, 0.02, 0.01)
    assert closing(whole).answer == YES and closing(whole).figure.startswith("+1.0 ")
    assert closing(rungs(0.03, 0.03, 0.03, 0.03)).answer not in (YES, "same direction, smaller")
    assert closing(rungs(0.01, 0.02, 0.03, 0.04)).answer == NO
    # what is none of the paper's functions is neither side
    anns = [row for row in whole if row.contender.framework == "ann"]
    masked = retrained(anns, contender="ann:masks", deviations="averaged over 4 masks")
    assert closing([*masked, *whole]).text == closing(whole).text
    without = [row for row in whole if not is_half_ann(row)]
    fast = retrained([row for row in whole if is_half_ann(row)], lr=0.2)
    for rows, there in ((without, ""), ([*without, *fast], " (there: 40+5+5 epochs at 0.2, ")):
        part = closing(rows)
        assert part.short == "open (a rung is missing)"
        assert f"width 1/2 has no ANN{there}" in part.why


@ANY(("seeds", "gap", "answer"), [(5, 0.0, YES), (4, 0.0, "open"), (5, 0.04, NO)])
def test_parity_at_the_whole_width_needs_five_seeds(seeds: int, gap: float, answer: str) -> None:
    parts = judged("tab5", [*GOOD, *rungs(0.04, 0.03, 0.02, gap, seeds=seeds)])
    at_widths = {part.title: part.answer for part in parts if "Small minus" in part.title}
    assert at_widths == {"Small minus its ANN at width 1, points": answer}


GOOD = of_table_5((0.895, 0.906, 0.9), (0.896, 0.907, 0.901), (0.894, 0.906, 0.9))
LOW = of_table_5((0.70, 0.906, 0.9), (0.71, 0.907, 0.9), (0.70, 0.906, 0.9))
BEHIND = of_table_5((0.4, 0.42, 0.5), (0.41, 0.43, 0.51), (0.4, 0.42, 0.5))
LOST = of_table_5((0.42, 0.41, 0.4), (0.43, 0.42, 0.4), (0.42, 0.41, 0.4))
GAIN, PARITY = "CIFAR-10: points NeuNorm gains", "CIFARNet minus its ANN, points"
SIZED = [
    f"CIFARNet, {kind}: minus the paper's, points"
    for kind in ("ANN", "NeuNorm off", "NeuNorm mean")
]


@ANY(
    ("rows", "expected"),
    [
        (GOOD, {GAIN: YES, PARITY: YES}),
        (BEHIND, {GAIN: YES, PARITY: NO}),
        (LOST, {GAIN: NO, PARITY: YES}),
        (full(GOOD), {**dict.fromkeys(SIZED, YES), GAIN: YES, PARITY: YES}),
        ([*GOOD, *full(GOOD)], {**dict.fromkeys(SIZED, YES), GAIN: YES, PARITY: YES}),
        (full(LOW), {SIZED[0]: YES, SIZED[1]: NO, SIZED[2]: YES, GAIN: YES, PARITY: NO}),
        (
            [r for r in GOOD if r.workload.network.neunorm is None],
            {PARITY: YES},
        ),  # parity is without
    ],
)
def test_a_tables_accuracy_is_answered_at_full_size_alone_and_its_order_at_any(
    rows: list[Row], expected: dict[str, str]
) -> None:
    parts = judged("tab5", rows)
    names = [part.title if part.evidence else "" for part in parts]
    assert dict(zip(names, (part.answer for part in parts), strict=True)) == expected
    for part in parts:
        if part.evidence:  # what has the paper's size says so by naming no width
            assert (part.place == "") == (rows[-1].workload.width == 1)


@ANY(
    "change",
    [
        *({"partial": True}, {"test": replace(TEST, lossy=True)}, {"simulated": True}),
        *({"precision": "bf16"}, {"dropout": 0.0}, {"epochs": 9}, {"width": Fraction(1, 2)}),
    ],
    ids=lambda change: next(iter(change)),
)
def test_any_deviation_from_the_papers_setting_is_a_reduced_size(change: dict[str, Any]) -> None:
    (name,) = change
    fixed = [row for row in GOOD if row.training.stages != PILOT]
    at_full_size = [row for row in full(fixed) if row.workload.seed != trainings.RATE_SEED]
    rows: list[Row] = []
    for neunorm in (True, False):
        those = [r for r in at_full_size if bool(r.workload.network.neunorm) == neunorm]
        half = those[0].workload.network.scaled(Fraction(1, 2))
        rows += retrained(those, **change, **({"network": half} if name == "width" else {}))
    parts = judged("tab5", rows)
    assert {part.title.removeprefix("simulated ") for part in parts} <= {GAIN, PARITY}
    assert parts and all(part.place for part in parts)
    if flag := {"partial": "partial", "test": "lossy", "simulated": "simulated"}.get(name):
        assert all(f"({flag})" in part.why for part in parts)


def with_u(rows: list[Row], u: float | None) -> list[Row]:
    """The rows of networks with spikes, those with NeuNorm with another first value of U."""
    spiking = [row for row in rows if row.contender.framework != "ann"]
    on = [row for row in spiking if row.workload.network.neunorm]
    return [*(row for row in spiking if not row.workload.network.neunorm), *retrained(on, u=u)]


AS_U = of_table_3((0.98, 0.99), (0.98, 0.99), (0.98, 0.99))
RATE = {"lr": 1e-3}


@ANY(
    ("claim", "rows", "answer"),
    [
        ("fig4", EVENTS, YES),
        ("fig4", retrained(EVENTS, **RATE), "open"),
        ("tab5", with_u(GOOD, None), "open"),
        ("tab3", with_u(AS_U, 0.1), CANNOT),
    ],
)
def test_another_rate_or_first_value_of_neunorms_u_decides_nothing(
    claim: str, rows: list[Row], answer: str
) -> None:
    assert one(claim, rows).answer == answer


def test_trainings_that_were_not_fixed_take_no_place_from_those_that_were() -> None:
    by_u = retrained((r for r in GOOD if r.workload.network.neunorm), u=None)
    short = learnt([(0.99,)], BARE, suite="accuracy", seeds=1)  # an ANN has no steps
    longer = retrained(short, T=12)
    fixed = {part.title: (part.answer, part.figure) for part in judged("tab5", GOOD)}
    for rows in ([*GOOD, *by_u, *longer], [*longer, *by_u, *GOOD]):
        assert {e.title: (e.answer, e.figure) for e in judged("tab5", rows)} == fixed


def test_data_that_stand_in_for_the_papers_answer_no_claim() -> None:
    trained = [*RISING, *steps(GOOD_STEPS), *clearer(0.1, 0.1, 0.1, 0.1), *sooner((6, 3)), *GOOD]
    for rows in (matlab(convn=50.0), trained):
        stands_in = findings(all_altered(rows, source=replace(TRAIN, substitute=True)))
        assert any(part.answer != "not tested" for part in findings(rows))
        assert {part.answer for part in stands_in} == {"not tested"}


@ANY(
    ("times", "expected"),
    [
        # the paper's code called conv functions: im2col decides nothing
        ({"convn": 50.0, "conv2": 200.0, "im2col": 2.0}, [YES, YES]),
        ({"convn": 5.0, "conv2": 6.0, "im2col": 30.0}, [NO, NO]),
        ({"convn": 5.0, "conv2": 200.0}, [NO, YES]),
        ({"im2col": 30.0}, ["not tested"]),
        ({"convn": 10.05}, ["open"]),  # the interval lies on both sides
        ({"convn": 11.0}, [YES]),
        ({"convn": 9.0}, [NO]),
    ],
)
def test_fig3_answers_each_conv_function(times: dict[str, float], expected: list[str]) -> None:
    parts = judged("fig3", matlab(**times))
    assert [part.answer for part in parts] == expected
    for part in parts:
        if part.evidence:
            form = part.title.split("'s ")[1].split(",")[0]
            assert part.place == "Octave, CPU" and part.figure.split()[0] == f"{times[form]:.0f}"
            assert ("scaled up" in part.figure) == (
                times[form] > 150
            ) and "network" not in part.figure
            assert "a GPU on both sides, MATLAB itself" in part.why and "CIFAR-10" in part.title
            assert ("scaled from a part of it on 1 of 1" in part.why) == (times[form] > 150)
        else:
            assert "octave:convn" in part.why


def test_fig3_counts_each_network_of_table_1_once() -> None:
    again = [altered(row, run="20260102T000000-000000") for row in matlab(convn=60.0)]
    assert one("fig3", [*matlab(convn=50.0), *again]).figure == "60"
    # another machine, or another batch, is no other network
    there = [altered(row, cpu="Other") for row in matlab(convn=50.0)]
    assert one("fig3", [*again, *again, *there]).figure == "60"
    batch = [altered(row, batch_size=40) for row in matlab(convn=50.0)]
    assert one("fig3", [*again, *batch]).figure == "50"
    larger = [altered(row, scale="Middle") for row in matlab(convn=40.0)]
    assert one("fig3", [*again, *larger]).figure == "40 to 60, 2 networks"
    custom = [altered(row, scale="8C3(Encoding)-Voting") for row in matlab(convn=50.0)]
    assert one("fig3", custom).answer == "not tested"


def test_answers_as_a_table_have_their_effects_as_numbers() -> None:
    rows = [*FALLING, *steps({1: 0.4, 4: 0.5, 8: 0.54}), *clearer(0.1, 0.1, 0.1, 0.1), *GOOD]
    rows += matlab(im2col=2.0, conv2=200.0)
    frame = table(findings([*rows, *full(GOOD)]))
    assert tuple(frame.columns) == COLUMNS and set(frame["id"]) == {claim.id for claim in CLAIMS}
    assert all(frame["why"])
    tested = frame[frame["answer"] != "not tested"]
    assert tested[["value", "low", "high", "n"]].notna().all(axis=None)
    assert list(tested[tested["id"] == "fig3"]["unit"]) == ["times"]
    assert list(tested[tested["id"] == "fig4"]["value"]) == pytest.approx([-0.0986], abs=1e-3)
