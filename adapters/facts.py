"""What is known of an adapter. Its import may do anything, so a child process finds it; what it
finds is kept in the user's cache folder, until something that is installed is another.

Nothing of an adapter, nor torch, is imported here.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import pkgutil
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata, util
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from harness.spec import UsageError
from harness.system import installed
from harness.system.files import make_user_cache, write_whole

if TYPE_CHECKING:  # torch's import takes seconds
    from harness.adapter import Adapter, Variant

NO_FRAMEWORKS = {"facts", "foreign"}  # of the modules here
ENTRY_POINTS = "harness.adapters"
FORMS = ("channels-last", "compiled", "cuda-graph")  # of `harness.adapter`
PATIENCE = 60  # seconds that an import may take
LONGEST = 300  # characters of what an import raised
_START = 60.0  # seconds until the first import begins, at the latest
_CODE = (
    "import json, sys; path, folders, *of = json.loads(sys.argv[1]); sys.path[:] = path; "
    "import adapters; adapters.__path__[:] = folders; adapters.facts.answer(*of)"
)


class Missing(Exception):
    """A known framework that does not load here; the message says why, or how to install it."""


@dataclass(frozen=True)
class FormFacts:
    """A form of a framework's network: the plain one (no name), a variant, or a tuned one."""

    name: str = ""
    deviations: tuple[str, ...] = ()
    compiled: bool = False
    captured: bool = False


@dataclass(frozen=True)
class Facts:
    """What is known of a framework's adapter."""

    framework: str
    version: str | None = None  # of the package or program behind it; None for our own
    packages: tuple[tuple[str, str], ...] = ()  # that compute for it, with their versions
    revision: int = 0
    deviations: tuple[str, ...] = ()
    variants: tuple[FormFacts, ...] = ()
    implementations: tuple[tuple[str, str], ...] = ()  # on the kinds of devices here, if it says
    foreign: bool = False  # in a runtime of its own, no torch module
    missing: str = ""  # why it does not load here; "" where it does
    changed: tuple[str, ...] = ()  # what its import does to its process: "sets ... to ..."

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Facts:
        """From JSON, which has lists for tuples. Raises KeyError, TypeError."""
        variants = (
            FormFacts(**{**v, "deviations": (*v["deviations"],)}) for v in values["variants"]
        )
        pairs = {name: tuple(map(tuple, values[name])) for name in ("packages", "implementations")}
        texts = {name: tuple(values[name]) for name in ("deviations", "changed")}
        return cls(**{**values, **pairs, **texts, "variants": tuple(variants)})

    def implementation(self, device: str) -> str | None:
        """Which kernels it runs on that kind of device, where it says so."""
        return dict(self.implementations).get(device)

    def form(self, name: str) -> FormFacts:
        """The form of that name; "" is the plain one. Raises UsageError where there is none."""
        if not name:
            return FormFacts(deviations=self.deviations)
        for each in self.variants:
            if each.name == name:
                return each
        if name in FORMS:
            compiled, captured = name == "compiled", name == "cuda-graph"
            return FormFacts(name, self.deviations, compiled=compiled, captured=captured)
        has = ", ".join([*(each.name for each in self.variants), *FORMS])
        raise UsageError(f"unknown variant '{self.framework}:{name}', {self.framework} has: {has}")


def _folders() -> list[str]:
    """Where adapters are files."""
    return [*sys.modules["adapters"].__path__]


@cache
def _declared_on(path: tuple[str, ...]) -> Mapping[str, metadata.EntryPoint]:
    # `path`: what is found where Python searches
    return {point.name: point for point in metadata.entry_points(group=ENTRY_POINTS)}


def declared(framework: str) -> metadata.EntryPoint | None:
    """What an installed package declares as that framework's adapter; None for a file here."""
    return _declared_on(tuple(sys.path)).get(framework)


def names() -> tuple[str, ...]:
    """Every known framework, whether it loads here or not, without importing any."""
    here = {module.name for module in pkgutil.iter_modules(_folders())} - NO_FRAMEWORKS
    return tuple(sorted({*here, *_declared_on(tuple(sys.path))}))


def check_framework(framework: str) -> None:
    """Raises UsageError where no such framework is known."""
    if framework not in names():
        raise UsageError(f"unknown framework {framework!r}, choose from {', '.join(names())}")


def version(framework: str) -> str | None:
    """The installed version of the package behind a framework; None for our own."""
    point = declared(framework)
    if point is not None:
        return point.dist.version if point.dist else None
    extras = metadata.metadata("snn-harness").get_all("Provides-Extra") or []
    # not installed, or an extra of our own
    return installed.version(framework) if framework in extras else None


