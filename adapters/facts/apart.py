"""What runs apart: one process starts one for each adapter, which imports it and says what it is.

The first imports nothing of others, so that it can be relied on; those that it starts are forks of
it where the system can, since torch takes seconds to import. Each may raise, exit, crash, hang or
write anything: then that is what is known of its adapter. It ends when it has answered.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch

import adapters
import harness.reference.network  # noqa: F401 every adapter needs it: imported once
from adapters.facts import Answer, FormFacts
from adapters.facts.module import Missing, imported
from harness.adapter import trainer_of
from harness.system import state
from harness.system.child import end_with
from harness.system.clock import Deadline

LONGEST = 2**20  # bytes of an answer
LOOK = 0.1  # seconds between two looks whether one is dead
GRACE = 2.0  # seconds for a process to end that has closed its pipe
# forked where torch can be; elsewhere anew
METHOD = "fork" if sys.platform == "linux" else "spawn"


@dataclass(frozen=True)
class Request:
    """What is asked for."""

    path: list[str]  # where Python searches
    folders: list[str]  # where adapters are files
    frameworks: list[str]
    patience: float  # seconds that each may take
    together: int  # how many at a time


@dataclass(eq=False)
class Look:
    """One adapter's process, seen from the one that started it."""

    framework: str
    process: BaseProcess
    answer: Connection
    lifeline: Connection  # the process ends when this is closed
    deadline: Deadline
    patience: float
    said: bytearray = field(default_factory=bytearray)

    def heard(self, ready: list[object]) -> tuple[str, str] | None:
        """What came of it, once it is known: what it says, or how it ended."""
        if self.answer in ready:
            piece = os.read(self.answer.fileno(), LONGEST)
            self.said += piece
            if self.said.endswith(b"\n"):
                return "answer", self.said.decode(errors="replace")
            if len(self.said) > LONGEST:
                return "ended", "its import says more than an answer has"
            if not piece:
                self.process.join(GRACE)
                return "ended", self._end()
        elif not self.process.is_alive() and not self.answer.poll():
            return "ended", self._end()
        elif self.deadline.left <= 0:
            return "ended", f"its import did not end within {self.patience:.0f} s"
        return None

    def _end(self) -> str:
        self.process.join(GRACE)
        code = self.process.exitcode
        if code is None:
            return "its import broke the pipe to its owner"
        if code < 0:
            return f"its import died of {signal.Signals(-code).name}"
        return f"its import ended the process with exit code {code}"

    def close(self) -> None:
        """Ends the process and what it started."""
        assert self.process.pid is not None
        with suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        self.answer.close()
        self.lifeline.close()


def main(request: Request) -> None:
    """Writes on stdout what each adapter is. Ends at once where its owner does."""
    end_with(Connection(os.dup(0), writable=False))
    print(json.dumps(_looked(request)), flush=True)


def _looked(request: Request) -> Mapping[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    waiting, under_way = list(request.frameworks), list[Look]()
    while waiting or under_way:
        while waiting and len(under_way) < request.together:
            under_way.append(_started(waiting.pop(0), request, under_way))
        # what one forked may hold its pipe open when it is dead: its end is looked for too
        ready: list[object] = [*wait([each.answer for each in under_way], LOOK)]
        for each in list(under_way):
            heard = each.heard(ready)
            if heard is not None:
                found[each.framework] = heard
                each.close()
                under_way.remove(each)
    return found


def _started(framework: str, request: Request, others: list[Look]) -> Look:
    context = multiprocessing.get_context(METHOD)
    answer, theirs = context.Pipe(duplex=False)
    watched, lifeline = context.Pipe(duplex=False)
    # a fork has its siblings' ends as well, and would hold them open
    foreign = () if METHOD == "spawn" else (answer, lifeline, *(each.lifeline for each in others))
    process = context.Process(target=_look, args=(framework, request, theirs, watched, foreign))
    process.start()
    for end in (theirs, watched):
        end.close()
    deadline = Deadline.after(request.patience)
    return Look(framework, process, answer, lifeline, deadline, request.patience)


def _look(
    framework: str,
    request: Request,
    answer: Connection,
    lifeline: Connection,
    foreign: tuple[Connection, ...],
) -> None:
    """What an adapter's own process does."""
    for end in foreign:
        end.close()
    os.setpgid(0, 0)  # what the import starts ends with it
    end_with(lifeline)
    sink = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):  # what it prints is no answer
        os.dup2(sink, fd)
    adapters.__path__[:] = request.folders
    text = json.dumps(asdict(_answer(framework)), ensure_ascii=False)
    rest = memoryview(text.encode(errors="replace") + b"\n")
    while rest:
        rest = rest[os.write(answer.fileno(), rest) :]
    answer.close()


def _answer(framework: str) -> Answer:
    """What there is to say of an adapter, once it is imported in this process."""
    before = state.taken()
    try:
        module = imported(framework, adapters.declared(framework))
        changed = before.changes(state.taken())
        # of a device that is not here nobody asks, and to import its compiler takes a second
        devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
        said = [(device, module.implementation(device)) for device in devices]
        version = module.version()
    except Missing as reason:
        return Answer(str(reason))
    except KeyboardInterrupt:  # the owner's do not reach us
        return Answer(f"{framework} does not load: KeyboardInterrupt")
    return Answer(
        version=version,
        revision=module.revision,
        packages=module.packages,
        deviations=module.adapter.DEVIATIONS,
        variants=tuple(
            FormFacts(name, each.DEVIATIONS, each.compiled, each.captured)
            for name, each in module.variants.items()
        ),
        implementations=tuple((device, text) for device, text in said if text is not None),
        foreign=trainer_of(module.adapter) is not None,
        changed=changed,
    )
