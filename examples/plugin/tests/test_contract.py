"""The adapter computes the paper's network, spike by spike and gradient by gradient."""

import pytest

from harness import conformance


@pytest.mark.parametrize("check", conformance.checks("mysnn", networks=["Small"]), ids=str)
def test_mysnn_keeps_the_contract(check):
    """Each exam, sizes of a batch, variants: a check each."""
    check()
