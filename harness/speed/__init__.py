"""How long a step takes: the timing protocol, in the order in which a cell runs (`cell.py`).

- One iteration is zero_grad, forward, loss, backward and optimiser step, on data already on the
  device, until loss, votes and weights are plain numbers in memory. The time of an epoch is that of
  an iteration times the iterations of an epoch.
- Each contender has a process of its own (`contender.py`), free of the others' settings, threads
  and patches. The system stops all of them but the one whose turn it is. A process keeps the memory
  that it frees, and has huge pages where the system offers them (`machine/memory.py`).
- The first iteration, of the very object that is timed, warms it up, measures its peak of memory,
  has a time of its own, and is audited against the reference (`judge.py`).
- Then come rounds: in each every contender runs once, in a fresh random order, since a machine's
  speed drifts. After a rest it runs once untimed before. In each round all contenders have the same
  weights and batch, and no two rounds do. Any round may be audited, drawn once it is over.
- Half-way all processes are started anew; then the first iteration is on another batch, and on
  weights three times as large.
- Figures are ratios, within a round (`harness/statistics.py`), to the floor (`floor.py`),
  which runs as two processes (A/A). A cell gets five rounds or more (ten without a budget), until
  all intervals are within 5 %, its share of the budget is spent, or twenty are done; with two
  versions of a framework in it, up to ten starts, until their ratio is within 2 %
  (`schedule.py`).
- Where the memory of all contenders of a cell does not fit, the largest give theirs back after each
  turn, and run once more before they are timed: no page is taken in a timed iteration.
"""
