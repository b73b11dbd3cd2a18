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
from rows import timed

from harness import cli
from harness.cli.app import app
from harness.cli.app import call as app_call
from harness.records import Store
from harness.spec import paper
from harness.system.installed import VERSION

FLAGS = {
    "run": (
        "--suite --quick --long --paper --budget --frameworks --baselines --networks --datasets "
        "--steps --batch-size --precision --device --seeds --epochs --samples --width --neunorm "
        "--init --inference --tuned --data-root --download --no-download "
        "--fresh --keep-weights --executor --out"
    ),
    "check": "--networks --datasets --width --data-root",
    "list": "",
    "tables": "--out --format --networks --datasets --machine --all",
    "report": "--out --readme",
    "compare": "--fail-above",
    "status": "--suite --quick --long --paper --device --out",
    "verify": "--sample --epochs --seed --budget --data-root",
    "doctor": "--data-root",
    "export": "--to --weights --dataset --neunorm --width --fires --init --seed --data-root",
}
HARNESS = [sys.executable, "-c", "from harness.cli import main; main()"]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of `harness ARGUMENTS`, in this process."""
    monkeypatch.setattr(sys, "argv", ["harness", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_commands_and_flags_are_a_contract(capsys: pytest.CaptureFixture[str]) -> None:
    group = typer.main.get_command(app)
    commands = group.commands  # type: ignore[attr-defined]
    found = {
        name: {
            flag
            for parameter in command.params
            for flag in (*parameter.opts, *parameter.secondary_opts)
            if flag.startswith("--")
        }
        for name, command in commands.items()
    }
    assert found == {name: set(flags.split()) for name, flags in FLAGS.items()}
    assert app_call("run", "--help") == 0
    assert len(capsys.readouterr().out.splitlines()) <= 40  # a screen


# What is wrong, of `harness run` where no command is named, and a word of what is said of it.
BAD = {
    "--suite speed": "unknown suite 'speed', choose from acceleration",
    "": "no suite is named",
    "--frameworks bindsnet": "unknown framework 'bindsnet', choose from ",
    "--frameworks snntorch:fast --quick": "unknown variant 'snntorch:fast'",
    "--networks Huge": "unknown network 'Huge' for static images, choose from Small",
    "--networks 8C3(Encoding)-AP3x": "character 15: found 'AP3x', expected nC3",
    "--networks /missing.nir": "/missing.nir",
    "--datasets imagenet": "unknown data set 'imagenet', choose from cifar10",
    "--device tpu": "--device: 'tpu' is not one of auto, cpu, cuda",
    "--precision fp8": "--precision: 'fp8' is not one of fp32, fp64, bf16",
    "--steps 0": "--steps: '0', expected whole numbers of 1 or more",
    "--steps two": "--steps: 'two', expected whole numbers",
    "--batch-size 0": "--batch-size",
    "--epochs -1": "--epochs",
    "--epochs 3": "leave --epochs out",
    "--samples 10": "leave --samples out",
    "--suite scale --budget 10m": "use --epochs, --samples or --width to make it",
    "--suite energy --budget 10m": "use --networks, --datasets or --width to make it",
    "--suite scale --tuned": "leave --tuned out",
    "--suite scale --baselines hats": "leave --baselines out",
    "--suite baselines --baselines hat": "unknown baseline 'hat', choose from lstm",
    "--suite baselines --width 1/8": "leave --width out",
    "--suite timesteps --paper --device cpu": "takes months on a CPU",
    "--suite neunorm --networks Huge": "unknown network 'Huge'",
    "--seeds -1": "--seeds: '-1', expected whole numbers of 0 or more",
    "--width 1/0": "--width: '1/0', expected a fraction",
    "--width 1e99999999": "'1e99999999', expected a fraction",  # its digits take hours
    "--budget soon": "--budget: 'soon', expected a time",
    "--neunorm max": "--neunorm: 'max' is not one of mean, literal",
    "--init zeros": "--init: 'zeros' is not one of calibrated, torch",
    "--data-root /no/such/folder": "/no/such/folder",
    "--executor cloud": "--executor: 'cloud' is not one of local, ray",
    "--quick --paper": "exclude each other",
    "--long": "the acceleration suite has no trainings of --long",
    "--colour": "--colour",
    "--out file/out": "--out",
    "tables 7": "unknown table '7', choose from acceleration",
    "tables acceleration --format xls": "'--format': 'xls' is not one of 'text', 'md', 'csv'",
    "tables acceleration": "first run `harness run --suite acceleration --out results/local`",
    "list planets": "choose from suites, frameworks, networks, datasets, claims",
    "status --suite speed": "unknown suite 'speed'",
    "status --quick --paper": "exclude each other",
    "status --quick --long": "exclude each other",
    "status --out /etc/passwd": "/etc/passwd is not a folder",
    "status --out nowhere": "nowhere does not exist",
    "status --suite scale --device tpu": "'tpu' is not one of auto, cpu, cuda",
    "verify nowhere": "nowhere does not exist",
    "compare . . --fail-above much": "'much', expected a percentage",
    "check bindsnet": "unknown framework 'bindsnet'",
    "check --width x": "expected a fraction",
    "check --networks /missing.nir": "/missing.nir",
    "doctor --data-root /no/such/folder": "/no/such/folder",
    "brew": "brew",
}


@pytest.mark.parametrize("arguments", BAD)
def test_bad_input_is_one_sentence_exit_2_and_nothing_written(
    arguments: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    words = arguments.split()
    if arguments.startswith("--") or not arguments:
        words = ["run", *words]
    if arguments.startswith("--") and "--suite" not in words:
        words = ["run", "--suite", "acceleration", *words[1:]]
    assert call(monkeypatch, *words) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("harness: ") and said.err.count("\n") == 1
    assert BAD[arguments] in said.err
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.parametrize(
    ("arguments", "without"),
    [
        ("--help", {"torch", "pandas", "adapters"}),
        ("doctor --data-root /no/such", {"torch", "pandas"}),
        ("check --networks /missing.nir", {"torch", "pandas"}),
        ("run --suite scale --networks /missing.nir", {"torch", "pandas", "adapters"}),
        ("run --suite scale --data-root /missing", {"torch", "pandas", "adapters"}),
        ("tables 3 --out results/published/intel-xeon-amx", {"torch"}),
    ],
)
def test_torch_is_imported_by_what_needs_it_once_what_was_given_is_read(
    arguments: str, without: set[str]
) -> None:
    code = "import sys; from harness.cli.app import call; call(*sys.argv[1:]); "
    code += f"found = {without} & set(sys.modules); assert not found, found"
    command = [sys.executable, "-c", code, *arguments.split()]
    subprocess.run(command, check=True, timeout=60, cwd=Path(__file__).parents[1])


def test_cuda_without_a_device_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert call(monkeypatch, "run", "--suite", "acceleration", "--device", "cuda") == 2
    assert "torch finds no CUDA device here: use --device cpu" in capsys.readouterr().err


LISTS = {
    "list suites": ["acceleration"],
    "list frameworks": ["reference", "snntorch:subtract"],
    # whole in a line, for a pipe
    "list networks": [f"{each.name} {each.notation}" for each in paper.NETWORKS],
    "list datasets": list(paper.SETTINGS),
    "list claims": ["NeuNorm", "Page's"],
    "list baselines": ["hats", "lstm"],
    "doctor --data-root .": ["torch", "threads", "NMNIST/", "CIFAR10DVS"],
    "": ["Usage: harness"],
    "--version": [f"snn-harness {VERSION}"],
}


@pytest.mark.parametrize("what", LISTS)
def test_what_there_is_is_shown(
    what: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, *what.split()) == 0
    said = capsys.readouterr()
    shown = re.sub(r" +", " ", said.out) if "list" in what else re.sub(r"\s+", " ", said.out)
    assert all(name in shown for name in LISTS[what]) and said.err == ""


def test_check_certifies_and_says_so_per_layer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["check", "reference", "snntorch:subtract", "--networks", "small"]
    arguments += ["--datasets", "cifar10", "--data-root", str(tmp_path)]
    assert call(monkeypatch, *arguments) == 0  # a marked variant does not claim to be equal
    output = capsys.readouterr().out
    assert "equal: 6 of 6 certificates passed" in output and "4 Voting" in output
    assert "not the paper's function" in output and "spikes differ" in output


def test_check_fails_for_one_that_claims_to_be_equal_and_is_not(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    plant: Callable[[str, str], None],
) -> None:
    source = "from adapters import snntorch\nDEVIATIONS = ()\n"
    plant("planted", source + "build = snntorch.VARIANTS['subtract'].build\n")
    arguments = ["check", "planted", "--networks", "small", "--datasets", "cifar10"]
    arguments += ["--width", "1/16", "--data-root", str(tmp_path)]
    assert call(monkeypatch, *arguments) == 1
    assert "FAILED: 0 of 6 certificates passed" in capsys.readouterr().out


def test_the_module_by_its_name() -> None:
    command = [sys.executable, "-m", "harness", "--version"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert (ended.stdout, ended.stderr) == (f"snn-harness {VERSION}\n", "")


def test_a_shell_is_told_what_fits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {"COMP_WORDS": "harness run --samp", "COMP_CWORD": "2"}
    for name, value in {"_HARNESS_COMPLETE": "complete_bash", **asked}.items():
        monkeypatch.setenv(name, value)
    call(monkeypatch)
    assert capsys.readouterr().out.split() == ["--samples"]


def test_a_table_is_of_the_networks_data_and_machine_that_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def shown(*arguments: str) -> str:
        assert call(monkeypatch, "tables", "acceleration", "--out", str(tmp_path), *arguments) == 0
        return capsys.readouterr().out

    for cpu in ("A one", "B two"):
        for scale, dataset in (("Small", "cifar10"), ("Large", "nmnist")):
            for run, names in (("1", ("floor", "norse")), ("2", ("floor", "reference"))):
                where = {"cpu": cpu, "scale": scale, "dataset": dataset, "run": run}
                rows = [row for name in names for row in timed(name, 1.0, 1.1, **where)]
                Store(tmp_path).append(*rows)
    whole = shown()
    assert "reference" in whole and "norse" not in whole  # of the latest run
    assert "norse" in shown("--all") and "norse" in shown("--format", "csv")
    small = shown("--networks", "small", "--machine", "b TWO")
    assert "on B two" in small and "A one" not in small and "N-MNIST" not in small
    assert "CIFAR-10" not in shown("--datasets", "nmnist", "--format", "md")
    for wrong in (("--networks", "Huge"), ("--machine", "C"), ("--datasets", "imagenet")):
        out = ("--out", str(tmp_path), *wrong)
        assert call(monkeypatch, "tables", "acceleration", *out) == 2
        assert wrong[1] in capsys.readouterr().err


def test_a_run_of_a_network_nobody_foresaw_ends_with_its_table(tmp_path: Path) -> None:
    """The command as a user gives it, in a process of its own, with no data at all."""
    arguments = ["--networks", "16C3(Encoding)-AP2-16C3-AP2-32FC-Voting", "--datasets", "cifar10"]
    arguments += ["--steps", "2", "--batch-size", "2"]
    arguments += ["--frameworks", "reference,norse,norse:super"]
    environment = {**os.environ, "HARNESS_DATA": str(tmp_path), "COLUMNS": "120"}

    def run(*words: str) -> str:
        command = [*HARNESS, *words, "--out", str(tmp_path / "out")]
        return subprocess.run(
            command,
            env=environment,
            cwd=tmp_path,
            check=True,
            timeout=300,
            capture_output=True,
            text=True,
        ).stdout

    shown = run("run", "--suite", "acceleration", "--quick", "--budget", "1s", *arguments)
    assert "custom  16C3(Encoding)-AP2-16C3-AP2-32FC-Voting" in shown
    assert "equal" in shown and "not the paper's function" in shown
    assert "A/A over the whole run" in shown
    lines = run("tables", "acceleration", "--format", "csv").splitlines()
    assert lines[1].split(",")[2:4] == ["floor", ""] and len(lines) == 1 + 4
