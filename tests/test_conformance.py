"""The contract, held by every adapter that loads here; the kit that others check theirs with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from conftest import TORCH

import adapters
from harness import conformance
from harness.adapter import Adapter, Variant
from harness.conformance import Broken, Check


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
