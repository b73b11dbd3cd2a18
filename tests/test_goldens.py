"""Goldens: what a result depends on does not move unless the number that stands for it does."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import golden
import pytest
from golden import Entry


@pytest.mark.parametrize("file", golden.FILES)
def test_goldens_hold_unless_their_number_was_raised(file: str) -> None:
    moved = list(golden.moved(file))
    assert not moved, "\n".join(moved)


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """That entry alone is looked at, in a folder of its own."""

    def plant(name: str, made: object, **numbers: int) -> None:
        monkeypatch.setattr(golden, "FOLDER", tmp_path)
        monkeypatch.setattr(golden, "entries", lambda file: iter([Entry(name, numbers, made)]))

    return plant


def test_renewing_takes_only_changes_with_a_raised_number(planted: Callable[..., None]) -> None:
    for made, revision, words, refused in (
        ([1.0, 2.0], 0, "it is not there yet: .*--renew", False),
        ([1.0, 3.0], 0, r"\(/1: 2.0, now 3.0\): raise NUMERICS or the adapter's REVISION", True),
        ([1.0, 3.0], 1, "it is of .*0.*, now of .*1", False),
    ):
        planted("planted", made, NUMERICS=1, REVISION=revision)
        (said,) = golden.moved("numerics")
        assert re.search(words, said), said
        left = golden.renew("numerics", anyway=False)
        assert left == list(golden.moved("numerics")) == [said] * refused
