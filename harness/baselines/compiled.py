"""Loops over events, compiled by numba and kept in the user's cache folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import numba

from adapters.fused.compiled import kept_in

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """The function as machine code, compiled at its first call with arguments of these types.

    What it calls must stand in the same file: numba looks at that file alone for changes. Indices
    are not checked, and numbers are rounded as they are written.
    """
    source = Path(function.__code__.co_filename).read_bytes()
    with kept_in(f"baselines-{hashlib.sha256(source).hexdigest()[:12]}"):
        return numba.njit(cache=True, error_model="numpy")(function)
