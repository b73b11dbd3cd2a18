"""The command line: flags, refusals and ends, each with an exit code and at most one sentence."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
import typer.main
from rows import CASE, ROW, rows_of_a_run, timed
from surroundings import Command

import adapters
from adapters import facts
from harness.analysis import timings
from harness.analysis.frame import frames
from harness.cli.app import app
from harness.jobs.local import Local
from harness.machine.installed import VERSION
from harness.records import Store
from harness.records.run import CaseRows
from harness.spec import FORMS, Case, paper

FLAGS = {
    "run": (
        "--suite --quick --long --paper --budget --frameworks --baselines --networks --datasets "
        "--steps --batch-size --precision --device --seeds --epochs --rate --samples --width "
        "--dropout --neunorm --neunorm-u --init --inference --tuned --data-root --download "
        "--no-download --fresh --keep-weights --executor --out"
    ),
    "check": "--networks --datasets --width --data-root",
    "versions": "--newest --time --budget --data-root --out",
    "list": "",
    "tables": "--out --format --networks --datasets --machine --all",
    "report": "--out --readme",
    "compare": "--fail-above --contender --against",
    "status": "--suite --quick --long --paper --device --out",
    "verify": "--sample --epochs --seed --budget --data-root",
    "doctor": "--data-root",
    "export": "--to --weights --dataset --neunorm --width --fires --init --seed --data-root",
}
HARNESS = [sys.executable, "-c", "from harness.cli import main; main()"]


def test_commands_and_flags_are_a_contract(command: Command) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    names = {
        name: [
            flag
            for parameter in entry.params
            for flag in (*parameter.opts, *parameter.secondary_opts)
        ]
        for name, entry in commands.items()
    }
    flags_of = {name: {flag for flag in words if flag[:2] == "--"} for name, words in names.items()}
    assert flags_of == {name: set(flags.split()) for name, flags in FLAGS.items()}
    code, out, _ = command("run", "--help")
    lines = [line for line in out.splitlines() if "--help" not in line]  # typer's own
    assert code == 0 and len(lines) <= 42  # a screen; and a switch shows no value
    assert "<" not in "".join(lines) and any("--quick  " in line for line in lines)
    assert "Each a training or timed cell." in out  # what --seeds does


# Wrong arguments (of `harness run` where no command is named), and a phrase of the message.
BAD = {
    "--suite speed": "unknown suite 'speed', choose from acceleration",
    "": "no suite is named",
    "--frameworks bindsnet": "unknown framework 'bindsnet', choose from ",
    "--frameworks snntorch:fast --quick": "unknown variant 'snntorch:fast'",
    "--networks Huge": "unknown network 'Huge' for static images, choose from Small",
    "--networks 8C3(Encoding)-AP3x": "character 15: found 'AP3x', expected nC3",
    "--networks /missing.nir": "/missing.nir",
    f"--networks {300 * 'x'}.nir": "File name too long",
    "--datasets imagenet": "unknown data set 'imagenet', choose from cifar10",
    "--device cuda": "torch finds no CUDA device: use --device cpu",
    "--device tpu": "--device: 'tpu' is not one of auto, cpu, cuda",
    "--steps 0": "--steps: '0', expected whole numbers of 1 or more",
    "--epochs 3": "leave --epochs out",
    "--suite scale --budget 10m": "to its end (use --epochs, --samples or --width to shorten it)",
    "--suite scale --tuned": "leave --tuned out",
    "--suite scale --baselines hats": "leave --baselines out",
    "--suite baselines --baselines hat": "unknown baseline 'hat', choose from lstm",
    "--suite baselines --width 1/8": "leave --width out",
    "--suite baselines --baselines hats --datasets cifar10": "hats cannot run on cifar10",
    "--suite ablations --paper --device cpu": "takes months on a CPU",
    "--suite accuracy --networks Small --datasets nmnist": "has nothing on Small",
    "--suite scale --epochs 3+0": "--epochs: '0', expected a whole number from 1",
    "--suite scale --neunorm-u half": "expected a number such as 0.5, or uniform",
    "--suite scale --dropout 1": "expected a share such as 0.5",
    "--suite scale --rate 0": "--rate: '0', expected a rate above 0 such as 0.1",
    "--suite scale --rate 0.000": "expected a rate above 0",
    "--suite scale --rate 0e-4": "expected a rate above 0",
    "--suite acceleration --rate 0.1": "leave --rate out",
    "--seeds -1": "--seeds: '-1', expected whole numbers of 0 or more",
    "--width 1/0": "--width: '1/0', expected a fraction",
    "--width 1e99999999": "'1e99999999', expected a fraction",  # its digits take hours
    "--budget soon": "--budget: 'soon', expected a time",
    "--budget 5": "--budget: '5' has no unit: 5s, 5m or 5h?",
    "--suit scale": "No such option: --suit: did you mean --suite?",
    "--data-root /no/such/folder": "/no/such/folder",
    "--quick --paper": "exclude each other",
    "--long": "the acceleration suite has no trainings of --long",
    "--out file/out": "--out",
    "tables 7": "unknown table '7', choose from acceleration",
    "tables acceleration --format xls": "'--format': 'xls' is not one of 'text', 'md', 'csv'",
    "tables acceleration": "first run `harness run --suite acceleration --out results/local`",
    "list planets": "choose from suites, frameworks, networks, datasets, claims",
    "list claims tab9": "unknown claim 'tab9', choose from fig3",
    "list suites tab5": "of claims alone",
    "status --out /etc/passwd": "/etc/passwd, which is no folder",
    "status --out nowhere": "nowhere, which is no folder",
    "status --suite scale --paper --device cpu": "nothing of this runs on this machine",
    "export Small --to x.nir --seed 18446744073709551616": "--seed",
    "report --out .": "or name another: results/published is shipped",
    "compare . . --fail-above much": "'much', expected a percentage",
    "run --suite energy --keep-weights": "the energy suite trains no network",
    "--keep-weights": "leave --keep-weights out",
    "export Small --to x.h5": "a name that ends in .nir was expected",
    "export Small --to x.nir --weights none": "none is no file",
    "export Small": "Missing option '--to'",
    "run acceleration": "did you mean --suite acceleration?",
    "run --quick acceleratoin": "did you mean --suite acceleration?",
    "run --suite scale bar": "bar",
    "brew": "brew",
}
LONG = ("x" * 300, "x/" * 2100)
BAD |= {
    f"{option} {name}": "File name too long" for option in ("--out", "--data-root") for name in LONG
}
OF_LISTS = ("--networks", "--frameworks", "--datasets", "--steps", "--seeds")
EMPTY = [
    *(f"run --suite acceleration {option}" for option in OF_LISTS[:4]),
    *(f"run --suite scale {option}" for option in ("--seeds", "--out", "--data-root")),
    *("tables 3 --out", "tables acceleration --machine", "report --readme", "check --networks"),
    *("status --out", "verify", "compare .", "doctor --data-root", "export Small --to"),
]
BAD |= {f"{words} ''": "'' " for words in EMPTY}
BAD |= {f"{words} ,": "',' " for words in EMPTY if words.endswith(OF_LISTS)}


@pytest.mark.parametrize("arguments", BAD, ids=lambda arguments: arguments[:60])
def test_bad_input_is_one_sentence_exit_2_and_nothing_written(
    arguments: str, inside: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (inside / "file").write_text("mine")
    words = shlex.split(arguments)
    if arguments[:2] in ("", "--"):
        suite = [] if "--suite" in words or not words else ["--suite", "acceleration"]
        words = ["run", *suite, *words]
    code, out, error = command(*words)
    assert (code, out) == (2, "") and error.startswith("harness: ") and error.count("\n") == 1
    assert BAD[arguments] in error and len(error) < 400
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
def test_torch_is_imported_once_the_options_are_read(arguments: str, without: set[str]) -> None:
    code = "import sys; from harness.cli.app import call; call(*sys.argv[1:]); "
    code += f"found = {without} & set(sys.modules); assert not found, found"
    command = [sys.executable, "-c", code, *arguments.split()]
    subprocess.run(command, check=True, timeout=60, cwd=Path(__file__).parents[1])


LISTS = {
    "list suites": ["acceleration"],
    "list frameworks": ["reference", "snntorch:subtract", "its class"],
    # whole in a line, for a pipe
    "list networks": [f"{network.name} {network.notation}" for network in paper.NETWORKS],
    "list datasets": list(paper.SETTINGS),
    "list claims": ["NeuNorm", "tab5"],
    "list claims tab5": ["tab5", "in full", "harness run --suite accuracy"],
    "list baselines": ["hats", "lstm"],
    "doctor --data-root .": ["torch", "thread", "NMNIST/", "CIFAR10DVS"],
    "": ["Usage: harness"],
    "--version": [f"snn-harness {VERSION}"],
}


def test_the_list_of_frameworks_fits_a_pipe_and_has_every_form(command: Command) -> None:
    _, out, _ = command("list", "frameworks")
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert all(f"NAME:{form}" in out for form in FORMS)
    # a contender has one line of the table, and another function says below it how it differs
    for name in adapters.names():
        forms = [f"{name}:{variant}" for variant in facts.look_up(name).variants]
        assert {name, *forms} <= {line.partition(" ")[0] for line in lines}
    line = next(line for line in lines if line.startswith("snntorch:subtract"))
    assert line.split() == ["snntorch:subtract", "another", "its", "class"]
    assert "snntorch:subtract is another function: the reset subtracts V_th" in " ".join(lines)


def test_a_table_in_a_fresh_clone_names_the_line_that_shows_the_shipped_rows(
    inside: Path, command: Command
) -> None:
    Store(inside / "results" / "published" / "amd").append(*rows_of_a_run())
    for words in ("tables acceleration", "report"):
        code, _, error = command(*words.split())
        assert code == 2 and f"`harness {words} --out results/published`" in error
    assert command("tables", "acceleration", "--out", "results/published")[0] == 0


@pytest.mark.parametrize("what", LISTS)
def test_list_and_doctor_show_the_known_names(what: str, inside: Path, command: Command) -> None:
    code, out, error = command(*what.split())
    text = re.sub(r" +" if "list" in what else r"\s+", " ", out)
    assert (code, error) == (0, "") and all(name in text for name in LISTS[what])


def test_check_certifies_layers_and_fails_a_false_claim_of_equality(
    command: Command, tmp_path: Path, plant: Callable[[str, str], None]
) -> None:
    small = ["--networks", "small", "--datasets", "cifar10", "--width", "1/16"]
    small += ["--data-root", tmp_path]
    code, out, _ = command("check", "reference", "snntorch:subtract", *small)
    assert code == 0  # a marked variant does not claim to be equal
    assert "equal: 6 of 6 certificates passed" in out and "4 Voting" in out
    assert "not the paper's function" in out and "spikes differ" in out
    source = "from adapters import snntorch\nDEVIATIONS = ()\n"
    plant("planted", source + "build = snntorch.VARIANTS['subtract'].build\n")
    raises = "def build(network): raise OSError('x' * 9000)"
    plant("shouts", f"DEVIATIONS = ()\n{raises}\n")
    plant("absent", "import no_such_module\n")
    code, out, _ = command("check", "absent", *small)
    assert code == 1 and "absent: does not load" in out  # what is named and not proved is no pass
    code, out, _ = command("check", "planted", "shouts", *small)
    assert code == 1 and "FAILED: 0 of 6 certificates passed" in out
    assert "xxx" in out and out.count("x") < 1500  # short


@pytest.mark.parametrize(("named", "expected"), [([], 0), (["--frameworks", "reference,norse"], 1)])
def test_a_run_ends_with_1_where_a_case_failed_or_what_was_named_is_missing(
    named: list[str],
    expected: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Command,
) -> None:
    def measure(
        local: Local, cases: object, store: Store, *arguments: object
    ) -> Iterator[CaseRows]:
        store.append(*rows_of_a_run())  # norse is not installed
        yield CaseRows(CASE.cell, tuple(rows_of_a_run()), 3)

    monkeypatch.setattr(Local, "measure", measure)
    monkeypatch.setattr("psutil.getloadavg", lambda: (0.0, 0.0, 0.0))
    words = ["--suite", "acceleration", "--networks", "Small", "--datasets", "cifar10", *named]
    code, _, error = command("run", *words, "--no-download", "--out", tmp_path)
    assert code == expected and ("1 case failed;" in error) == bool(expected)


def test_the_module_by_its_name() -> None:
    command = [sys.executable, "-m", "harness", "--version"]
    assert subprocess.check_output(command, text=True) == f"snn-harness {VERSION}\n"


def test_a_shell_completes_flags(monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    monkeypatch.setenv("_HARNESS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "harness run --samp")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert command()[1].split() == ["--samples"]


def test_a_table_is_of_what_its_options_name(tmp_path: Path, command: Command) -> None:
    for cpu in ("A one", "B two"):
        for scale, dataset in (("Small", "cifar10"), ("Large", "nmnist")):
            for run, names in (("1", ("floor", "norse")), ("2", ("floor", "reference"))):
                where = {"cpu": cpu, "scale": scale, "dataset": dataset, "run": run}
                rows = [row for name in names for row in timed(name, 1.0, 1.1, **where)]
                Store(tmp_path).append(*rows)
    for options, named, absent in (
        ("", "reference", "norse"),  # of the latest run
        ("--all", "norse", "jax"),
        ("--format csv", "norse", "jax"),
        ("--networks small --machine two", "on B two", "A one"),
        ("--networks small --machine TWO", "CIFAR-10", "N-MNIST"),
        ("--datasets nmnist --format md", "N-MNIST", "CIFAR-10"),
    ):
        code, out, _ = command("tables", "acceleration", "--out", tmp_path, *options.split())
        assert code == 0 and named in out and absent not in out
    for wrong in (("--networks", "Huge"), ("--machine", "C"), ("--datasets", "imagenet")):
        code, _, error = command("tables", "acceleration", "--out", tmp_path, *wrong)
        assert code == 2 and wrong[1] in error


@pytest.mark.slow
def test_a_run_of_a_custom_network_ends_with_its_table(tmp_path: Path) -> None:
    """The command as a user gives it, in a process of its own, with no data at all."""
    arguments = ["--networks", "16C3(Encoding)-AP2-16C3-AP2-32FC-Voting", "--datasets", "cifar10"]
    arguments += ["--steps", "2", "--batch-size", "2"]
    arguments += ["--frameworks", "reference,snntorch:subtract"]
    environment = {**os.environ, "HARNESS_DATA": str(tmp_path), "COLUMNS": "120"}

    def run(*words: str) -> str:
        command = [*HARNESS, *words, "--out", "out"]
        return subprocess.check_output(
            command, env=environment, cwd=tmp_path, timeout=300, text=True, stderr=subprocess.PIPE
        )

    text = run("run", "--suite", "acceleration", "--quick", "--budget", "1s", *arguments)
    assert "(for CIFAR-10) 16C3(Encoding)-AP2-16C3-AP2-32FC-Voting\n" in text
    assert "custom" not in text
    assert "equal" in text and "not the paper's function" in text
    lines = run("tables", "acceleration", "--format", "csv").splitlines()
    assert lines[1].split(",")[2:4] == ["floor", ""] and len(lines) == 1 + 3


@pytest.mark.slow
def test_one_layer_is_timed_in_the_papers_neuron_and_in_the_frameworks_own(tmp_path: Path) -> None:
    words = ["--suite", "layer", "--quick", "--networks", "32", "--steps", "4", "--batch-size", "2"]
    words += ["--frameworks", "reference,norse,snntorch,spikingjelly,sinabs,fused,jax"]
    environment = {**os.environ, "COLUMNS": "160"}
    text = subprocess.check_output(
        [*HARNESS, "run", *words, "--out", "out"],
        env=environment, cwd=tmp_path, timeout=300, text=True,
    )  # fmt: skip
    assert "random spikes 32 neurons  Voting\n" in text
    proofs = {line.name: line for line in timings.lines(frames(Store(tmp_path / "out").read()[0]))}
    defaults = {"norse:super", "snntorch:defaults", "spikingjelly:defaults", "sinabs:defaults"}
    equal = {"reference", "norse", "snntorch", "spikingjelly", "sinabs", "fused", "jax"}
    assert proofs.keys() == {"floor", *defaults, *equal}
    assert {proofs[name].certificate for name in defaults} == {"not the paper's function"}
    assert all(proofs[name].certificate.startswith("equal") for name in equal)
    assert all(proofs[name].ratio_to_floor > 0 for name in defaults | equal)
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "Time of a training step of one layer: random spikes, one in 10 steps" in page
    assert (tmp_path / "out" / "tables" / "layer.csv").exists()


# signals, and faults of the surroundings

ASKING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]
ON = ["--quick", "--networks", "Small", "--datasets", "cifar10", "--frameworks", "reference"]
RUN = ["run", "--suite", "acceleration", *ON]
TRAIN = ["run", "--suite", "scale", *ON]
FULL = Path("/dev/full")
NOTHING = "interrupted: there was nothing to keep\n"


def ended_of(arguments: list[Any], output: IO[str] | int = subprocess.PIPE) -> tuple[int, str]:
    """The exit code of a process, and its standard error."""
    errors = subprocess.PIPE
    ended = subprocess.run(arguments, stdout=output, stderr=errors, text=True, timeout=120)
    return ended.returncode, ended.stderr


@pytest.mark.parametrize(("module", "number"), [("torch", 15), ("typer", 2)])
def test_an_interruption_amid_imports_is_one_sentence(module: str, number: int) -> None:
    # looks for a module as an import does, and takes long over it
    program = (
        "import os, signal, sys, time\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        "            try:\n"
        f"                os.kill(os.getpid(), {number:d})\n"
        "                time.sleep(60)\n"
        "            except KeyboardInterrupt:\n"
        "                raise ImportError('as some modules make of it') from None\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from harness.cli import main\n"
        "main()"
    )
    code, error = ended_of([sys.executable, "-c", program, "doctor"])
    assert (code, error) == (128 + number, NOTHING)


class Measured:
    """Takes the executor's place: notes the cases, keeps a row or none, and sends signals."""

    def __init__(self, patch: pytest.MonkeyPatch, *signals: int, row: bool = True) -> None:
        self.cases: tuple[Case, ...] = ()
        self.signals, self.row = signals, row
        patch.setattr("psutil.getloadavg", lambda: (0.0, 0.0, 0.0))  # else a busy machine is named
        patch.setattr("harness.datasets.why_not_the_data", lambda request: "")  # fetches none
        for name in ("measure", "train"):
            patch.setattr(
                Local, name, lambda _, cases, store, *arguments: self.measure(cases, store)
            )

    def measure(self, cases: tuple[Case, ...], store: Store) -> Iterator[Any]:
        self.cases = cases
        if self.row:
            store.append(ROW)
        for number in self.signals:
            os.kill(os.getpid(), number)
        yield from ()


