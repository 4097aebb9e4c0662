"""llama.cpp, called through the C functions of llama.h that a prebuilt library exports.

The library is the one inside the PyPI wheel `xllamacpp`, or, with CHIMERA_PEER_LIB, any other build with the same
structures (a native one, for timings). They follow llama.h of llama.cpp 0.6.0-dev (ggml 0.26), with and without the
one pointer more that build 11549 has; `open_library` takes the layout whose defaults are the known ones, so that
another one is an error and not a wild pointer.

    python llama_peer.py info
    python llama_peer.py logits   MODEL --tokens-file IDS.json --out LOGITS.f32      [tokens, vocabulary], little-endian f32
    python llama_peer.py tokenize MODEL --texts TEXTS.json                           prints a JSON list of lists of ids
    python llama_peer.py perf     MODEL [--threads N] [--pp 64] [--tg 64]            prints one JSON object
"""

from __future__ import annotations

import argparse
import ctypes as c
import importlib.util
import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Self

import numpy as np

TYPE_F32, TYPE_F16 = 0, 1
FLASH_ATTENTION_OFF = 0

# Room for fields that a build has after the ones we name. Their defaults come from the library and go back to it.
TAIL = c.c_uint8 * 64


class ModelParams(c.Structure):
    _fields_ = [
        ("devices", c.c_void_p),
        ("tensor_buft_overrides", c.c_void_p),
        ("n_gpu_layers", c.c_int32),
        ("split_mode", c.c_int),
        ("load_mode", c.c_int),
        ("lazy_mode", c.c_int),
        ("main_gpu", c.c_int32),
        ("tensor_split", c.c_void_p),
        ("progress_callback", c.c_void_p),
        ("progress_callback_user_data", c.c_void_p),
        ("kv_overrides", c.c_void_p),
        ("vocab_only", c.c_bool),
        ("check_tensors", c.c_bool),
        ("use_extra_bufts", c.c_bool),
        ("no_host", c.c_bool),
        ("no_alloc", c.c_bool),
        ("load_mtp", c.c_bool),
        ("later", TAIL),
    ]


CONTEXT_HEAD = [
    ("n_ctx", c.c_uint32),
    ("n_batch", c.c_uint32),
    ("n_ubatch", c.c_uint32),
    ("n_seq_max", c.c_uint32),
    ("n_rs_seq", c.c_uint32),
    ("n_outputs_max", c.c_uint32),
    ("n_outputs_max_per_seq", c.c_uint32),
    ("n_threads", c.c_int32),
    ("n_threads_batch", c.c_int32),
    ("ctx_type", c.c_int),
    ("rope_scaling_type", c.c_int),
    ("pooling_type", c.c_int),
    ("attention_type", c.c_int),
    ("flash_attn_type", c.c_int),
    ("rope_freq_base", c.c_float),
    ("rope_freq_scale", c.c_float),
    ("yarn_ext_factor", c.c_float),
    ("yarn_attn_factor", c.c_float),
    ("yarn_beta_fast", c.c_float),
    ("yarn_beta_slow", c.c_float),
    ("yarn_orig_ctx", c.c_uint32),
    ("defrag_thold", c.c_float),
    ("cb_eval", c.c_void_p),
    ("cb_eval_user_data", c.c_void_p),
    ("type_k", c.c_int),
    ("type_v", c.c_int),
    ("abort_callback", c.c_void_p),
    ("abort_callback_data", c.c_void_p),
]
CONTEXT_TAIL = [
    ("embeddings", c.c_bool),
    ("offload_kqv", c.c_bool),
    ("no_perf", c.c_bool),
    ("op_offload", c.c_bool),
    ("swa_full", c.c_bool),
    ("kv_unified", c.c_bool),
    ("samplers", c.c_void_p),
    ("n_samplers", c.c_size_t),
    ("ctx_other", c.c_void_p),
    ("later", TAIL),
]


class ContextParams(c.Structure):
    """As in llama.h."""

    _fields_ = CONTEXT_HEAD + CONTEXT_TAIL


class WiderContextParams(c.Structure):
    """As in build 11549."""

    _fields_ = [*CONTEXT_HEAD, ("unnamed_pointer", c.c_void_p), *CONTEXT_TAIL]


class Batch(c.Structure):
    _fields_ = [
        ("n_tokens", c.c_int32),
        ("token", c.POINTER(c.c_int32)),
        ("embd", c.POINTER(c.c_float)),
        ("pos", c.POINTER(c.c_int32)),
        ("n_seq_id", c.POINTER(c.c_int32)),
        ("seq_id", c.POINTER(c.POINTER(c.c_int32))),
        ("logits", c.POINTER(c.c_int8)),
    ]


