"""Versions of a framework as contenders: how they are named, installed, loaded and compared."""

from __future__ import annotations

import subprocess
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from cells import run, seconds_of
from recordings import quiet
from rows import altered
from surroundings import Command
from test_schedule import case as timed

import adapters
from adapters import facts, overlay
from harness.analysis.compare import sentences, within_run
from harness.machine import host
from harness.machine.child import Child
from harness.records import IterationResult, Row, Run, Store
from harness.records.run import Failed, RowMaker
from harness.records.store import Ledger
from harness.reports import page
from harness.spec import Access, Budget, Timing, UsageError
from harness.speed.cell import Cell
from harness.speed.contender import ContenderProcess
from harness.speed.worker import Worker


@pytest.fixture(autouse=True)
def no_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache, and pip that asks nobody."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(facts, "_known", dict(facts._known))


def wheel(
    folder: Path, version: str, files: Mapping[str, str | bytes], requires: Sequence[str] = ()
) -> Path:
    """A wheel of a package `norse`."""
    folder.mkdir(exist_ok=True)
    path, info = folder / f"norse-{version}-py3-none-any.whl", f"norse-{version}.dist-info"
    tags = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    fields = "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    text = f"Metadata-Version: 2.1\nName: norse\nVersion: {version}\n{fields}"
    written = {f"{info}/METADATA": text}
    lines = [
        f"{name},sha256={urlsafe_b64encode(sha256(content).digest()).decode().rstrip('=')},"
        for name, content in files.items()
        for content in [content.encode() if isinstance(content, str) else content]
    ]
    written |= {f"{info}/WHEEL": tags, f"{info}/RECORD": "\n".join(lines)}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**files, **written}.items():
            archive.writestr(name, content)
    return path


def of_norse() -> dict[str, str | bytes]:
    """The files of the norse that is installed here."""
    files = metadata.distribution("norse").files or []
    named = (file for file in files if file.parts[0] == "norse" and file.suffix != ".pyc")
    return {str(file): Path(str(file.locate())).read_bytes() for file in named}


def norse_is_at(name: str) -> str:
    adapters.load(name)
    import norse

    return str(norse.__file__)


def test_a_version_is_loaded_in_its_own_process_alone(tmp_path: Path) -> None:
    name = f"norse@{wheel(tmp_path, '9.9', of_norse())}"
    assert adapters.missing(name) is None
    norse = facts.look_up(name)
    assert norse.version and norse.version.startswith("9.9 (files ")
    with Child() as one, Child() as other:
        at = one.call(norse_is_at, name)
        assert "norse-" in at and "versions" in at
        assert other.call(norse_is_at, "norse") != at
    assert facts.look_up("norse").version == metadata.version("norse")


def test_a_package_that_changes_in_a_run_costs_its_own_row(tmp_path: Path) -> None:
    name = f"norse@{wheel(tmp_path, '9.9', of_norse())}"
    norse = facts.look_up(name)
    contender = ContenderProcess(RowMaker(Run(id="run"), timed(name)))
    contender.start()
    assert contender.call(Worker.part) is None
    contender.end()
    wheel(tmp_path, "9.9", {**of_norse(), "norse/new.py": ""})
    contender.start()
    with pytest.raises(Failed, match=r"changed meanwhile: it was 9.9 \(files .*run again"):
        contender.call(Worker.part)
    contender.end()
    facts.forget_versions()  # as a run does that begins
    assert facts.look_up(name).version != norse.version


BACKEND = """
import shutil

def build_wheel(folder, *settings):
    return shutil.copy({wheel!r}, folder).rpartition("/")[2]
"""


