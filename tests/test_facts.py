"""What is known of adapters is found apart: an import that does anything costs itself alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import torch
from conftest import declare

import adapters
from adapters import facts
from harness.spec import UsageError
from harness.system import child

Plant = Callable[[str, str], None]

SOUND = """
from harness.adapter import Variant
from harness.reference.network import ReferenceNetwork as build
DEVIATIONS = ()
"""
TO_THE_OWNER = """
import gc, os
def say(text):
    for each in gc.get_objects():
        if type(each).__name__ == "Connection" and not each.closed and each.writable:
            os.write(each.fileno(), text)
"""
FORGED = """
say(b'{"missing": "", "changed": 7, "revision": "no number"}\\n')
"""
# the source of each, and what is said of it
HOSTILE = {
    "raises": ("raise RuntimeError('it is\\nbroken')", "RuntimeError: it is broken"),
    "leaves": ("raise SystemExit(3)", "SystemExit: 3"),
    "interrupts": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "complains": (
        "from harness.spec import UsageError\nraise UsageError('give another')",
        "UsageError: give another",
    ),
    "unwritten": ("def (", "SyntaxError: "),
    "unspeakable": (
        "class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd",
        "Odd",
    ),
    "ends": ("import os\nos._exit(3)", "its import ended the process with exit code 3"),
    "ends_well": ("import os\nos._exit(0)", "its import ended the process with exit code 0"),
    "crashes": ("import os\nos.kill(os.getpid(), 11)", "its import died of SIGSEGV"),
    "hangs": ("import time\ntime.sleep(3600)", "its import did not end within 4 s"),
    "stops": (
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
        "its import did not end within 4 s",
    ),
    "forges": (TO_THE_OWNER + FORGED + SOUND, "what its process says is no answer"),
    "rambles": (TO_THE_OWNER + "say(b'\\xff[{\\n')", "what its process says is no answer"),
    "digs": (TO_THE_OWNER + "say(b'[' * 60_000 + b'\\n')", "what its process says is no answer"),
    "floods": (
        TO_THE_OWNER + "while True:\n    say(b'x' * 2**16)",
        "its import says more than an answer has",
    ),
    "halts": (
        TO_THE_OWNER + "say(b'{\"missing\"')\nos._exit(0)",
        "its import ended the process with exit code 0",
    ),
    "forks": (
        "import os, time, pathlib\nchild = os.fork()\n"
        "if child == 0: time.sleep(3600)\n"
        "pathlib.Path(__file__).with_suffix('.pid').write_text(str(child))\nos._exit(3)",
        "its import ended the process with exit code 3",
    ),
    "cannot_say": (
        SOUND + "def implementation(device): raise LookupError(device)",
        "implementation('cpu') ends with LookupError: cpu",
    ),
}
UNFIT = {
    "no_module_here": ("import not_installed", "pip install no_module_here-pkg"),
    "no_adapter": ("x = 1", "must define DEVIATIONS and build"),
    "listed": (SOUND + "DEVIATIONS = 'as text'", "DEVIATIONS in listed_module must be a tuple"),
    "variety": (SOUND + "VARIANTS = {'one': build}", "VARIANTS in variety_module must map"),
}
BESIDE = {
    "sound": SOUND
    + "VARIANTS = {'other': Variant(('another',), build, compiled=True)}\nREVISION = 4\n"
    + "PACKAGES = ('numpy',)\ndef implementation(device): return f'kernels of {device}'",
    "prints": "import os, sys\nprint('{}')\nos.write(1, b'[1]')\nos.write(2, b'!')\n" + SOUND,
    "sets": "import os, torch\ntorch.set_num_threads(torch.get_num_threads() + 1)\n"
    "torch.set_default_dtype(torch.float64)\nos.chdir('/')\n" + SOUND,
}


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, facts.Facts]]:
    """What is known of all of them, looked at in one go, and where they lie."""
    site = tmp_path_factory.mktemp("site")
    sources = {name: source for name, (source, _) in (HOSTILE | UNFIT).items()} | BESIDE
    for name, source in sources.items():
        declare(site, name, source)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.setattr(facts, "_known", {})
        patch.setattr(facts, "PATIENCE", 4.0)
        facts.look(sources)
        yield {name: facts.of(name) for name in sources}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_import_that_does_anything_is_one_line(
    name: str, looked: dict[str, facts.Facts]
) -> None:
    said = looked[name].missing
    assert said.startswith(f"{name} does not load: ") and "\n" not in said
    assert HOSTILE[name][1] in said


@pytest.mark.parametrize("name", UNFIT)
def test_what_is_no_adapter_is_said_to_be_none(name: str, looked: dict[str, facts.Facts]) -> None:
    assert name in looked[name].missing and UNFIT[name][1] in looked[name].missing
    assert adapters.missing(name) == looked[name].missing
    for asked in (adapters.load, adapters.revision, adapters.packages, adapters.variants_of):
        with pytest.raises(adapters.Missing, match=UNFIT[name][1]):
            asked(name)


def test_those_beside_them_are_known(looked: dict[str, facts.Facts]) -> None:
    sound = looked["sound"]
    assert (sound.missing, sound.changed) == ("", ())
    assert (sound.version, sound.revision) == ("1.0", 4)
    assert dict(sound.packages).keys() == {"sound-pkg", "numpy"}
    assert sound.variants == (facts.FormFacts("other", ("another",), compiled=True),)
    assert adapters.implementation("sound", "cpu") == "kernels of cpu"
    assert adapters.variants_of("sound").keys() == {"other"}
    assert looked["prints"].missing == ""
    assert {"sound", "prints", "sets"} <= {*adapters.available()}
    assert not {*HOSTILE} & {*adapters.available()}


def test_what_an_import_sets_is_named_and_is_not_set_here(
    looked: dict[str, facts.Facts],
) -> None:
    threads, dtype, folder = looked["sets"].changed
    assert threads.startswith("sets torch's threads to ")
    assert dtype == "sets the default dtype to torch.float64"
    assert folder == "sets the working folder to /"
    assert torch.get_default_dtype() == torch.float32 and Path.cwd() != Path("/")
    assert "sets_module" not in sys.modules


def test_what_an_import_started_ends_with_it(looked: dict[str, facts.Facts]) -> None:
    (site,) = (path for path in sys.path if (Path(path) / "forks_module.pid").exists())
    pid = int((Path(site) / "forks_module.pid").read_text())
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.05)
    raise AssertionError("it lives on")


def test_a_form_is_known_and_another_is_refused_with_those_there_are(
    looked: dict[str, facts.Facts],
) -> None:
    sound = looked["sound"]
    assert sound.form("").deviations == ()
    assert sound.form("other").deviations == ("another",)
    assert sound.form("compiled").compiled and not sound.form("channels-last").compiled
    assert sound.form("cuda-graph").captured
    adapters.check_name("sound:other")
    with pytest.raises(UsageError, match="unknown variant 'sound:fast', sound has: other, chann"):
        adapters.check_name("sound:fast")
    adapters.check_name("hangs:whatever")  # its row says that it does not load
    with pytest.raises(UsageError, match="unknown framework 'nobody'"):
        facts.look(["sound", "nobody"])


def test_only_ours_that_load_and_change_nothing_are_imported_before_anybody_asks(
    looked: dict[str, facts.Facts], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert facts.preloadable(["sound", "reference"]) == ["reference"]  # not a plug-in
    for wrong in (facts.Facts("norse", missing="no"), facts.Facts("norse", changed=("sets",))):
        monkeypatch.setitem(facts._known, "norse", wrong)
        assert facts.preloadable(["reference", "norse"]) == ["reference"]
    monkeypatch.setattr(child, "PRELOAD", ["torch"])
    child.preload(*facts.preloadable(["sound", "reference"]))
    assert child.PRELOAD == ["torch", "reference"]


def test_an_adapter_known_not_to_load_is_not_imported(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant("late", "import os\nos._exit(3)")
    facts.remember(facts.Facts("late", missing="late does not load: its import ended the process"))
    with pytest.raises(adapters.Missing, match="its import ended the process"):
        adapters.load("late")


@pytest.mark.parametrize("raised", ["SystemExit(3)", "RuntimeError(3)", "BaseException(3)"])
def test_an_import_that_raises_here_is_missing_and_ends_nobody(plant: Plant, raised: str) -> None:
    plant("planted", f"raise {raised}")
    with pytest.raises(adapters.Missing, match="planted does not load: [A-Z][A-Za-z]+: 3"):
        adapters.load("planted")


def test_ctrl_c_amid_an_import_is_the_users(plant: Plant) -> None:
    plant("planted", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        adapters.load("planted")


def test_who_looks_and_dies_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "_known", {})
    monkeypatch.setattr(facts, "_CODE", "import sys; sys.stdout.write('[')")
    assert "the process that looked at it has died" in facts.of("reference").missing


SCRIPT = """
import sys
import adapters
print("once")
print(adapters.missing("reference"))
"""


def test_a_script_without_a_main_guard_runs_once(tmp_path: Path) -> None:
    script = tmp_path / "notebook.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["once", "None"]


OWNER = """
import sys
sys.path.insert(0, sys.argv[1])
from adapters import facts
print("now", flush=True)
facts.of("hangs")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
def test_nobody_who_looks_outlives_an_owner_that_is_killed(tmp_path: Path) -> None:
    mark = tmp_path / "here"
    declare(tmp_path, "hangs", f"import time\nopen({str(mark)!r}, 'w')\ntime.sleep(3600)")
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE)
    for _ in range(1200):
        if mark.exists():
            break
        time.sleep(0.05)
    children = psutil.Process(owner.pid).children(recursive=True)
    assert len(children) == 2  # who looks, and whom it looks at
    os.kill(owner.pid, signal.SIGKILL)
    owner.communicate()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
