"""Rows of results, the folder they are kept in, and what a result depends on. No torch."""

from harness.records.row import *
from harness.records.store import Store as Store
