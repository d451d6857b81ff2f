"""Features that are not kept for the gradient but computed again when it is wanted (Chen et al. 2016).

The finest features of a network take most of the memory and little of the time to compute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.utils.checkpoint import checkpoint

# Stages whose features are computed again: those at strides 1 and 2.
STAGES = 2


def recomputed(function: Callable[..., Any], *inputs: Tensor) -> Any:
    """`function(*inputs)`, of which autograd keeps the inputs alone."""
    if not torch.is_grad_enabled():
        return function(*inputs)
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)


class _Recomputed(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *inputs: Tensor) -> Any:
        return recomputed(self.inner, *inputs)


def recomputing(network: GraphModule, probe: Tensor) -> GraphModule:
    """The same network with its stages at strides 1 and 2 recomputed, each by itself; `probe`: some input of it."""
    from torch.fx.passes.shape_prop import ShapeProp
    from torch.fx.passes.split_module import split_module

    with torch.no_grad():
        ShapeProp(network).propagate(probe)
    stage = 0

    def stage_of(node: Node) -> int:
        nonlocal stage
        own = stage  # what makes the picture smaller ends a stage: little has to be kept between two
        shape: Sequence[int] = getattr(node.meta.get("tensor_meta"), "shape", ())
        if len(shape) == 4:
            stride = probe.shape[-1] // max(1, int(shape[-1]))
            stage = max(stage, min(STAGES, stride.bit_length() - 1))
        return own

    split = split_module(network, network, stage_of)
    for number in range(STAGES):
        if (inner := getattr(split, f"submod_{number}", None)) is not None:
            setattr(split, f"submod_{number}", _Recomputed(inner))
    return split
