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
from conftest import Command
from rows import timed

from harness.cli.app import app
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


def test_commands_and_flags_are_a_contract(command: Command) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    names = {
        name: [flag for each in its.params for flag in (*each.opts, *each.secondary_opts)]
        for name, its in commands.items()
    }
    found = {name: {flag for flag in its if flag[:2] == "--"} for name, its in names.items()}
    assert found == {name: set(flags.split()) for name, flags in FLAGS.items()}
    code, said, _ = command("run", "--help")
    assert code == 0 and len(said.splitlines()) <= 40  # a screen


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
    "--device cuda": "torch finds no CUDA device here: use --device cpu",
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
    arguments: str, inside: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (inside / "file").write_text("mine")
    words = arguments.split()
    if arguments[:2] in ("", "--"):
        suite = [] if "--suite" in words or not words else ["--suite", "acceleration"]
        words = ["run", *suite, *words]
    code, out, error = command(*words)
    assert (code, out) == (2, "") and error.startswith("harness: ") and error.count("\n") == 1
    assert BAD[arguments] in error
    assert list(inside.iterdir()) == [inside / "file"]


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
def test_what_there_is_is_shown(what: str, inside: Path, command: Command) -> None:
    code, out, error = command(*what.split())
    shown = re.sub(r" +" if "list" in what else r"\s+", " ", out)
    assert (code, error) == (0, "") and all(name in shown for name in LISTS[what])


def test_check_certifies_each_layer_and_fails_for_what_claims_to_be_equal_and_is_not(
    command: Command, tmp_path: Path, plant: Callable[[str, str], None]
) -> None:
    small = ["--networks", "small", "--datasets", "cifar10", "--data-root", tmp_path]
    code, out, _ = command("check", "reference", "snntorch:subtract", *small)
    assert code == 0  # a marked variant does not claim to be equal
    assert "equal: 6 of 6 certificates passed" in out and "4 Voting" in out
    assert "not the paper's function" in out and "spikes differ" in out
    source = "from adapters import snntorch\nDEVIATIONS = ()\n"
    plant("planted", source + "build = snntorch.VARIANTS['subtract'].build\n")
    code, out, _ = command("check", "planted", *small, "--width", "1/16")
    assert code == 1 and "FAILED: 0 of 6 certificates passed" in out


def test_the_module_by_its_name() -> None:
    command = [sys.executable, "-m", "harness", "--version"]
    assert subprocess.check_output(command, text=True) == f"snn-harness {VERSION}\n"


def test_a_shell_is_told_what_fits(monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    monkeypatch.setenv("_HARNESS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "harness run --samp")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert command()[1].split() == ["--samples"]


def test_a_table_is_of_the_networks_data_and_machine_that_are_named(
    tmp_path: Path, command: Command
) -> None:
    for cpu in ("A one", "B two"):
        for scale, dataset in (("Small", "cifar10"), ("Large", "nmnist")):
            for run, names in (("1", ("floor", "norse")), ("2", ("floor", "reference"))):
                where = {"cpu": cpu, "scale": scale, "dataset": dataset, "run": run}
                rows = [row for name in names for row in timed(name, 1.0, 1.1, **where)]
                Store(tmp_path).append(*rows)
    for given, named, absent in (
        ("", "reference", "norse"),  # of the latest run
        ("--all", "norse", "jax"),
        ("--format csv", "norse", "jax"),
        ("--networks small --machine two", "on B two", "A one"),
        ("--networks small --machine TWO", "CIFAR-10", "N-MNIST"),
        ("--datasets nmnist --format md", "N-MNIST", "CIFAR-10"),
    ):
        code, out, _ = command("tables", "acceleration", "--out", tmp_path, *given.split())
        assert code == 0 and named in out and absent not in out
    for wrong in (("--networks", "Huge"), ("--machine", "C"), ("--datasets", "imagenet")):
        code, _, error = command("tables", "acceleration", "--out", tmp_path, *wrong)
        assert code == 2 and wrong[1] in error


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
    environment = {**os.environ, "HARNESS_DATA": str(tmp_path), "COLUMNS": "120"}

    def run(*words: str) -> str:
        command = [*HARNESS, *words, "--out", "out"]
        return subprocess.check_output(
            command, env=environment, cwd=tmp_path, timeout=300, text=True, stderr=subprocess.PIPE
        )

    shown = run("run", "--suite", "acceleration", "--quick", "--budget", "1s", *arguments)
    assert "custom  16C3(Encoding)-AP2-16C3-AP2-32FC-Voting" in shown
    assert "equal" in shown and "not the paper's function" in shown
    assert "A/A over the whole run" in shown
    lines = run("tables", "acceleration", "--format", "csv").splitlines()
    assert lines[1].split(",")[2:4] == ["floor", ""] and len(lines) == 1 + 4
