"""mamba-ssm's Triton SSD (Apache-2.0), called below its own autograd so that we choose what is saved.

Only `mamba_ssm.ops.triton` is used. The package's `__init__` imports every model it has (CUDA extensions,
tilelang …), so a bare parent module with the same search path stands in for it. How to build the pure wheel:
training/README.md.
"""

from __future__ import annotations

import importlib.util
import sys
import types

from torch import Tensor


def _bare_package(name: str) -> None:
    """Makes `name` importable as a namespace without running its `__init__`."""
    if name not in sys.modules:
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise ImportError(f"{name} is not installed (training/README.md says how to build it)")
        module = types.ModuleType(name)
        module.__path__ = list(spec.submodule_search_locations)
        module.__spec__ = spec
        sys.modules[name] = module


_bare_package("mamba_ssm")

from mamba_ssm.ops.triton.ssd_combined import (  # noqa: E402
    _mamba_chunk_scan_combined_bwd,
    _mamba_chunk_scan_combined_fwd,
)


def forward(x_bthp: Tensor, dt_bth: Tensor, A_h: Tensor, B_btn: Tensor, C_btn: Tensor, D_h: Tensor,
            chunk: int, seq_bt: Tensor | None) -> Tensor:
    out, *_ = _mamba_chunk_scan_combined_fwd(x_bthp, dt_bth, A_h, B_btn.unsqueeze(2), C_btn.unsqueeze(2), chunk,
                                             D=D_h, seq_idx=seq_bt)
    return out


def backward(dy_bthp: Tensor, x_bthp: Tensor, dt_bth: Tensor, A_h: Tensor, B_btn: Tensor, C_btn: Tensor, D_h: Tensor,
             chunk: int, seq_bt: Tensor | None) -> tuple[Tensor, ...]:
    # Without a gate z the kernel reads only the shape of `out`: dy stands in, and y need not be kept.
    dx, ddt, dA, dB, dC, dD, *_ = _mamba_chunk_scan_combined_bwd(
        dy_bthp, x_bthp, dt_bth, A_h, B_btn.unsqueeze(2), C_btn.unsqueeze(2), dy_bthp, chunk, D=D_h, seq_idx=seq_bt)
    grads = (dx, ddt, dA, dB.squeeze(2), dC.squeeze(2), dD)
    return tuple(g.to(a.dtype).contiguous() for g, a in zip(grads, (x_bthp, dt_bth, A_h, B_btn, C_btn, D_h), strict=True))
