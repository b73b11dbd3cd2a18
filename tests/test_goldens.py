"""Goldens: what a result depends on does not move unless the number that stands for it does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import golden
import pytest
from conftest import threads
from contenders import off_by, stepped
from golden import Entry

from harness.adapter import Variant
from harness.proof.certificate import Allowed


@pytest.mark.parametrize("file", golden.FILES)
def test_nothing_has_moved_but_by_its_number(file: str) -> None:
    moved = list(golden.moved(file))
    assert not moved, "\n".join(moved)


@pytest.mark.parametrize(
    "changes", [{"k_tau": 0.26}, {"v_th": 0.7}, {"a": 0.99}], ids=["decay", "threshold", "width"]
)
def test_numerics_move_with_a_constant_of_the_neuron(changes: dict[str, float]) -> None:
    kept = golden._read("numerics")["reference"]["made"]
    for changed in ({}, changes):
        adapter = Variant((), stepped(off_by(**changed)))
        with threads(1):
            made = json.loads(json.dumps(golden.computed_by(adapter)))
        assert (golden.first_difference(kept, made, golden.CLOSE) is None) == (not changed)


def test_exam_moves_with_each_of_its_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = golden.RULES
    for name, value in vars(rules).items():
        other = replace(value, gradient_error=1.0) if isinstance(value, Allowed) else value * 2
        monkeypatch.setattr(golden, "RULES", replace(rules, **{name: other}))
        sentence = next(golden.moved("exam"))  # the first entry
        assert f"rules has moved (/{name}" in sentence and "raise EXAM" in sentence


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """That entry alone is looked at, in a folder of its own."""

    def plant(name: str, made: object, **numbers: int) -> None:
        monkeypatch.setattr(golden, "FOLDER", tmp_path)
        monkeypatch.setattr(golden, "entries", lambda file: iter([Entry(name, numbers, made)]))

    return plant


def test_renewing_takes_what_moved_with_its_number_and_refuses_the_rest(
    planted: Callable[..., None],
) -> None:
    for made, revision, words, refused in (
        ([1.0, 2.0], 0, "it is not there yet: .*--renew", False),
        ([1.0, 3.0], 0, r"\(/1: 2.0, now 3.0\): raise NUMERICS or the adapter's REVISION", True),
        ([1.0, 3.0], 1, "it is of .*0.*, now of .*1", False),
    ):
        planted("planted", made, NUMERICS=1, REVISION=revision)
        (said,) = golden.moved("numerics")
        assert re.search(words, said), said
        left = golden.renew("numerics", anyway=False)
        assert left == list(golden.moved("numerics")) == [said] * refused
