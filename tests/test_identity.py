"""What a result depends on: a move dates no row, and what decides a result does."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import golden_keys
import pytest
from golden_keys import DATA, MACHINE, SOFTWARE, TEST_DATA
from rows import base, fitted_case, timed_case, trained_case

from harness.records import identity
from harness.records.identity import fields_that_train, timing_key, training_key
from harness.spec import Case, CaseFields, Training
from harness.system.installed import Machine

ROOT = Path(__file__).resolve().parents[1]
# What decides no weight: names, how many samples were wanted (the data's hash says it), and what is
# asked of the trained network.
IDLE = {"suite", "scale", "width", "wanted_samples", "wanted_test_samples", "embedded"}
IDLE |= {"tested_at", "wants_confusion"}
OF_OTHERS = {"effort", "window"}  # which other systems alone have
# in a key where they are not as usual
UNUSUAL = {"bin_us", "wants_simulated", "loss_function", "weights_sha256", "least_epochs"}
NAMES = tuple(each.name for each in fields(CaseFields))


@dataclass(frozen=True)
class Fields:
    """A case of which only the fields matter."""

    fields: CaseFields


def changed(value: Any) -> Any:
    """Another value of about the same type."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value + "x"
        case tuple():
            return (*value, 7)
        case _:
            return "something"


def that_move(key: Callable[[Any], str]) -> set[str]:
    """The fields of a case that move its key."""
    flat = trained_case().fields
    before = key(Fields(flat))
    others = {name: changed(getattr(flat, name)) for name in NAMES}
    return {
        name
        for name, value in others.items()
        if key(Fields(replace(flat, **{name: value}))) != before
    }


def test_every_field_of_a_case_moves_its_timing_key() -> None:
    assert that_move(lambda case: timing_key(case, DATA, SOFTWARE, MACHINE, "system")) == {*NAMES}


def test_of_a_training_exactly_what_decides_no_weight_leaves_the_key() -> None:
    moves = that_move(lambda case: training_key(case, DATA, TEST_DATA, SOFTWARE))
    assert moves == set(NAMES) - IDLE
    assert set(fields_that_train(trained_case())) == set(NAMES) - IDLE - OF_OTHERS - UNUSUAL
    assert set(fields_that_train(fitted_case("hats"))) == set(NAMES) - IDLE - UNUSUAL
    unusual = Training(40, bin_us=30_000, simulated=True, loss="cross-entropy", least_epochs=12)
    case = replace(trained_case(), training=unusual, weights_sha256="0" * 64)
    assert set(fields_that_train(case)) == set(NAMES) - IDLE - OF_OTHERS
    assert Case.of(base(case)) == case


def test_data_versions_and_revision_move_both_keys() -> None:
    timed, trained = golden_keys.key(timed_case()), golden_keys.key(trained_case())
    for name in ("torch", "framework_version", "revision"):
        other = replace(SOFTWARE, **{name: changed(getattr(SOFTWARE, name))})
        assert timing_key(timed_case(), DATA, other, MACHINE, "system") != timed
        assert training_key(trained_case(), DATA, TEST_DATA, other) != trained
    assert timing_key(timed_case(), "other", SOFTWARE, MACHINE, "system") != timed
    assert training_key(trained_case(), "other", TEST_DATA, SOFTWARE) != trained
    assert training_key(trained_case(), DATA, "other", SOFTWARE) != trained
    assert training_key(trained_case(), TEST_DATA, DATA, SOFTWARE) != trained


def test_each_number_moves_the_keys_it_stands_for(monkeypatch: pytest.MonkeyPatch) -> None:
    before = golden_keys.key(timed_case()), golden_keys.key(trained_case())
    expected = {"NUMERICS": (False, True), "PROTOCOL": (True, False), "EXAM": (False, False)}
    for number, moves in expected.items():
        with monkeypatch.context() as patch:
            patch.setattr(identity, number, 99)
            now = golden_keys.key(timed_case()), golden_keys.key(trained_case())
        assert tuple(a != b for a, b in zip(before, now, strict=True)) == moves, number


def timed_on(machine: Machine, allocator: str = "system") -> str:
    return timing_key(timed_case(), DATA, SOFTWARE, machine, allocator)


def test_a_timing_is_of_its_machine_and_not_of_a_commit() -> None:
    before = timed_on(MACHINE)
    assert timed_on(MACHINE, "glibc, memory kept") != before
    same = {
        each.name
        for each in fields(Machine)
        if timed_on(replace(MACHINE, **{each.name: changed(getattr(MACHINE, each.name))})) == before
    }
    # its torch is the software's, which moves the key; another kernel keeps another MiB
    assert same == {"torch", "harness", "commit", "memory_mib"}
    assert timed_on(replace(MACHINE, memory_mib=MACHINE.memory_mib + 2048)) != before


def test_thread_counts_are_keyed_by_what_they_come_to_and_other_variables_by_name() -> None:
    plain = replace(MACHINE, environment=None, threads=2)
    key = timed_on(plain)
    asked = replace(plain, environment="OMP_NUM_THREADS=2 MKL_NUM_THREADS=2")
    assert timed_on(asked) == key
    assert timed_on(replace(asked, environment="OMP_NUM_THREADS=1", threads=1)) != key
    assert timed_on(replace(asked, environment="LD_PRELOAD=x OMP_NUM_THREADS=2")) != key
    assert timed_on(replace(asked, environment="OMP_PROC_BIND=close OMP_NUM_THREADS=2")) != key


