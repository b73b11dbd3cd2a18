"""Continuous benchmarks (asv): the suites' own cells, small, from commit to commit."""
