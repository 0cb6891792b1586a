"""Golden values for the tests: tiny random models from transformers and PEFT, with what they compute.

Writes tests/golden/llama (see its README.md for every name); tools/golden_families.py makes the other families'.
Making them needs Python with torch, transformers, peft, gguf and safetensors; testing does not. Deterministic: one
thread, fixed seeds, float32, eager attention.

    python tools/golden.py                     all of tests/golden/llama
    python tools/golden.py --hf DIR            the same models as Hugging Face folders too, for tests against peers
"""

import argparse
import json
import pathlib
import tempfile

import gguf
import numpy as np
import peft
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "tests" / "golden" / "llama"
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
MERGES = [("Ġ", "t"), ("h", "e"), ("i", "n"), ("Ġt", "he")]

VARIANTS = {
    # Tied head, grouped queries, H*D differs from C.
    "tied": dict(
        seed=1,
        hidden_size=20,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=40,
        num_hidden_layers=2,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    ),
    # A head of its own, and Llama 3.1's rope scaling with all three of its ranges in play at short positions.
    "untied": dict(
        seed=2,
        hidden_size=12,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        intermediate_size=24,
        num_hidden_layers=2,
        tie_word_embeddings=False,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    ),
}


def byte_tokens():
    """GPT-2's printable stand-ins of the 256 bytes, in byte order."""
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    names, extra = {}, 0
    for b in range(256):
        if b in keep:
            names[b] = chr(b)
        else:
            names[b] = chr(256 + extra)
            extra += 1
    return [names[b] for b in range(256)]


TOKENS = byte_tokens() + [a + b for a, b in MERGES] + SPECIALS
V = len(TOKENS)


def make_model(spec):
    spec = dict(spec)
    seed = spec.pop("seed")
    config = LlamaConfig(
        vocab_size=V,
        max_position_embeddings=128,
        rms_norm_eps=1e-5,
        attention_bias=False,
        mlp_bias=False,
        bos_token_id=TOKENS.index("<|im_start|>"),
        eos_token_id=TOKENS.index("<|im_end|>"),
        pad_token_id=None,
        attn_implementation="eager",
        **spec,
    )
    model = LlamaForCausalLM(config).to(torch.float32)
    gen = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=gen)
            p.copy_(1 + 0.2 * noise if p.dim() == 1 else noise * (0.4 if "embed" in name else 1.2 / p.shape[1] ** 0.5))
    return model.eval(), gen


def make_rows(gen, lengths, shared):
    """Random rows; row 1 begins with the first `shared` tokens of row 0. Targets: random, never at 0, one a row at least."""
    rows, targets = [], []
    for i, n in enumerate(lengths):
        ids = torch.randint(0, V, (n,), generator=gen)
        if i == 1:
            ids[:shared] = rows[0][:shared]
        t = (torch.rand(n, generator=gen) < 0.6).to(torch.int32)
        t[0], t[-1] = 0, 1
        rows.append(ids)
        targets.append(t)
    return rows, targets


def logits_of(model, rows):
    return torch.cat([model(input_ids=r[None]).logits[0] for r in rows])


def loss_of(model, rows, targets):
    """Mean of -log p over all target tokens of the rows; each row on its own, so nothing is padded."""
    total, count = 0.0, 0
    for ids, t in zip(rows, targets):
        logp = torch.log_softmax(model(input_ids=ids[None]).logits[0], -1)
        at = torch.nonzero(t).flatten()
        total = total - logp[at - 1, ids[at]].sum()
        count += len(at)
    return total / count


def with_adapter(model, gen):
    lora = LoraConfig(
        r=4, lora_alpha=8, lora_dropout=0.0, target_modules=sorted(LINEARS), bias="none", task_type="CAUSAL_LM"
    )
    tuned = get_peft_model(model, lora)
    with torch.no_grad():
        for name, p in tuned.named_parameters():
            if "lora_" in name:
                p.copy_(torch.randn(p.shape, generator=gen) * (0.3 if "lora_A" in name else 0.1))
    return tuned


