"""A case as the fields of a row: whatever a suite makes comes back, what makes no case is said."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import inf, nan
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import CASE, fitted_case, row, trained_case

from harness import spec, suites
from harness.analysis import status
from harness.records import EndedRow, IterationRow, TrainedRow
from harness.records.store import parse
from harness.spec import cells, paper

FRAMEWORKS = ("reference", "fused", "snntorch", "snntorch:subtract", "floor")
NOTATION = "8C5(Encoding)-AP3-16FC-Voting"
TIMED = ("inference", "tuned")
CHOICES: dict[str, dict[str, Any]] = {
    "default": {},
    "quick": {"quick": True},
    "paper": {"paper": True, "device": "cuda"},
    "NeuNorm": {"neunorm": "literal"},
    "torch's weights": {"init": "torch", "seeds": (3, 10**9)},
    "sizes": {"width": Fraction(3, 7), "batch_size": 1, "steps": (3,), "precision": "fp64"},
    "a notation": {"networks": (NOTATION,), "datasets": tuple(paper.SETTINGS)},
    "inference": {"inference": True},
    "tuned": {"tuned": True, "device": "cuda"},
}
OF_NETWORKS = ("NeuNorm", "torch's weights", "sizes", "a notation")


def made(suite: str, choice: dict[str, Any]) -> tuple[spec.Case, ...]:
    given = {"suite": suite, "device": "cpu", **choice}
    frameworks = () if suite == "baselines" else FRAMEWORKS
    return suites.suite(suite).cases(spec.Options(frameworks=frameworks, **given))


def comes_back(case: spec.Case) -> None:
    """Through its fields, and through a line of JSON."""
    assert spec.Case.of(case.fields) == case
    written = row(EndedRow, case)
    assert spec.Case.of(written) == case
    read = parse(written.to_json().encode())
    assert read == written
    assert spec.Case.of(read) == case


@pytest.mark.parametrize("suite", suites.SUITES)
@pytest.mark.parametrize("choice", CHOICES)
def test_every_case_that_suites_make_comes_back_from_its_fields(suite: str, choice: str) -> None:
    trains = suites.suite(suite).trains
    refused = {"accuracy": ("a notation",), "baselines": OF_NETWORKS}.get(suite, ())
    if trains and choice in TIMED or choice in refused:
        with pytest.raises(spec.UsageError):  # there are no such cases
            made(suite, CHOICES[choice])
        return
    cases = made(suite, CHOICES[choice])
    assert cases
    for case in cases:
        assert isinstance(case, spec.Trained) == (trains and suite != "energy")
        assert isinstance(case, spec.System) == (suite == "baselines")
        comes_back(case)


NUMBERS = st.floats(min_value=1e-9, max_value=1e9)
SHARES = st.floats(min_value=0, max_value=0.999)
COUNTS = st.integers(min_value=1, max_value=10**9)
OPTIMISERS = st.one_of(
    st.builds(spec.SGD, lr=NUMBERS, momentum=SHARES, step_epochs=COUNTS, factor=NUMBERS),
    st.builds(spec.Adam, lr=NUMBERS, betas=st.tuples(SHARES, SHARES)),
)
TRAININGS = st.builds(  # of whatever its fields admit
    spec.Training,
    **dict.fromkeys(("epochs", "bin_us"), COUNTS),
    **dict.fromkeys(("samples", "test_samples", "least_epochs"), st.none() | COUNTS),
    tested_at=st.lists(COUNTS, max_size=3).map(tuple),
    **dict.fromkeys(("embedded", "confusion", "simulated"), st.booleans()),
    loss=st.sampled_from(get_args(spec.Loss)),
)


WIDTHS = st.fractions(Fraction(1, 99), 16, max_denominator=10**9)


@settings(max_examples=50, deadline=None)
@given(OPTIMISERS, TRAININGS, SHARES, WIDTHS)
def test_no_setting_is_lost_or_replaced_by_the_usual_one(
    optimiser: spec.SGD | spec.Adam, training: spec.Training, dropout: float, width: Fraction
) -> None:
    network = replace(CASE.network, dropout=dropout, classes=3, population=7)
    changed: dict[str, Any] = {"optimiser": optimiser, "width": width, "network": network}
    comes_back(replace(CASE, **changed))
    comes_back(trained_case(training=training, **changed))
    comes_back(fitted_case("hats", training=training, **changed))


BAD: list[tuple[dict[str, Any], str]] = [
    ({"suite": "../../x"}, "unknown suite '../../x'"),
    ({"dataset": "imagenet"}, "unknown data set 'imagenet'"),
    ({"network": "8C3-Voting"}, "expected nC3\\(Encoding\\)"),
    ({"network": "1C3(Encoding)-" + "1C3-" * 10_000 + "Voting"}, "more than 500 layers"),
    *[({"T": T}, f"T is {str(T)[:30]}") for T in (0, 10**300)],
    ({"batch_size": 0}, "batch_size is 0"),
    ({"seed": -1}, "seed is -1, expected 0"),
    # the digits of the last would take hours
    *[
        ({"width": w}, f"'{w}', expected a fraction")
        for w in ("x/0", "1/0", "0", "-1/8", "nan", "1e999999999")
    ],
    ({"neunorm": "mean"}, "k_tau2 is missing"),
    ({"neunorm": "mean", "k_tau2": nan}, "k_tau2 is nan"),
    ({"neunorm": "median", "k_tau2": 0.9}, "median, expected mean or literal"),
    *[({"optimiser_lr": lr}, f"rate is {lr}") for lr in (nan, 0.0, inf)],
    ({"optimiser": "adam", "optimiser_lr": nan}, "rate is nan"),
    ({"optimiser_momentum": nan}, "momentum is nan"),
    ({"optimiser_factor": nan}, "factor is nan"),
    ({"optimiser_step_epochs": 0}, "step_epochs is 0"),
    ({"optimiser": "adam", "optimiser_betas": (0.9, 1.0)}, "betas is"),
    *[({"k_tau": each}, f"k_tau is {each}") for each in (nan, -0.1, 1.5)],
    ({"v_th": 0.0}, "v_th is 0.0"),
    ({"a": inf}, "a is inf"),
    *[({"dropout": each}, f"dropout is {each}") for each in (nan, 1.0)],
    ({"classes": 0}, "classes is 0"),
    ({"population": 10**300}, "voting neurons per class is 1000"),
    ({"input_shape": (3, 0, 32)}, "height is 0"),
    ({"epochs": 0}, "epochs is 0"),
    ({"epochs": 1, "wanted_samples": -5}, "samples is -5"),
    ({"epochs": 1, "wanted_test_samples": 10**320}, "test samples is 1000"),
    ({"epochs": 1, "tested_at": (1, 0)}, "tested T 2 is 0"),
    ({"weights_sha256": "../x"}, "weights_sha256 is"),
]


@pytest.mark.parametrize(("fields", "sentence"), BAD, ids=lambda value: str(value)[:40])
def test_fields_that_make_no_case_are_refused(fields: dict[str, Any], sentence: str) -> None:
    bad = row(IterationRow, **fields)
    with pytest.raises(spec.UsageError, match=sentence) as refused:
        spec.Case.of(bad)
    assert len(str(refused.value)) < 300


def test_a_row_of_absurdly_many_samples_leaves_the_time_that_is_left_a_number() -> None:
    rows = [row(TrainedRow, trained_case(2), train_samples=2**53, validation_samples=1)]
    (found,) = status.standings([trained_case(2)], rows, lambda case, row: None)
    assert (found.dated, found.seconds_left > 0) == (1, True)


def test_cases_that_differ_in_framework_and_precision_alone_are_timed_together() -> None:
    other = replace(CASE, framework="norse", precision="bf16")
    grouped = cells((CASE, other, replace(CASE, T=CASE.T + 1)))
    assert [cell.precision for cell in grouped] == [CASE.precision] * 2
    assert [len(group) for group in grouped.values()] == [2, 1]
