"""Tensors between two processes, as raw arrays: nothing that is read can run code.

They lie in a file without a name, in memory where the system can: it goes with who holds it open.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np
import torch
from torch import Tensor


class Broken(Exception):
    """What lies there is not what was announced."""


@dataclass(frozen=True)
class Exchange:
    """The file, at one of its two ends. Only one of them may be at it at a time."""

    file: io.FileIO

    @classmethod
    def made(cls) -> Exchange:
        """A new one, empty."""
        if sys.platform.startswith("linux"):
            return cls(io.FileIO(os.memfd_create("exchange"), "r+b"))
        with tempfile.TemporaryFile(buffering=0) as file:
            return cls(io.FileIO(os.dup(file.fileno()), "r+b"))

    @classmethod
    def at(cls, end: Connection) -> Exchange:
        """The other end, as it travelled to this process."""
        return cls(io.FileIO(os.dup(end.fileno()), "r+b"))

    def handed(self) -> Connection:
        """The file as what travels to a process."""
        return Connection(os.dup(self.file.fileno()), readable=False)

    def put(self, tensors: Iterable[Tensor]) -> int:
        """Lays tensors there in place of what was; how many."""
        self.file.seek(0)
        count = 0
        for tensor in tensors:
            np.save(self.file, tensor.detach().cpu().contiguous().numpy(), allow_pickle=False)
            count += 1
        self.file.truncate()
        return count

    def take(self, count: int) -> list[Tensor]:
        """The tensors that were laid there. Raises Broken."""
        self.file.seek(0)
        try:
            arrays = [np.load(self.file, allow_pickle=False) for _ in range(count)]
            return [torch.from_numpy(array) for array in arrays]
        except (ValueError, EOFError, OSError, TypeError, MemoryError) as error:
            raise Broken(f"what it computed cannot be read: {error}") from error

    def clear(self) -> None:
        """Lets go of what was laid there: it is in memory."""
        self.file.truncate(0)

    def close(self) -> None:
        """Lets go of it."""
        self.file.close()
