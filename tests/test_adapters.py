"""How frameworks are found, what is known of them, and what is said of those that are not there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import get_args

import psutil
import pytest
import torch
from conftest import TORCH, all_by_events, declare

import adapters
from adapters import facts
from harness.adapter import FORMS, Adapter
from harness.conformance import random_batch, small
from harness.proof.answer import Question, plain_pass
from harness.reference.initialise import initialised
from harness.reference.precision import DTYPES
from harness.spec import Network, NeuNorm, Precision, Reading, UsageError, paper

Plant = Callable[[str, str], None]
ROOT = Path(__file__).resolve().parents[1]
OURS = ("fused", "norse", "reference", "snntorch", "spikingjelly")
SOUND = """
from harness.adapter import Variant
from harness.reference.network import ReferenceNetwork as build
DEVIATIONS = ()
"""
# the source of each, and what is said of it
FAULTY = {
    "raises": ("raise RuntimeError('it is\\nbroken')", "RuntimeError: it is broken"),
    "leaves": ("raise SystemExit(3)", "SystemExit: 3"),
    "interrupts": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "unwritten": ("def (", "SyntaxError: "),
    "ends": ("import os\nos._exit(3)", "its import ended the process with exit code 3"),
    "ends_well": ("import os\nos._exit(0)", "its import ended the process with exit code 0"),
    "crashes": ("import os\nos.kill(os.getpid(), 11)", "its import died of SIGSEGV"),
    "hangs": ("import time\ntime.sleep(3600)", "its import did not end within 4 s"),
    "forks": (
        "import os, time, pathlib\nchild = os.fork()\n"
        "if child == 0: time.sleep(3600)\n"
        "pathlib.Path(__file__).with_suffix('.pid').write_text(str(child))\nos._exit(3)",
        "its import ended the process with exit code 3",
    ),
    "cannot_say": (
        SOUND + "def implementation(device): raise LookupError(device)",
        "implementation() ends with LookupError: cpu",
    ),
    "absent": ("import not_installed", "pip install absent-pkg"),
    "no_adapter": ("x = 1", "must define DEVIATIONS and build"),
    "listed": (SOUND + "DEVIATIONS = 'as text'", "DEVIATIONS in listed_module must be a tuple"),
    "variety": (SOUND + "VARIANTS = {'one': build}", "VARIANTS in variety_module must be a map"),
    "revised": (SOUND + "REVISION = True", "REVISION in revised_module must be a whole number"),
    "packed": (SOUND + "PACKAGES = ('numpy', 3)", "PACKAGES in packed_module must be a tuple"),
}
BESIDE = {
    "sound": SOUND
    + "VARIANTS = {'other': Variant(('another',), build, compiled=True)}\nREVISION = 4\n"
    + "PACKAGES = ('numpy', 'absent')\ndef implementation(device): return f'kernels of {device}'",
    "prints": "import os, sys\nprint('{}')\nos.write(1, b'[1]')\nos.write(2, b'!')\n" + SOUND,
    "sets": "import torch\ntorch.set_num_threads(torch.get_num_threads() + 1)\n"
    "torch.set_default_dtype(torch.float64)\n" + SOUND,
}


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, facts.Facts]]:
    """What is known of all of them, looked at in one go."""
    site = tmp_path_factory.mktemp("site")
    sources = {name: source for name, (source, _) in FAULTY.items()} | BESIDE
    for name, source in sources.items():
        declare(site, name, source)
    facts.look(adapters.names())
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.setattr(facts, "_known", dict(facts._known))
        patch.setattr(facts, "PATIENCE", 4)
        facts.look(sources)
        yield {name: facts.of(name) for name in sources}


@pytest.mark.parametrize("name", FAULTY)
def test_an_import_that_does_anything_costs_itself_and_is_one_line(
    name: str, looked: dict[str, facts.Facts]
) -> None:
    said = looked[name].missing
    assert name in said and FAULTY[name][1] in said and "\n" not in said
    assert adapters.missing(name) == said and name not in adapters.available()
    for asked in (adapters.load, adapters.revision, adapters.packages, adapters.variants_of):
        with pytest.raises(adapters.Missing, match=re.escape(FAULTY[name][1])):
            asked(name)


def test_what_an_import_started_ends_with_it(looked: dict[str, facts.Facts]) -> None:
    (site,) = (path for path in sys.path if (Path(path) / "forks_module.pid").exists())
    pid = int((Path(site) / "forks_module.pid").read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_those_beside_them_are_known(looked: dict[str, facts.Facts]) -> None:
    sound = looked["sound"]
    assert (sound.missing, sound.changed) == ("", ())
    assert (sound.version, sound.revision) == ("1.0", 4)
    assert sound.packages == (("sound-pkg", "1.0"), ("numpy", metadata.version("numpy")))
    assert sound.variants == (facts.FormFacts("other", ("another",), compiled=True),)
    assert adapters.implementation("sound", "cpu") == "kernels of cpu"
    assert adapters.variants_of("sound").keys() == {"other"}
    assert looked["prints"].missing == ""
    assert {"sound", "prints", "sets"} <= {*adapters.available()}


def test_what_an_import_sets_is_named_and_is_not_set_here(
    looked: dict[str, facts.Facts],
) -> None:
    threads, dtype = looked["sets"].changed
    assert threads.startswith("sets torch's threads to ")
    assert dtype == "sets the default dtype to torch.float64"
    assert torch.get_default_dtype() == torch.float32
    assert "sets_module" not in sys.modules


def test_a_form_is_known_and_another_is_refused_with_those_there_are(
    looked: dict[str, facts.Facts],
) -> None:
    sound = looked["sound"]
    assert sound.form("").deviations == ()
    assert sound.form("other").deviations == ("another",)
    assert sound.form("compiled").compiled and not sound.form("channels-last").compiled
    assert sound.form("cuda-graph").captured
    assert facts.FORMS == FORMS
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


def test_what_was_found_is_kept_until_the_adapter_is_another(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    child = facts._child
    monkeypatch.setattr(facts, "_child", lambda of: (started.append(of), child(of))[1])
    plant("kept", SOUND)
    for revision, asked in ((0, 1), (0, 1), (2, 2)):
        if revision:
            (tmp_path / "site" / "kept_module.py").write_text(SOUND + "REVISION = 2")
        facts._known.pop("kept", None)
        assert (facts.of("kept").revision, len(started)) == (revision, asked)


def test_an_adapter_known_not_to_load_is_not_imported(plant: Plant) -> None:
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


def test_a_script_without_a_main_guard_runs_once(tmp_path: Path) -> None:
    script = tmp_path / "notebook.py"
    script.write_text("import adapters\nprint('once')\nprint(adapters.missing('reference'))")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=100, check=True,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.split() == ["once", "None"]


def test_what_is_known_does_without_torch() -> None:
    code = "import sys, adapters; adapters.names(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose files lie beside those of adapters/, with one in it: planted.py."""
    folder = tmp_path / "adapters"
    folder.mkdir()
    (folder / "planted.py").write_text(SOUND)
    monkeypatch.setattr(adapters, "__path__", [*adapters.__path__, str(folder)])
    monkeypatch.setattr(facts, "_known", dict(facts._known))
    facts._known.pop("planted", None)
    yield folder
    sys.modules.pop("adapters.planted", None)
    adapters.__dict__.pop("planted", None)


