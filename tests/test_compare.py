"""Two runs compared: noise is not called a change, a slower adapter is."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import permutations
from math import exp
from pathlib import Path
from typing import Any

import pytest
from cells import contender, refused, rounds, run, run_in_bf16, slower_twin
from rows import ROW, TEST, TRAIN, altered, bf16_training, certified, changed, timed, training
from surroundings import Command

from harness.analysis import timings
from harness.analysis.compare import LEVEL, Change, compare, network, sentences, within_run
from harness.analysis.frame import frames
from harness.analysis.words import TITLES
from harness.records import CertificateResult, Row, Store
from harness.reports import fastest, stored
from harness.spec import paper

PUBLISHED = Path(__file__).parents[1] / "results" / "published"


def without(rows: list[Row], framework: str) -> list[Row]:
    return [row for row in rows if row.contender.framework != framework]


def called(rows: tuple[Change, ...]) -> set[tuple[str, str]]:
    return {
        (change.contender, change.call) for change in rows if change.call in ("slower", "faster")
    }


def test_changed_machines_versions_and_data_are_listed() -> None:
    made_with_a: dict[str, Any] = {"cpu": "A", "capability": "AVX512", "torch": "2.12"}
    made_with_a |= {"source": replace(TRAIN, sha256="a"), "test": replace(TEST, sha256="c")}
    made_with_b: dict[str, Any] = {"cpu": "B", "capability": "AVX2", "torch": "2.13"}
    made_with_b |= {"source": replace(TRAIN, sha256="b"), "test": replace(TEST, sha256="d")}
    old: list[Row] = [altered(ROW, **made_with_a, framework_version="1")]
    new: list[Row] = [altered(ROW, **made_with_b, framework_version="2")]
    assert compare(old, new).differences == (
        "CPU: A in A, B in B",
        "instructions: AVX512 in A, AVX2 in B",
        "torch: 2.12 in A, 2.13 in B",
        "data of cifar10 in acceleration: a in A, b in B",
        "reference: 1 in A, 2 in B",
        "test data of cifar10 in acceleration: c in A, d in B",
    )


def test_many_differing_commits_are_counted() -> None:
    old, new = (
        [altered(ROW, commit=commit) for commit in "abcd"],
        [altered(ROW, commit=c) for c in "efgh"],
    )
    assert compare(old, new).differences == ("commit: 4 of them in A, 4 of them in B",)
    assert compare(old, old).differences == ()


def test_the_machine_with_most_rows_and_its_last_run_are_compared() -> None:
    place: dict[str, Any] = {"cpu": "A", "run": "last"}
    old = [*timed("floor", 1.0, 1.0, **place), *timed("reference", 2.0, 2.0, **place)]
    more = [*timed("floor", 1.0, cpu="B"), *timed("reference", 9.0, cpu="B")]
    first = [*timed("floor", 1.0, cpu="A"), *timed("reference", 8.0, cpu="A")]
    old, more = [*old, *certified("reference", **place)], [*more, *certified("reference", cpu="B")]
    first += certified("reference", cpu="A")
    for new in ([*first, *old, *more], [*more, *first, *old]):
        comparison = compare(old, new)
        assert {change.new for change in comparison.changes if change.where != "all cells"} == {2.0}
        assert comparison.differences == ("CPU: A in A, A; B in B",)


def runs_of(accuracies: tuple[float, ...]) -> list[Row]:
    return [
        row
        for seed, accuracy in enumerate(accuracies)
        for row in training(seed, (accuracy,), suite="scale")
    ]


@pytest.mark.parametrize(
    ("old", "new", "limit", "call_"),
    [
        ((0.50, 0.51, 0.52), (0.51, 0.52, 0.50), None, "no change"),
        ((0.50, 0.51, 0.52), (0.70, 0.71, 0.72), None, "better"),
        ((0.50, 0.51, 0.52), (0.30, 0.31, 0.32), None, "worse"),
        ((0.50, 0.51, 0.52), (0.60,), None, "not judged"),
        ((0.50, 0.50), (0.6, 0.6), None, "better"),  # no seed differs: nothing warns
        ((0.500, 0.501, 0.502), (0.501, 0.502, 0.503), None, "no change"),  # within a point
        ((0.500, 0.501, 0.502), (0.503, 0.489, 0.511), None, "too noisy to tell"),
        ((0.500, 0.501, 0.502), (0.503, 0.489, 0.511), 0.05, "no change"),  # --fail-above
    ],
)
def test_accuracy_is_compared_over_seeds(
    old: tuple[float, ...], new: tuple[float, ...], limit: float | None, call_: str
) -> None:
    (change,) = compare(runs_of(old), runs_of(new), limit).changes
    assert (change.what, change.call) == ("accuracy", call_)


CELLS = [(dataset, scale) for dataset in paper.SETTINGS for scale in paper.SCALES]
CONTENDERS = {"reference": 2.0, "snntorch": 2.5, "spikingjelly": 1.8, "norse": 2.2, "fused": 1.0}


def default_run(
    seed: int, noise: float = 0.03, slower: dict[str, float] | None = None, **fields: Any
) -> list[Row]:
    """Nine cells, five contenders and the floor, five rounds.

    As recorded: noise in each round, and a drift of each contender in each cell that no round of it
    shows, the floor's among them, which moves all ratios of that cell.
    """
    drawn, run = random.Random(seed), f"run {seed}"
    factors = {"floor": 1.0, **CONTENDERS}
    rows: list[Row] = []
    for dataset, scale in CELLS:
        for name, factor in factors.items():
            level = factor * (slower or {}).get(name, 1.0) * exp(drawn.gauss(0, 0.02))
            seconds = [level * exp(drawn.gauss(0, noise)) for _ in range(5)]
            cell: dict[str, Any] = {"dataset": dataset, "scale": scale, "run": run, **fields}
            rows += timed(name, *seconds, **cell)
            rows += certified(name, **cell) if name in CONTENDERS else []
    return rows


@pytest.mark.parametrize("name", ["fused", "norse"])
def test_a_planted_slowdown_of_a_default_run_is_called_over_all_cells(name: str) -> None:
    comparison = compare(default_run(1), default_run(2, slower={name: 1.1}))
    (change,) = (
        change for change in comparison.beyond(0.05) if change.where.startswith("all cells")
    )
    assert (change.contender, change.call) == (f"{name} fp32", "slower")
    assert 0.06 < change.change < 0.14 and comparison.differences == comparison.unmatched == ()


def test_a_common_slowdown_is_called() -> None:
    slower = default_run(2, slower=dict.fromkeys(CONTENDERS, 1.5))
    assert ("all fp32", "slower") in called(compare(default_run(1), slower).changes)


def test_two_precisions_of_a_contender_are_compared_and_nobody_with_itself(
    tmp_path: Path, command: Command
) -> None:
    Store(tmp_path).append(*run_in_bf16(), bf16_training("fused"))
    for one, other, code, text in (
        ("fused bf16", "fused", 0, "faster by 45."),  # 0.6 and 1.1
        ("fused", "fused bf16", 0, "slower by 83."),
        ("fused", "fused", 2, "with itself"),
        ("", "", 2, "give two folders"),
    ):
        ended, out, error = command("compare", tmp_path, "--contender", one, "--against", other)
        assert ended == code and text in out + error


def test_an_unproved_contender_is_compared_with_nobody() -> None:
    unproved = changed(run(), CertificateResult, None, contender="snntorch")
    for rows, why in ((refused(run()), "it computes two samples"), (unproved, "no exam")):
        for pair in (("snntorch", "reference"), ("reference", "snntorch")):
            (change,) = within_run(rows, *pair)
            (text,) = sentences([change], pair[1])
            assert change.call == "not judged" and why in text
        slower = changed(run(run="later"), CertificateResult, None, contender="fused")
        labels = {change.contender for change in compare(rows, slower).changes}
        assert labels & {"snntorch fp32", "fused fp32"} == set()


def test_a_refused_contender_fails_the_command_with_its_reason(
    tmp_path: Path, command: Command
) -> None:
    Store(tmp_path).append(*refused(run()))
    pair = "--contender", "snntorch", "--against"
    code, out, error = command("compare", tmp_path, *pair, "reference")
    assert code == 1 and "it computes two samples" in out and "not judged" in error
    assert command("compare", tmp_path, "--contender", "fused", "--against", "reference")[0] == 0


def test_a_pair_that_is_not_there_is_told_from_a_wrong_name_and_its_folder_is_named(
    inside: Path, command: Command
) -> None:
    Store(inside / "mine").append(*without(run(), "fused"))
    Store(inside / "results" / "published" / "amd").append(*run())
    for one, other, text in (
        ("snntorh", "reference", "'snntorh': did you mean snntorch?"),
        ("snntorch", "referense", "'referense': did you mean reference?"),
        ("fused", "reference", "results/published/amd has both"),
        ("jax", "reference", "first run `harness run"),
    ):
        code, _, error = command("compare", "mine", "--contender", one, "--against", other)
        assert code == 2 and text in error


def test_sentences_over_machines_and_settings_name_what_differs() -> None:
    slow: dict[str, Any] = {"cpu": "B", "T": 2, "run": "later"}
    (one, other) = sentences(within_run([*run(), *run(**slow)], "fused", "reference"), "reference")
    assert "T=10" in one and "T=2" in other and ", B," in other
    (alone,) = sentences(within_run(run(), "fused", "reference"), "reference")
    assert "T=10" not in alone


def test_two_folders_begin_with_a_summary_that_says_which_is_which(
    tmp_path: Path, command: Command
) -> None:
    for name in ("old", "new"):
        Store(tmp_path / name).append(*run())
    _, out, _ = command("compare", tmp_path / "old", tmp_path / "new")
    summary, table = " ".join(out.split()).split("Seconds divided", 1)
    assert "figures changed" in summary and f"A ({tmp_path / 'old'}) to B (" in summary
    assert " A " in table and " B " in table and "old" not in table


def test_a_difference_within_an_a_a_that_leaves_out_1_is_not_called_and_the_sentence_says_why() -> (
    None
):
    rows = [*run(), *contender("norse", 2.2)]
    for twin, call in ((1.0, "slower"), (1.15, "too noisy to tell")):
        (change,) = within_run(slower_twin(rows, twin), "norse", "reference")
        (text,) = sentences([change], "reference")
        assert change.call == call and ("leaves out 1" in text) == (twin > 1)


def test_a_run_that_was_cut_off_hides_no_whole_one() -> None:
    later: dict[str, Any] = {"run": "later"}
    cut = [*rounds("floor", 1.0, count=2, **later), *certified("reference", **later)]
    cut += [*certified("snntorch", **later), *rounds("reference", 9.0, count=2, **later)]
    (change,) = within_run(
        [*run(), *cut, *rounds("snntorch", 2.0, count=2, **later)], "snntorch", "reference"
    )
    assert abs(change.change) < 0.02


@pytest.mark.parametrize("machine", sorted(PUBLISHED.iterdir()), ids=lambda path: path.name)
def test_ranks_sentence_and_compare_say_the_same_of_the_shipped_rows(machine: Path) -> None:
    shipped, fig_3 = frames(stored.read_all([machine])), "cpu T=10 batch 20"  # and no inference
    compared, summary = 0, fastest.summary(timings.lines(shipped))
    for cell in fastest.headline(timings.lines(shipped)):
        ranked = [line for line in cell.lines if line.rank and line.precision == "fp32"]
        for line, other in permutations(ranked, 2):
            changes = within_run(shipped, line.name, other.name)
            place = network(line), fig_3
            (change,) = (change for change in changes if (change.where, change.setting) == place)
            assert (change.call == "faster") == line.is_faster(other)
            assert change.call != "faster" or (line.rank or 0) < (other.rank or 0)
            compared += 1
    leader = summary and summary.leader
    assert bool(compared) == bool(leader)
    names = {title: name for name, title in TITLES.items()}
    first = names[leader.name] if leader else ""
    for other in leader.others if leader else ():
        changes = within_run(shipped, names[other.name], first)
        calls = Counter(change.call for change in changes if change.setting == fig_3)
        assert (calls["slower"], calls["faster"]) == (len(other.longer), len(other.less))


@pytest.mark.slow
def test_false_alarms_stay_at_the_level() -> None:
    pairs = ((default_run(seed), default_run(1000 + seed)) for seed in range(10))
    assert sum(bool(called(compare(*pair).changes)) for pair in pairs) <= 10 * LEVEL


def test_no_change_needs_data_that_could_show_one() -> None:
    """The noisier the data, the fewer the verdicts."""
    quiet, loud = (
        compare(default_run(3, noise), default_run(4, noise)).changes for noise in (0.01, 0.4)
    )
    over_all = [change for change in quiet if change.where.startswith("all cells")]
    assert {change.call for change in over_all} == {"no change"}
    assert all(change.low > -0.0910 and change.high <= 0.1 for change in over_all)
    assert {change.call for change in loud} == {"too noisy to tell"}
    strict = compare(default_run(3, 0.01), default_run(4, 0.01), 0.001).changes  # --fail-above
    assert {e.call for e in strict if e.where.startswith("all cells")} == {"too noisy to tell"}


def test_the_command_fails_on_a_regression_and_names_incomparable_results(
    tmp_path: Path, command: Command
) -> None:
    for name, rows in (
        *(("old", default_run(1, 0.4)), ("new", default_run(2, 0.4))),
        *(("slow", default_run(3, slower={"norse": 3.0})), ("later", default_run(4, protocol=1))),
        *(("good", runs_of((0.5, 0.51))), ("bad", runs_of((0.1, 0.11)))),
    ):
        Store(tmp_path / name).append(*rows)
    for words, code, text in (
        ("old new --fail-above 5%", 0, "51 are too noisy to tell"),
        ("old new --fail-above 5%", 0, "5 % (speed)"),
        ("new slow --fail-above 5%", 1, "slower"),
        ("good bad", 0, "worse"),
        ("good bad --fail-above 5%", 1, "worse"),
        ("good bad --fail-above 50%", 0, "accuracy"),
        ("old later", 2, "do not count: this harness times under protocol 3"),
        ("good new", 2, "no cell and no training that counts is in both"),
        ("old none", 2, "which is no folder"),
        ("old new --fail-above=", 2, "expected a percentage"),
    ):
        old, new, *more = words.split()
        ended, out, error = command("compare", tmp_path / old, tmp_path / new, *more)
        assert ended == code and text in " ".join((out + error).split())
        assert code < 2 or error.count("harness: ") == 1
