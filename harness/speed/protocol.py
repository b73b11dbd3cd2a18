"""The timing protocol.

- One iteration is zero_grad, forward, loss, backward and optimiser step, on data already on the
  device. Epoch time is iteration time times the iterations of an epoch, and said to be so.
- Each contender has a process of its own (`apart.py`), in which the others' settings, threads and
  patches are not. The system stops every one of them but that whose turn it is. Its own clock
  counts where ours agrees to a millisecond and a hundredth; else ours does.
- Its process keeps the memory that it frees, and has huge pages where the system offers them
  (`allocator.py`): where its pages lie must not decide what it takes.
- The warm-up is the audit (`proof/audit.py`): the first iteration at full size, of the very object
  that is timed, is held against the reference. It is timed apart, and its peak of memory is kept.
- Before the first round, and before any that comes after another cell's work, each contender runs
  for a second, once at least, and is not timed: the first round is to be as fast as the second.
- Then come rounds: in each every contender runs once, in a fresh random order, so that a machine
  whose speed drifts slows all of them alike. Before its turn the weights are set back and the batch
  is rolled by a sample, in the same memory: all turns do the same work, and none can be answered
  from the last one. What each came to, loss and votes, must be what was audited.
- The last round runs on other weights and another batch, in the same memory, and is audited too.
- The device is synchronised on both sides of every measurement.
- Figures are of the ratios of the same round. A cell gets five rounds or more (ten without a
  budget), until all intervals are within 5 %, its share of the budget is spent, or twenty are done.
- The floor (`floor.py`), which all ratios rest on, is there twice, as two processes (A/A); the
  interval of its ratio to itself is the noise floor, and the ratios are to the mean of the two.
- Where the memory of all contenders of a cell does not fit, the largest give theirs back after each
  turn; they run once more before they are timed, so that no page is taken in a timed iteration.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping


def rounds(
    contenders: Mapping[str, Callable[[], float]],
    order: random.Random,
    announce: Callable[[str], object] | None = None,
) -> Iterator[dict[str, float]]:
    """Endless rounds: the seconds of every contender, each run once, in a fresh random order.

    `announce` is told who is next.
    """
    names = list(contenders)
    while True:
        order.shuffle(names)
        measured = {}
        for name in names:
            if announce is not None:
                announce(name)
            measured[name] = contenders[name]()
        yield measured