def test_a_file_is_a_framework(planted: Path) -> None:
    assert "planted" in adapters.names() and "planted" in adapters.available()
    network = small("cifar10")
    module = adapters.load("planted").build(network)
    spikes = module(random_batch(network, 2, 3, static=True))
    assert spikes.shape == (2, 3, network.classes * network.population)
    (planted / "planted.py").unlink()
    assert "planted" not in adapters.names()


def test_the_frameworks_of_this_project_load_here() -> None:
    # the tests of all adapters are those of `available()`: one that does not load would be left out
    reasons = {name: adapters.missing(name) for name in OURS}
    assert reasons == dict.fromkeys(OURS)


def test_an_adapter_says_its_revision_and_what_computes_for_it() -> None:
    assert adapters.revision("reference") == 0
    assert adapters.packages("reference") == ()
    assert adapters.packages("norse") == (("norse", metadata.version("norse")),)
    assert dict(adapters.packages("fused"))["numba"] == metadata.version("numba")


@pytest.mark.parametrize("name", adapters.available())
def test_the_plain_form_claims_to_be_the_papers_function_and_variants_say_if(
    name: str,
) -> None:
    assert isinstance(adapters.load(name), Adapter)
    assert adapters.load(name).DEVIATIONS == ()
    for variant in adapters.variants_of(name).values():
        equal = {"fused:dense", "jax:nchw", "octave:convn", "octave:conv2"}
        assert bool(variant.deviations) == (f"{name}:{variant.name}" not in equal)


def _variants(name: str) -> list[str]:
    return [f"{name}:{variant}" for variant in adapters.variants_of(name)]


def test_the_frameworks_have_variants() -> None:
    assert set(adapters.variants_of("snntorch")) == {"detached-reset", "subtract"}
    assert set(adapters.variants_of("spikingjelly")) == {"detached-reset", "defaults"}
    assert set(adapters.variants_of("norse")) == {"super"}
    assert set(adapters.variants_of("fused")) == {"dense", "detached-reset"}