SIGNATURES = {
    "llama_version": (c.c_char_p, []),
    "llama_print_system_info": (c.c_char_p, []),
    "llama_backend_init": (None, []),
    "llama_log_set": (None, [c.c_void_p, c.c_void_p]),
    "llama_model_default_params": (ModelParams, []),
    "llama_context_default_params": (ContextParams, []),
    "llama_model_load_from_file": (c.c_void_p, [c.c_char_p, ModelParams]),
    "llama_init_from_model": (c.c_void_p, [c.c_void_p, ContextParams]),
    "llama_model_get_vocab": (c.c_void_p, [c.c_void_p]),
    "llama_vocab_n_tokens": (c.c_int32, [c.c_void_p]),
    "llama_tokenize": (
        c.c_int32,
        [c.c_void_p, c.c_char_p, c.c_int32, c.POINTER(c.c_int32), c.c_int32, c.c_bool, c.c_bool],
    ),
    "llama_batch_init": (Batch, [c.c_int32, c.c_int32, c.c_int32]),
    "llama_batch_free": (None, [Batch]),
    "llama_decode": (c.c_int32, [c.c_void_p, Batch]),
    "llama_get_logits": (c.POINTER(c.c_float), [c.c_void_p]),
    "llama_get_logits_ith": (c.POINTER(c.c_float), [c.c_void_p, c.c_int32]),
    "llama_get_memory": (c.c_void_p, [c.c_void_p]),
    "llama_memory_clear": (None, [c.c_void_p, c.c_bool]),
    "llama_synchronize": (None, [c.c_void_p]),
    "llama_free": (None, [c.c_void_p]),
    "llama_model_free": (None, [c.c_void_p]),
}

_LOG = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)
_ERROR = 4  # GGML_LOG_LEVEL_ERROR


@_LOG
def _print_errors(level: int, text: bytes, _user: int | None) -> None:
    if level == _ERROR:
        sys.stderr.write(text.decode("utf-8", "replace"))


def library_path() -> Path:
    if override := os.environ.get("CHIMERA_PEER_LIB"):
        return Path(override)
    spec = importlib.util.find_spec("xllamacpp")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the package xllamacpp is not installed: pip install -r tests/peer/requirements.txt")
    folder = Path(spec.submodule_search_locations[0])
    found = sorted(p for p in folder.iterdir() if p.suffix in {".so", ".pyd", ".dylib"})
    if not found:
        raise SystemExit(f"no shared library in {folder}")
    return found[0]


def open_library() -> c.CDLL:
    lib = c.CDLL(str(library_path()))
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    set_layout(lib)
    lib.llama_log_set(c.cast(_print_errors, c.c_void_p), None)
    lib.llama_backend_init()
    return lib


def set_layout(lib: c.CDLL) -> None:
    """The defaults of llama.cpp, read through our structures: a field that moved shows here."""
    expected = (-1, -1, 1, True, False, 512, 2048, 512, 1, -1, -1.0, TYPE_F16, TYPE_F16, True, 0)
    for layout in (ContextParams, WiderContextParams):
        lib.llama_context_default_params.restype = layout
        lib.llama_init_from_model.argtypes = [c.c_void_p, layout]
        if defaults(lib) == expected:
            return
    raise SystemExit(f"this llama.cpp has other structures: {defaults(lib)} instead of {expected}")


def defaults(lib: c.CDLL) -> tuple[object, ...]:
    model, context = lib.llama_model_default_params(), lib.llama_context_default_params()
    found = (model.n_gpu_layers, model.load_mode, model.lazy_mode, model.use_extra_bufts, model.vocab_only)
    found += (context.n_ctx, context.n_batch, context.n_ubatch, context.n_seq_max, context.flash_attn_type)
    return found + (context.yarn_ext_factor, context.type_k, context.type_v, context.offload_kqv, context.n_samplers)


