"""llama.cpp's side of `chimera bench --against llama.cpp`: orders from standard input, answers to standard output.

Standard library only. argv: a shared library of llama.cpp, or nothing: then the package `xllamacpp` or `llama_cpp` of
this interpreter. The structures follow llama.h of llama.cpp 0.6.0-dev, with and without the pointer that build 11549
has more, or are those of `llama_cpp`; the library's own defaults tell which layout it has.
"""

import ctypes as c
import importlib.util
import json
import os
import sys
import time
from pathlib import Path

INT, FLOAT, BOOL, POINTER, U32 = c.c_int32, c.c_float, c.c_bool, c.c_void_p, c.c_uint32
# Room for fields that a build has after the ones we name. Their defaults come from the library and go back to it.
TAIL = ("later", c.c_uint8 * 64)


def fields(kind, names):
    return [(name, kind) for name in names.split()]


class ModelParams(c.Structure):
    _fields_ = [
        *fields(POINTER, "devices tensor_buft_overrides"),
        *fields(INT, "n_gpu_layers split_mode load_mode lazy_mode main_gpu"),
        *fields(POINTER, "tensor_split progress_callback progress_callback_user_data kv_overrides"),
        *fields(BOOL, "vocab_only check_tensors use_extra_bufts no_host no_alloc load_mtp"),
        TAIL,
    ]


def context_params(pointers):
    return [
        *fields(U32, "n_ctx n_batch n_ubatch n_seq_max n_rs_seq n_outputs_max n_outputs_max_per_seq"),
        *fields(INT, "n_threads n_threads_batch ctx_type rope_scaling_type pooling_type attention_type flash_attn_type"),
        *fields(FLOAT, "rope_freq_base rope_freq_scale yarn_ext_factor yarn_attn_factor yarn_beta_fast yarn_beta_slow"),
        ("yarn_orig_ctx", U32),
        ("defrag_thold", FLOAT),
        *fields(POINTER, "cb_eval cb_eval_user_data"),
        *fields(INT, "type_k type_v"),
        *fields(POINTER, pointers),
        *fields(BOOL, "embeddings offload_kqv no_perf op_offload swa_full kv_unified"),
        *fields(POINTER, "samplers"),
        ("n_samplers", c.c_size_t),
        ("ctx_other", POINTER),
        TAIL,
    ]


class ContextParams(c.Structure):
    _fields_ = context_params("abort_callback abort_callback_data")


class WiderContextParams(c.Structure):
    _fields_ = context_params("abort_callback abort_callback_data unnamed_pointer")


class Batch(c.Structure):
    _fields_ = [
        ("n_tokens", INT),
        ("token", c.POINTER(INT)),
        ("embd", c.POINTER(FLOAT)),
        ("pos", c.POINTER(INT)),
        ("n_seq_id", c.POINTER(INT)),
        ("seq_id", c.POINTER(c.POINTER(INT))),
        ("logits", c.POINTER(c.c_int8)),
    ]


def library_in(package, below):
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0], *below)
    names = sorted(p for p in folder.glob("*") if p.suffix in {".so", ".pyd", ".dylib", ".dll"})
    return next((p for p in names if package == "xllamacpp" or "llama." in p.name), None)


def find_library():
    if len(sys.argv) > 1:
        return Path(sys.argv[1]), None
    if path := library_in("xllamacpp", []):
        return path, None
    if path := library_in("llama_cpp", ["lib"]):
        import llama_cpp.llama_cpp as own

        return path, (own.llama_model_params, own.llama_context_params, own.llama_batch)
    raise RuntimeError("neither xllamacpp nor llama_cpp is installed in this Python")


def peak_rss():
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


