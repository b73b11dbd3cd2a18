"""Adapters are found, described and refused; all that load keep the contract; the kit checks it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

import contenders
import pytest
import torch
from contenders import Build, from_forward, off_by, question_on, stepped
from surroundings import declare
from torch_modules import TORCH, all_by_events

import adapters
from adapters import facts
from harness import conformance
from harness.adapter import Adapter, Unsupported, Variant
from harness.conformance import Broken, Check, random_batch, small
from harness.proof.answer import plain_pass, tapped_pass
from harness.proof.audit import Audit
from harness.proof.certificate import required
from harness.reference.network import ReferenceNetwork
from harness.reference.precision import DTYPES
from harness.spec import FORMS, Network, NeuNorm, Options, Precision, UsageError, paper
from harness.suites import timings

Plant = Callable[[str, str], None]
Looked = dict[str, facts.Facts]
ROOT = Path(__file__).resolve().parents[1]
OURS = ("fused", "norse", "reference", "snntorch", "spikingjelly")
SOUND = """
from harness.adapter import Variant
from harness.reference.network import ReferenceNetwork as build
DEVIATIONS = ()
"""
FAULTY = {  # the source of each, and a phrase of its reason
    "raises": ("raise RuntimeError('it is\\nbroken')", "RuntimeError: it is broken"),
    "unwritten": ("def (", "SyntaxError: "),
    "crashes": ("import os\nos.kill(os.getpid(), 11)", "its process died of SIGSEGV"),
    "hangs": ("import time\ntime.sleep(3600)", "it said nothing for 4 s"),
    "ends": ("import os\nos._exit(3)", "its process ended with exit code 3"),
    "absent": ("import not_installed", "absent-pkg 1.0 imports not_installed, which is not instal"),
    "lost": ("from harness.adapter import NotThere", "cannot import name 'NotThere' from 'harn"),
    "nothing": ("build = None", "nothing is no adapter: None is no module"),
    "no_adapter": ("x = 1", "must define DEVIATIONS and build"),
    "listed": (SOUND + "DEVIATIONS = 'as text'", "DEVIATIONS in listed_module must be a tuple"),
}
SOUND_ONES = {
    "sound": SOUND
    + "VARIANTS = {'other': Variant(('another',), build, compiled=True)}\nREVISION = 4\n"
    + "PACKAGES = ('numpy', 'absent')\ndef implementation(device): return f'kernels of {device}'",
    "prints": "import os\nprint('{}')\nos.write(1, b'[1]')\n" + SOUND,
    "numbers": SOUND + "def version(): return 2.5\n",
    "sets": "import torch\ntorch.set_num_threads(torch.get_num_threads() + 1)\n"
    "torch.set_default_dtype(torch.float64)\n" + SOUND,
}


LOADED = adapters.available()  # before any is planted: to load one that sets things would set them


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    """The facts of all planted adapters, looked up at once."""
    site = tmp_path_factory.mktemp("site")
    sources = {name: source for name, (source, _) in FAULTY.items()} | SOUND_ONES
    for name, source in sources.items():
        declare(site, name, source)
    points = site / "nothing_pkg-1.0.dist-info" / "entry_points.txt"
    points.write_text("[harness.adapters]\nnothing = nothing_module:build\n")  # of no module
    facts.discover(adapters.names())
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.setattr(facts, "_known", dict(facts._known))
        patch.setattr(facts, "PATIENCE", 4)
        facts.discover(sources)
        yield {name: facts.look_up(name) for name in sources}


def test_an_import_that_does_anything_costs_itself_and_is_one_line(looked: Looked) -> None:
    for name, (_, words) in FAULTY.items():
        reason = looked[name].missing
        assert name in reason and words in reason and "\n" not in reason
        assert "pip install" not in reason  # what is installed
        assert adapters.missing(name) == reason and name not in adapters.available()
        for call in (adapters.load, adapters.variants_of):
            with pytest.raises(adapters.Missing, match=re.escape(words)):
                call(name)


def test_sound_adapters_are_found_among_faulty_ones(looked: Looked) -> None:
    sound = looked["sound"]
    assert (sound.missing, sound.changed, sound.version, sound.revision) == ("", (), "1.0", 4)
    numbers = looked["numbers"]
    assert (numbers.version, numbers.packages) == ("2.5", {"numbers-pkg": "2.5"})
    assert sound.packages == {"sound-pkg": "1.0", "numpy": metadata.version("numpy")}
    assert sound.variants == {"other": ("another",)} == adapters.variants_of("sound")
    assert sound.implementations["cpu"] == "kernels of cpu"
    assert {*SOUND_ONES} <= {*adapters.available()} and adapters.load("sound").DEVIATIONS == ()
    threads, dtype = looked["sets"].changed
    assert "threads" in threads and "torch.float64" in dtype
    assert torch.get_default_dtype() == torch.float32 and "sets_module" not in sys.modules


def test_an_unknown_variant_is_refused_with_the_known_ones(looked: Looked) -> None:
    deviations = [looked["sound"].deviations_of(form) for form in ("", "other", "compiled")]
    assert deviations == [(), ("another",), ()]
    adapters.check_name("sound:other")
    adapters.check_name("hangs:whatever")  # its row says that it does not load
    for name, says in {
        "sound:fast": "unknown variant 'sound:fast', sound has: other, chann",
        "nobody": "unknown framework 'nobody', choose from .*reference",
    }.items():
        for check in (adapters.check_name, adapters.load):
            with pytest.raises(UsageError, match=says):
                check(name)


def test_facts_are_kept_until_the_source_changes(plant: Plant, tmp_path: Path) -> None:
    note = f"open({str(tmp_path / 'imports')!r}, 'a').write('.')\n"
    plant("kept", SOUND + note)
    for revision, imports in ((0, "."), (0, "."), (2, "..")):
        if revision:
            (tmp_path / "site" / "kept_module.py").write_text(SOUND + note + "REVISION = 2")
        facts._known.pop("kept", None)
        assert facts.look_up("kept").revision == revision
        assert (tmp_path / "imports").read_text() == imports


def test_a_script_without_a_main_guard_runs_once_and_names_need_no_torch(tmp_path: Path) -> None:
    script = tmp_path / "notebook.py"
    script.write_text(
        "import sys, adapters\nadapters.names()\nprint('torch' in sys.modules)\n"
        "print(adapters.missing('reference'))"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    printed = subprocess.check_output([sys.executable, str(script)], text=True, env=environment)
    assert printed.split() == ["False", "None"]


def test_all_frameworks_of_the_project_load_with_variants_and_versions() -> None:
    # the tests of all adapters are those of `available()`: one that does not load would be left out
    assert {name: {*adapters.variants_of(name)} for name in OURS} == {
        "fused": {"detached-reset"}, "norse": {"super"}, "reference": set(),
        "snntorch": {"detached-reset", "subtract", "defaults"},
        "spikingjelly": {"detached-reset", "defaults"},
    }  # fmt: skip
    assert (facts.look_up("reference").version, facts.look_up("reference").packages) == (None, {})
    assert facts.look_up("norse").packages == {"norse": metadata.version("norse")}
    assert facts.look_up("fused").packages["numba"] == metadata.version("numba")
    requirements = metadata.requires("snn-harness") or []
    for framework in ("snntorch", "spikingjelly", "norse"):  # pinned exactly
        assert any(re.match(rf"{framework}==\d", line) for line in requirements)
    equal = {"octave:convn", "octave:conv2"}
    for name in LOADED:
        assert isinstance(adapters.load(name), Adapter) and adapters.load(name).DEVIATIONS == ()
        for variant, deviations in adapters.variants_of(name).items():
            assert bool(deviations) == (f"{name}:{variant}" not in equal)


@pytest.mark.parametrize("precision", get_args(Precision))
@pytest.mark.parametrize("form", ["", ":detached-reset", ":channels-last"])
def test_the_same_call_of_our_engine_gives_the_same_bits(
    form: str, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_by_events(monkeypatch)  # else the machine decides
    for neunorm in (None, NeuNorm()):
        network = Network.parse(
            "4C3(Encoding)-AP2-4C3-4C3-6FC-Voting", input_shape=(3, 6, 6),
            lif=paper.settings("cifar10").lif, neunorm=neunorm,
        )  # fmt: skip
        batch = question_on(network, precision, T=3, B=2, static=True)
        module = adapters.load(f"fused{form}").build(network).to(DTYPES[precision])
        first = plain_pass(module, batch)
        for _ in range(2):
            again = plain_pass(module, batch)
            assert torch.equal(again.out, first.out)
            assert all(map(torch.equal, again.gradients, first.gradients))


def test_a_foreign_package_named_adapters_is_named(tmp_path: Path) -> None:
    foreign = tmp_path / "site" / "adapters.py"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("raise SystemExit('it ran')")
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", "from harness.cli import main; main()", "list", "frameworks"],
        env={**os.environ, "PYTHONPATH": path}, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert f"`import adapters` finds {foreign}" in done.stderr


def test_sinabs_imports_no_samna() -> None:
    adapters.load("sinabs").build(small("nmnist"))
    assert not [name for name in sys.modules if name.partition(".")[0] == "samna"]  # it runs pip


def marked(name: str) -> Iterator[Any]:
    """A framework's checks, exams in one precision of the two by turns. Middle's layers are in
    Small and Large. Slow: Large, and most of a runtime of its own, which takes seconds to start.
    """
    exams = len(conformance.exams())
    for number, check in enumerate(conformance.checks(name)):
        text, precision = str(check), ("fp64", "fp32")[number // 2 % 2]
        if " Middle " in text or (number < exams and not text.endswith(precision)):
            continue
        quick = " Large " not in text if name in TORCH else " CIFAR-10 Small NeuNorm mean " in text
        yield pytest.param(check, id=text, marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize("check", [check for name in LOADED for check in marked(name)])
def test_every_adapter_keeps_the_contract(check: Check) -> None:
    check()


NO_RESET = "gradients differ .* computes with no gradient through the reset$"
AUDITED = "after a batch of another size: "


@pytest.mark.parametrize(
    ("build", "checks", "reason"),
    [
        (stepped(contenders.DetachedReset), " Small ", NO_RESET),
        (stepped(off_by(k_tau=0.5)), " Small ", "spikes differ"),
        (stepped(contenders.TruncatedAtFour), " T=", AUDITED),
        (stepped(contenders.LateDetachedReset), " T=", AUDITED),
        (lambda network: ReferenceNetwork(replace(network, dropout=0.0)), " T=", AUDITED),
    ],
    ids=["detached", "another decay", "truncated after four", "detached after four", "no dropout"],
)
def test_a_broken_contract_is_located(
    build: Build, checks: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapters, "variants_of", lambda name: {})
    monkeypatch.setattr(adapters, "load", lambda name: Variant((), build))
    with pytest.raises(Broken, match=reason):
        for check in conformance.checks("planted"):
            if checks in str(check):
                check()


def test_a_variant_that_emits_no_spikes_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answer is refused before there are gradients to compare."""
    halved = from_forward(lambda right, x: right(x) / 2)
    marked = Variant(("it halves its spikes",), halved)
    monkeypatch.setattr(adapters, "variants_of", lambda name: {"half": marked.DEVIATIONS})
    monkeypatch.setattr(adapters, "load", lambda name: marked)
    (check,) = (check for check in conformance.checks("planted") if "half is marked" in str(check))
    check()


