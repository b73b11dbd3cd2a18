"""What tests share: small networks and the batches to run them on."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import adapters
from adapters import facts
from harness import cli

# What a user's shell may have set must decide no test: colours, widths, folders of data.
for name in (
    *("FORCE_COLOR", "NO_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE"),
    *("COLUMNS", "LINES", "TERMINAL_WIDTH", "GITHUB_ACTIONS"),
    *("HARNESS_DATA", "HARNESS_OCTAVE", "_HARNESS_COMPLETE"),
    *("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"),
):
    os.environ.pop(name, None)

# Nor what it was told of signals: a shell has those it starts behind it ignore them, and what tests
# start would inherit that.
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, usual)

# Networks in tests are too small for more, and on a busy machine two threads wait for each other.
torch.set_num_threads(1)

os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")  # it compiles sooner
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when triton is first imported

SHARED = Path(__file__).resolve().parents[2] / "shared"

# Those that are torch modules; the others have no dropout, no bf16 and no other form of a module.
TORCH = [name for name in adapters.available() if not facts.of(name).foreign]

needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="needs ../shared, which only the project's own machines have"
)

needs_octave = pytest.mark.skipif(
    shutil.which("octave-cli") is None, reason="needs octave: apt-get install octave libopenblas0"
)


@pytest.fixture(autouse=True)
def settings_stay() -> Iterator[None]:
    """What a test sets for all of torch fails that test, and not whatever comes after it."""
    before = torch.get_default_dtype(), torch.get_num_threads()
    yield
    after = torch.get_default_dtype(), torch.get_num_threads()
    torch.set_default_dtype(before[0])
    torch.set_num_threads(before[1])
    assert after == before


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many of torch's."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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


def all_by_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """`fused` does by events whatever it can; otherwise the machine decides."""
    choice = pytest.importorskip("adapters.fused.choice")
    always = choice.BreakEven(1.1, 1.1, 1.1, True)
    monkeypatch.setattr(choice, "break_even", lambda shape: always)


@pytest.fixture
def no_data_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither its data sets nor what it has kept of them."""
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache" / name))


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`harness ARGUMENTS` in this process: its exit code, and both its outputs."""

    def called(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return called


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, an empty one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


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
        facts._declared_on.cache_clear()

    yield planted
    for name in set(sys.modules) - modules:
        if name.endswith("_module"):
            del sys.modules[name]


# deterministic, and no example takes long: a hang is a failure
steady = settings(
    derandomize=True,
    deadline=5000,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    database=None,
)


@st.composite
def spoilt(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file cut short, with bits flipped, or with bytes put in its place."""
    how = draw(st.sampled_from(["cut", "flip", "splice", "replace"]))
    place = draw(st.integers(0, max(0, len(whole) - 1)))
    match how:
        case "cut":
            return whole[:place]
        case "flip":
            flipped = bytearray(whole)
            for _ in range(draw(st.integers(1, 8))):
                flipped[draw(st.integers(0, len(whole) - 1))] ^= 1 << draw(st.integers(0, 7))
            return bytes(flipped)
        case "splice":
            return whole[:place] + draw(st.binary(max_size=64)) + whole[place:]
        case _:
            return draw(st.binary(max_size=256))
