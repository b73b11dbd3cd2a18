"""Tensors between processes: as they were, and nothing that can run."""

from __future__ import annotations

import os
import pickle
from contextlib import closing

import pytest
import torch

from harness.speed.exchange import Broken, Exchange


def test_tensors_arrive_as_they_were_in_order() -> None:
    generator = torch.Generator().manual_seed(0)
    last = torch.rand(2, 3, 4, 4, generator=generator).contiguous(memory_format=torch.channels_last)
    given = [torch.rand(3, 4).double(), torch.tensor(7), last, torch.tensor([True, False])]
    with closing(Exchange.made()) as ours, closing(Exchange.at(ours.handed())) as theirs:
        assert theirs.put(given) == 4
        found = ours.take(4)
    assert [each.dtype for each in found] == [each.dtype for each in given]
    assert all(torch.equal(a, b) for a, b in zip(found, given, strict=True))


def test_what_is_laid_there_takes_the_place_of_what_was() -> None:
    with closing(Exchange.made()) as exchange:
        exchange.put([torch.zeros(1000), torch.zeros(1000)])
        exchange.put([torch.ones(2)])
        assert torch.equal(exchange.take(1)[0], torch.ones(2))
        with pytest.raises(Broken):
            exchange.take(2)


class Runs:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("exit 1",)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x93NUMPY\x01", pickle.dumps(Runs()), b"\x93NUMPY\x01\x00\x10\x00{'descr': 'O'}  \n"],
)
def test_what_is_no_tensor_is_refused(content: bytes) -> None:
    with closing(Exchange.made()) as exchange:
        exchange.file.write(content)
        with pytest.raises(Broken, match="cannot be read"):
            exchange.take(1)
