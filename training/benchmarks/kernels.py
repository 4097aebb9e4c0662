"""Our kernels beside their peers on one GPU, alternating; medians of CUDA-event times as JSON lines.

    PYTHONPATH=src python benchmarks/kernels.py [--peers mamba-ssm torch] [--parts correct core mixer loss step] [--shapes …]

mamba-ssm tries its configurations at the first call (one to two minutes): `--peers torch` leaves it out.
`correct` prints the relative error (L2) of the output and of every gradient against the recurrence in float64.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from chimera_train import config, ssd
from chimera_train.config import ModelConfig
from chimera_train.kernels import scan, xent
from chimera_train.loss import IGNORE, _compiled_slice_loss
from chimera_train.model import Chimera, Mamba, init_weights

PEAK = 989e12  # dense bf16, H100 and H200
SHAPES = {"92m": config.starter(n_layer=12, attention_layers=(6,), d_ff=960), "starter": config.starter(),
          "700m": config.flagship()}
ROWS = {"92m": 32, "starter": 32, "700m": 8}
REFERENCE = config.flagship()  # its mixer is the reference shape of the figures: d 1280, i 2560, h 40, p 64, n 128


def say(**facts) -> None:
    print(json.dumps(facts), flush=True)


def once(run: Callable[[], object], repeat: int) -> float:
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(repeat):
        run()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / repeat


def alternate(runs: dict[str, Callable[[], object]], rounds: int = 5, repeat: int = 5) -> dict[str, float]:
    """Milliseconds: every peer once a round, so that clocks and heat meet all alike; medians over the rounds."""
    for run in runs.values():
        once(run, 2)
    times = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(once(run, repeat))
    return {name: round(statistics.median(t), 4) for name, t in times.items()}


def core_inputs(b: int, t: int, h: int, p: int, n: int) -> list[Tensor]:
    """x | B | C, raw dt, dt_bias, A_log, D as a trained mixer has them."""
    g = torch.Generator("cuda").manual_seed(5)
    rand = lambda *s: torch.rand(*s, device="cuda", generator=g)  # noqa: E731
    randn = lambda *s: torch.randn(*s, device="cuda", generator=g)  # noqa: E731
    bias = torch.log(torch.expm1(torch.exp(rand(h) * 4.6 - 6.9)))
    return [randn(b, t, h * p + 2 * n).bfloat16(), randn(b, t, h), bias, torch.log(1 + 15 * rand(h)), 1 + 0.1 * randn(h)]


def peer_core(how: Callable, inputs: list[Tensor], h: int, n: int, chunk: int | None, seq: Tensor | None) -> Tensor:
    xbc, dt, bias, A_log, D = inputs
    b, t, c = xbc.shape
    x, B, C = xbc.split([c - 2 * n, n, n], dim=-1)
    rest = (seq,) if chunk is None else (chunk, seq)
    return how(x.reshape(b, t, h, -1), F.softplus(dt + bias), -torch.exp(A_log), B, C, D, *rest).reshape(b, t, -1)


class Core:
    """Our scan alone, below autograd."""

    def __init__(self, inputs: list[Tensor], h: int, n: int, seq: Tensor | None) -> None:
        self.xbc, self.dt, self.bias, self.A_log, self.D = inputs
        b, t, c = self.xbc.shape
        self.s, self.seq = scan.Sizes(b, t, h, (c - 2 * n) // h, n, scan.DEFAULT.chunk), seq

    def forward(self) -> Tensor:
        self.prep = scan.prepare(self.dt, self.bias, self.A_log, self.seq, self.s)
        return scan.forward(self.xbc, self.prep, self.D, self.seq, self.s)

    def backward(self, dy: Tensor) -> tuple[Tensor, ...]:
        dxbc, ddt = torch.empty_like(self.xbc), torch.empty_like(self.dt)
        dA_log, dbias, dD = scan.backward(dy, self.xbc, self.prep, self.A_log, self.D, self.seq, self.s, dxbc, ddt)
        return dxbc, ddt, dbias, dA_log, dD


def peers(names: list[str]) -> dict[str, Callable]:
    found: dict[str, Callable] = {}
    if "mamba-ssm" in names and ssd.HAS_TRITON_SSD:
        found["mamba-ssm"] = ssd.ssd_triton
    if "torch" in names:
        found["torch"] = ssd.ssd_chunked
    return found


def correct(names: list[str]) -> None:
    b, t, h, p, n = 1, 333, 4, 64, 128
    inputs = core_inputs(b, t, h, p, n)
    i, dy = h * p, torch.randn(b, t, h * p, device="cuda").bfloat16()
    for documents in (False, True):
        seq = (torch.arange(t, device="cuda")[None] // 150).int() if documents else None

        def through(how: Callable, chunk: int | None, dtype: torch.dtype | None, seq: Tensor | None = seq) -> list[Tensor]:
            leaves = [a.to(dtype or a.dtype).requires_grad_() for a in (x.detach().clone() for x in inputs)]
            y = peer_core(how, leaves, h, n, chunk, seq)
            return [y, *torch.autograd.grad(y, leaves, dy.to(y.dtype))]

        def split(y: Tensor, dxbc: Tensor, *rest: Tensor) -> dict[str, Tensor]:
            x, B, C = dxbc.split([i, n, n], dim=-1)
            return dict(zip(("y", "dx", "dB", "dC", "ddt", "dbias", "dA_log", "dD"), (y, x, B, C, *rest), strict=True))

        want = split(*through(ssd.ssd_sequential, None, torch.float64))
        core = Core(inputs, h, n, seq)
        results = {"chimera": split(core.forward(), *core.backward(dy))}
        results |= {name: split(*through(how, 64 if name == "torch" else 128, None)) for name, how in peers(names).items()}
        for name, got in results.items():
            error = {k: float((got[k].double() - w).norm() / w.norm()) for k, w in want.items()}
            say(part="correct", documents=documents, peer=name, relative_error={k: float(f"{e:.2g}") for k, e in error.items()})


def core(names: list[str]) -> None:
    h, n = REFERENCE.ssm_heads, REFERENCE.d_state
    inputs = core_inputs(8, 2048, h, REFERENCE.ssm_head_dim, n)
    dy = torch.randn(8, 2048, REFERENCE.d_inner, device="cuda").bfloat16()
    leaves = [a.detach().requires_grad_() for a in inputs]
    ours = Core(inputs, h, n, None)
    forward: dict[str, Callable] = {"chimera": ours.forward}
    both: dict[str, Callable] = {"chimera": lambda: (ours.forward(), ours.backward(dy))}
    for name, how in peers(names).items():
        run = torch.compile(lambda *a, how=how: peer_core(how, list(a), h, n, 128, None), dynamic=False)
        forward[name] = lambda run=run: run(*inputs)
        both[name] = lambda run=run: torch.autograd.grad(run(*leaves), leaves, dy)
    say(part="core", shape="8 x 2048, h 40, p 64, n 128", fwd_ms=alternate(forward), fwd_bwd_ms=alternate(both))


def mixer(names: list[str]) -> None:
    x = torch.randn(8, 2048, REFERENCE.d_model, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    dy = torch.randn_like(x)
    runs = {}
    for kernel in ("chimera", *(["mamba-ssm"] if "mamba-ssm" in peers(names) else [])):
        torch.manual_seed(1)
        module = Mamba(REFERENCE).cuda()
        for p in module.parameters():
            torch.nn.init.normal_(p, std=0.02)
        module.kernel = kernel
        weights = list(module.parameters())
        compiled = torch.compile(module, fullgraph=True, dynamic=False)

        def run(compiled=compiled, weights=weights) -> None:
            with torch.autocast("cuda", torch.bfloat16):
                y = compiled(x, None)
            torch.autograd.grad(y, [x, *weights], dy)

        runs[kernel] = run
    say(part="mixer", shape="8 x 2048, d 1280", fwd_bwd_ms=alternate(runs))


def loss(_: list[str]) -> None:
    m, v = 16_384, 32_768
    logits, target = torch.randn(m, v, device="cuda").bfloat16(), torch.randint(v, (m,), device="cuda")
    say(part="loss", shape=f"{m} x {v}", ms=alternate({
        "chimera": lambda: xent.loss_and_gradient_(logits, target, 1.0, 1e-4, IGNORE),
        "torch": lambda: _compiled_slice_loss()(logits, target, 1e-4)}))


def step_of(c: ModelConfig, rows: int, mixer_kernel: str, loss_kernel: str) -> Callable[[], None]:
    """Forward, backward and fused AdamW."""
    model = Chimera(c)
    init_weights(model, 1)
    model.cuda().set_kernels(mixer_kernel, loss_kernel)
    model.compile_blocks()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    ids = torch.randint(c.vocab_size, (rows, 2049), device="cuda")
    seq = (torch.arange(2048, device="cuda") // 700).int().expand(rows, -1).contiguous()

    def run() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            total = model.loss_sum(ids[:, :-1], ids[:, 1:], seq, z_weight=1e-4, attention_docs=False)
        (total / ids[:, 1:].numel()).backward()
        optimizer.step()
        optimizer.zero_grad()

    return run


def step(names: list[str], shapes: list[str]) -> None:
    for shape in shapes:
        c, rows = SHAPES[shape], ROWS[shape]
        began = time.monotonic()
        runs = {"chimera": step_of(c, rows, "chimera", "chimera")}
        if "mamba-ssm" in peers(names):
            runs["mamba-ssm"] = step_of(c, rows, "mamba-ssm", "torch")
        for run in runs.values():
            run()
        torch.cuda.synchronize()
        ready = time.monotonic() - began
        ms = alternate(runs, rounds=3, repeat=2)
        rate = {k: rows * 2048 / t * 1e3 for k, t in ms.items()}
        say(part="step", shape=shape, rows=rows, parameters=config.parameter_counts(c)["total"], ms=ms, compile_s=round(ready, 1),
            tokens_per_s={k: round(r) for k, r in rate.items()}, gb=round(torch.cuda.max_memory_allocated() / 1e9, 1),
            mfu={k: round(r * config.flops_per_token(c) / PEAK, 3) for k, r in rate.items()})
        del runs, run
        torch.cuda.empty_cache()


def main() -> None:
    parts = {"correct": correct, "core": core, "mixer": mixer, "loss": loss}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="*", default=["mamba-ssm", "torch"])
    parser.add_argument("--parts", nargs="*", default=[*parts, "step"])
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES))
    args = parser.parse_args()
    say(device=torch.cuda.get_device_name(), torch=torch.__version__)
    for part in args.parts:
        if part == "step":
            step(args.peers, args.shapes)
        else:
            parts[part](args.peers)


if __name__ == "__main__":
    main()
