"""tests/golden/FAMILY/tiny-experts*: PEFT's LoRA on the stacked parameters of experts (target_parameters), on the folders that
golden_families.py made: an adapter, and what transformers and PEFT compute with it. The gradients of one step are saved as an
adapter, too, so that their names and order are those that are read back. Run: tools/golden_experts.py"""
import pathlib

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import golden

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"
EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
CASES = {
    "qwen3moe": dict(seed=71, target_modules=["q_proj", "v_proj"], target_parameters=EXPERTS + ["mlp.gate.weight"]),
    "mixtral": dict(seed=72, target_modules=["o_proj"], target_parameters=EXPERTS, alpha_pattern={"experts.down_proj": 6},
                    rank_pattern={"experts.gate_up_proj": 3}),  # fmt: skip
    # One parameter alone: no wrapper inside another.
    "qwen2moe": dict(seed=73, target_modules=["q_proj"], target_parameters=EXPERTS[1:]),
    "gptoss": dict(seed=74, target_modules=["k_proj"], target_parameters=EXPERTS + ["mlp.router.weight"]),
    "gemma4_moe": dict(seed=75, target_modules=["q_proj"], target_parameters=["experts.gate_up_proj", "experts.down_proj"]),
}


def rows_of(want):
    begin = want["begin"].tolist()
    cut = lambda t: [t[a:b] for a, b in zip(begin, begin[1:])]
    return cut(want["ids"]), cut(want["target"])


def fill(tuned, gen):
    with torch.no_grad():
        for name, p in tuned.named_parameters():
            if "lora_" in name:
                p.copy_(torch.randn(p.shape, generator=gen) * (0.3 if "lora_A" in name else 0.1))


def make(family, spec):
    stem = GOLDEN / family / "tiny"
    model = AutoModelForCausalLM.from_pretrained(stem, dtype=torch.float32, attn_implementation="eager")
    keys = {k: v for k, v in spec.items() if k != "seed"}
    tuned = get_peft_model(model, LoraConfig(r=2, lora_alpha=5, bias="none", task_type="CAUSAL_LM", **keys))
    fill(tuned, torch.Generator().manual_seed(spec["seed"]))
    golden.save_adapter(tuned, stem.with_name("tiny-adapter-experts"))
    rows, targets = rows_of(load_file(stem.with_name("tiny.safetensors")))
    out = {"logits": golden.logits_of(tuned, rows).detach()}
    loss = golden.loss_of(tuned, rows, targets)
    loss.backward()
    out["loss"] = loss.detach().reshape(1)
    with torch.no_grad():
        for name, p in tuned.named_parameters():
            if "lora_" in name:
                p.copy_(p.grad)
    golden.save_adapter(tuned, stem.with_name("tiny-adapter-experts-grad"))
    save_file({k: v.contiguous() for k, v in out.items()}, stem.with_name("tiny-experts.safetensors"),
              {"made_by": golden.versions()})  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for family, spec in CASES.items():
        make(family, spec)
