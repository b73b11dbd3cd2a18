"""The command line: what it takes, what it refuses, and with which exit code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer.main

from harness import cli
from harness.cli.app import app
from harness.spec import paper
from harness.system.version import VERSION

FLAGS = {
    "run": (
        "--suite --quick --long --paper --frameworks --baselines --networks --datasets "
        "--steps --batch-size --precision --device --seeds --epochs --samples --width --neunorm "
        "--init --inference --tuned --budget --allocator --data-root --download --no-download "
        "--fresh --keep-weights --executor --out"
    ),
    "check": "--networks --datasets --width --data-root",
    "list": "",
    "tables": "--out --format",
    "report": "--out --readme --site",
    "compare": "--fail-above",
    "status": "--suite --quick --long --paper --device --out",
    "verify": "--sample --epochs --seed --budget --data-root",
    "doctor": "--data-root",
    "export": "--to --weights --dataset --neunorm --width --fires --init --seed --data-root",
}


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of `harness ARGUMENTS`, in this process."""
    monkeypatch.setattr(sys, "argv", ["harness", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_commands_and_flags_are_a_contract() -> None:
    group = typer.main.get_command(app)
    commands = group.commands  # type: ignore[attr-defined]
    found = {
        name: " ".join(
            flag
            for parameter in command.params
            for flag in (*parameter.opts, *parameter.secondary_opts)
            if flag.startswith("--")
        )
        for name, command in commands.items()
    }
    assert found == FLAGS


BAD = [
    (["--suite", "speed"], "unknown suite 'speed', choose from acceleration"),
    ([], "Missing option '--suite'"),
    (["--frameworks", "bindsnet"], "unknown framework 'bindsnet', choose from "),
    (["--frameworks", "snntorch:fast", "--quick"], "unknown variant 'snntorch:fast'"),
    (["--networks", "Huge"], "unknown network 'Huge' for static images, choose from Small"),
    (["--networks", "8C3(Encoding)-AP3x"], "character 15: found 'AP3x', expected nC3"),
    (["--datasets", "imagenet"], "unknown data set 'imagenet', choose from cifar10"),
    (["--device", "tpu"], "'--device': 'tpu' is not one of 'auto', 'cpu', 'cuda'"),
    (["--precision", "fp8"], "'--precision': 'fp8' is not one of 'fp32', 'fp64', 'bf16'"),
    (["--steps", "0"], "'--steps': '0', expected whole numbers of 1 or more"),
    (["--steps", "-4"], "'--steps': '-4', expected whole numbers of 1 or more"),
    (["--steps", "two"], "'--steps': 'two', expected whole numbers"),
    (["--batch-size", "0"], "'--batch-size'"),
    (["--batch-size", "many"], "'--batch-size'"),
    (["--epochs", "-1"], "'--epochs'"),
    (["--epochs", "3"], "leave --epochs out"),
    (["--samples", "0"], "'--samples'"),
    (["--samples", "10"], "leave --samples out"),
    (["--suite", "scale", "--budget", "10m"], "use --epochs, --samples or --width to make it"),
    (["--suite", "energy", "--budget", "10m"], "use --networks, --datasets or --width to make it"),
    (["--suite", "scale", "--tuned"], "leave --inference and --tuned out"),
    (["--suite", "scale", "--baselines", "hats"], "leave --baselines out"),
    (["--suite", "baselines", "--baselines", "hat"], "unknown baseline 'hat', choose from lstm"),
    (["--suite", "baselines", "--width", "1/8"], "has no use for --width: leave it out"),
    (["--suite", "timesteps", "--paper", "--device", "cpu"], "takes months on a CPU"),
    (["--suite", "neunorm", "--networks", "Huge"], "unknown network 'Huge'"),
    (["--seeds", "-1"], "'--seeds': '-1', expected whole numbers of 0 or more"),
    (["--width", "1/0"], "'--width': '1/0', expected a fraction"),
    (["--width", "1e99999999"], "'1e99999999', expected a fraction"),  # its digits take hours
    (["--width", "-1"], "'--width': '-1', expected a fraction"),
    (["--budget", "soon"], "'--budget': 'soon', expected a time"),
    (["--neunorm", "max"], "'--neunorm': 'max' is not one of 'mean', 'literal'"),
    (["--init", "zeros"], "'--init': 'zeros' is not one of 'calibrated', 'torch'"),
    (["--allocator", "arena"], "'--allocator': 'arena' is not one of 'keep', 'system'"),
    (["--data-root", "/no/such/folder"], "/no/such/folder"),
    (["--executor", "cloud"], "'--executor': 'cloud' is not one of 'local', 'ray'"),
    (["--silence", "never"], "'--silence': 'never', expected a time"),
    (["--quick", "--paper"], "exclude each other"),
    (["--long", "--paper"], "exclude each other"),
    (["--long"], "the acceleration suite has no trainings of --long: leave it out"),
    (["--colour"], "--colour"),
]


@pytest.mark.parametrize(("arguments", "sentence"), BAD, ids=lambda value: " ".join(value)[:40])
def test_bad_input_is_one_sentence_exit_2_and_nothing_written(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if arguments and "--suite" not in arguments:
        arguments = ["--suite", "acceleration", *arguments]
    assert call(monkeypatch, "run", *arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("harness: ")
    assert output.err.count("\n") == 1
    assert sentence in output.err
    assert "Traceback" not in output.err
    assert list(tmp_path.iterdir()) == []


def test_cuda_without_a_device_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert call(monkeypatch, "run", "--suite", "acceleration", "--device", "cuda") == 2
    assert "torch finds no CUDA device here: use --device cpu" in capsys.readouterr().err


def test_an_output_folder_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    code = call(
        monkeypatch, "run", "--suite", "acceleration", "--out", str(tmp_path / "file" / "out")
    )
    assert code == 2
    assert "--out" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["tables", "7"], "unknown table '7', choose from acceleration"),
        (
            ["tables", "acceleration", "--format", "xls"],
            "'--format': 'xls' is not one of 'text', 'md', 'csv', 'html'",
        ),
        (
            ["tables", "acceleration"],
            "first run `harness run --suite acceleration --out results/local`",
        ),
        (["list", "planets"], "choose from suites, frameworks, networks, datasets, claims"),
        (["status", "--suite", "speed"], "unknown suite 'speed'"),
        (["status", "--quick", "--paper"], "exclude each other"),
        (["status", "--quick", "--long"], "exclude each other"),
        (["verify", "nowhere"], "no rows of acceleration under nowhere/records: first run"),
        (["check", "bindsnet"], "unknown framework 'bindsnet'"),
        (["check", "--width", "x"], "expected a fraction"),
        (["doctor", "--data-root", "/no/such/folder"], "/no/such/folder"),
        (["brew"], "brew"),
    ],
)
def test_other_commands_refuse_in_the_same_way(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert sentence in error


@pytest.mark.parametrize("what", ["suites", "frameworks", "networks", "datasets", "claims"])
def test_lists(
    what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "list", what) == 0
    expected = {
        "suites": ["acceleration"],
        "frameworks": ["reference", "snntorch:subtract"],
        "networks": [row.name for row in paper.NETWORKS],
        "datasets": list(paper.SETTINGS),
        "claims": ["NeuNorm", "Page's"],
    }[what]
    output = capsys.readouterr().out
    assert all(name in output for name in expected)


def test_doctor_says_what_is_missing_and_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "doctor", "--data-root", str(tmp_path)) == 0
    output = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "torch" in output and "threads" in output
    assert "NMNIST/" in output and "CIFAR10DVS" in output


def test_check_certifies_and_says_so_per_layer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["check", "reference", "snntorch:subtract", "--networks", "small"]
    arguments += ["--datasets", "cifar10", "--data-root", str(tmp_path)]
    assert call(monkeypatch, *arguments) == 0  # a marked variant does not claim to be equal
    output = capsys.readouterr().out
    assert "equal: 6 of 6 certificates passed" in output
    assert "4 Voting" in output
    assert "not the paper's function" in output and "spikes differ" in output


def test_check_fails_for_one_that_claims_to_be_equal_and_is_not(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    plant: Callable[[str, str], None],
) -> None:
    plant(
        "planted",
        "from adapters import snntorch\nDEVIATIONS = ()\n"
        "build = snntorch.VARIANTS['subtract'].build\n",
    )
    arguments = ["check", "planted", "--networks", "small", "--datasets", "cifar10"]
    arguments += ["--width", "1/16"]
    assert call(monkeypatch, *arguments, "--data-root", str(tmp_path)) == 1
    assert "FAILED: 0 of 6 certificates passed" in capsys.readouterr().out


def test_without_a_command_help_is_shown_and_nothing_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch) == 0
    said = capsys.readouterr()
    assert "Usage: harness" in said.out and said.err == ""


