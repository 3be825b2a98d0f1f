"""Matrix products on a CPU: which type to compute in, and the fast library where it is exact."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache

import torch


def compute_dtype(x: torch.Tensor) -> torch.dtype:
    """Return the type that autocast would compute matrix products of `x` in."""
    kind = "cpu" if x.device.type == "meta" else x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


@contextlib.contextmanager
def fast_matmul(device: torch.device) -> Iterator[None]:
    """Send float32 matrix products on the CPU through oneDNN meanwhile, where its results are float32's.

    PyTorch takes oneDNN for float32 only when bfloat16 is allowed within. A processor without matrix units computes in
    float32 all the same, up to twice as fast as MKL does on processors of another maker. Where a processor does round
    to bfloat16, nothing is changed.
    """
    if device.type != "cpu" or not _exact():
        yield
        return
    before = torch.backends.mkldnn.matmul.fp32_precision
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before


@cache
def _exact() -> bool:
    """Multiply numbers that bfloat16 cannot hold, and see whether the result is float32's."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.backends.mkldnn, "matmul")):
        return False
    numbers = 1 + torch.arange(512 * 512, dtype=torch.float64).view(512, 512) % 127 * 2.0**-14
    before = torch.backends.mkldnn.matmul.fp32_precision
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    try:
        found = numbers.float() @ numbers.float()
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before
    exact = numbers @ numbers
    return bool(((found - exact).abs() <= 1e-5 * exact).all())
