"""How long a step takes: contenders, rounds, memory."""