def test_the_version_and_the_module_by_its_name() -> None:
    command = [sys.executable, "-m", "harness", "--version"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert (ended.stdout, ended.stderr) == (f"snn-harness {VERSION}\n", "")


def test_a_shell_is_told_what_fits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {"COMP_WORDS": "harness run --sil", "COMP_CWORD": "2"}
    for name, value in {"_HARNESS_COMPLETE": "complete_bash", **asked}.items():
        monkeypatch.setenv(name, value)
    call(monkeypatch)
    assert capsys.readouterr().out.split() == ["--silence"]


def test_help_and_tables_do_without_torch() -> None:
    code = (
        "import sys; from harness.analysis import tables; from harness import records, suites\n"
        "from harness.cli import terminal; from harness.spec import paper\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_run_of_a_network_nobody_foresaw_ends_with_its_table(tmp_path: Path) -> None:
    """The command as a user gives it, in a process of its own, with no data at all."""
    arguments = ["--networks", "16C3(Encoding)-AP2-16C3-AP2-32FC-Voting", "--datasets", "cifar10"]
    arguments += [
        "--steps",
        "2",
        "--batch-size",
        "2",
        "--frameworks",
        "reference,norse,norse:super",
    ]
    harness = [sys.executable, "-c", "from harness.cli import main; main()"]
    environment = {**os.environ, "HARNESS_DATA": str(tmp_path), "COLUMNS": "120"}

    def run(*words: str) -> str:
        return subprocess.run(
            [*harness, *words, "--out", str(tmp_path / "out")],
            env=environment,
            cwd=tmp_path,
            check=True,
            timeout=300,
            capture_output=True,
            text=True,
        ).stdout

    shown = run("run", "--suite", "acceleration", "--quick", "--budget", "1s", *arguments)
    assert "custom  16C3(Encoding)-AP2-16C3-AP2-32FC-Voting" in shown
    assert "equal: proved in fp64+fp32" in " ".join(shown.split())
    assert "not the paper's function" in shown
    assert "A/A over the whole run" in shown
    table = run("tables", "acceleration", "--format", "csv")
    lines = table.splitlines()
    assert [line.split(",")[2:4] for line in lines[1:]][0] == ["floor", ""]
    assert len(lines) == 1 + 4