_known: dict[str, Facts] = {}
_looking = threading.Lock()


def of(framework: str) -> Facts:
    """What is known of a framework. Raises UsageError where there is none of that name."""
    look((framework,))
    return _known[framework]


def look(frameworks: Iterable[str]) -> None:
    """Finds what is not known yet. Raises UsageError where there is no framework of a name."""
    with _looking:
        wanted = [name for name in dict.fromkeys(frameworks) if name not in _known]
        for name in wanted:
            check_framework(name)
        remember(*(found for found in map(_kept, wanted) if found))
        remember(*_asked([name for name in wanted if name not in _known]))


def known() -> tuple[Facts, ...]:
    """All that was found so far."""
    return tuple(_known.values())


def remember(*found: Facts) -> None:
    """Takes over what another process has found."""
    _known.update({each.framework: each for each in found})


def preloadable(frameworks: Iterable[str]) -> list[str]:
    """Those that may be imported before anybody wants them: ours, that load and change nothing."""
    look(frameworks)
    return [
        name
        for name in dict.fromkeys(frameworks)
        # a runtime of its own has threads of its own, which a fork would be without
        if not (_known[name].missing or _known[name].changed or _known[name].foreign)
        and not declared(name)
    ]


def _place(framework: str) -> Path:
    """Where it is kept: named by all that it depends on. Raises OSError."""
    point = declared(framework)
    if point is None:
        found = [file for folder in _folders() for file in Path(folder).rglob("*.[mp]*")]
        files = sorted(file for file in found if file.suffix in (".py", ".m"))
        ours: object = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    else:
        spec = util.find_spec(point.module.partition(".")[0])
        ours = point.value, version(framework), spec and spec.origin and _moment(spec.origin)
    # who installs a package changes its folder
    folders = [(each, _moment(each)) for each in sys.path if each.endswith("-packages")]
    named = (os.environ.get("HARNESS_OCTAVE", ""), "octave-cli", "matlab")
    programs = [found and (found, _moment(found)) for found in map(shutil.which, named)]
    gpu = Path("/dev/nvidiactl").exists()
    of = repr((framework, ours, folders, programs, gpu, sys.version, platform.node()))
    name = hashlib.sha256(of.encode()).hexdigest()[:16]
    return make_user_cache("frameworks") / f"{framework}-{name}.json"


def _moment(path: str) -> int:
    return Path(path).stat().st_mtime_ns if Path(path).exists() else 0


def _kept(framework: str) -> Facts | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        return Facts.of(json.loads(_place(framework).read_text(encoding="utf-8")))
    return None


def _keep(found: Facts) -> None:
    with suppress(OSError):
        path, text = _place(found.framework), json.dumps(asdict(found))
        write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _asked(frameworks: list[str]) -> Iterator[Facts]:
    """What a child process finds of each; of one that ends it, how, and the rest another finds."""
    while frameworks:
        lines, how = _child(frameworks)
        for found in map(Facts.of, lines):
            _keep(found)  # not how one ended: it may have been a busy machine
            yield found
        frameworks = frameworks[len(lines) :]
        if frameworks:
            reason = f"{frameworks[0]} does not load: its import {how}"
            yield Facts(frameworks[0], version(frameworks[0]), missing=reason)
            frameworks = frameworks[1:]


def _child(frameworks: list[str]) -> tuple[list[Any], str]:
    """Its answers, and how it ended."""
    # a file: what it forked may hold a pipe open when it is dead
    with tempfile.TemporaryFile() as said:
        # its folders come first: a module of the name of one of ours may lie in the working folder
        path = [each for each in sys.path if isinstance(each, str)]
        asked = json.dumps([path, _folders(), PATIENCE, frameworks])
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _CODE, asked],
            stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us, who end it
        )  # fmt: skip
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_START + PATIENCE * len(frameworks))
        finally:
            with suppress(OSError):  # and what it started
                os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
        said.seek(0)
        lines = [json.loads(line) for line in said.read().split(b"\n")[:-1]]
    if code in (-signal.SIGALRM, -signal.SIGKILL):
        return lines, f"did not end within {PATIENCE} s"
    if code < 0:
        return lines, f"died of {signal.Signals(-code).name}"
    return lines, f"ended the process with exit code {code}"


def answer(patience: int, frameworks: list[str]) -> None:
    """In the child: prints what there is to say of each adapter, as a line of JSON."""
    answers = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what an import prints is no answer
    import harness.reference.network  # noqa: F401 every adapter needs it: imported before the limit

    for framework in frameworks:
        signal.alarm(patience)
        os.write(answers, json.dumps(asdict(_found(framework))).encode() + b"\n")
        signal.alarm(0)


