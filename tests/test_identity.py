"""Keys: every field that decides a result moves them, and nothing else does."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from fractions import Fraction
from typing import Any

import golden
import pytest
from golden import DATA, INSTALLATION, MACHINE, TEST_DATA
from rows import CASE, COUNTED, altered, fitted_case, row, trained_case

from adapters import facts
from harness.machine.installed import Machine
from harness.proof.installation import installation_of
from harness.records import EndedResult, identity
from harness.records.identity import columns, columns_that_train, timing_key, training_key
from harness.records.store import line_of, parse_row
from harness.spec import Adam, Case, Conv, NeuNorm, Options, Timing, Voting
from harness.suites import SUITES, suite

# These decide no weight: names, wanted numbers of samples (the data's hash has them), further tests
# of the trained network.
IDLE = {"suite", "scale", "width", "wanted_samples", "wanted_test_samples", "embedded"}
IDLE |= {"tested_at"}
# Changes of a case, each with the columns that it moves.
Change = tuple[dict[str, Any], set[str]]
OF_ALL: list[Change] = [
    *(({name: 7}, {name}) for name in ("classes", "population", "T", "batch_size", "seed")),
    *(({name: 0.5}, {name}) for name in ("k_tau", "v_th", "a", "dropout")),
    *(({name: "other"}, {name}) for name in ("suite", "scale", "weights_sha256")),
    ({"layers": (Conv(4, encoding=True), Voting())}, {"network"}),
    ({"input_shape": (3, 16, 16)}, {"input_shape"}),
    ({"width": Fraction(1, 2)}, {"width"}),
    ({"initialisation": "torch"}, {"initialisation"}),
    ({"contender": "norse"}, {"framework"}),
    ({"contender": "reference@2"}, {"framework"}),
    ({"contender": "reference:other"}, {"variant"}),
    ({"contender": "reference:compiled"}, {"variant"}),
    ({"contender": "reference bf16"}, {"precision"}),
    ({"neunorm": NeuNorm(0.8, "literal")}, {"neunorm", "k_tau2"}),
    ({"neunorm": NeuNorm(u=0.5)}, {"neunorm", "k_tau2", "neunorm_u"}),
]
SGD_NAMES = {"optimiser_momentum", "optimiser_step_epochs", "optimiser_factor"}
OF_LEARNING: list[Change] = [
    ({"device": "cuda"}, {"device"}),
    *(({name: 0.5}, {f"optimiser_{name}"}) for name in ("lr", "momentum", "factor", "fc_factor")),
    ({"step_epochs": 7}, {"optimiser_step_epochs"}),
    ({"optimiser": Adam(0.1)}, {"optimiser", "optimiser_betas"} | SGD_NAMES),
]
OF_TIMING: list[Change] = [({"mode": "inference"}, {"mode"})]
OF_SAMPLES: list[Change] = [
    ({"train": 7}, {"wanted_samples"}),
    ({"test": 7}, {"wanted_test_samples"}),
    ({"embedded": True}, {"embedded"}),
    ({"bin_us": 30_000}, {"bin_us"}),
    ({"simulated": True}, {"wants_simulated"}),
    ({"epochs": 7}, {"epochs"}),
    ({"tested_at": (1, 2)}, {"tested_at"}),
]
OF_TRAINING: list[Change] = [
    ({"loss": "cross-entropy"}, {"loss_function"}),
    ({"stages": (1, 1)}, {"stages"}),
    ({"least_epochs": 1}, {"least_epochs"}),
]
OF_FIT: list[Change] = [({"effort": "quick"}, {"effort"}), ({"window": "first"}, {"window"})]
KINDS: list[tuple[Case, list[Change]]] = [
    (CASE, [*OF_ALL, *OF_LEARNING, *OF_TIMING]),
    (trained_case(), [*OF_ALL, *OF_LEARNING, *OF_SAMPLES, *OF_TRAINING]),
    (fitted_case("reference"), [*OF_ALL, *OF_SAMPLES, *OF_FIT]),
    (COUNTED, [*OF_ALL, ({"device": "cuda"}, {"device"})]),
]


@pytest.mark.parametrize(("case", "changes"), KINDS, ids=lambda part: getattr(part, "kind", ""))
def test_a_key_is_of_every_column_that_decides_the_result(
    case: Case, changes: list[Change]
) -> None:
    usual, key, idle = columns(case), golden.key(case), IDLE
    if isinstance(case, Timing):
        idle = set[str]()
    for fields_, moved in changes:
        other = altered(case, **fields_)
        now = columns(other)
        assert {name for name in usual if usual[name] != now[name]} == moved
        assert (golden.key(other) != key) == bool(moved - idle)


def test_every_column_is_moved_by_something() -> None:
    moved = {name for _, changes in KINDS for _, names in changes for name in names}
    assert moved | {"dataset"} == set(columns(CASE))
    assert columns_that_train(trained_case()).keys() < columns(CASE).keys() - IDLE


def other_value(part: Any, name: str) -> Any:
    """The part with another value in a field."""
    value = getattr(part, name)
    new = value + 1 if isinstance(value, int) else f"other {value}"
    return replace(part, **{name: new})


def test_data_versions_and_revision_move_both_keys() -> None:
    timed, trained = golden.key(CASE), golden.key(trained_case())
    for name in ("torch", "framework_version", "revision"):
        other = other_value(INSTALLATION, name)
        assert timing_key(CASE, DATA, other, MACHINE, "system") != timed
        assert training_key(trained_case(), DATA, TEST_DATA, other) != trained
    assert timing_key(CASE, "other", INSTALLATION, MACHINE, "system") != timed
    assert training_key(trained_case(), "other", TEST_DATA, INSTALLATION) != trained
    assert training_key(trained_case(), DATA, "other", INSTALLATION) != trained
    assert training_key(trained_case(), TEST_DATA, DATA, INSTALLATION) != trained


def test_packages_count_on_the_device_whose_kernels_name_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packages = {"planted": "1.0", "numba": "0.62", "triton": "3.2"}
    kernels = {"cpu": "numba 0.62", "cuda": "triton 3.2"}
    for implementations, device, version in (
        (kernels, "cpu", "1.0, numba 0.62"),
        (kernels, "cuda", "1.0, triton 3.2"),
        ({}, "cpu", "1.0, numba 0.62, triton 3.2"),
    ):
        planted = facts.Facts("planted", "1.0", packages, 4, implementations=implementations)
        monkeypatch.setattr(facts, "_known", {**facts._known, "planted": planted})
        installation = installation_of(altered(CASE, contender="planted", device=device))
        assert (installation.framework_version, installation.revision) == (version, 4)
        assert installation.implementation == implementations.get(device)


def test_each_hand_raised_number_moves_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = golden.key(CASE), golden.key(trained_case())
    expected = {"NUMERICS": (False, True), "PROTOCOL": (True, False), "EXAM": (False, False)}
    for number, moves in expected.items():
        with monkeypatch.context() as patch:
            patch.setattr(identity, number, 99)
            now = golden.key(CASE), golden.key(trained_case())
        assert tuple(a != b for a, b in zip(keys, now, strict=True)) == moves, number


def timed_on(machine: Machine, allocator: str = "system") -> str:
    return timing_key(CASE, DATA, INSTALLATION, machine, allocator)


def test_a_timing_is_of_its_machine_and_not_of_a_commit() -> None:
    key = timed_on(MACHINE)
    assert timed_on(MACHINE, "glibc, memory kept") != key
    names = (field.name for field in fields(Machine))
    same = {name for name in names if timed_on(other_value(MACHINE, name)) == key}
    # its torch is the software's, which moves the key; another kernel keeps another MiB
    assert same == {"torch", "harness", "commit", "memory_mib"}
    assert timed_on(replace(MACHINE, memory_mib=(MACHINE.memory_mib or 0) + 2048)) != key


def test_thread_counts_are_keyed_by_value_and_other_variables_by_name() -> None:
    plain = replace(MACHINE, environment=None, threads=2)
    key = timed_on(plain)
    counted = replace(plain, environment="OMP_NUM_THREADS=2 MKL_NUM_THREADS=2")
    assert timed_on(counted) == key
    assert timed_on(replace(counted, environment="OMP_NUM_THREADS=1", threads=1)) != key
    assert timed_on(replace(counted, environment="LD_PRELOAD=x OMP_NUM_THREADS=2")) != key
    assert timed_on(replace(counted, environment="OMP_PROC_BIND=close OMP_NUM_THREADS=2")) != key


@pytest.mark.parametrize("name", SUITES)
def test_cases_of_a_suite_have_keys_of_their_own_and_come_back_from_their_fields(name: str) -> None:
    chosen = suite(name)
    usual = ("reference", "fused", "norse", "snntorch:subtract")
    frameworks = usual if chosen.frameworks is None else chosen.frameworks
    for choice in ({}, {"quick": True}, {"paper": True, "device": "cuda"}):
        choices: dict[str, Any] = {"device": "cpu", "tuned": chosen.is_timed, **choice}
        cases = chosen.cases(Options(suite=name, frameworks=frameworks, **choices))
        assert len({golden.key(case) for case in cases}) == len(cases) > 1
        for case in cases:
            assert parse_row(json.loads(line_of(row(EndedResult, case)))).case == case
