"""From rows to findings: pure functions of stored rows. No torch."""
