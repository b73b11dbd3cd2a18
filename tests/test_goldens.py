"""Goldens: what a result depends on does not move unless the number that stands for it does."""

from __future__ import annotations

import re
from pathlib import Path

import golden
import pytest


@pytest.mark.parametrize("file", golden.FILES)
def test_goldens_hold_unless_their_number_was_raised(file: str) -> None:
    moved = golden.moved(file)
    assert not moved, "\n".join(moved)


def test_a_change_is_named_and_renewed_only_with_a_raised_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted: list[golden.Entry] = []
    monkeypatch.setattr(golden, "FOLDER", tmp_path)
    monkeypatch.setattr(golden, "entries", lambda file: planted)
    raise_one = r"\(/1: 2.0, now 3.0\): raise NUMERICS or the adapter's REVISION"
    first, second = {"NUMERICS": 1, "REVISION": 0}, {"NUMERICS": 1, "REVISION": 1}
    for content, numbers, words, refused in (
        ([1.0, 2.0], first, "it is not there yet: .*--renew", False),
        ([1.0, 3.0], first, raise_one, True),
        ([1.0, 3.0], second, "it is of .*0.*, now of .*1", False),
        ("key", {}, "now of {}", False),
        ("another", {}, "carry rows over, then .*--renew", False),
    ):
        planted[:] = [golden.Entry("planted", numbers, content)]
        (sentence,) = golden.moved("numerics")
        assert re.search(words, sentence)
        golden.renew("numerics")
        assert golden.moved("numerics") == [sentence] * refused
