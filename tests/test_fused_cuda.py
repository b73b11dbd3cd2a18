"""The CUDA kernels: on a GPU where there is one, else under Triton's interpreter on the CPU."""

from __future__ import annotations

import pytest
import torch
from test_fused import SHAPES, dropping, form, made

from adapters.fused import plain
from harness.spec import Reading

pytest.importorskip("triton", reason="needs triton, which has builds for Linux on x86_64 alone")
from adapters.fused import cuda  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("p", [0.0, 0.4])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("reading", [None, "mean"])
@pytest.mark.parametrize("shape", SHAPES[:5], ids=str)
def test_kernels_give_what_the_plain_form_gives(
    shape: tuple[int, ...], reading: Reading | None, dtype: torch.dtype, p: float
) -> None:
    steps, moving, batch, maps, height, width, pool = shape
    current = made((moving, batch, maps, height, width), dtype=dtype).to(DEVICE)
    h, w = height // pool, width // pool
    U = made((1, 1, maps, h, w), 1, dtype)[0, 0].to(DEVICE) if reading else None
    chosen = dropping(form(steps, maps, pool, reading, dtype), batch, p)
    back = made((steps, batch, maps, h, w), 2, dtype).to(DEVICE)
    expected, got = (kernels.spikes(current, U, chosen) for kernels in (plain, cuda))
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
    if reading is None and pool != 3:
        assert torch.equal(got, expected)
    expected, got = (kernels.gradients(current, U, back, chosen) for kernels in (plain, cuda))
    tolerance = 1e-13 if dtype == torch.float64 else 1e-5
    for ours, theirs in zip(got, expected, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            scale = max(theirs.abs().max().item(), 1e-30)
            assert (ours - theirs).abs().max().item() <= tolerance * scale
