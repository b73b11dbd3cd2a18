"""Files of ours: who may read them, and whose the cache folder is."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from harness.datasets import loading
from harness.datasets.loading import Arrays
from harness.system.files import make_user_cache, write_whole

pytestmark = pytest.mark.usefixtures("no_data_of_the_machine")


MADE = Arrays((np.zeros((1, 1, 2, 2), np.uint8), np.zeros(1, np.int64)), "")


@pytest.mark.parametrize("existing", [None, 0o755, 0o777])
def test_the_cache_folder_is_the_users_alone(existing: int | None, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "snn-harness"
    if existing is not None:
        folder.mkdir(parents=True)
        folder.chmod(existing)
    loading.cached("key", lambda: MADE)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert make_user_cache("numba").parent == folder


def test_a_cache_folder_of_another_user_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache" / "snn-harness").mkdir(parents=True, mode=0o755)

    def refuse(path: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    assert "not cached" in loading.cached("key", lambda: MADE).note
    assert not list((tmp_path / "cache" / "snn-harness").iterdir())


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_who_may_read_a_file_is_the_umasks_to_say(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "a" / "file", lambda path: path.write_text("all"))
    finally:
        os.umask(before)
    assert (tmp_path / "a" / "file").read_text() == "all"
    assert (tmp_path / "a" / "file").stat().st_mode & 0o777 == mode
    assert len(list((tmp_path / "a").iterdir())) == 1
