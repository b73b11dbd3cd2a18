"""What tests need around them: the command, installed adapters, optional programs and folders."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"

needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="needs ../shared, which only the project's own machines have"
)

needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")

needs_octave = pytest.mark.skipif(
    shutil.which("octave-cli") is None, reason="needs octave: apt-get install octave libopenblas0"
)

Command = Callable[..., tuple[int, str, str]]


def declare(site: Path, name: str, source: str) -> None:
    """Write an installed package that declares an adapter by entry point."""
    info = site / f"{name}_pkg-1.0.dist-info"
    info.mkdir(parents=True)
    (site / f"{name}_module.py").write_text(source)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-pkg\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[harness.adapters]\n{name} = {name}_module\n")