def save_adapter(tuned, path):
    """A PEFT folder without what changes from run to run."""
    with tempfile.TemporaryDirectory() as tmp:
        tuned.save_pretrained(tmp)
        path.mkdir(parents=True, exist_ok=True)
        save_file(load_file(f"{tmp}/adapter_model.safetensors"), path / "adapter_model.safetensors", {"format": "pt"})
        config = json.load(open(f"{tmp}/adapter_config.json"))
    config["target_modules"] = LINEARS
    config["base_model_name_or_path"] = ""
    (path / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def permute(w, heads):
    """Rows of q and k as GGUF's Llama family stores them: rotation pairs side by side."""
    n = w.shape[0]
    return w.reshape(heads, 2, n // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def rope_factors(config):
    """Llama 3.1's per-frequency divisors, as rope_freqs.weight holds them."""
    p = config.rope_parameters
    if p["rope_type"] != "llama3":
        return None
    d, out = config.head_dim, []
    low, high = (p["original_max_position_embeddings"] / p[k] for k in ("low_freq_factor", "high_freq_factor"))
    for i in range(d // 2):
        wave = 2 * np.pi * p["rope_theta"] ** (2 * i / d)
        smooth = (p["original_max_position_embeddings"] / wave - p["low_freq_factor"]) / (
            p["high_freq_factor"] - p["low_freq_factor"]
        )
        mixed = 1 / ((1 - smooth) / p["factor"] + smooth)
        out.append(1.0 if wave < high else p["factor"] if wave > low else mixed)
    return np.array(out, dtype=np.float32)


def gguf_name(name):
    for a, b in [
        ("model.embed_tokens.", "token_embd."), ("model.norm.", "output_norm."), ("lm_head.", "output."),
        ("model.layers.", "blk."), ("self_attn.q_proj", "attn_q"), ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"), ("self_attn.o_proj", "attn_output"), ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"), ("mlp.down_proj", "ffn_down"), ("post_attention_layernorm", "ffn_norm"),
        ("input_layernorm", "attn_norm"),
    ]:
        name = name.replace(a, b)
    return name


def write_gguf(model, path, name):
    c = model.config
    w = gguf.GGUFWriter(path, "llama")
    w.add_name(name)
    w.add_vocab_size(V)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_block_count(c.num_hidden_layers)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    w.add_key_length(c.head_dim)
    w.add_value_length(c.head_dim)
    w.add_rope_dimension_count(c.head_dim)
    w.add_rope_freq_base(c.rope_parameters["rope_theta"])
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    w.add_file_type(gguf.LlamaFileType.ALL_F32)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("smollm")
    w.add_token_list(TOKENS)
    w.add_token_types([3 if t in SPECIALS else 1 for t in TOKENS])
    w.add_token_merges([f"{a} {b}" for a, b in MERGES])
    w.add_bos_token_id(c.bos_token_id)
    w.add_eos_token_id(c.eos_token_id)
    w.add_add_bos_token(False)
    w.add_chat_template(CHATML)
    factors = rope_factors(c)
    if factors is not None:
        w.add_tensor("rope_freqs.weight", factors)
    for name, p in model.named_parameters():
        a = p.detach().numpy()
        if "q_proj" in name:
            a = permute(a, c.num_attention_heads)
        elif "k_proj" in name:
            a = permute(a, c.num_key_value_heads)
        w.add_tensor(gguf_name(name), np.ascontiguousarray(a))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def i32(x):
    return torch.as_tensor(x, dtype=torch.int32)


def put_rows(out, prefix, rows, targets):
    out[prefix + "ids"] = i32(torch.cat(rows))
    out[prefix + "target"] = i32(torch.cat(targets))
    out[prefix + "begin"] = i32(np.cumsum([0] + [len(r) for r in rows]))


def hf_name(name):
    """base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight -> model.layers...lora_A.weight"""
    return name.removeprefix("base_model.model.").replace(".default", "")


def train(tuned, rows, targets, order, lr):
    params = [p for n, p in tuned.named_parameters() if "lora_" in n]
    opt = torch.optim.AdamW(params, lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    losses = []
    for step in order:
        opt.zero_grad()
        loss = loss_of(tuned, [rows[i] for i in step], [targets[i] for i in step])
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses


def make(name, spec, hf_dir):
    model, gen = make_model(spec)
    write_gguf(model, OUT / f"{name}.gguf", f"golden {name}")
    if spec["rope_parameters"]["rope_type"] == "llama3":
        import golden_families  # which imports this file

        golden_families.write_folder(model, OUT / name, dtype=torch.float32)
    if hf_dir:
        model.save_pretrained(pathlib.Path(hf_dir) / name)
    out = {}
    rows, targets = make_rows(gen, [11, 8, 2, 1], shared=5)
    targets[3][:] = 0
    put_rows(out, "", rows, targets)
    out["logits"] = logits_of(model, rows).detach()
    loss = loss_of(model, rows[:3], targets[:3])
    loss.backward()
    out["loss"] = loss.detach().reshape(1)
    for n, p in model.named_parameters():
        out["grad." + n] = p.grad.clone()
        p.grad = None
    tuned = with_adapter(model, gen)
    save_adapter(tuned, OUT / f"{name}-adapter-start")
    last = torch.cumsum(torch.tensor([len(r) for r in rows]), 0) - 1
    out["lora.logits"] = logits_of(tuned, rows).detach()[last]
    loss = loss_of(tuned, rows[:3], targets[:3])
    loss.backward()
    out["lora.loss"] = loss.detach().reshape(1)
    for n, p in tuned.named_parameters():
        if "lora_" in n:
            out["lora.grad." + hf_name(n)] = p.grad.clone()
    rows, targets = make_rows(gen, [14, 10, 7, 12, 9, 5], shared=6)
    order = [[(2 * s) % 6, (2 * s + 1) % 6] for s in range(10)]
    put_rows(out, "train.", rows, targets)
    out["train.order"] = i32(order)
    out["train.losses"] = torch.tensor(train(tuned, rows, targets, order, lr=5e-3), dtype=torch.float32)
    save_adapter(tuned, OUT / f"{name}-adapter-step10")
    out = {k: v.contiguous() for k, v in sorted(out.items())}
    save_file(out, OUT / f"{name}.safetensors", {"made_by": versions()})


def versions():
    return f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}"


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--hf", help="also write the models as Hugging Face folders below this folder")
    args = ap.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    OUT.mkdir(parents=True, exist_ok=True)
    for name, spec in VARIANTS.items():
        make(name, spec, args.hf)
    print(versions())


if __name__ == "__main__":
    main()
