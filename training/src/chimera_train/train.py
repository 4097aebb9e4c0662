"""Pretraining and, with other options, everything else that minimises cross entropy (sft.py).

One process a GPU (`torchrun --nproc-per-node 2 -m chimera_train pretrain …`), one GPU, or a CPU.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from chimera_train import parallel
from chimera_train.config import ModelConfig, build, flops_per_token, model_from_dict, parameter_counts, to_dict
from chimera_train.data.packing import Batch, Learn, Mixture, MixtureState, held_out, part_from_dict, to_batch
from chimera_train.data.shards import data_hash, wait_for
from chimera_train.model import Chimera, init_weights
from chimera_train.optim import OptimConfig, Optimizer
from chimera_train.run import Run, load_latest


# The last of the contract's control tokens, reserved and unused (assets/contract/special_tokens.json); text tokens come after it.
HIDDEN = 7


@dataclass(frozen=True)
class TrainConfig:
    run: str = "runs/new"
    data: str = "runs/tokens"
    init_from: str = ""  # weights of another run (a run, checkpoint folder or state.pt)
    seed: int = 1
    tokens: float = 0  # 0: what the mixture's epochs add up to
    minutes: float = 0  # wall clock from process start to the last checkpoint; 0: no limit
    reserve_seconds: float = 15  # of those minutes, kept for the last evaluation and checkpoint
    batch_tokens: int = 131_072
    micro_rows: int = 32  # rows of `length` per forward pass and GPU
    length: int = 2048
    long_length: int = 4096  # the row length of the last part, at the same tokens a batch
    long_from: float = 1.0  # progress at which it begins; 1: never
    documents: str = "none"  # what stops at document borders: none | ssm (scan and conv) | full (attention too)
    answers_only: bool = False
    z_loss: float = 0.0
    zero_outputs: bool = True
    qat_from: float = 1.0  # progress from which matrices are seen through their shipping grid
    qat_linear: str = "q4_0"
    qat_embedding: str = "q6_k"
    token_noise: float = 0.0  # share of input tokens hidden behind a reserved one: keeps repeated text from being learnt by heart
    token_noise_until: float = 0.85  # progress from which the inputs are whole again
    average_from: float = 1.0  # progress from which the mean of the weights is kept (exported instead of the last)
    compile: bool = True
    mixer_kernel: str = "mamba-ssm"  # mamba-ssm (scan alone; plain PyTorch without it) | chimera (own Triton, GPU only)
    loss_kernel: str = "torch"  # torch | chimera (cross entropy on the logits in place, GPU only)
    loss_rows: int = 16_384
    wait_minutes: float = 0
    log_every: int = 20
    eval_every: int = 500
    eval_rows: int = 32
    checkpoint_minutes: float = 5


class Trainer:
    def __init__(self, raw: dict[str, Any], learn: Learn | None = None) -> None:
        self.began = time.monotonic()
        self.ranks = parallel.start()
        self.c: TrainConfig = build(TrainConfig, raw.get("train"))
        self.learn = learn
        self.run = Run(Path(self.c.run), self.ranks.first)
        torch.manual_seed(self.c.seed)
        torch.set_float32_matmul_precision("high")
        self.resumed = load_latest(Path(self.c.run))
        self.step, self.seen, self.progress, self.qat, self.averaged = 0, 0, 0.0, False, 0
        self.average: dict[str, Tensor] | None = None
        self.last_step: torch.cuda.Event | None = None
        self._build_model(raw)
        self.gradients = parallel.flatten_gradients(self.model)
        self.noise = torch.Generator(self.ranks.device)
        if self.resumed:
            self.progress = self.resumed["progress"]
        self._warm_up()  # before the data and the weights: they may still be on their way
        self._start_weights()
        self._open_data(raw)
        self.optimizer = Optimizer(self.model, build(OptimConfig, raw.get("optim")))
        if self.resumed:
            self._resume(self.resumed)
        self.start_progress = self.progress
        self._describe(raw)

    # ---- setting up -------------------------------------------------------------------------------------------

    def _build_model(self, raw: dict[str, Any]) -> None:
        given = raw.get("model") or (self.resumed or self._other_run()).get("model_config", {})
        self.model_config: ModelConfig = model_from_dict(_without_none(given))
        self.model = Chimera(self.model_config)
        self.model.loss_rows = self.c.loss_rows
        self.model.set_kernels(self.c.mixer_kernel, self.c.loss_kernel)
        if self.resumed:
            self.model.load_state_dict(self.resumed["model"])
        else:
            init_weights(self.model, self.c.seed, self.c.zero_outputs)
        self.model.to(self.ranks.device)
        if self.c.compile and self.ranks.device.type == "cuda":
            torch._dynamo.config.recompile_limit = 64  # kinds of block × row lengths × QAT
            self.model.compile_blocks()

    def _other_run(self) -> dict[str, Any]:
        """The finished state of `init_from`. With `wait_minutes` that run may still be at work: this one, started
        early, has then compiled by the time it is needed."""
        if not self.c.init_from:
            return {}
        deadline = time.monotonic() + 60 * self.c.wait_minutes
        while True:
            state = load_latest(Path(self.c.init_from))
            if state and (state.get("progress", 1.0) >= 1.0 or not self.c.wait_minutes):
                return state
            if time.monotonic() > deadline:
                raise FileNotFoundError(f"no finished checkpoint in {self.c.init_from}")
            time.sleep(1.0)

    def _start_weights(self) -> None:
        source = {} if self.resumed else self._other_run()
        if source:
            self.model.load_state_dict(source.get("average") or source["model"])

    def _open_data(self, raw: dict[str, Any]) -> None:
        folder = Path(self.c.data)
        parts = [part_from_dict(name, part) for name, part in raw["mixture"].items()]
        wait_for(folder, [p.name for p in parts], self.c.wait_minutes)
        state = MixtureState(**self.resumed["mixture"]) if self.resumed else None
        self.mixture = Mixture(folder, parts, self.c.length if state is None else state.length, self.c.seed, state, self.learn)
        self.total_tokens = self.c.tokens or self.mixture.planned_tokens()
        if not np.isfinite(self.total_tokens) and not self.c.minutes:
            raise ValueError("how long? give train.tokens, train.minutes, or epochs for every source")
        self.held_out_names = [p.name for p in parts if (folder / f"{p.name}.val.json").exists()]

    def _resume(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seen, self.progress = state["step"], state["seen"], state["progress"]
        self.averaged = state["averaged"]
        if state["average"]:
            self.average = {n: t.to(self.ranks.device) for n, t in state["average"].items()}

    def _describe(self, raw: dict[str, Any]) -> None:
        resolved = {"model": to_dict(self.model_config), "optim": to_dict(self.optimizer.c), "train": to_dict(self.c),
                    "mixture": raw["mixture"]}
        shards = self.mixture.shards
        self.run.describe(resolved, {"hash": data_hash(list(shards.values())),
                                     "shards": {n: s.meta | {"tokens": s.n_tokens} for n, s in shards.items()}})
        self.run.log(event="start", step=self.step, parameters=parameter_counts(self.model_config),
                     planned_tokens=float(self.total_tokens), world=self.ranks.world, device=str(self.ranks.device))

    # ---- one step ---------------------------------------------------------------------------------------------

    def length_at(self, progress: float) -> int:
        return self.c.long_length if progress >= self.c.long_from else self.c.length

    def shape_at(self, progress: float) -> tuple[int, int]:
        """(rows of one forward pass, their length); the tokens of a pass stay the same."""
        length = self.length_at(progress)
        return max(1, self.c.micro_rows * self.c.length // length), length

    def passes_at(self, progress: float) -> int:
        rows, length = self.shape_at(progress)
        return max(1, round(self.c.batch_tokens / (rows * length * self.ranks.world)))

    def _batches(self, progress: float) -> list[Batch]:
        rows, length = self.shape_at(progress)
        self.mixture.set_length(length)
        return [self.mixture.batch(progress, rows, self.ranks.rank, self.ranks.world)
                for _ in range(self.passes_at(progress))]

    def _hide(self, ids_bt: Tensor) -> Tensor:
        """Input noise (token dropout): some text tokens are replaced by HIDDEN; the targets stay what they are."""
        if self.progress >= self.c.token_noise_until or not self.c.token_noise:
            return ids_bt
        chance = torch.rand(ids_bt.shape, device=ids_bt.device, generator=self.noise)
        return ids_bt.masked_fill((chance < self.c.token_noise) & (ids_bt > HIDDEN), HIDDEN)

    def _loss(self, batch: Batch, z_weight: float, learning: bool = False) -> Tensor:
        device = self.ranks.device
        ids, target, seq = (_to(a, device) for a in (batch.ids_bt, batch.target_bt, batch.seq_bt))
        ids = self._hide(ids) if learning else ids
        autocast = torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()
        with autocast:
            return self.model.loss_sum(ids, target, None if self.c.documents == "none" else seq,
                                       z_weight=z_weight, attention_docs=self.c.documents == "full")

    def _accumulate(self, batches: list[Batch]) -> Tensor:
        """Gradients of the mean over all targets of the global batch; returns that mean (this rank's part of it)."""
        targets = max(1.0, self.ranks.total(float(sum(b.n_targets for b in batches))))
        mean = torch.zeros((), device=self.ranks.device)
        # Seeded by the step, so that a resumed run hides the same tokens.
        self.noise.manual_seed((self.c.seed << 32) + self.step * self.ranks.world + self.ranks.rank)
        for batch in batches:
            loss = self._loss(batch, self.c.z_loss, learning=True) / targets
            loss.backward()
            mean += loss.detach()
        self.ranks.sum_(self.gradients)
        return mean

    def _warm_up(self) -> None:
        """Compiles every shape that the run will need, before the clock of the schedule starts."""
        if not self.c.compile or self.ranks.device.type != "cuda":
            return
        corners = [self.progress, *(p for p in (self.c.long_from, self.c.qat_from) if self.progress < p < 1)]
        for progress in sorted(corners):
            began, (rows, length) = time.monotonic(), self.shape_at(progress)
            self._set_qat(progress >= self.c.qat_from)
            dummy = to_batch(np.ones((rows, 3, length + 1), dtype=np.int64))
            self._loss(dummy, self.c.z_loss).backward()
            self._loss(dummy, 0.0)
            torch.cuda.synchronize()
            self.run.log(event="compiled", rows=rows, length=length, qat=self.qat, took=time.monotonic() - began)
        self.gradients.zero_()
        self._set_qat(self.progress >= self.c.qat_from)

    def _set_qat(self, on: bool) -> None:
        if on != self.qat:
            self.model.set_qat(*((self.c.qat_linear, self.c.qat_embedding) if on else (None, None)))
            self.qat = on

    # ---- the run ----------------------------------------------------------------------------------------------

    def _progress_now(self) -> float:
        """The share of the run that is over: by tokens or by the clock, whichever is further."""
        by_tokens = self.seen / self.total_tokens
        if not self.c.minutes:
            return min(1.0, by_tokens)
        deadline = self.began + 60 * self.c.minutes - self.c.reserve_seconds
        share = (time.monotonic() - self.clock) / max(1e-9, deadline - self.clock)
        by_clock = self.start_progress + (1 - self.start_progress) * share
        return self.ranks.agree(min(1.0, max(by_tokens, by_clock)))

    def fit(self) -> dict[str, float]:
        self.clock = self.saved = time.monotonic()
        window, since, tokens_then = [], time.monotonic(), self.seen
        self.next_state = copy.deepcopy(self.mixture.state)  # of the batches not yet learnt from: what a checkpoint keeps
        batches = self._batches(self.progress)
        while self.progress < 1.0:
            self._set_qat(self.progress >= self.c.qat_from)
            window.append(self._accumulate(batches))
            norm = self.optimizer.step(self.progress)
            self.step += 1
            self.seen += sum(b.ids_bt.size for b in batches) * self.ranks.world
            self._update_average()
            self._keep_pace()
            learning_at, self.progress = self.progress, self._progress_now()
            if self.progress < 1.0:
                self.next_state = copy.deepcopy(self.mixture.state)
                batches = self._batches(self.progress)  # the CPU draws while the GPU still works
            if self.step % self.c.log_every == 0 or self.progress >= 1.0 or self.step <= 3:
                loss = float(self.ranks.sum_(torch.stack(window).mean()))  # waits for the GPU
                now = time.monotonic()
                rate = (self.seen - tokens_then) / (now - since)
                self.run.log(step=self.step, progress=learning_at, loss=loss, grad_norm=float(norm), tokens=self.seen,
                             tokens_per_s=rate, tflops_per_s=rate * flops_per_token(self.model_config, self.mixture.state.length) / 1e12,
                             length=self.mixture.state.length, qat=self.qat)
                window, since, tokens_then = [], now, self.seen
            if self.step % self.c.eval_every == 0 and self.progress < 1.0:
                self.evaluate()
                since, tokens_then = time.monotonic(), self.seen
            if self.ranks.agree(float(time.monotonic() - self.saved > 60 * self.c.checkpoint_minutes)):
                self.save(self.next_state)
                since, tokens_then = time.monotonic(), self.seen
        result = self.evaluate()
        self.save(self.next_state)
        self.run.log(event="done", step=self.step, tokens=self.seen, held_out=result, epochs=self.mixture.epochs(),
                     minutes=(time.monotonic() - self.began) / 60)
        parallel.stop(self.ranks)
        return result

    def _keep_pace(self) -> None:
        """The CPU stays at most one step ahead of the GPU, or the clock would be read long before the work is done."""
        if self.ranks.device.type == "cuda":
            if self.last_step is not None:
                self.last_step.synchronize()
            self.last_step = torch.cuda.Event()
            self.last_step.record()

    @torch.no_grad()
    def _update_average(self) -> None:
        """The running mean of the weights over the end of the run (after the optimizer's step)."""
        if self.progress < self.c.average_from:
            return
        if self.average is None:
            self.average = {n: p.detach().clone() for n, p in self.model.state_dict().items()}
        self.averaged += 1
        for name, p in self.model.state_dict().items():
            self.average[name].lerp_(p, 1 / self.averaged)

    def evaluate(self) -> dict[str, float]:
        """Nats a token on the held-out rows of every source, in the training shape (so nothing recompiles:
        gradient mode stays on, no backward follows)."""
        result = {}
        rows, length = self.shape_at(self.progress)
        for name in self.held_out_names:
            batch = held_out(Path(self.c.data), name, length, rows, self.learn)
            if batch.n_targets:
                result[name] = float(self._loss(batch, 0.0).detach()) / batch.n_targets
        self.run.log(event="held_out", step=self.step, loss=result)
        return result

    def save(self, mixture: MixtureState) -> None:
        self.saved = time.monotonic()
        if self.ranks.first:
            self.run.save(self.step, {
                "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "average": self.average,
                "averaged": self.averaged, "mixture": dataclasses.asdict(mixture), "step": self.step, "seen": self.seen,
                "progress": self.progress, "model_config": _plain(self.model_config)})


def _plain(c: ModelConfig) -> dict[str, Any]:
    raw = to_dict(c)
    raw["attention_layers"] = list(raw["attention_layers"])
    raw["rope"]["long_factor"] = list(raw["rope"]["long_factor"])
    return raw


def _without_none(raw: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in raw.items() if v is not None}


def _to(array, device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def pretrain(raw: dict[str, Any]) -> dict[str, float]:
    return Trainer(raw).fit()