def test_what_was_measured_is_kept_where_the_report_is_interrupted(
    inside: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    def write(*arguments: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    def measure(
        local: Local, cases: object, store: Store, *arguments: object
    ) -> Iterator[CaseRows]:
        store.append(ROW)
        yield CaseRows(CASE.cell, (ROW,), 3)

    monkeypatch.setattr(Local, "measure", measure)
    monkeypatch.setattr("harness.reports.page.write", write)
    words = ["--suite", "acceleration", "--frameworks", "reference", "--datasets", "cifar10"]
    code, _, error = command("run", *words, "--networks", "Small", "--no-download", "--out", "here")
    assert code == 130 and "interrupted: what was measured is kept in here/records" in error


def test_status_of_a_run_that_kept_nothing_shows_what_is_missing(
    inside: Path, command: Command
) -> None:
    for folder in ("nothing", "results/local/runs", "results/local/records"):
        Path(folder).mkdir(parents=True)
        code, out, error = command("status", "--suite", "energy")
        assert (code, error) == (0, "") and "missing" in out


@pytest.mark.parametrize("row", [True, False])
@pytest.mark.parametrize(("words", "number"), [(RUN, n) for n in ASKING] + [(TRAIN, ASKING[0])])
def test_a_run_ended_by_a_signal_names_the_kept_rows(
    words: list[str],
    number: int,
    row: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Command,
) -> None:
    Measured(monkeypatch, number, row=row)
    handler = signal.getsignal(number)
    code, _, error = command(*words, "--out", tmp_path)
    assert code == 128 + number and error.count("\n") == 1
    note = f"is kept in {tmp_path / 'records'};"
    assert note in error if row else error == NOTHING
    assert (tmp_path / "records").exists() == row and signal.getsignal(number) is handler


def test_a_signal_that_was_ignored_before_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    """As `nohup harness run` does it."""
    Measured(monkeypatch, signal.SIGHUP)
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert command(*RUN, "--out", tmp_path)[0] == 0
    finally:
        signal.signal(signal.SIGHUP, former)


def test_twice_the_same_is_once_and_the_order_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    executor = Measured(monkeypatch)
    options = "--networks Small,small,128C3(Encoding)-AP2-256C3-AP2-256FC-Voting "
    options += "--datasets cifar10,cifar10 --steps 2,2,1 --frameworks snntorch,reference,snntorch"
    command("run", "--suite", "acceleration", "--quick", *options.split(), "--out", tmp_path)
    small = [case for case in executor.cases if case.workload.scale == "Small"]
    assert len(small) == len(set(small)) == 4
    assert list(dict.fromkeys(case.contender.name for case in small)) == ["snntorch", "reference"]
    assert list(dict.fromkeys(case.workload.T for case in small)) == [2, 1]


def test_output_that_cannot_be_written_or_is_not_read_is_one_sentence_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    Store(tmp_path).append(ROW)
    reader, gone = os.pipe()
    os.close(reader)
    table = ["tables", "acceleration", "--format", "csv", "--out", tmp_path]
    for arguments in (["--help"], table):
        assert ended_of([*HARNESS, *arguments], gone) == (141, "")
        if FULL.exists():
            with FULL.open("w") as full:
                code, error = ended_of([*HARNESS, *arguments], full)
            assert error.startswith("harness: the output cannot be written (")
            assert error.count("\n") == 1 and code == 2
    Measured(monkeypatch)
    monkeypatch.setattr(sys, "stdout", os.fdopen(gone, "w"))
    code, _, error = command(*RUN, "--out", tmp_path)
    assert code == 141 and "what was measured is kept" in error


def test_a_file_that_the_system_refuses_is_one_sentence_and_an_error_of_ours_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    def refused(_: Store) -> None:
        raise error

    Store(tmp_path).append(ROW)
    monkeypatch.setattr(Store, "read", refused)
    error = PermissionError(13, "Permission denied", "there/some.jsonl")
    code, _, message = command("report", "--out", tmp_path)
    assert code == 2 and message.count("\n") == 1
    assert "cannot use there/some.jsonl (Permission denied)" in message
    error = OSError("of ours")
    with pytest.raises(OSError, match="of ours"):  # it keeps its traceback
        command("report", "--out", tmp_path)
