"""A checkpoint as a Transformers model folder: safetensors, config.json, tokenizer files, generation_config.json.

The state dict already has Transformers' names. What needs care is config.json: the old
`mamba`/`attention` layer names, an explicit attention_multiplier, router_aux_loss_coef 0.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from chimera_train.chatml import ENDOFTEXT, IM_END
from chimera_train.config import ModelConfig, model_from_dict
from chimera_train.run import load_latest, write_atomic

CONTRACT = Path(__file__).resolve().parents[3] / "assets" / "contract"


def hf_config(c: ModelConfig, dtype: str = "float32") -> dict[str, Any]:
    return {
        "architectures": ["GraniteMoeHybridForCausalLM"],
        "model_type": "granitemoehybrid",
        "vocab_size": c.vocab_size,
        "hidden_size": c.d_model,
        "num_hidden_layers": c.n_layer,
        "layer_types": ["attention" if c.is_attention(i) else "mamba" for i in range(c.n_layer)],
        "shared_intermediate_size": c.d_ff,
        "intermediate_size": c.d_ff,
        "num_local_experts": 0,
        "num_experts_per_tok": 0,
        "output_router_logits": False,
        "router_aux_loss_coef": 0.0,
        "num_attention_heads": c.n_head,
        "num_key_value_heads": c.n_kv_head,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "attention_multiplier": c.attention_multiplier,
        "embedding_multiplier": c.embedding_multiplier,
        "residual_multiplier": c.residual_multiplier,
        "logits_scaling": c.logits_scaling,
        "position_embedding_type": "rope",
        "rope_parameters": c.rope.to_hf(),
        "rope_theta": c.rope.theta,
        "mamba_n_heads": c.ssm_heads,
        "mamba_d_head": c.ssm_head_dim,
        "mamba_d_state": c.d_state,
        "mamba_n_groups": 1,
        "mamba_d_conv": c.d_conv,
        "mamba_expand": 2,
        "mamba_chunk_size": 256,
        "mamba_conv_bias": True,
        "mamba_proj_bias": False,
        "hidden_act": "silu",
        "rms_norm_eps": c.norm_eps,
        "max_position_embeddings": c.context_length,
        "initializer_range": 0.02,
        "tie_word_embeddings": True,
        "use_cache": True,
        "bos_token_id": ENDOFTEXT,
        "eos_token_id": IM_END,
        "pad_token_id": ENDOFTEXT,
        "dtype": dtype,
    }


def tokenizer_config(c: ModelConfig, contract: Path = CONTRACT) -> dict[str, Any]:
    control = json.loads((contract / "special_tokens.json").read_text("utf-8"))
    added = {str(i): {"content": t, "special": True, "normalized": False, "lstrip": False, "rstrip": False,
                      "single_word": False} for i, t in enumerate(control["control"])}
    roles = control["roles"]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "added_tokens_decoder": added,
        "bos_token": roles["bos"], "eos_token": roles["eos"], "pad_token": roles["pad"],
        "add_bos_token": False, "add_eos_token": False, "clean_up_tokenization_spaces": False,
        "model_max_length": c.context_length,
        "chat_template": (contract / "chat_template.jinja").read_text("utf-8"),
    }


GENERATION = {"bos_token_id": ENDOFTEXT, "eos_token_id": [IM_END, ENDOFTEXT], "pad_token_id": ENDOFTEXT, "do_sample": True,
              "temperature": 0.7, "top_k": 40, "top_p": 0.9, "min_p": 0.05, "repetition_penalty": 1.1,
              "max_new_tokens": 512}


def _json(path: Path, value: Any) -> None:
    write_atomic(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def write_model(out: Path, c: ModelConfig, state: dict[str, Tensor], tokenizer: Path, dtype: torch.dtype) -> None:
    out.mkdir(parents=True, exist_ok=True)
    tensors = {n: t.detach().to("cpu", dtype).contiguous() for n, t in state.items()}
    save_file(tensors, str(out / "model.safetensors.tmp"), metadata={"format": "pt"})
    (out / "model.safetensors.tmp").chmod(0o644)  # safetensors writes 0600
    (out / "model.safetensors.tmp").replace(out / "model.safetensors")
    _json(out / "config.json", hf_config(c, str(dtype).removeprefix("torch.")))
    _json(out / "tokenizer_config.json", tokenizer_config(c))
    _json(out / "generation_config.json", GENERATION)
    shutil.copyfile(CONTRACT / "chat_template.jinja", out / "chat_template.jinja")
    if tokenizer.resolve() != (out / "tokenizer.json").resolve():
        shutil.copyfile(tokenizer, out / "tokenizer.json")


def export(raw: dict[str, Any]) -> Path:
    """Recipe (or --set): `export: {run: runs/starter-sft, out: runs/starter-hf, dtype: float32}` and `tokenizer:`."""
    options = {"dtype": "float32"} | raw["export"]
    state = load_latest(Path(options["run"]))
    if state is None:
        raise FileNotFoundError(f"no complete checkpoint in {options['run']}")
    weights = state["average"] or state["model"]
    out = Path(options["out"])
    write_model(out, model_from_dict(state["model_config"]), weights, Path(raw["tokenizer"]), getattr(torch, options["dtype"]))
    print(f"{out}: {sum(t.numel() for t in weights.values())} parameters, step {state['step']}, {state['seen']} tokens")
    return out
