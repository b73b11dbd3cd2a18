"""Keys: every field that decides a result moves them, and nothing else does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from fractions import Fraction
from typing import Any

import golden
import pytest
from golden import DATA, INSTALLATION, MACHINE, TEST_DATA
from rows import CASE, altered, fitted_case, row, trained_case

from adapters import facts
from harness.proof.installation import installation_of
from harness.records import EndedResult, identity
from harness.records.identity import columns, columns_that_train, timing_key, training_key
from harness.records.store import parse_row, written
from harness.spec import Case, Conv, NeuNorm, Options, Voting
from harness.suites import SUITES, suite
from harness.system.installed import Machine

# These decide no weight: names, wanted numbers of samples (the data's hash has them), further tests
# of the trained network.
IDLE = {"suite", "scale", "width", "wanted_samples", "wanted_test_samples", "embedded"}
IDLE |= {"tested_at"}
# A field that differs, and the columns that it moves. Each column is among them.
OF_WORKLOAD: list[tuple[dict[str, Any], set[str]]] = [
    *(({name: 7}, {name}) for name in ("classes", "population", "T", "batch_size", "seed")),
    *(({name: 0.5}, {name}) for name in ("k_tau", "v_th", "a", "dropout")),
    *(({name: "other"}, {name}) for name in ("suite", "scale", "device", "weights_sha256")),
    ({"dataset": "nmnist"}, {"dataset"}),
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
def test_data_versions_and_revision_move_both_keys() -> None:
    timed, trained = golden.key(CASE), golden.key(trained_case())
    for name in ("torch", "framework_version", "revision"):
        other = changed(SOFTWARE, name)
        assert timing_key(CASE, DATA, other, MACHINE, "system") != timed
        assert training_key(trained_case(), DATA, TEST_DATA, other) != trained
    assert timing_key(CASE, "other", SOFTWARE, MACHINE, "system") != timed
    assert training_key(trained_case(), "other", TEST_DATA, SOFTWARE) != trained
    assert training_key(trained_case(), DATA, "other", SOFTWARE) != trained
    assert training_key(trained_case(), TEST_DATA, DATA, SOFTWARE) != trained


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
        known = facts.Facts("planted", "1.0", packages, 4, implementations=implementations)
        monkeypatch.setattr(facts, "_known", {**facts._known, "planted": known})
        found = installation_of(replace(CASE, framework="planted", device=device))
        assert (found.software.framework_version, found.software.revision) == (version, 4)
        assert found.implementation == implementations.get(device)


def test_each_hand_raised_number_moves_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    before = golden.key(CASE), golden.key(trained_case())
    expected = {"NUMERICS": (False, True), "PROTOCOL": (True, False), "EXAM": (False, False)}
    for number, moves in expected.items():
        with monkeypatch.context() as patch:
            patch.setattr(identity, number, 99)
            now = golden.key(CASE), golden.key(trained_case())
        assert tuple(a != b for a, b in zip(before, now, strict=True)) == moves, number


def timed_on(machine: Machine, allocator: str = "system") -> str:
    return timing_key(CASE, DATA, SOFTWARE, machine, allocator)


def test_a_timing_is_of_its_machine_and_not_of_a_commit() -> None:
    before = timed_on(MACHINE)
    assert timed_on(MACHINE, "glibc, memory kept") != before
    names = (each.name for each in fields(Machine))
    same = {name for name in names if timed_on(changed(MACHINE, name)) == before}
    # its torch is the software's, which moves the key; another kernel keeps another MiB
    assert same == {"torch", "harness", "commit", "memory_mib"}
    assert timed_on(replace(MACHINE, memory_mib=(MACHINE.memory_mib or 0) + 2048)) != before


def test_thread_counts_are_keyed_by_value_and_other_variables_by_name() -> None:
    plain = replace(MACHINE, environment=None, threads=2)
    key = timed_on(plain)
    asked = replace(plain, environment="OMP_NUM_THREADS=2 MKL_NUM_THREADS=2")
    assert timed_on(asked) == key
    assert timed_on(replace(asked, environment="OMP_NUM_THREADS=1", threads=1)) != key
    assert timed_on(replace(asked, environment="LD_PRELOAD=x OMP_NUM_THREADS=2")) != key
    assert timed_on(replace(asked, environment="OMP_PROC_BIND=close OMP_NUM_THREADS=2")) != key


@pytest.mark.parametrize("name", SUITES)
def test_cases_of_a_suite_have_keys_of_their_own_and_come_back_from_their_fields(name: str) -> None:
    chosen = suite(name)
    usual = ("reference", "fused", "norse", "snntorch:subtract")
    frameworks = usual if chosen.frameworks is None else chosen.frameworks
    for choice in ({}, {"quick": True}, {"paper": True, "device": "cuda"}):
        given: dict[str, Any] = {"device": "cpu", "tuned": not chosen.trains, **choice}
        cases = chosen.cases(Options(suite=name, frameworks=frameworks, **given))
        assert len({golden.key(case) for case in cases}) == len(cases) > 1
        assert all(Case.of(base(case)) == case for case in cases)
