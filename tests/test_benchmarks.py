"""asv's benchmarks run once each, so that a broken one is found before asv runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.adapter import record_spikes
from harness.benchmarks import reading, steps
from harness.records import Store
from harness.records.identity import PROTOCOL
from harness.speed.iteration import OfModule

ROOT = Path(__file__).parents[1]


pytestmark = pytest.mark.usefixtures("no_data_of_the_machine")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.machine.memory.keep_freed", lambda: "system")
    monkeypatch.setattr(steps, "ROUNDS", 2)
    monkeypatch.setattr(steps, "WARMUP_ROUNDS", 1)


@pytest.mark.parametrize("benchmark", [steps.Steps(), steps.Inference()])
def test_steps_are_timed_and_tracked(benchmark: steps.Steps) -> None:
    benchmark.setup("reference", "cifar10")
    benchmark.time_step("reference", "cifar10")
    benchmark.peakmem_step("reference", "cifar10")
    assert benchmark.track_ratio_to_floor("reference", "cifar10") > 0.5
    assert isinstance(benchmark.ready, OfModule)
    with record_spikes(benchmark.ready.subject) as taps:  # silent layers would cost no events
        benchmark.step()
        assert min(tap.collected().float().mean() for tap in taps) > 0.01


def test_proofs_are_tracked() -> None:
    proof = steps.Proof()
    proof.setup("reference", "nmnist")
    assert proof.track_certificates_passed("reference", "nmnist") == 2
    assert 0.01 < proof.track_spike_rate("reference", "nmnist") < 0.9


def test_a_framework_that_is_not_installed_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.missing", lambda name: "not here")
    for benchmark in (steps.Steps(), steps.Proof()):
        with pytest.raises(NotImplementedError):
            benchmark.setup("norse", "cifar10")


def test_a_report_of_synthetic_rows_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "ROWS", 600)
    benchmark = reading.Reading()
    folder = benchmark.setup_cache()
    rows, damaged = Store(Path(folder)).read()
    assert len(rows) == 600 and not damaged
    assert {row.run.protocol for row in rows} == {PROTOCOL}  # else a report would show no timing
    benchmark.time_report_of_100_000_rows(folder)
    assert (Path(folder) / "report.html").exists()


def test_what_asv_imports_is_there() -> None:
    exec(reading.timeraw_import_of_the_command_line())
    exec(reading.timeraw_import_of_the_tables())


def test_asvs_configuration_names_existing_folders() -> None:
    conf = json.loads((ROOT / "asv.conf.json").read_text(encoding="utf-8"))
    assert (ROOT / conf["benchmark_dir"]).resolve() == Path(steps.__file__).parent.resolve()
    assert "results/asv/" in (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    for name in ("env_dir", "results_dir", "html_dir"):
        assert conf[name].startswith("results/asv/")