class Peer:
    """One model in llama.cpp. `exact` keeps the KV cache in f32 and switches flash attention off."""

    def __init__(self, path: Path, *, n_ctx: int = 4096, threads: int = 2, exact: bool = False, repack: bool = True):
        self.lib = open_library()
        params = self.lib.llama_model_default_params()
        params.n_gpu_layers = 0
        params.use_extra_bufts = repack
        self.model = self.lib.llama_model_load_from_file(os.fsencode(path), params)
        if not self.model:
            raise SystemExit(f"llama.cpp does not load {path}")
        self.vocab = self.lib.llama_model_get_vocab(self.model)
        self.n_vocab = self.lib.llama_vocab_n_tokens(self.vocab)
        self.n_ctx = n_ctx
        self.context = self.lib.llama_init_from_model(self.model, self._context_params(n_ctx, threads, exact))
        if not self.context:
            raise SystemExit("llama.cpp made no context")

    def _context_params(self, n_ctx: int, threads: int, exact: bool) -> ContextParams | WiderContextParams:
        params = self.lib.llama_context_default_params()
        params.n_ctx = n_ctx
        params.n_batch = n_ctx
        params.n_threads = params.n_threads_batch = threads
        # Without it, more than one output per sequence is refused in newer versions.
        params.n_outputs_max = n_ctx
        params.n_outputs_max_per_seq = n_ctx
        if exact:
            params.type_k = params.type_v = TYPE_F32
            params.flash_attn_type = FLASH_ATTENTION_OFF
        return params

    def close(self) -> None:
        self.lib.llama_free(self.context)
        self.lib.llama_model_free(self.model)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def clear(self) -> None:
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)

    def decode(self, tokens: list[int], start: int, *, all_logits: bool) -> None:
        """Evaluates `tokens` at positions `start`… ; keeps the logits of all of them or of the last."""
        n = len(tokens)
        batch = self.lib.llama_batch_init(n, 0, 1)
        try:
            batch.n_tokens = n
            for i, token in enumerate(tokens):
                batch.token[i], batch.pos[i] = token, start + i
                batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
                batch.logits[i] = 1 if all_logits or i == n - 1 else 0
            code = self.lib.llama_decode(self.context, batch)
        finally:
            self.lib.llama_batch_free(batch)
        if code != 0:
            raise RuntimeError(f"llama_decode returned {code}")
        self.lib.llama_synchronize(self.context)

    def logits(self, tokens: list[int]) -> np.ndarray:
        """[len(tokens), vocabulary] from an empty state."""
        self.clear()
        self.decode(tokens, 0, all_logits=True)
        rows = self.lib.llama_get_logits(self.context)
        return np.ctypeslib.as_array(rows, (len(tokens), self.n_vocab)).copy()

    def last_logits(self) -> np.ndarray:
        return np.ctypeslib.as_array(self.lib.llama_get_logits_ith(self.context, -1), (self.n_vocab,))

    def tokenize(self, text: str, *, parse_special: bool = False) -> list[int]:
        data = text.encode()
        room = len(data) + 16
        ids = (c.c_int32 * room)()
        n = self.lib.llama_tokenize(self.vocab, data, len(data), ids, room, False, parse_special)
        if n < 0:
            raise RuntimeError(f"llama_tokenize returned {n}")
        return list(ids[:n])


def describe() -> dict[str, str]:
    lib = open_library()
    return {
        "version": lib.llama_version().decode(),
        "system_info": lib.llama_print_system_info().decode().strip(" |"),
        "library": library_path().name,
    }


def peak_rss() -> int:
    """Bytes; Linux counts in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def perf(path: Path, threads: int, pp: int, tg: int, repeats: int, repack: bool) -> dict[str, object]:
    """Load time, prefill and decode speed (medians), first token of a `pp`-token prompt, peak memory."""
    open_library()
    before = peak_rss()
    began = time.perf_counter()
    peer = Peer(path, threads=threads, n_ctx=max(512, pp + tg + 8), repack=repack)
    load_s = time.perf_counter() - began
    prompt = [(7 * i + 11) % peer.n_vocab for i in range(pp)]
    peer.decode(prompt, 0, all_logits=False)
    first_token_s = time.perf_counter() - began
    prefill, decode = [], []
    for _ in range(repeats):
        peer.clear()
        t0 = time.perf_counter()
        peer.decode(prompt, 0, all_logits=False)
        t1 = time.perf_counter()
        for i in range(tg):
            peer.decode([int(peer.last_logits().argmax())], pp + i, all_logits=False)
        prefill.append(pp / (t1 - t0))
        decode.append(tg / (time.perf_counter() - t1))
    peer.close()
    return {
        "load_ms": 1e3 * load_s,
        "first_token_ms": 1e3 * first_token_s,
        f"pp{pp}_tok_s": statistics.median(prefill),
        f"tg{tg}_tok_s": statistics.median(decode),
        "peak_rss_bytes": peak_rss(),
        "of_which_python_bytes": before,
        "threads": threads,
        "repack": repack,
        **describe(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info")
    for name in ("logits", "tokenize", "perf"):
        command = commands.add_parser(name)
        command.add_argument("model", type=Path)
        command.add_argument("--threads", type=int, default=2)
    commands.choices["logits"].add_argument("--tokens-file", type=Path, required=True)
    commands.choices["logits"].add_argument("--out", type=Path, required=True)
    commands.choices["logits"].add_argument("--exact", action="store_true", help="f32 KV cache, no flash attention")
    commands.choices["tokenize"].add_argument("--texts", type=Path, required=True)
    commands.choices["tokenize"].add_argument("--parse-special", action="store_true")
    for option, default in (("--pp", 64), ("--tg", 64), ("--repeats", 3)):
        commands.choices["perf"].add_argument(option, type=int, default=default)
    commands.choices["perf"].add_argument("--no-repack", action="store_true")
    a = parser.parse_args()
    if a.command == "info":
        print(json.dumps(describe(), indent=2))
    elif a.command == "logits":
        tokens = json.loads(a.tokens_file.read_text())
        with Peer(a.model, threads=a.threads, n_ctx=len(tokens) + 8, exact=a.exact) as peer:
            a.out.write_bytes(peer.logits(tokens).astype("<f4").tobytes())
    elif a.command == "tokenize":
        with Peer(a.model, threads=a.threads, n_ctx=64) as peer:
            texts = json.loads(a.texts.read_text())
            print(json.dumps([peer.tokenize(t, parse_special=a.parse_special) for t in texts]))
    else:
        print(json.dumps(perf(a.model, a.threads, a.pp, a.tg, a.repeats, not a.no_repack), indent=2))


if __name__ == "__main__":
    main()
