"""What tests share: small networks and the batches to run them on."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import adapters
from adapters import facts
from harness.spec import Network, Reading, paper

# Networks in tests are too small for more, and on a busy machine two threads wait for each other.
torch.set_num_threads(1)

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when triton is first imported

SHARED = Path(__file__).resolve().parents[2] / "shared"

needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="needs ../shared, which only the project's own machines have"
)


def small(dataset: str, scale: str = "Small", neunorm: Reading | None = None) -> Network:
    """A network of Table 1 at an eighth of its width."""
    return paper.network(scale, dataset, neunorm=neunorm, width=Fraction(1, 8))[1]


def random_batch(network: Network, T: int, B: int, *, static: bool, seed: int = 0) -> Tensor:
    """Inputs (T, B, C, H, W) as the data has them: normalised pixels, or sparse counts."""
    generator = torch.Generator().manual_seed(seed)
    if static:
        image = torch.randn(B, *network.input_shape, generator=generator)
        return image.expand(T, *image.shape)
    rates = torch.full((T, B, *network.input_shape), 0.1)
    return torch.poisson(rates, generator=generator)


def compare(module: nn.Module, reference: nn.Module, x: Tensor) -> None:
    """Votes and gradients are the reference's, with the same dropout, in float64."""
    torch.manual_seed(3)
    out = module(x)
    torch.manual_seed(3)
    expected = reference(x)
    assert torch.equal(out, expected)
    back = torch.randn(out.shape, generator=torch.Generator().manual_seed(0), dtype=out.dtype)
    out.backward(back)
    expected.backward(back)
    for ours, theirs in zip(module.parameters(), reference.parameters(), strict=True):
        assert ours.grad is not None and theirs.grad is not None
        scale = theirs.grad.abs().max().item()
        assert (ours.grad - theirs.grad).abs().max().item() <= 1e-12 * scale


@pytest.fixture
def no_data_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither its data sets nor what it has kept of them."""
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache" / name))


@pytest.fixture
def nothing_waits_for_ever() -> Iterator[None]:
    """A test that hangs fails."""

    def end(number: int, frame: object) -> None:
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def declare(site: Path, name: str, source: str) -> None:
    """Writes a package that declares an adapter by entry point, as an installed one does."""
    info = site / f"{name}_pkg-1.0.dist-info"
    info.mkdir(parents=True)
    (site / f"{name}_module.py").write_text(source)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-pkg\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[harness.adapters]\n{name} = {name}_module\n")


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Installs an adapter of that name and source until the test is over."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(facts, "_known", dict(facts._known))
    modules = set(sys.modules)

    def planted(name: str, source: str) -> None:
        declare(site, name, source)
        facts._known.pop(name, None)
        adapters._declared_on.cache_clear()

    yield planted
    for name in set(sys.modules) - modules:
        if name.endswith("_module"):
            del sys.modules[name]
