"""How frameworks are found, what is known of them, and what is said of those that are not there;
the contract, held by every adapter that loads here, and the kit that others check theirs with.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

import psutil
import pytest
import torch
from conftest import TORCH, all_by_events, declare
from contenders import question

import adapters
from adapters import facts
from harness import conformance
from harness.adapter import FORMS, Adapter, Variant
from harness.conformance import Broken, Check, random_batch, small
from harness.proof.answer import plain_pass
from harness.reference.precision import DTYPES
from harness.spec import Network, NeuNorm, Precision, UsageError, paper

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
    "crashes": ("import os\nos.kill(os.getpid(), 11)", "its process died of SIGSEGV"),
    "hangs": ("import time\ntime.sleep(3600)", "it said nothing for 4 s"),
    "ends": (
        "import os, pathlib, subprocess\nprogram = subprocess.Popen(['sleep', '3600'])\n"
        "pathlib.Path(__file__).with_suffix('.pid').write_text(str(program.pid))\nos._exit(3)",
        "its process ended with exit code 3",
    ),
    "cannot_say": (
        SOUND + "def implementation(device): raise LookupError(device)",
        "LookupError: cpu",
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
    for asked in (adapters.load, adapters.variants_of):
        with pytest.raises(adapters.Missing, match=re.escape(FAULTY[name][1])):
            asked(name)


def test_what_an_import_started_ends_with_it(looked: dict[str, facts.Facts]) -> None:
    (site,) = (path for path in sys.path if (Path(path) / "ends_module.pid").exists())
    pid = int((Path(site) / "ends_module.pid").read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_those_beside_them_are_known(looked: dict[str, facts.Facts]) -> None:
    sound = looked["sound"]
    assert (sound.missing, sound.changed, sound.version, sound.revision) == ("", (), "1.0", 4)
    assert sound.packages == {"sound-pkg": "1.0", "numpy": metadata.version("numpy")}
    assert sound.variants == {"other": ("another",)} == adapters.variants_of("sound")
    assert sound.implementations["cpu"] == "kernels of cpu"
    assert {"sound", "prints", "sets"} <= {*adapters.available()}
    threads, dtype = looked["sets"].changed
    assert threads.startswith("sets torch's threads to ")
    assert dtype == "sets the default dtype to torch.float64"
    assert torch.get_default_dtype() == torch.float32 and "sets_module" not in sys.modules


def test_a_form_is_known_and_another_is_refused_with_those_there_are(
    looked: dict[str, facts.Facts],
) -> None:
    found = {each: looked["sound"].deviations_of(each) for each in ("", "other", "compiled")}
    assert found == {"": (), "other": ("another",), "compiled": ()} and facts.FORMS == FORMS
    adapters.check_name("sound:other")
    adapters.check_name("hangs:whatever")  # its row says that it does not load
    for name, says in {
        "sound:fast": "unknown variant 'sound:fast', sound has: other, chann",
        "nobody": "unknown framework 'nobody', choose from .*reference",
    }.items():
        for check in (adapters.check_name, adapters.load):
            with pytest.raises(UsageError, match=says):
                check(name)


def test_only_ours_that_load_and_change_nothing_are_imported_before_anybody_asks(
    looked: dict[str, facts.Facts], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert facts.preloadable(["sound", "reference"]) == ["reference"]  # not a plug-in
    for wrong in (facts.Facts("norse", missing="no"), facts.Facts("norse", changed=("sets",))):
        monkeypatch.setitem(facts._known, "norse", wrong)
        assert facts.preloadable(["reference", "norse"]) == ["reference"]


def test_what_was_found_is_kept_until_the_adapter_is_another(plant: Plant, tmp_path: Path) -> None:
    note = f"open({str(tmp_path / 'imports')!r}, 'a').write('.')\n"
    plant("kept", SOUND + note)
    for revision, imports in ((0, "."), (0, "."), (2, "..")):
        if revision:
            (tmp_path / "site" / "kept_module.py").write_text(SOUND + note + "REVISION = 2")
        facts._known.pop("kept", None)
        assert facts.of("kept").revision == revision
        assert (tmp_path / "imports").read_text() == imports


@pytest.mark.parametrize("raised", ["SystemExit(3)", "RuntimeError(3)", "BaseException(3)"])
def test_an_import_that_raises_here_is_missing_and_ends_nobody(plant: Plant, raised: str) -> None:
    plant("planted", f"raise {raised}")
    with pytest.raises(adapters.Missing, match="planted does not load: [A-Z][A-Za-z]+: 3"):
        adapters.load("planted")


def test_ctrl_c_amid_an_import_is_the_users(plant: Plant) -> None:
    plant("planted", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        adapters.load("planted")


def test_a_script_without_a_main_guard_runs_once_and_names_come_without_torch(
    tmp_path: Path,
) -> None:
    script = tmp_path / "notebook.py"
    script.write_text(
        "import sys, adapters\nadapters.names()\nprint('torch' in sys.modules)\n"
        "print(adapters.missing('reference'))"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=100, check=True,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.split() == ["False", "None"]


def test_a_file_is_a_framework(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, source in {"planted": SOUND, "broken": "import not_installed_anywhere"}.items():
        (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.setattr(adapters, "__path__", [*adapters.__path__, str(tmp_path)])
    monkeypatch.setattr(facts, "_known", dict(facts._known))
    assert "planted" in adapters.names() and "planted" in adapters.available()
    network = small("cifar10")
    spikes = adapters.load("planted").build(network)(random_batch(network, 2, 3, static=True))
    assert spikes.shape == (2, 3, network.classes * network.population)
    reason = adapters.missing("broken") or ""
    assert "No module named 'not_installed_anywhere'" in reason
    assert "pip install 'snn-harness[broken]'" in reason
    (tmp_path / "planted.py").unlink()
    assert "planted" not in adapters.names()
    sys.modules.pop("adapters.planted", None)
    del adapters.__dict__["planted"]


def test_the_frameworks_of_this_project_load_here_with_their_variants_and_versions() -> None:
    # the tests of all adapters are those of `available()`: one that does not load would be left out
    assert {name: adapters.missing(name) for name in OURS} == dict.fromkeys(OURS)
    assert {name: {*adapters.variants_of(name)} for name in OURS} == {
        "fused": {"dense", "detached-reset"}, "norse": {"super"}, "reference": set(),
        "snntorch": {"detached-reset", "subtract"}, "spikingjelly": {"detached-reset", "defaults"},
    }  # fmt: skip
    assert (facts.of("reference").version, facts.of("reference").packages) == (None, {})
    assert facts.of("norse").packages == {"norse": metadata.version("norse")}
    assert facts.of("fused").packages["numba"] == metadata.version("numba")
    requirements = metadata.requires("snn-harness") or []
    for framework in ("snntorch", "spikingjelly", "norse"):  # pinned exactly
        assert any(re.match(rf"{framework}==\d", each) for each in requirements)


@pytest.mark.parametrize("name", adapters.available())
def test_the_plain_form_claims_to_be_the_papers_function_and_variants_say_if(
    name: str,
) -> None:
    assert isinstance(adapters.load(name), Adapter)
    assert adapters.load(name).DEVIATIONS == ()
    for variant, deviations in adapters.variants_of(name).items():
        equal = {"fused:dense", "jax:nchw", "octave:convn", "octave:conv2"}
        assert bool(deviations) == (f"{name}:{variant}" not in equal)


CALLED: list[tuple[str, Precision]] = [
    (f"{name}:{form}".rstrip(":"), precision)
    for name in adapters.available()
    for form in ("", *adapters.variants_of(name), *(["channels-last"] if name in TORCH else []))
    for precision in get_args(Precision)
    if precision != "bf16" or name in TORCH
]


@pytest.mark.parametrize(("form", "precision"), CALLED)
def test_the_same_call_gives_the_same_bits(
    form: str, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    if form.startswith("fused"):  # else the machine decides; fused:dense never does
        all_by_events(monkeypatch)
    for neunorm in (None, NeuNorm()) if form.partition(":")[0] in TORCH else (NeuNorm(),):
        network = Network.parse(
            "4C3(Encoding)-AP2-4C3-4C3-6FC-Voting", input_shape=(3, 6, 6),
            lif=paper.settings("cifar10").lif, neunorm=neunorm,
        )  # fmt: skip
        asked = question(network, precision, T=3, B=2, static=True)
        module = adapters.load(form).build(network).to(DTYPES[precision])
        first = plain_pass(module, asked)
        for _ in range(2):
            again = plain_pass(module, asked)
            assert torch.equal(again.out, first.out)
            assert all(map(torch.equal, again.gradients, first.gradients))


def test_an_installed_package_offers_an_adapter_by_entry_point(
    plant: Plant, tmp_path: Path
) -> None:
    plant("elsewhere", "from adapters.reference import *\nfrom adapters.reference import build")
    assert "elsewhere" in adapters.names()
    assert adapters.load("elsewhere").DEVIATIONS == ()
    known = facts.of("elsewhere")
    assert (known.version, known.revision, known.variants) == ("1.0", 0, {})
    assert known.packages == {"elsewhere-pkg": "1.0"}

    plant("nothing", "build = None")
    points = "[harness.adapters]\nnothing = nothing_module:build\n"
    (tmp_path / "site" / "nothing_pkg-1.0.dist-info" / "entry_points.txt").write_text(points)
    with pytest.raises(adapters.Missing, match="nothing is no adapter: None is no module"):
        adapters.load("nothing")


@pytest.mark.parametrize(
    ("place", "text"),
    [("adapters/__init__.py", "raise SystemExit('it ran')"), ("adapters.py", "no Python at all")],
)
def test_another_package_of_that_name_is_said_in_one_sentence(
    place: str, text: str, tmp_path: Path
) -> None:
    work, foreign = tmp_path / "work", tmp_path / "site" / place
    work.mkdir()
    foreign.parent.mkdir(parents=True)
    foreign.write_text(text)
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", "from harness.cli import main; main()", "list", "frameworks"],
        env={**os.environ, "PYTHONPATH": path}, cwd=work, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"harness: `import adapters` finds {foreign}, which is not of")
    assert done.stderr.count("\n") == 1


def test_sinabs_imports_no_samna_and_its_constants_are_no_parameters() -> None:
    network = small("nmnist", "Small", "mean")
    module = adapters.load("sinabs").build(network)
    assert not [name for name in sys.modules if name.partition(".")[0] == "samna"]  # it runs pip
    shapes = [tuple(each.shape) for each in adapters.load("reference").build(network).parameters()]
    assert [tuple(each.shape) for each in module.parameters()] == shapes
    x = random_batch(network, 3, 2, static=False)
    assert module(x).dtype == torch.float32
    assert module.double()(x.double()).dtype == torch.float64


def marked(name: str) -> Iterator[Any]:
    """A framework's checks; of one in a runtime of its own, which takes seconds to start, most are
    slow.
    """
    for check in conformance.checks(name):
        quick = name in TORCH or " Small mean " in str(check)
        yield pytest.param(check, id=str(check), marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize("check", [each for name in adapters.available() for each in marked(name)])
def test_it_keeps_the_contract(check: Check) -> None:
    check()


@pytest.mark.parametrize(
    ("variant", "reason"),
    [("detached-reset", "gradients differ"), ("defaults", "spikes differ")],
)
def test_who_breaks_it_is_told_where(
    variant: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = adapters.load

    def planted(name: str) -> Adapter:  # which claims to be equal
        found = load(f"spikingjelly:{variant}")
        return Variant((), found.build) if name == "planted" else load(name)

    monkeypatch.setattr(adapters, "load", planted)
    monkeypatch.setattr(adapters, "variants_of", lambda name: {})
    found = {str(each): each for each in conformance.checks("planted")}
    with pytest.raises(Broken, match=reason):
        found["planted cifar10 Small without NeuNorm fp64"]()