CALLED: list[tuple[str, Precision]] = [
    (form, precision)
    for name in adapters.available()
    for form in (name, *_variants(name), *([f"{name}:channels-last"] if name in TORCH else []))
    for precision in get_args(Precision)
    if precision != "bf16" or name in TORCH
]


@pytest.mark.parametrize(("form", "precision"), CALLED)
def test_the_same_call_gives_the_same_bits(
    form: str, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    if form.startswith("fused"):  # else the machine decides; fused:dense never does
        all_by_events(monkeypatch)
    for reading in (None, *get_args(Reading)):
        network = Network.parse(
            "4C3(Encoding)-AP2-6C3-6C3-AP2-8FC-Voting",
            input_shape=(3, 8, 8),
            lif=paper.settings("cifar10").lif,
            neunorm=NeuNorm(reading=reading) if reading else None,
        )
        x = random_batch(network, 4, 3, static=True).to(DTYPES[precision])
        weights = initialised(network, x, seed=0)
        question = Question(
            parameters=tuple(each.detach() for each in weights.parameters()),
            x=x[:1].contiguous(),
            steps=len(x),
            static=True,
            precision=precision,
            classes=network.classes,
            population=network.population,
            labels=torch.tensor([0, 1, 2]),
        )
        module = adapters.load(form).build(network).to(x.dtype)
        first = plain_pass(module, question)
        for _ in range(3):
            again = plain_pass(module, question)
            assert torch.equal(again.out, first.out)
            assert all(map(torch.equal, again.gradients, first.gradients))


def test_an_unknown_framework_or_variant_names_those_there_are() -> None:
    with pytest.raises(UsageError, match="unknown framework 'bindsnet', choose from .*reference"):
        adapters.load("bindsnet")
    with pytest.raises(UsageError, match="reference has: channels-last, compiled"):
        adapters.load("reference:fast")


def test_a_file_that_does_not_load_says_how_to_install_it(planted: Path) -> None:
    (planted / "planted.py").write_text("import not_installed_anywhere")
    reason = adapters.missing("planted")
    assert reason is not None and "pip install 'snn-harness[planted]'" in reason
    assert "No module named 'not_installed_anywhere'" in reason


def test_an_installed_package_offers_an_adapter_by_entry_point(
    plant: Callable[[str, str], None],
) -> None:
    plant("elsewhere", "from adapters.reference import *\nfrom adapters.reference import build")
    assert "elsewhere" in adapters.names()
    assert adapters.load("elsewhere").DEVIATIONS == ()
    assert adapters.version("elsewhere") == "1.0"
    assert adapters.packages("elsewhere") == (("elsewhere-pkg", "1.0"),)
    assert adapters.revision("elsewhere") == 0
    assert adapters.variants_of("elsewhere") == {}


def test_an_entry_point_that_is_no_module_is_said_to_be_none(
    plant: Callable[[str, str], None], tmp_path: Path
) -> None:
    plant("elsewhere", "build = None")
    (info,) = (tmp_path / "site").glob("*.dist-info")
    points = "[harness.adapters]\nelsewhere = elsewhere_module:build\n"
    (info / "entry_points.txt").write_text(points)
    with pytest.raises(adapters.Missing, match="elsewhere is no adapter: None is no module"):
        adapters.load("elsewhere")


def test_frameworks_are_pinned_exactly() -> None:
    requirements = metadata.requires("snn-harness") or []
    for framework in ("snntorch", "spikingjelly", "norse"):
        assert any(re.match(rf"{framework}==\d", each) for each in requirements)
    assert adapters.version("norse") == metadata.version("norse")
    assert adapters.version("reference") is None


FOREIGN = [
    ("adapters/__init__.py", "raise SystemExit('it ran')"),
    ("adapters/__init__.py", "no Python at all"),
    ("adapters.py", "def load(name): ..."),
]


@pytest.mark.parametrize(("place", "text"), FOREIGN)
def test_another_package_of_that_name_is_said_in_one_sentence(
    place: str, text: str, tmp_path: Path
) -> None:
    site, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    foreign = site / place
    foreign.parent.mkdir(parents=True)
    foreign.write_text(text)
    path = os.pathsep.join([str(site), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", "from harness.cli import main; main()", "list", "frameworks"],
        env={**os.environ, "PYTHONPATH": path},
        cwd=work,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"harness: `import adapters` finds {foreign}, which is not of")
    assert done.stderr.count("\n") == 1
