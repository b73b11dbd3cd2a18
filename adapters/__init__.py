"""The frameworks, a module each: here by its name, elsewhere by entry point `harness.adapters`.

A name is a framework's ("snntorch"), a framework's and a variant's ("snntorch:subtract"), or a
framework's and a form's that any of them has ("snntorch:compiled", `harness.adapter`).

`load` alone imports an adapter, and torch. What is said of one a child process finds
(`adapters.facts`).
"""

from adapters.facts import Missing, available, check_name, load, missing, names, variants_of

__all__ = ["Missing", "available", "check_name", "load", "missing", "names", "variants_of"]
