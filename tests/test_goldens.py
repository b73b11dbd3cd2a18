"""Goldens: what a result depends on does not move unless the number that stands for it does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import golden
import golden_exam
import golden_numerics
import pytest
from golden import Entry

from harness.adapter import Adapter, Variant
from harness.proof import certificate, exam
from harness.proof.certificate import Allowed
from harness.reference.network import StepNetwork
from harness.reference.neuron import LIFCell


@pytest.mark.parametrize("file", golden.FILES)
def test_nothing_has_moved_but_by_its_number(file: str) -> None:
    moved = list(golden.moved(file))
    assert not moved, "\n".join(moved)


def test_no_potential_is_so_near_the_threshold_that_another_processor_may_flip_a_spike() -> None:
    with golden.one_thread():
        nearest = golden_numerics.nearest()
    assert min(nearest.values()) > golden_numerics.APART


def off_by(**changes: float) -> Adapter:
    """The reference with another constant in its neuron."""
    return Variant(
        (), lambda network: StepNetwork(network, lambda lif: LIFCell(replace(lif, **changes)))
    )


@pytest.mark.parametrize(
    "changes", [{"k_tau": 0.26}, {"v_th": 0.7}, {"a": 0.99}], ids=["decay", "threshold", "width"]
)
def test_numerics_move_with_a_constant_of_the_neuron(changes: dict[str, float]) -> None:
    kept = golden._read("numerics")["reference"]["made"]
    assert golden.first_difference(kept, made_of(off_by()), golden.CLOSE) is None
    assert golden.first_difference(kept, made_of(off_by(**changes)), golden.CLOSE) is not None


def made_of(adapter: Adapter) -> object:
    with golden.one_thread():
        return json.loads(json.dumps(golden_numerics.computed_by(adapter)))


def test_exam_moves_with_each_of_its_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = golden_exam.RULES
    for name, value in vars(rules).items():
        other = replace(value, gradient_error=1.0) if isinstance(value, Allowed) else value * 2
        monkeypatch.setattr(golden_exam, "RULES", replace(rules, **{name: other}))
        (sentence,) = golden.moved("exam")
        assert f"exam.json, rules has moved (/{name}" in sentence
        assert "raise EXAM in harness/records/identity.py" in sentence


def test_exam_moves_with_what_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(golden_exam.RULES, attempts=3)
    for module in (exam, certificate):
        monkeypatch.setattr(module, "RULES", other)
    (sentence,) = golden.moved("exam")
    assert "exam.json, attempts at one that rounds apart in fp32 has moved" in sentence


def planted(monkeypatch: pytest.MonkeyPatch, folder: Path, entry: Entry) -> None:
    """That entry alone is looked at, in a folder of its own."""
    monkeypatch.setattr(golden, "FOLDER", folder)
    monkeypatch.setattr(golden, "_entries", lambda file: iter([entry]))


def test_renewing_takes_what_moved_with_its_number_and_refuses_the_rest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = Entry("planted", {"NUMERICS": 1, "REVISION": 0}, [1.0, 2.0])
    planted(monkeypatch, tmp_path, first)
    assert list(golden.moved("numerics")) == [
        f"numerics.json, planted: it is not there yet: {golden.RENEW}"
    ]
    assert golden.renew("numerics", anyway=False) == []
    assert list(golden.moved("numerics")) == []

    planted(monkeypatch, tmp_path, replace(first, made=[1.0, 3.0]))
    sentence = (
        "numerics.json, planted has moved (/1: 2.0, now 3.0) and NUMERICS is still 1: "
        "raise NUMERICS in harness/records/identity.py, or REVISION in planted's adapter where it "
        f"alone computes otherwise, then {golden.RENEW}"
    )
    assert list(golden.moved("numerics")) == [sentence]
    assert golden.renew("numerics", anyway=False) == [sentence]
    assert list(golden.moved("numerics")) == [sentence]

    raised = {"NUMERICS": 1, "REVISION": 1}
    planted(monkeypatch, tmp_path, replace(first, numbers=raised, made=[1.0, 3.0]))
    (said,) = golden.moved("numerics")
    assert "it is of NUMERICS 1, REVISION 0, now NUMERICS 1, REVISION 1" in said
    assert golden.renew("numerics", anyway=False) == []
    assert list(golden.moved("numerics")) == []


def test_what_nothing_makes_any_more_is_said_and_dropped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    planted(monkeypatch, tmp_path, Entry("old", {"EXAM": 1}, 1))
    golden.renew("exam", anyway=False)
    planted(monkeypatch, tmp_path, Entry("new", {"EXAM": 1}, 1))
    assert [each.partition(": ")[0] for each in golden.moved("exam")] == [
        "exam.json, new",
        "exam.json, old",
    ]
    golden.renew("exam", anyway=False)
    assert list(golden.moved("exam")) == []


def test_an_adapter_that_is_not_installed_here_keeps_its_golden(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    planted(monkeypatch, tmp_path, Entry("norse", {"NUMERICS": 1}, 1))
    golden.renew("numerics", anyway=False)
    planted(monkeypatch, tmp_path, Entry("reference", {"NUMERICS": 1}, 1))
    golden.renew("numerics", anyway=False)
    assert list(golden.moved("numerics")) == []
    assert set(golden._read("numerics")) == {"norse", "reference"}
