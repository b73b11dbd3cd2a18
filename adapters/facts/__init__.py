"""What is known of an adapter, found by a process apart: its import may do anything.

Nothing of an adapter is imported here. What is found is kept as long as this process lives, and may
be handed to its children (`known`, `remember`).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

import adapters
from harness.adapter import FORMS
from harness.spec import UsageError
from harness.system import installed

PATIENCE = 60.0  # seconds that an import may take
TOGETHER = 2  # imports at one time
LONGEST = 500  # characters of a reason
_START = 60.0  # seconds until the first import begins, at the latest

# The folders come first: a module of the name of one of ours may lie in the working folder.
_CODE = (
    "import json, sys; asked = json.loads(sys.stdin.readline()); sys.path[:] = asked['path']; "
    "from adapters.facts import apart; apart.main(apart.Request(**asked))"
)


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
    version: str | None = None  # of the package behind it; None for our own
    packages: tuple[tuple[str, str], ...] = ()  # that compute for it, with their versions
    revision: int = 0
    deviations: tuple[str, ...] = ()
    variants: tuple[FormFacts, ...] = ()
    implementations: tuple[tuple[str, str], ...] = ()  # on the kinds of devices here, if it says
    foreign: bool = False  # in a runtime of its own, no torch module
    missing: str = ""  # why it does not load here; "" where it does
    changed: tuple[str, ...] = ()  # what its import does to its process: "sets ... to ..."

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


@dataclass(frozen=True)
class Answer:
    """What an adapter's own process says of it."""

    missing: str = ""
    version: str | None = None
    revision: int = 0
    packages: tuple[str, ...] = ()
    deviations: tuple[str, ...] = ()
    variants: tuple[FormFacts, ...] = ()
    implementations: tuple[tuple[str, str], ...] = ()
    foreign: bool = False
    changed: tuple[str, ...] = ()


_known: dict[str, Facts] = {}
_looking = threading.Lock()


def of(framework: str) -> Facts:
    """What is known of a framework. Raises UsageError where there is none of that name."""
    look((framework,))
    return _known[framework]


def look(frameworks: Iterable[str]) -> None:
    """Finds what is not known yet of these frameworks, several at a time.

    Raises UsageError where there is none of a name.
    """
    with _looking:
        wanted = [name for name in dict.fromkeys(frameworks) if name not in _known]
        for name in wanted:
            adapters.check_framework(name)
        if wanted:
            said = _asked(wanted)
            remember(*(_facts(name, said.get(name)) for name in wanted))


def known() -> tuple[Facts, ...]:
    """All that was found so far."""
    return tuple(_known.values())


def remember(*found: Facts) -> None:
    """Takes over what another process has found."""
    _known.update({each.framework: each for each in found})


def reason_known(framework: str) -> str:
    """Why a framework does not load, as far as that was looked for; "" where it was not."""
    return _known[framework].missing if framework in _known else ""


def preloadable(frameworks: Iterable[str]) -> list[str]:
    """Those that may be imported before anybody wants them: ours, that load and change nothing."""
    ours = Path(adapters.__file__ or "").parent
    look(frameworks)
    return [
        name
        for name in dict.fromkeys(frameworks)
        if not adapters.declared(name)
        and any((ours / each).is_file() for each in (f"{name}.py", f"{name}/__init__.py"))
        # a runtime of its own has threads of its own, which a fork would be without
        and not (_known[name].missing or _known[name].changed or _known[name].foreign)
    ]


def _asked(frameworks: list[str]) -> Mapping[str, object]:
    """What a process apart says of each, as it comes; nothing where it died."""
    request = {
        "path": [each for each in sys.path if isinstance(each, str)],
        "folders": list(adapters.__path__),
        "frameworks": frameworks,
        "patience": PATIENCE,
        "together": TOGETHER,
    }
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _CODE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        process_group=0,  # Ctrl-C is for us, who end it
    )
    turns = -(-len(frameworks) // TOGETHER)
    limit = threading.Timer(_START + PATIENCE * turns, _end, (process,))
    limit.daemon = True
    limit.start()
    try:
        assert process.stdin is not None and process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        # its input stays open until it has answered: it ends with us, who hold the other end
        said = process.stdout.read()
    finally:
        limit.cancel()
        _end(process)
        process.communicate()
    return _answered(said)


def _answered(said: bytes) -> Mapping[str, object]:
    try:
        found = json.loads(said)
    except ValueError:  # it died at its work
        return {}
    return found if isinstance(found, dict) else {}


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)


@cache
def _answers() -> TypeAdapter[Answer]:
    return TypeAdapter(Answer)


def _facts(framework: str, said: object) -> Facts:
    """What was said of a framework, as facts."""
    version = adapters.version(framework)
    match said:
        case ["answer", str() as text]:
            try:
                answer = _answers().validate_json(text, strict=True)
            except ValidationError:
                answer = Answer(f"{framework} does not load: what its process says is no answer")
        case ["ended", str() as how]:
            answer = Answer(f"{framework} does not load: {how}")
        case _:
            answer = Answer(f"{framework} does not load: the process that looked at it has died")
    if answer.missing:
        return Facts(framework, version, missing=one_line(answer.missing))
    stated = one_line(answer.version) if answer.version else None
    return Facts(
        framework,
        stated or version,
        packages=_packages(framework, stated, answer.packages),
        revision=answer.revision,
        deviations=answer.deviations,
        variants=answer.variants,
        implementations=answer.implementations,
        foreign=answer.foreign,
        changed=tuple(map(one_line, answer.changed)),
    )


def _packages(
    framework: str, stated: str | None, named: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """What is behind a framework, its distribution, and what its adapter names, where installed."""
    point = adapters.declared(framework)
    name = framework if point is None else point.dist.name if point.dist else framework
    own = {framework: stated} if stated else {}
    first = {**own, **({} if name in own else {name: adapters.version(framework)})}
    found = {**first, **{each: installed.version(each) for each in named}}
    return tuple((name, each) for name, each in found.items() if each is not None)


def one_line(text: str) -> str:
    """A text of any length as a line that can be shown and stored."""
    return " ".join(text.encode(errors="replace").decode().split())[:LONGEST]