# Tuned forms: the same function, compiled for real or refused.

# of itself: parts of torch that are deprecated, tensors it looks at twice
COMPILER_WARNS = pytest.mark.filterwarnings("ignore")


def test_tuned_forms_are_variants_of_every_framework() -> None:
    for name in LOADED:
        for form in FORMS:
            adapter = adapters.load(f"{name}:{form}")
            assert isinstance(adapter, Variant) and adapter.DEVIATIONS == ()
            assert adapter.compiled == (form == "compiled")
    module = adapters.load("reference:channels-last").build(small("cifar10"))
    weights = [p for p in module.parameters() if p.dim() == 4]  # a cell examines it: test_schedule
    assert weights and all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)


@COMPILER_WARNS
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_module_passes_its_audit() -> None:  # a run audits the others' too
    network = small("cifar10")
    for precision in required("fp32"):
        batch = question_on(network, precision, T=4, B=2, static=True)
        module = adapters.load("reference:compiled").build(network).to(batch.x.dtype)
        answer = plain_pass(module, batch)
        assert Audit(batch).replay(answer, tapped_pass(module, batch)).passed


def test_a_compiled_form_needs_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")
    with pytest.raises(Unsupported, match="switched off here: unset .*TORCHDYNAMO_DISABLE"):
        adapters.load("reference:compiled").build(small("cifar10"))


