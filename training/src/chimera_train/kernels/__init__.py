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

So the mixer cannot be faster than about 1.9 ms on an H200, and all of the scan is bound by memory, not by multiplication: the layout
decides. What follows from it:
- everything between the projections is one op (mixer.py). It reads z, x, B, C and dt with strides straight out of
  in_proj's output and writes their gradients into one buffer of that shape: no split, no copy, no concatenation.
- B and C are shared by all heads, so the gradient kernel walks over the heads of one chunk: dB and dC stay in registers
  (per head and in fp32 they would be 670 MB), and C·B^T is computed once a chunk.
- the states between chunks are kept in bf16 and recomputed in the backward pass.
- launch configurations are fixed: an autotuner costs two minutes at every start.

Measured on one H100 80 GB (3.35 TB/s, so the memory rows of the floor are 1.3 to 1.4 times as high):
conv 0.097 / 0.27 ms, scan forward 0.30 (states 0.12, outputs 0.165), scan backward about 1.1 (states twice 0.12, `_grads` 0.6,
`_state_grads` twice 0.11), gated norm 0.10 / 0.32, cross entropy of 16,384 x 32,768 logits 0.90 (compiled PyTorch 0.92); all of it
together 0.48 forward, 2.3 to 2.55 with its backward. `_grads` is three times above its floor: 8 warps need all 255 registers, so one program
fills a multiprocessor and nothing hides its loads.
What did not work: dB and dC in the same kernel as dx (1.5 to 4 KB of spills a thread: 2.6 ms); the conv backward in one pass (0.95 ms);
16 warps in `_grads` (0.87 against 0.66); chunks of 128 (`_outputs` 0.20 against 0.165); dt's gradient from sums that cancel only
up to rounding (relative error of d(dt_bias) of the whole mixer 3e-2 to 7e-2, now 2e-3 to 1e-2).
"""

from __future__ import annotations

import os

from torch import Tensor

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # Triton reads the same variable when a kernel is defined


def run_on(x: Tensor) -> bool:
    """Triton's kernels need a GPU, or its interpreter (tests)."""
    return x.is_cuda or INTERPRETED
