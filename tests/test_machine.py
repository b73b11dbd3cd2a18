"""The machine: its description in rows, kept memory, and the project's own files."""

from __future__ import annotations

import os
import platform
import re
import resource
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from surroundings import needs_linux

from harness.machine import host, installed, kept, memory
from harness.machine.child import Child
from harness.machine.files import make_user_cache, write_whole
from harness.machine.kept import MeasurementCache

pytestmark = pytest.mark.usefixtures("no_data_of_the_machine")
CPU = torch.device("cpu")
KEPT = "glibc, memory kept"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of another owner, with one file."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@x"]
    (tmp_path / "file").write_text("as it was\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(installed, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setattr(installed, "commit", installed.commit.__wrapped__)
    return tmp_path


def test_a_row_has_the_commit_and_whether_files_differ_from_it(repository: Path) -> None:
    assert re.fullmatch(r"[0-9a-f]{12}", str(host.describe(CPU).commit))
    (repository / "file").write_text("changed\n")
    assert str(installed.commit()).endswith("+dirty")


def test_an_unknown_commit_has_its_reason_in_the_row(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (repository / ".git" / "HEAD").unlink()
    assert str(installed.commit()).startswith("not known: ")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "'git'" in str(installed.commit())
    monkeypatch.setattr(installed, "ROOT", tmp_path / "installed")
    assert installed.commit() is None


def test_a_matrix_unit_or_force_makes_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in host.FORCING:
        monkeypatch.delenv(name, raising=False)
    named = torch.backends.cpu.get_cpu_capability()
    for amx, bf16, suffix in ((False, True, ""), (True, True, " and AMX"), (True, False, "")):
        monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda amx=amx: amx)
        monkeypatch.setattr(host, "has_bf16", lambda device, bf16=bf16: bf16)
        assert host.describe(CPU).capability == named + suffix
    for name in host.FORCING:
        with monkeypatch.context() as patch:
            patch.setenv(name, "AVX2")
            forced = host.describe(CPU)
        assert str(forced.capability).endswith(" (forced)") and name in str(forced.environment)


def test_bf16_needs_instructions_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    for name in host.FORCING:
        monkeypatch.delenv(name, raising=False)
    for processor, avx512_bf16, amx, limit, has in (
        ("x86_64", False, False, "", False),  # AVX-512 alone, with which oneDNN takes bf16 too
        ("x86_64", True, False, "", True),
        ("x86_64", False, True, "", True),
        ("x86_64", True, True, "AVX512_CORE", False),
        ("x86_64", True, True, "avx512_core_bf16", True),
        ("aarch64", False, False, "", True),  # where oneDNN asks for the instructions
    ):
        monkeypatch.setattr(platform, "machine", lambda name=processor: name)
        monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda is_=avx512_bf16: is_)
        monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda is_=amx: is_)
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
        assert host.has_bf16(CPU) == has
        assert host.has_amx() == (amx and not limit)


def sets_everything() -> tuple[tuple[str, ...], ...]:
    former = host.settings()
    nothing = host.changes(former)
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(3)
    torch.set_flush_denormal(True)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    __import__("gc").disable()
    os.nice(1)  # which changes nothing where the tests themselves have the lowest priority
    return nothing, host.changes(former)


def taken_twice() -> tuple[float, float]:
    """The share of a block's pages that are new the second time, and MiB in huge pages."""
    torch.zeros(256 * 2**20, dtype=torch.uint8).fill_(1)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    held = torch.zeros(200 * 2**20, dtype=torch.uint8).fill_(1)
    new = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    text = Path("/proc/self/smaps_rollup").read_text()
    (huge,) = re.findall(r"AnonHugePages: +([0-9]+) kB", text)
    return new * resource.getpagesize() / held.numel(), int(huge) / 1024


@needs_linux
def test_a_child_keeps_memory_and_names_changed_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    machine = host.describe(CPU)
    with Child() as child:
        new, huge = child.call(taken_twice)
        assert new < 0.1
        if memory.allocator_of_children() == f"{KEPT}, huge pages":
            assert huge > 150
        assert "GLIBC_TUNABLES" not in os.environ
        # its machine is as the user set it up
        assert replace(child.call(host.describe, CPU), commit=machine.commit) == machine
        nothing, changes = child.call(sets_everything)
    sets = {
        *("torch's threads to 3", "the default dtype to torch.float64", "denormal numbers to off"),
        *("deterministic algorithms to on", "the garbage collector to off"),
    }
    if len(cores := os.sched_getaffinity(0)) > 1:
        sets.add(f"the cores to run on to { {min(cores)} }")
    assert nothing == () and {f"sets {change}" for change in sets} <= {*changes}
    assert changes[-1].startswith("sets the priority to") or os.nice(0) == 19


