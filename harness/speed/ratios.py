"""The two statistics of `cell.py`, under the names that it has for them."""

from harness.statistics import estimate_start_variance
from harness.statistics import mean_ratio as mean

__all__ = ["estimate_start_variance", "mean"]
