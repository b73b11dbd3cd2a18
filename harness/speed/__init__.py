"""How long a step takes: the timing protocol.

- One iteration is zero_grad, forward, loss, backward and optimiser step, on data already on the
  device. Epoch time is iteration time times the iterations of an epoch, and said to be so.
- Each contender has a process of its own (`contender.py`), in which the others' settings, threads
  and patches are not. The system stops every one of them but that whose turn it is.
- Its process keeps the memory that it frees, and has huge pages where the system offers them
  (`system/memory.py`): where its pages lie must not decide what it takes.
- The warm-up is the audit (`judge.py`): the first iteration at full size, of the very object that
  is timed, is held against the reference. It is timed apart, and its peak of memory is kept.
- Before the first round, and before any that comes after another cell's work, each contender runs
  for a second, once at least, and is not timed: the first round is to be as fast as the second.
- Then come rounds (`cell.py`): in each every contender runs once, in a fresh random order, so that
  a machine whose speed drifts slows all of them alike. Before its turn the weights are set back and
  the batch is rolled by a sample, in the same memory: all turns do the same work, and none can be
  answered from the last one. What each came to, loss and votes, must be what was audited.
- The last round runs on other weights and another batch, in the same memory, and is audited too.
- The device is synchronised on both sides of every measurement.
- Figures are of the ratios of the same round (`ratios.py`). A cell gets five rounds or more (ten
  without a budget), until all intervals are within 5 %, its share of the budget is spent, or twenty
  are done (`schedule.py`).
- The floor (`floor.py`), which all ratios rest on, is there twice, as two processes (A/A); the
  interval of its ratio to itself is the noise floor, and the ratios are to the mean of the two.
- Where the memory of all contenders of a cell does not fit, the largest give theirs back after each
  turn; they run once more before they are timed, so that no page is taken in a timed iteration.
"""
