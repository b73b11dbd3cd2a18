"""What comes out: rows, the folder they are kept in, and what a result depends on. No torch."""

from harness.records.record import SCHEMA, Kind, Record
from harness.records.store import Damage, Store

__all__ = ["SCHEMA", "Damage", "Kind", "Record", "Store"]
