"""What is wrong with what was asked for, as errors whose message a user can act on."""

from __future__ import annotations


class UsageError(ValueError):
    """What the user asked for cannot be done; the message is one sentence that says what can."""


class NotationError(UsageError):
    """A network's notation is wrong; the message names the place and what was expected there."""
