"""Keys of cases with made-up data, software and machine: what `keys.json` keeps two of."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rows import timed_case, trained_case

from harness.records import identity
from harness.records.identity import Software, timing_key, training_key
from harness.spec import SUITES, Case, Options, Trained
from harness.suites import suite
from harness.system.installed import Machine

DATA, TEST_DATA = "d" * 64, "e" * 64
SOFTWARE = Software(torch="2.6.0", framework_version="1.0", revision=3)
MACHINE = Machine(
    cpu="made up",
    capability="AVX2",
    cores=2,
    threads=2,
    memory_mib=4096,
    os="Linux x86_64",
    python="3.12.0",
    torch="2.6.0",
    harness="0.1.0",
    environment="OMP_NUM_THREADS=2 LD_PRELOAD=x",
)
FRAMEWORKS = ("reference", "fused", "norse", "snntorch:subtract")


def key(case: Case) -> str:
    """The case's key."""
    if isinstance(case, Trained):
        return training_key(case, DATA, TEST_DATA, SOFTWARE)
    return timing_key(case, DATA, SOFTWARE, MACHINE, "system")


def made() -> dict[str, object]:
    """The keys of a timing and of a training, made as with numbers that were never raised."""
    with pytest.MonkeyPatch.context() as patch:
        for number in ("NUMERICS", "PROTOCOL"):
            patch.setattr(identity, number, 1)
        return {"timing": key(timed_case()), "training": key(trained_case())}


def of_all_suites() -> dict[str, str]:
    """The key of every case that the suites have by themselves, by what the case is."""
    return {_named(case): key(case) for name in SUITES for case in _cases(name)}


def _cases(name: str) -> tuple[Case, ...]:
    chosen = suite(name)
    usual = FRAMEWORKS if chosen.frameworks is None else chosen.frameworks
    options = Options(suite=name, frameworks=usual, device="cpu")
    small = replace(options, quick=True)
    whole = replace(options, paper=True, device="cuda")
    if not chosen.trains:
        return chosen.cases(replace(options, tuned=True))
    return (*chosen.cases(options), *chosen.cases(small), *chosen.cases(whole))


def _named(case: Case) -> str:
    """What the case is, less the constants of its neuron and optimiser."""
    how = f"{case.device} {case.precision} T={case.T} seed {case.seed} width {case.width}"
    of = f"{case.suite} {case.dataset} {case.scale} {case.network.neunorm} {case.network.dropout}"
    own = [getattr(case, name, None) for name in ("mode", "training", "effort", "window")]
    return f"{of} {case.framework} {how} {own}"