def _found(framework: str) -> Facts:
    """What there is to say of an adapter, once it is imported in this process."""
    import torch

    from harness.adapter import trainer_of
    from harness.system import machine

    before, behind = machine.settings(), version(framework)
    # of a device that is not here nobody asks, and to import its compiler takes a second
    devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    try:
        module = imported(framework)
        changed = machine.changes(before)
        said = [(device, module.say("implementation", device)) for device in devices]
        stated = module.say("version")
    except (Missing, KeyboardInterrupt) as reason:
        text = str(reason) or f"{framework} does not load: KeyboardInterrupt"
        return Facts(framework, behind, missing=text)
    point = declared(framework)
    name = framework if point is None or not point.dist else point.dist.name
    packages = {name: stated or behind, **{p: installed.version(p) for p in module.packages}}
    return Facts(
        framework,
        stated or behind,
        packages=tuple((name, each) for name, each in packages.items() if each is not None),
        revision=module.revision,
        deviations=module.adapter.DEVIATIONS,
        variants=tuple(
            FormFacts(name, each.DEVIATIONS, each.compiled, each.captured)
            for name, each in module.variants.items()
        ),
        implementations=tuple((device, text) for device, text in said if text is not None),
        foreign=trainer_of(module.adapter) is not None,
        changed=changed,
    )


@dataclass(frozen=True)
class Module:
    """What an adapter's module holds, checked."""

    framework: str
    adapter: Adapter
    revision: int
    packages: tuple[str, ...]
    variants: Mapping[str, Variant]

    def say(self, name: str, *given: str) -> str | None:
        """What its function of that name says, where it has one. Raises Missing."""
        function: Callable[..., object] | None = getattr(self.adapter, name, None)
        if function is None:
            return None
        try:
            said = function(*given)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 it costs this adapter and no other
            reason = f"{self.framework} does not load: {name}() ends with {described(error)}"
            raise Missing(reason) from error
        if said is not None and not isinstance(said, str):
            raise Missing(f"{self.framework} does not load: {name}() must give a text")
        return said


def imported(framework: str) -> Module:
    """The adapter's module, as an installed package declares it, or of the file of that name.

    Raises Missing whatever its import raises: a plug-in costs itself and nobody else.
    """
    point = declared(framework)
    try:
        loaded = point.load() if point else importlib.import_module(f"adapters.{framework}")
        return _checked(framework, loaded)
    except (KeyboardInterrupt, Missing):
        raise
    except ImportError as error:
        target = f"'snn-harness[{framework}]'"
        if point is not None:
            target = point.dist.name if point.dist else point.value
        raise Missing(
            f"{framework} does not load ({described(error)}): install it with pip install {target}"
        ) from error
    except BaseException as error:  # noqa: BLE001 SystemExit included
        raise Missing(f"{framework} does not load: {described(error)}") from error


def described(error: BaseException) -> str:
    """An error of any kind as one line."""
    text = " ".join(str(error).encode(errors="replace").decode().split())
    return f"{type(error).__name__}: {text[:LONGEST]}" if text else type(error).__name__


def _checked(framework: str, module: object) -> Module:
    from harness.adapter import Adapter, Variant

    if not isinstance(module, ModuleType):
        raise Missing(f"{framework} is no adapter: {module!r:.100} is no module")
    place = module.__name__
    if not isinstance(module, Adapter):
        raise Missing(
            f"{framework} is no adapter: {place} must define DEVIATIONS and build(network)"
        )
    found = Module(
        framework, module, getattr(module, "REVISION", 0), getattr(module, "PACKAGES", ()),
        getattr(module, "VARIANTS", {}),
    )  # fmt: skip
    variants = found.variants if isinstance(found.variants, Mapping) else {"": None}
    right = {
        "REVISION": ("a whole number", type(found.revision) is int),
        "PACKAGES": ("a tuple of names", _are_texts(found.packages)),
        "DEVIATIONS": ("a tuple of sentences", _are_texts(module.DEVIATIONS)),
        "VARIANTS": (
            "a mapping of names to Variants",
            all(isinstance(v, Variant) and _are_texts(v.DEVIATIONS) for v in variants.values()),
        ),
    }
    for name, (kind, holds) in right.items():
        if not holds:
            raise Missing(f"{framework}: {name} in {place} must be {kind}")
    return found


def _are_texts(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(each, str) for each in value)