@needs_linux
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_few_cores_and_variables_that_change_speed_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A key has them as they stand there: test_identity.py."""
    set_here = ("NUMBA_NUM_THREADS", "OMP_THREAD_LIMIT", "PYTORCH_JIT", "TORCHDYNAMO_DISABLE")
    set_here += ("OMP_PLACES", "XLA_FLAGS", "NPROC", "CUDA_LAUNCH_BLOCKING")
    for name in set_here:
        monkeypatch.setenv(name, "1")
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cores)})
        settings = str(host.describe(CPU).environment).split()
    finally:
        os.sched_setaffinity(0, cores)
    assert {f"cores=1/{os.cpu_count()}", *(f"{name}=1" for name in set_here)} <= {*settings}


@needs_linux
def test_the_allocator_is_described_truly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place, huge = tmp_path / "enabled", f"{KEPT}, huge pages"
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr(memory, "_SYSTEMS_HUGE", place)
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.41"))
    for offered, allocator in (
        ("always madvise [never]\n", KEPT),
        ("always [madvise] never\n", huge),
    ):
        place.write_text(offered)
        assert memory.allocator_of_children() == allocator
    monkeypatch.setenv("LD_PRELOAD", "libjemalloc.so")
    preloaded = "system, LD_PRELOAD=libjemalloc.so"
    assert memory.allocator_of_children() == memory.keep_freed() == preloaded


def test_files_are_whole(tmp_path: Path) -> None:
    write_whole(tmp_path / "a" / "file", lambda path: path.write_text("all"))
    with pytest.raises(ZeroDivisionError):
        write_whole(tmp_path / "a" / "file", lambda path: 1 / 0)
    assert [path.read_text() for path in (tmp_path / "a").iterdir()] == ["all"]


CACHE = MeasurementCache("some", lambda value: 1.0 * value)


def never() -> float:
    raise AssertionError("it was measured again")


def test_one_measures_for_all_that_ask_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.machine.files.LOOK", 0.02)
    measured = iter((0.5, 0.9))

    def measure() -> float:
        time.sleep(0.1)
        return next(measured)

    with ThreadPoolExecutor(2) as pool:
        assert {*pool.map(lambda _: CACHE.get(("c",), measure, 0.1), range(2))} == {0.5}
    assert {path.suffix for path in make_user_cache("some").iterdir()} == {".json", ".lock"}


@pytest.mark.parametrize("text", ["", "[]", '{"value": {}}'], ids=["empty", "a list", "no number"])
def test_a_damaged_measurement_is_made_anew(text: str) -> None:
    CACHE.get(("a",), lambda: 0.5, 0.1)
    (place,) = make_user_cache("some").glob("*.json")
    place.write_text(text)
    assert CACHE.get(("a",), lambda: 0.3, 0.1) == CACHE.get(("a",), never, 0.1) == 0.3


def test_another_machine_and_a_timed_contender_measure_for_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert CACHE.get(("a",), lambda: 0.5, 0.1) == CACHE.get(("a",), never, 0.1) == 0.5
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert CACHE.get(("a",), never, 0.1) == 0.5  # a training that is resumed with it ends the same
    monkeypatch.setattr(kept, "_sharing", "all")
    kept.share_with("timed")
    assert CACHE.get(("a",), lambda: 2.0, 0.1) == 2.0
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert CACHE.get(("a",), lambda: 3.0, 0.1) == 3.0
    monkeypatch.setattr(host, "cpu_name", lambda: "another")
    assert CACHE.get(("a",), lambda: 4.0, 0.1) == 4.0
    kept.share_with("nobody")
    assert CACHE.get(("a",), never, 0.1) == 0.1


def test_what_was_measured_before_a_fresh_run_is_measured_once_more() -> None:
    CACHE.get(("a",), lambda: 0.5, 0.1)
    (path,) = make_user_cache("some").glob("*.json")
    os.utime(path, (0, 0))
    assert CACHE.get(("a",), never, 0.1) == 0.5
    kept.forget_all()
    assert CACHE.get(("a",), lambda: 0.3, 0.1) == CACHE.get(("a",), never, 0.1) == 0.3


def test_a_folder_that_cannot_be_written_costs_the_keeping_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(path: Path, *args: object, **kwargs: object) -> None:
        raise OSError(30, "Read-only file system", str(path))

    for name in ("write_text", "unlink"):
        monkeypatch.setattr(Path, name, refused)
    assert CACHE.get(("read only",), lambda: 0.5, 0.1) == 0.5


@pytest.mark.parametrize("existing", [None, 0o755, 0o777])
def test_the_cache_folder_is_the_users_alone(existing: int | None, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "snn-harness"
    if existing is not None:
        folder.mkdir(parents=True)
        folder.chmod(existing)
    assert make_user_cache("numba").parent == folder
    assert folder.stat().st_mode & 0o777 == 0o700