@pytest.mark.parametrize("name", ["floor", "reference"])
def test_a_package_that_declares_a_name_of_ours_is_ignored_and_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = adapters.names()
    declare(tmp_path, name, "DEVIATIONS = ()\nbuild = None\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert adapters.names() == names
    assert "DEVIATIONS" in dir(adapters.load("reference"))
    (sentence,) = facts.refused()
    assert f"{name}-pkg declares the adapter {name!r}" in sentence and "ignored" in sentence


def test_the_suite_runs_each_framework_in_each_form_where_asked() -> None:
    options: dict[str, Any] = {"suite": "acceleration", "frameworks": ("fused", "norse")}
    options |= {"datasets": ("cifar10",), "networks": ("Small",), "tuned": True, "device": "cpu"}
    contenders = [
        f"{c.contender.name} {c.contender.precision}"
        for c in timings.acceleration(Options(**options))
    ]
    assert contenders == ["fused fp32", "norse fp32", "fused bf16"] + [
        f"norse:{form} {precision}" for precision in ("fp32", "bf16") for form in FORMS
    ]


def test_ctrl_c_amid_an_import_interrupts(plant: Plant) -> None:
    plant("interrupted", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        adapters.load("interrupted")


@COMPILER_WARNS
def test_a_failed_compilation_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import BackendCompilerFailed  # which takes a second

    network = small("cifar10")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))

    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", broken)
    module = adapters.load("reference:compiled").build(network)
    with pytest.raises(BackendCompilerFailed):
        module(random_batch(network, 1, 1, static=True))
    torch.compiler.reset()


def test_kept_facts_depend_on_every_module_of_the_package_and_on_the_environment(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant("deep", "")
    site = tmp_path / "site"
    (site / "deep_package").mkdir()
    (site / "deep_package" / "__init__.py").touch()
    points = site / "deep_pkg-1.0.dist-info" / "entry_points.txt"
    points.write_text("[harness.adapters]\ndeep = deep_package.adapter_module\n")
    keys = {facts._key("deep")}
    for source in (SOUND, SOUND + "REVISION = 2"):
        (site / "deep_package" / "adapter_module.py").write_text(source)
        keys.add(facts._key("deep"))
    for name in ("HARNESS_OCTAVE", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "nowhere")
        keys.add(facts._key("deep"))
    assert len(keys) == 5
