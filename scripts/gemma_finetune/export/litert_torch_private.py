"""All that this project changes inside litert-torch, by names that are not public.

Each part says what it saves; the file that comes out is the same to the byte.
tests/export/test_litert_torch_private.py fails by name where a new version moves one of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@contextmanager
def decomposed_once() -> Iterator[None]:
    """In the block a signature is decomposed into simpler operators where it is lowered, and not
    after its export as well: a sixth of a conversion's time.

    Private: `core.export_torch_signature`. litert-torch's next converter asks it for the same, but
    needs a TensorFlow that is not released yet.
    """
    from litert_torch._convert import core

    original = core.export_torch_signature
    core.export_torch_signature = partial(original, run_decompositions=False)
    try:
        yield
    finally:
        core.export_torch_signature = original


@contextmanager
def finite_weights_left_alone() -> Iterator[None]:
    """In the block only weights with an infinite number in them are written.

    Private: `inline_consts._clamp_inf_values`, which writes all of them in place, clamped to finite
    numbers. They are mapped from a file, so that each page is copied at its first write.
    """
    import torch
    from litert_torch.backend import inline_consts

    original = inline_consts._clamp_inf_values

    def clamp(weight: "torch.Tensor") -> "torch.Tensor":
        is_float = weight.is_floating_point() and weight.numel() > 0
        if is_float and all(map(torch.isfinite, weight.aminmax())):
            return weight
        return original(weight)

    inline_consts._clamp_inf_values = clamp
    try:
        yield
    finally:
        inline_consts._clamp_inf_values = original
