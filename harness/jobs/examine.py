"""Adapters examined one after the other, each in a process of its own: one that crashes, hangs or
changes its process costs its own line and no more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from adapters import facts
from harness.jobs.worker import SILENCE, Died, Worker
from harness.proof import check
from harness.proof.check import Examined, Scope
from harness.records.ledger import Owner
from harness.spec import Say


@dataclass(frozen=True)
class Examine:
    """What the process does: it examines one adapter, and says what came of it."""

    name: str
    scope: Scope

    def __call__(self, owner: Owner, orders: Iterator[list[Any]]) -> Iterator[list[Any]]:
        yield ["examined", json.dumps(asdict(check.examined(self.name, self.scope, owner.say)))]


def examined(
    names: tuple[str, ...], scope: Scope, say: Say, silence: float = SILENCE
) -> Iterator[Examined]:
    """Certificates of each adapter; no names: of all there are.

    Raises UsageError for what does not exist.
    """
    for name in check.chosen(names):
        yield _examined(name, scope, say, silence)


def _examined(name: str, scope: Scope, say: Say, silence: float) -> Examined:
    framework, _, variant = name.partition(":")
    known = facts.of(framework)
    if known.missing:
        return Examined(name, (), (), known.missing)
    deviations = known.form(variant).deviations
    worker = Worker.start(Examine(name, scope), (), "cpu")
    try:
        found = _heard(worker, say, silence)
    except Died as reason:
        return Examined(name, deviations, (), str(reason), broke=True)
    except ValidationError:
        return Examined(name, deviations, (), "what its process says is no answer", broke=True)
    finally:
        worker.end()
    return replace(found, name=name)


def _heard(worker: Worker, say: Say, silence: float) -> Examined:
    """What the process says. Raises Died, and ValidationError where that is none of ours."""
    for message in worker.messages(say, silence):
        match message:
            case ["examined", str() as text]:
                return _answers().validate_json(text, strict=True)
            case _:
                raise Died("it broke the pipe to its owner")
    raise AssertionError("a process that says nothing more has died")


@cache
def _answers() -> TypeAdapter[Examined]:
    return TypeAdapter(Examined)