class Peer:
    def __init__(self):
        path, own = find_library()
        self.before = peak_rss()
        self.opened = time.perf_counter()
        self.path, self.lib = path, c.CDLL(str(path))
        layouts = [own] if own else [(ModelParams, p, Batch) for p in (ContextParams, WiderContextParams)]
        if not any(self.fits(layout, bool(own)) for layout in layouts):
            raise RuntimeError(f"{path} is a llama.cpp with other structures than the ones known here")
        self.context = self.model = None

    def fits(self, layout, certain):
        lib, (model, context, batch) = self.lib, layout
        signatures = {
            "llama_model_default_params": (model, []),
            "llama_context_default_params": (context, []),
            "llama_model_load_from_file": (POINTER, [c.c_char_p, model]),
            "llama_init_from_model": (POINTER, [POINTER, context]),
            "llama_model_get_vocab": (POINTER, [POINTER]),
            "llama_vocab_n_tokens": (INT, [POINTER]),
            "llama_batch_init": (batch, [INT, INT, INT]),
            "llama_decode": (INT, [POINTER, batch]),
            "llama_get_logits_ith": (c.POINTER(FLOAT), [POINTER, INT]),
            "llama_get_memory": (POINTER, [POINTER]),
            "llama_memory_clear": (None, [POINTER, BOOL]),
            "llama_synchronize": (None, [POINTER]),
            "llama_log_set": (None, [POINTER, POINTER]),
            "llama_backend_init": (None, []),
            "llama_print_system_info": (c.c_char_p, []),
        }
        for name, (result, arguments) in signatures.items():
            function = getattr(lib, name)
            function.restype, function.argtypes = result, arguments
        if certain:
            return True
        m, x = lib.llama_model_default_params(), lib.llama_context_default_params()
        found = (m.n_gpu_layers, m.load_mode, m.lazy_mode, m.use_extra_bufts, m.vocab_only, x.n_ctx, x.n_batch)
        found += (x.n_ubatch, x.n_seq_max, x.flash_attn_type, x.yarn_ext_factor, x.type_k, x.offload_kqv, x.n_samplers)
        return found == (-1, -1, 1, True, False, 512, 2048, 512, 1, -1, -1.0, 1, True, 0)

    def load(self, o):
        lib = self.lib
        self.log = c.CFUNCTYPE(None, c.c_int, c.c_char_p, POINTER)(lambda *_: None)
        lib.llama_log_set(c.cast(self.log, POINTER), None)
        lib.llama_backend_init()
        params = lib.llama_model_default_params()
        params.n_gpu_layers = 0
        params.use_extra_bufts = o["repack"]
        self.model = lib.llama_model_load_from_file(os.fsencode(o["model"]), params)
        if not self.model:
            raise RuntimeError("llama.cpp does not load this model")
        params = lib.llama_context_default_params()
        params.n_ctx = o["context"]
        params.n_batch = min(2048, o["context"])
        params.n_threads = params.n_threads_batch = o["threads"]
        if hasattr(params, "flash_attn_type"):
            params.flash_attn_type = 1 if o["flash_attention"] else 0
        self.context = lib.llama_init_from_model(self.model, params)
        if not self.context:
            raise RuntimeError("llama.cpp makes no context with this configuration")
        self.vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self.model))
        self.n_batch, self.batch, self.at = params.n_batch, lib.llama_batch_init(params.n_batch, 0, 1), 0
        return {"vocab": self.vocab, "library": self.path.name, **self.describe()}

    def describe(self):
        version = "unknown"
        if hasattr(self.lib, "llama_version"):
            self.lib.llama_version.restype = c.c_char_p
            version = self.lib.llama_version().decode()
        return {"version": version, "system_info": self.lib.llama_print_system_info().decode().strip(" |")}

    def token(self, i):
        return 8 + i * 7919 % (self.vocab - 8)

    def fill(self, n):
        b = self.batch
        b.n_tokens = n
        for i in range(n):
            b.token[i], b.pos[i] = self.token(self.at + i), self.at + i
            b.n_seq_id[i], b.seq_id[i][0] = 1, 0
            b.logits[i] = i == n - 1

    def decode(self):
        if self.lib.llama_decode(self.context, self.batch) != 0:
            raise RuntimeError("llama_decode failed")
        self.lib.llama_synchronize(self.context)
        self.lib.llama_get_logits_ith(self.context, -1)
        self.at += self.batch.n_tokens

    def read(self, o):
        if o["afresh"]:
            self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)
            self.at = 0
        left, seconds, cpu = o["tokens"], 0.0, 0.0
        while left > 0:
            n = min(left, self.n_batch)
            self.fill(n)  # Python's own time: not counted
            start = (time.perf_counter(), time.process_time())
            self.decode()
            seconds += time.perf_counter() - start[0]
            cpu += time.process_time() - start[1]
            left -= n
        return {"seconds": seconds, "cpu_seconds": cpu}

    def step(self, o):
        seconds, cpu = 0.0, 0.0
        for _ in range(o["tokens"]):
            self.fill(1)
            start = (time.perf_counter(), time.process_time())
            self.decode()
            seconds += time.perf_counter() - start[0]
            cpu += time.process_time() - start[1]
        return {"seconds": seconds, "cpu_seconds": cpu}

    def memory(self, _):
        return {"peak_rss_bytes": peak_rss(), "before_bytes": self.before}


def answers():
    peer = None
    for line in sys.stdin:
        try:
            order = json.loads(line)
            start = (time.perf_counter(), time.process_time())
            peer = peer or Peer()
            answer = getattr(peer, order["do"])(order)
            answer.setdefault("seconds", time.perf_counter() - start[0])
            answer.setdefault("cpu_seconds", time.process_time() - start[1])
            yield answer | {"since_library_s": time.perf_counter() - peer.opened}
        except Exception as error:  # told to the other side, whatever it is
            yield {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    # A second output for the answers: a library that prints to the first must not disturb them.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for answer in answers():
        out.write(json.dumps(answer) + "\n")
        out.flush()
