"""What is released: sdist and wheel, and the wheel at work where the clone is not to be seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

from harness import __version__

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
# the smallest that an adapter takes: one layer of each kind
NETWORK = ("--networks", "4C3(Encoding)-AP2-8FC-Voting", "--datasets", "cifar10")


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel that is built from it."""
    out = tmp_path_factory.mktemp("archives")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT]
    subprocess.run(command, check=True, cwd=out, capture_output=True)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def installed(archives: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel in it; the packages that it needs are lent by this one.

    A `.pth` line adds their folder, whose own `.pth` files, and so an editable clone, are not read.
    """
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", home / "bin" / "python", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", archives[1]], check=True, cwd=home)
    place = {"base": str(home), "platbase": str(home)}
    site = Path(sysconfig.get_path("purelib", scheme="venv", vars=place))
    (site / "lent.pth").write_text(sysconfig.get_path("purelib"))
    return home


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder, in which the commands run one after the other."""
    return tmp_path_factory.mktemp("empty")


def run(home: Path, folder: Path, program: str, *arguments: str) -> str:
    """Run a program of the environment in the folder; return what it printed."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env = {**inherited, "XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [home / "bin" / program, *arguments], cwd=folder, env=env, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_archives_have_the_version_and_neither_tests_nor_benchmarks_nor_results(
    archives: tuple[Path, Path],
) -> None:
    with tarfile.open(archives[0]) as sdist:
        sources = {name.partition("/")[2] for name in sdist.getnames()}
    with zipfile.ZipFile(archives[1]) as wheel:
        names = wheel.namelist()
        (path,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(wheel.read(path).decode())
    assert metadata["Version"] == __version__
    rooms = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert rooms == {"harness", "adapters"}
    assert {"README.md", "LICENSE", "CHANGELOG.md", "docs/figures.md"} <= sources
    shipped = {
        path.relative_to(ROOT).as_posix()
        for room in rooms
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    benchmarks = {name for name in shipped if name.startswith("harness/benchmarks/")}
    assert benchmarks and shipped - benchmarks == {n for n in names if ".dist-info" not in n}
    assert not {name for name in sources if name.startswith(("tests/", "results/"))}


def test_the_environment_sees_the_wheel_and_not_the_clone(installed: Path, folder: Path) -> None:
    code = (
        "import json, sys, adapters, harness; from importlib import metadata; "
        "print(json.dumps([harness.__file__, adapters.__file__, harness.__version__, "
        "metadata.version('snn-harness'), sys.path]))"
    )
    ours, adapters, *versions, path = json.loads(run(installed, folder, "python", "-c", code))
    assert Path(ours).is_relative_to(installed) and Path(adapters).is_relative_to(installed)
    assert versions == [__version__, __version__]
    assert str(ROOT) not in path
    assert __version__ in run(installed, folder, "harness", "--version")


def test_the_wheel_times_proves_and_reports_in_an_empty_folder(
    installed: Path, folder: Path
) -> None:
    def harness(*arguments: str) -> str:
        return run(installed, folder, "harness", *arguments)

    assert "run" in harness("--help")
    assert "snntorch" in harness("list", "frameworks")
    timed = ("--frameworks", "reference,snntorch", "--precision", "fp32")
    assert "snnTorch" in harness("run", "--suite", "acceleration", "--quick", *NETWORK, *timed)
    assert "equal" in harness("check", "snntorch", *NETWORK)
    harness("report")
    out = folder / "results" / "local"
    assert "snnTorch" in (out / "report.html").read_text() and any((out / "tables").iterdir())
    (record,) = (out / "runs").glob("*.json")
    shared = json.loads(record.read_text())["shared"]
    assert __version__ in json.dumps(shared)
