"""Our model is Transformers' model: names, shapes, logits; and its loss is the cross entropy."""

from __future__ import annotations

import json
import tomllib

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from chimera_train import config
from chimera_train.export import CONTRACT, hf_config, write_model
from chimera_train.generate import State, step
from chimera_train.loss import linear_cross_entropy
from chimera_train.model import Chimera, init_weights
from chimera_train.tiny import golden, loud_weights, variants
from conftest import TINY


def loud(c: config.ModelConfig) -> Chimera:
    model = Chimera(c)
    model.load_state_dict({n: t.float() for n, t in loud_weights(c, seed=7).items()})
    return model.eval()


@pytest.mark.parametrize("variant", ["default", "yarn", "longrope"])
def test_logits_equal_transformers(variant: str, tmp_path, tokenizer) -> None:
    c = variants()[variant]
    model = loud(c)
    ids = torch.randint(0, c.vocab_size, (150,)).tolist()  # past the 128 of the stretched variants, over chunk borders
    write_model(tmp_path, c, model.state_dict(), TINY / "tokenizer.json", torch.float32)
    exported = json.loads((tmp_path / "config.json").read_text())
    want = golden(tmp_path, exported, ids, [0, 1, 77, 149])
    with torch.no_grad():
        got = model(torch.tensor([ids]))[0]
    for position, logits in want["logits"].items():
        reference = torch.tensor(logits)
        assert (got[int(position)] - reference).abs().max() <= 1e-5 * reference.abs().max()


@pytest.mark.parametrize("variant", ["default", "yarn", "longrope"])
def test_the_committed_fixture_holds_its_golden_logits(variant: str) -> None:
    want = json.loads((TINY / "golden.json").read_text("utf-8"))
    model = Chimera(variants()[variant])
    model.load_state_dict({n: t.float() for n, t in load_file(TINY / "model.safetensors").items()})
    with torch.no_grad():
        got = model(torch.tensor([want["ids"]]))[0]
    for position, logits in want["variants"][variant]["logits"].items():
        reference = torch.tensor(logits)
        assert (got[int(position)] - reference).abs().max() <= 1e-5 * reference.abs().max()
    assert got.argmax(-1).tolist() == want["variants"][variant]["argmax"]
    name = "config.json" if variant == "default" else f"config-{variant}.json"
    assert json.loads((TINY / name).read_text()) == hf_config(variants()[variant], "bfloat16")


def test_exported_folder_loads_in_transformers_with_its_logits_and_prompts(tmp_path, tokenizer) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = loud(config.tiny())
    write_model(tmp_path, model.config, model.state_dict(), TINY / "tokenizer.json", torch.float32)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    ids = torch.randint(8, 1024, (1, 40))
    with torch.no_grad():
        want, got = theirs(ids).logits, model(ids)
    assert (want - got).abs().max() <= 1e-5 * want.abs().max()
    turns = [{"role": "system", "content": "संक्षेप में।"}, {"role": "user", "content": " नमस्ते "},
             {"role": "assistant", "content": "हाँ"}, {"role": "user", "content": "2 + 2?"}]
    rendered = AutoTokenizer.from_pretrained(tmp_path).apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    assert rendered == tokenizer.prompt(turns)


def test_config_json_carries_what_the_ecosystem_needs() -> None:
    c = hf_config(config.starter())
    assert c["layer_types"].count("attention") == 2 and c["layer_types"][3] == c["layer_types"][7] == "attention"
    assert set(c["layer_types"]) == {"mamba", "attention"}
    assert c["attention_multiplier"] == 0.125 and c["router_aux_loss_coef"] == 0.0
    assert c["num_local_experts"] == c["num_experts_per_tok"] == 0
    assert c["intermediate_size"] == c["shared_intermediate_size"] == 1536 and c["mamba_expand"] == 2


@pytest.mark.parametrize("make", [config.starter, config.flagship, config.tiny])
def test_parameter_counts_are_those_of_the_model(make) -> None:
    c = make()
    with torch.device("meta"):
        model = Chimera(c)
    assert sum(p.numel() for p in model.parameters()) == config.parameter_counts(c)["total"]


