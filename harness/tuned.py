"""Forms of any adapter that a skilled user switches on without changing the function.

They are named as variants are, `snntorch:compiled`, and certified like the rest. bf16 autocast is
no form but a precision: it is timed in a class of its own.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import nn

from harness.adapter import Adapter, Variant
from harness.spec import Network

Form = Literal["channels-last", "compiled", "cuda-graph"]
FORMS: tuple[Form, ...] = get_args(Form)
# Each network, shape and precision is compiled apart; past its limit torch runs in eager mode and
# says nothing, which would be timed as compiled.
RECOMPILE_LIMIT = 4096


def tuned(adapter: Adapter, form: Form) -> Variant:
    """The adapter with weights channels-last, and for `compiled` under torch.compile as well.

    `cuda-graph`: the whole step is captured, by who runs it (`workload.py`).
    """

    def build(network: Network) -> nn.Module:
        module = adapter.build(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if form == "compiled":
            config = torch._dynamo.config  # imported here, since it takes a second
            config.recompile_limit = config.accumulated_recompile_limit = RECOMPILE_LIMIT
            config.fail_on_recompile_limit_hit = True
            module.compile(dynamic=False)
        return module

    return Variant(
        adapter.DEVIATIONS, build, compiled=form == "compiled", captured=form == "cuda-graph"
    )