def test_nothing_in_a_key_hides_behind_another_of_its_name() -> None:
    case = set(NAMES)
    software, machine = set(asdict(SOFTWARE)), set(asdict(MACHINE)) - {"torch"}
    others = {"data", "training data", "test data", "allocator", "PROTOCOL", "NUMERICS"}
    assert not case & software and not (case | software) & machine
    assert not (case | software | machine) & others


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package and its goldens, and the kernels that one of them compiled there."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("harness", "adapters", "tests"):
        no = shutil.ignore_patterns("__pycache__", "test_*")
        shutil.copytree(ROOT / name, folder / name, ignore=no)
    assert asked(folder, "numerics")["moved"]["numerics"] == []
    return folder


@pytest.fixture
def folder(copied: Path) -> Iterator[Path]:
    """The copy, to be changed; afterwards its files are as before, in content and time.

    Kernels are kept by the path and time of their file: who changes none compiles none.
    """
    before = {path: (path.read_bytes(), path.stat()) for path in copied.rglob("*.py")}
    yield copied
    for path in set(copied.rglob("*.py")) - set(before):
        path.unlink()
    for path, (content, found) in before.items():
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)
            os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def asked(folder: Path, *files: str) -> dict[str, Any]:
    """The keys of the suites' cases, and which of these goldens moved, as the copy in `folder` has
    them in a process of its own.
    """
    kernels = {"PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(folder / "kernels")}
    code = (
        "import sys, harness; assert harness.__file__.startswith(sys.argv[1]), harness.__file__; "
        "sys.path.insert(0, sys.argv.pop(1) + '/tests'); import golden; sys.exit(golden.main())"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(folder), "--json", *files],
        env={**os.environ, **kernels},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def edit(folder: Path, file: str, before: str, after: str) -> None:
    """Changes one place of a file of the copy."""
    path = folder / file
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{before!r} is {text.count(before)} times in {file}"
    path.write_text(text.replace(before, after), encoding="utf-8")


@pytest.fixture(scope="module")
def keys() -> dict[str, str]:
    """The keys of all suites' cases, here."""
    return golden_keys.of_all_suites()


def test_cases_of_all_suites_have_keys_of_their_own(keys: dict[str, str]) -> None:
    timed = {name: key for name, key in keys.items() if name.startswith("acceleration ")}
    assert len(set(timed.values())) == len(timed) > 20
    assert len(keys) > len(timed) + 20  # a training may be of several suites


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "old", "new"),
    [("harness.training", "epoch", "passes"), ("harness.speed", "judge", "audits")],
)
def test_a_renamed_module_moves_no_key_and_no_golden(
    folder: Path, keys: dict[str, str], package: str, old: str, new: str
) -> None:
    place = folder / package.replace(".", "/")
    (place / f"{old}.py").rename(place / f"{new}.py")
    for path in folder.rglob("*.py"):
        text = path.read_text(encoding="utf-8").replace(f"{package}.{old}", f"{package}.{new}")
        named = rf"(from {package} import .*)\b{old}\b"
        path.write_text(re.sub(named, rf"\1{new} as {old}", text), encoding="utf-8")
    found = asked(folder)
    assert found == {"keys": keys, "moved": {"numerics": [], "exam": [], "keys": []}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after"),
    [("0.0, 200, Adam(), 60_000", "0.0, 200, SGD(), 60_000"), ("LIF(0.3, 0.25", "LIF(0.3, 0.26")],
    ids=["optimiser", "threshold"],
)
def test_another_setting_of_a_data_set_moves_its_keys_and_no_others(
    folder: Path, keys: dict[str, str], before: str, after: str
) -> None:
    edit(folder, "harness/spec/paper.py", before, after)
    found = asked(folder, "keys")["keys"]
    assert found.keys() == keys.keys()
    stayed = {name for name, key in keys.items() if found[name] == key}
    assert stayed == {name for name in keys if " nmnist " not in name}


NEURONS = "adapters/fused/neurons.py"
# A file, what stands there and what instead, and whose golden must see it.
CHANGES = {
    "tolerance": (
        "harness/proof/rules.py",
        "(gradient_error=1e-12",
        "(gradient_error=1e-11",
        "exam",
    ),
    "kernel's potential": (
        *(
            NEURONS,
            "u = k * state[e] + wide(arriving[e])",
            "u = k * (state[e] + wide(arriving[e]))",
        ),
        "numerics",
    ),
    "kernel's gradient": (
        NEURONS,
        "g[e] - reset * (carry",
        "g[e] - k * reset * (carry",
        "numerics",
    ),
    "training's step": (
        *(
            "harness/reference/coding.py",
            "mse_loss(votes, target)",
            "mse_loss(votes, target) * 1.1",
        ),
        "numerics",
    ),
    "share held out": ("harness/training/epoch.py", "SHARE = 0.1 ", "SHARE = 0.2 ", "numerics"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("file", "before", "after", "golden"), CHANGES.values(), ids=CHANGES)
def test_a_golden_moves_with_a_line(
    folder: Path, file: str, before: str, after: str, golden: str
) -> None:
    """Kernels too, which were compiled and kept before: they are compiled anew."""
    edit(folder, file, before, after)
    alone = file == NEURONS  # and its own number may be raised
    moved = asked(folder, *(() if alone else ("--first",)), golden)["moved"][golden]
    assert moved and all("has moved" in sentence for sentence in moved)
    if alone:
        (sentence,) = moved
        assert sentence.startswith("numerics.json, fused has moved")
