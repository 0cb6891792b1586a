"""Golden values for adapters beyond plain LoRA, on the tiny models of tools/golden.py and golden_families.py: DoRA, modules
over fused tensors (Phi 3), weights trained whole (modules_to_save).

Writes tests/golden/adapters/CASE-start and CASE-step10 (PEFT folders) and CASE.safetensors: train.* as the Llama golden
has them (rows, order, ten losses) and grad.NAME, the first step's gradient of each trained tensor by its name in
adapter_model.safetensors without "base_model.model.".

    python tools/golden_adapters.py [CASE...]
"""

import argparse
import json
import tempfile

import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

import golden
from golden import LINEARS, i32, loss_of, put_rows

OUT = golden.ROOT / "tests" / "golden" / "adapters"
FUSED = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
NORMS = ["input_layernorm", "post_attention_layernorm", "model.norm"]

# base: a folder below tests/golden.
CASES = {
    "dora": dict(base="llama/untied", seed=41, target_modules=LINEARS, use_dora=True),
    "dora-bias": dict(base="qwen2/tiny", seed=42, target_modules=LINEARS, use_dora=True, use_rslora=True),
    "dora-fused": dict(base="phi3/tiny", seed=43, target_modules=FUSED, use_dora=True),
    "fused": dict(base="phi3/tiny", seed=44, target_modules=FUSED, rank_pattern={"gate_up_proj": 2}),
    # Rows on both sides of the original context, the first two of them, one of each kind, with the same beginning.
    "fused-beyond": dict(base="phi3_beyond/tiny", seed=48, target_modules=FUSED, lengths=[24, 16, 17, 12, 30, 14]),
    "whole": dict(base="llama/untied", seed=45, target_modules=["q_proj", "v_proj"],
                  modules_to_save=["embed_tokens", "lm_head", *NORMS]),
    "whole-tied": dict(base="qwen2/tiny", seed=46, target_modules=["q_proj", "down_proj"], modules_to_save=["embed_tokens"]),
    "whole-head": dict(base="gemma/tiny", seed=47, target_modules=["o_proj"], use_dora=True,
                       modules_to_save=["lm_head", "input_layernorm", "model.norm"]),
}  # fmt: skip


def make_adapter(spec, gen):
    spec = dict(spec)
    path = golden.ROOT / "tests" / "golden" / spec.pop("base")
    spec.pop("seed")
    spec.pop("lengths", None)
    base = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
    tuned = get_peft_model(base, LoraConfig(r=3, lora_alpha=6, task_type="CAUSAL_LM", **spec)).eval()
    with torch.no_grad():
        for name, p in tuned.named_parameters():
            if not p.requires_grad:
                continue
            noise = torch.randn(p.shape, generator=gen)
            if "lora_A" in name or "lora_B" in name:
                p.copy_(noise * (0.3 if "lora_A" in name else 0.1))
            elif "magnitude" in name:
                p.mul_(1 + 0.2 * noise)
            else:
                p.add_(0.05 * noise)
    return tuned, base.config.vocab_size


def short_name(name):
    for part in ("base_model.model.", ".default", "modules_to_save."):
        name = name.replace(part, "", 1)
    return name.removesuffix(".weight") if "magnitude" in name else name


def save_adapter(tuned, path):
    """A PEFT folder without what changes from run to run."""
    with tempfile.TemporaryDirectory() as tmp:
        tuned.save_pretrained(tmp)
        path.mkdir(parents=True, exist_ok=True)
        save_file(load_file(f"{tmp}/adapter_model.safetensors"), path / "adapter_model.safetensors", {"format": "pt"})
        config = json.load(open(f"{tmp}/adapter_config.json"))
    for key in ("target_modules", "modules_to_save"):
        config[key] = sorted(config[key]) if config[key] else config[key]
    config["base_model_name_or_path"] = ""
    (path / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def train(tuned, rows, targets, order, lr, out):
    params = [p for p in tuned.parameters() if p.requires_grad]
    opt = torch.optim.AdamW(params, lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    losses = []
    for step in order:
        opt.zero_grad()
        loss = loss_of(tuned, [rows[i] for i in step], [targets[i] for i in step])
        loss.backward()
        if not losses:
            for name, p in tuned.named_parameters():
                if p.requires_grad:
                    out["grad." + short_name(name)] = p.grad.clone()
        opt.step()
        losses.append(loss.item())
    return losses


def make(name, spec):
    gen = torch.Generator().manual_seed(spec["seed"])
    tuned, _ = make_adapter(spec, gen)
    save_adapter(tuned, OUT / f"{name}-start")
    out = {}
    rows, targets = golden.make_rows(gen, spec.get("lengths", [14, 10, 7, 12, 9, 5]), shared=6)
    order = [[(2 * s) % 6, (2 * s + 1) % 6] for s in range(10)]
    put_rows(out, "train.", rows, targets)
    out["train.order"] = i32(order)
    out["train.losses"] = torch.tensor(train(tuned, rows, targets, order, 2e-3, out), dtype=torch.float32)
    save_adapter(tuned, OUT / f"{name}-step10")
    out = {k: v.contiguous() for k, v in sorted(out.items())}
    save_file(out, OUT / f"{name}.safetensors", {"made_by": golden.versions()})


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("cases", nargs="*")
    args = ap.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name in args.cases or CASES:
        make(name, CASES[name])
    print(golden.versions())


if __name__ == "__main__":
    main()
