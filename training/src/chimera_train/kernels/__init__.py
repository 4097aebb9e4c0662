"""Own Triton kernels for what lies between a Mamba-2 mixer's two projections, and for the cross entropy.

The floor, counted before anything was written, at batch 8 × 2048, d 1280, i 2560, h 40, p 64, n 128 (16,384 tokens,
bf16, 4.27 TB/s copy and 792 TFLOP/s measured on one H200):

| part | must move | floor ms | must multiply (l = 64) |
|---|---|---|---|
| conv + SiLU fwd / bwd | 185 MB / 277 MB | 0.043 / 0.065 | - |
| scan fwd: x, y, B, C | 176 MB (+ 336 MB of states, written and read) | 0.12 | 27 GFLOP, 0.03 ms |
| scan bwd: x, dy twice, dx, B, C | 440 MB (+ 672 MB of S and dS) | 0.26 | 65 GFLOP, 0.08 ms |
| gated norm fwd / bwd | 252 MB / 420 MB | 0.059 / 0.098 | - |
| in_proj, out_proj fwd + bwd | | | 1,002 GFLOP, 1.27 ms |

So the mixer cannot be faster than about 1.9 ms, and all of the scan is bound by memory, not by multiplication: the layout
decides. What follows from it:
- everything between the projections is one op (mixer.py). It reads z, x, B, C and dt with strides straight out of
  in_proj's output and writes their gradients into one buffer of that shape: no split, no copy, no concatenation.
- B and C are shared by all heads, so the gradient kernel walks over the heads of one chunk: dB and dC stay in registers
  (per head and in fp32 they would be 670 MB), and C·B^T is computed once a chunk.
- the states between chunks are kept in bf16 and recomputed in the backward pass.
- launch configurations are fixed: an autotuner costs two minutes at every start.
"""

from __future__ import annotations

import os

from torch import Tensor

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # Triton reads the same variable when a kernel is defined


def run_on(x: Tensor) -> bool:
    """Triton's kernels need a GPU, or its interpreter (tests)."""
    return x.is_cuda or INTERPRETED