def test_a_checkout_that_is_committed_is_the_same_files_and_loads(inside: Path) -> None:
    checkout, deep = inside / "norse", inside / "1" / "2" / "3" / "4"
    checkout.mkdir()
    deep.mkdir(parents=True)
    (checkout / "pyproject.toml").write_text(
        "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
    )
    built = wheel(inside, "9.9", of_norse())
    (checkout / "backend.py").write_text(BACKEND.format(wheel=str(built)))
    name, versions = "norse@../../../../norse", list[str]()
    for message in ("one", "two"):
        git = ["git", "-C", str(checkout), "-c", "user.name=a", "-c", "user.email=a@b"]
        for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", message, "--allow-empty"]):
            subprocess.run([*git, *words], check=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(deep)
            facts.forget_versions()  # as a command does that begins
            versions.append(str(facts.look_up(name).version))
            with Child() as child:
                child.call(facts.remember, facts.look_up(name))
                assert "versions" in child.call(norse_is_at, name)
    one, two = (version.partition(", ") for version in versions)
    assert one[0] != two[0] and one[2] == two[2]
    assert len([*inside.rglob("frameworks/*.txt")]) == 2


def test_a_release_that_cannot_be_had_leaves_nothing_behind(tmp_path: Path) -> None:
    assert "pip cannot install norse==999" in str(adapters.missing("norse@999"))
    assert not [*(tmp_path / "cache").rglob("norse-999*")]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("norse@", "nothing is no release, wheel or folder"),
        ("norse@no-such-folder", "no-such-folder is no release"),
        ("norse@v:soft/norse", "v is no release.*a comma or colon ends a path"),
        ("norse@~nobody-such/norse", "~nobody-such/norse is no release"),
        (f"norse@{300 * 'x'}", "xxx is no release"),
        ("reference@1.0", "reference has no versions; .*norse"),
        ("nobody@1.0", "unknown framework 'nobody'"),
        ("norse:", "'norse:' names no variant: leave the colon out"),
    ],
)
def test_a_name_without_a_package_is_refused(name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        adapters.check_name(name)


def test_a_checkout_is_its_files_and_not_its_caches(tmp_path: Path) -> None:
    (tmp_path / "norse").mkdir()
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'norse'\n")
    source = tmp_path / "norse" / "__init__.py"
    source.write_text("a = 1\n")
    digest = overlay._hash(tmp_path)
    (tmp_path / "norse" / "__pycache__").mkdir()
    (tmp_path / "norse" / "__pycache__" / "x.pyc").write_text("")
    assert overlay._hash(tmp_path) == digest
    for skipped in ("build", "dist", ".git"):  # what an installation leaves at the top
        (tmp_path / skipped).mkdir()
        (tmp_path / skipped / "x.py").write_text("")
    assert overlay._hash(tmp_path) == digest
    source.write_text("a = 2\n")
    assert overlay._hash(tmp_path) != digest


def test_releases_are_checked_newest_first(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version, files in (("9.8", {"norse/__init__.py": b""}), ("9.9", of_norse())):
        wheel(tmp_path / "index", version, files)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    code, out, error = command("versions", "norse")
    newest, other = out.splitlines()
    assert code == 0 and newest == "norse@9.9: equal: 6 of 6 certificates passed"
    assert other.startswith("norse@9.8: does not load (ModuleNotFoundError")
    assert error.count("installing norse==") == 2
    code, out, error = command("versions", "norse")
    assert code == 0 and newest in out and not error  # they are installed once


def test_releases_that_nobody_can_list_are_one_sentence(command: Command) -> None:
    code, _, error = command("versions", "norse")
    assert code == 2 and "pip cannot list norse: No matching distribution" in error
    code, _, error = command("versions", "fused")
    assert code == 2 and "fused has no versions; jax, norse" in error


OTHER = "norse@1.0.0"


def versions(slower: float) -> list[Row]:
    """A run of two versions of a framework, one slower by a factor."""
    names = {"reference": "norse", "snntorch": OTHER}
    rows = [altered(r, contender=names.get(r.contender.name, r.contender.name)) for r in run()]

    def seconds(row: Row[IterationResult]) -> float:
        return row.result.seconds * (slower if row.contender.name == OTHER else 1)

    return seconds_of(rows, seconds)


NOISE = (1.0, 1.03, 0.97, 1.02, 0.98, 1.0, 1.03, 0.97)  # 1.7 % over eight rounds


def is_known(out: Path, measured: Mapping[Timing, Sequence[float]]) -> bool:
    """Whether the ratios of a cell with the seconds of these rounds are known."""
    at = Run(id="r", machine=host.describe(torch.device("cpu")), allocator="system")
    ledger = Ledger(Store(out), quiet)
    cases = tuple(case for case in measured if case.contender.framework != "floor")
    cell = Cell(cases[0], cases, at, ledger, Access(out), Budget())
    for case, seconds in measured.items():
        process = ContenderProcess(RowMaker(at, case), seconds=[*seconds])
        cell.contenders.append(process)
    cell.number, cell.starts = len(NOISE), [0]
    return cell.is_known()


def test_rounds_go_on_until_a_small_change_of_a_version_can_be_told(tmp_path: Path) -> None:
    steady = dict.fromkeys((timed("floor"), timed("norse")), [1.0] * len(NOISE))
    assert is_known(tmp_path, {**steady, timed("snntorch"): NOISE})  # a rival's is known sooner
    assert not is_known(tmp_path, {**steady, timed(OTHER): NOISE})


def test_bf16_rounds_go_on_until_ratios_to_the_float32_floor_are_known(tmp_path: Path) -> None:
    cases = timed("floor", precision="bf16"), timed("norse", precision="bf16")
    steady, noisy = dict.fromkeys(cases, [1.0] * len(NOISE)), [seconds**5 for seconds in NOISE]
    assert is_known(tmp_path, {**steady, timed("floor"): NOISE})
    assert not is_known(tmp_path, {**steady, timed("floor"): noisy})


@pytest.mark.parametrize(
    ("slower", "limit", "call"),
    [(1.5, None, "slower by 5"), (0.6, None, "faster by 3"), (1.0, 0.5, "no difference beyond ")],
)
def test_two_versions_are_compared_in_the_same_rounds(
    slower: float, limit: float | None, call: str
) -> None:
    (text,) = sentences(within_run(versions(slower), OTHER, "norse", limit), "norse")
    assert text.startswith(f"{OTHER} against norse on CIFAR-10 Small: ") and call in text
    assert not within_run(versions(slower), OTHER, "spikingjelly")


def test_the_page_has_a_figure_of_versions(tmp_path: Path) -> None:
    for rows, there in ((versions(1.5), True), (run(), False)):
        text = page.write(rows, tmp_path)[0].read_text()
        assert ("Versions of a framework, in the same rounds: CIFAR-10 Small" in text) == there
        assert ("installed version" in text and OTHER in text and "1.5" in text) == there


def test_a_slower_version_fails_the_command(tmp_path: Path, command: Command) -> None:
    Store(tmp_path).append(*versions(1.5))
    names: tuple[Any, ...] = ("--contender", OTHER, "--against", "norse")
    assert command("compare", tmp_path, *names)[0] == 0
    code, out, error = command("compare", tmp_path, *names, "--fail-above", "5%")
    assert code == 1 and "slower by" in out and "more than 5%" in error
    code, _, error = command("compare", tmp_path, *names, tmp_path)
    assert code == 2 and "give two folders, or one folder with" in error
    code, _, error = command("compare", tmp_path, "--contender", "x", "--against", "norse")
    assert code == 2 and "is of 'x', but of " in error and "--frameworks norse,x" in error


def test_a_checkout_is_also_its_linked_folders_and_packages_named_build(tmp_path: Path) -> None:
    checkout, elsewhere = tmp_path / "checkout", tmp_path / "real"
    (checkout / "norse" / "build").mkdir(parents=True)
    elsewhere.mkdir()
    sources = elsewhere / "__init__.py", checkout / "norse" / "build" / "__init__.py"
    (checkout / "norse" / "linked").symlink_to("../../real")
    (checkout / "norse" / "again").symlink_to(elsewhere)
    (elsewhere / "cycle").symlink_to(checkout)  # ends all the same
    (checkout / "up").symlink_to(tmp_path)
    digests = set[str]()
    for n in range(2):
        for source in sources:
            source.write_text(f"a = {n}\n")
            digests.add(overlay._hash(checkout))
    (tmp_path / "unrelated.py").write_text("")  # not of the checkout, though a link leads there
    digests.add(overlay._hash(checkout))
    assert len(digests) == 4
    (checkout / "norse" / "again").unlink()
    (checkout / "norse" / "again").symlink_to("build")  # another folder, already walked
    assert overlay._hash(checkout) not in digests


def test_an_installation_that_changed_in_the_cache_is_refused(tmp_path: Path) -> None:
    version = overlay.version_of(f"norse@{wheel(tmp_path, '9.9', of_norse())}")
    assert version
    folder = overlay.ensure_installed(version)
    (folder / "norse" / "__pycache__").mkdir(exist_ok=True)
    (folder / "norse" / "__pycache__" / "new.pyc").touch()  # as an import leaves it
    assert overlay.ensure_installed(version) == folder
    source, added = folder / "norse" / "__init__.py", folder / "torch.py"
    source_text = source.read_text()
    changes: list[tuple[Callable[[], object], Callable[[], object]]] = [
        (lambda: source.write_text(f"{source_text}\n"), lambda: source.write_text(source_text)),
        (source.unlink, lambda: source.write_text(source_text)),
        (lambda: added.write_text("raise ImportError"), added.unlink),
    ]
    for change, undo in changes:
        change()
        with pytest.raises(overlay.NotInstalled, match="added, edited or removed.*remove it"):
            overlay.ensure_installed(version)
        undo()
        assert overlay.ensure_installed(version) == folder


UNMET = ("torch<1.5", "not-installed>=2", "numpy", "also-not; extra == 'all'", "x; os_name == 'z'")


def test_requirements_that_are_not_met_are_said_wherever_the_version_is(
    tmp_path: Path, command: Command
) -> None:
    lacking = f"torch<1.5 ({torch.__version__} is installed), not-installed>=2 (is not installed)"
    name = f"norse@{wheel(tmp_path, '9.9', of_norse(), UNMET)}"
    version = str(facts.look_up(name).version)
    assert version.startswith("9.9 (files ") and version.endswith(f"; requires {lacking})")
    code, out, _ = command("check", name, "--networks", "Small", "--datasets", "cifar10")
    assert code == 0 and f"requires {lacking}" in " ".join(out.split())
    met = facts.look_up(f"norse@{wheel(tmp_path, '9.8', of_norse(), UNMET[2:])}")
    assert "requires" not in str(met.version)
    broken = f"norse@{wheel(tmp_path, '9.7', {'norse/__init__.py': 'import absent'}, UNMET)}"
    assert "No module named 'absent'" in (reason := str(adapters.missing(broken))), reason
    assert lacking in reason