def test_the_contract_names_every_tensor_once_and_gives_its_shape() -> None:
    c = config.tiny()
    sizes = {"v": c.vocab_size, "d": c.d_model, "i": c.d_inner, "n": c.d_state, "h": c.ssm_heads, "a": c.n_head,
             "g": c.n_kv_head, "e": c.head_dim, "f": c.d_ff, "k": c.d_conv, "1": 1, "2f": 2 * c.d_ff}

    def size(letters: str) -> int:
        """Sums of products: `2i+2n+h`, `a*e`."""
        total = 0
        for term in letters.split("+"):
            product = 1
            for factor in term.split("*"):
                digits = len(factor) - len(factor.lstrip("0123456789"))
                product *= int(factor[:digits] or 1) * sizes.get(factor[digits:], 1)
            total += product
        return total

    rows = tomllib.loads((CONTRACT / "tensors.toml").read_text("utf-8"))["tensor"]
    want: dict[str, tuple[int, ...]] = {}
    for row in rows:
        kinds = {"global": [None], "every": range(c.n_layer), "mamba": [i for i in range(c.n_layer) if not c.is_attention(i)],
                 "attention": list(c.attention_layers)}[row["on"]]
        for i in kinds:
            if not row.get("optional"):
                want[row["hf"].replace("{i}", str(i))] = tuple(size(s) for s in row["shape"])
    assert want == {n: tuple(p.shape) for n, p in Chimera(c).state_dict().items()}
    assert len({r["gguf"] for r in rows}) == len(rows)


def test_sliced_loss_and_its_gradients_equal_cross_entropy() -> None:
    h, w = torch.randn(23, 16, requires_grad=True), torch.randn(50, 16, requires_grad=True)
    target = torch.randint(0, 50, (23,))
    target[::5] = -100
    logits = h @ w.T * 0.5
    log_z = torch.logsumexp(logits, -1)[target != -100]
    want = F.cross_entropy(logits, target, reduction="sum") + 1e-2 * log_z.square().sum()
    want_grads = torch.autograd.grad(want * 3, (h, w))
    got = linear_cross_entropy(h, w, target, logit_scale=0.5, z_weight=1e-2, rows=7)
    got_grads = torch.autograd.grad(got * 3, (h, w))
    assert torch.allclose(want, got, rtol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(want_grads, got_grads, strict=True))


def test_documents_of_a_row_do_not_see_each_other() -> None:
    model = loud(config.tiny())
    ids, seq = torch.randint(8, 1024, (1, 60)), torch.tensor([[0] * 23 + [1] * 37])
    with torch.no_grad():
        packed, changed = model(ids, seq), model(torch.cat([ids[:, :23].flip(1), ids[:, 23:]], 1), seq)
    # RoPE depends on distances only, so a document's logits do not depend on where in the row it stands.
    with torch.no_grad():
        alone = model(ids[:, 23:])
    assert torch.allclose(packed[:, 23:], changed[:, 23:], atol=1e-4)
    assert torch.allclose(packed[:, 23:], alone, atol=2e-3)


def test_token_by_token_equals_the_whole_sequence() -> None:
    model, state = loud(config.tiny()), State()
    ids = torch.randint(8, 1024, (2, 40))
    with torch.no_grad():
        want = model(ids)
        got = torch.stack([step(model, ids[:, t], state) for t in range(40)], dim=1)
    assert (want - got).abs().max() <= 1e-4 * want.abs().max()


def test_blocks_of_a_kind_share_one_graph_and_compute_the_same() -> None:
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    c = config.tiny(n_layer=5)
    plain, compiled = loud(c), loud(c)
    compiled.compile_blocks(backend="aot_eager")
    ids, seq = torch.randint(8, 1024, (2, 33)), torch.zeros(2, 32, dtype=torch.int32)
    losses = []
    for model in (plain, compiled):
        losses.append(model.loss_sum(ids[:, :-1], ids[:, 1:], seq))
        losses[-1].backward()
    assert counters["stats"]["unique_graphs"] == 2  # Mamba and attention; fullgraph: nothing falls out of them
    assert torch.allclose(*losses)
    for (name, p), q in zip(plain.named_parameters(), compiled.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, rtol=1e-3, atol=1e-4 * float(p.grad.abs().max())), name


def test_a_fresh_model_predicts_uniformly_and_its_blocks_do_nothing() -> None:
    model = Chimera(config.tiny())
    init_weights(model, 1)
    ids = torch.randint(8, 1024, (1, 9))
    loss = model.loss_sum(ids[:, :-1], ids[:, 1:]) / 8
    assert abs(loss.item() - 6.93) < 0.3  # ln 1024
    dt = F.softplus(model.model.layers[0].mamba.dt_bias)
    assert dt.min().item() > 9e-4 and dt.max().item() < 0.11
