"""Mixtures of experts as MLX folders, plain and quantised: ours in mlx-lm, those that mlx_lm.convert makes in ours. Random
models as wide as a group of MLX's levels, made here in the shape of the tiny goldens."""
import json
import os
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from common import *  # noqa: F403

try:
    import mlx.core as mx
    import numpy as np
    import torch
    import transformers
    from pathlib import Path
    from mlx.utils import tree_flatten
    from mlx_lm import convert
    from mlx_lm.tuner.utils import linear_to_lora_layers, load_adapters
    from mlx_lm.utils import load_model
except ImportError as e:
    skip("MLX's mixtures of experts", str(e))
    sys.exit(0)
if sys.platform != "darwin":
    mx.set_default_device(mx.cpu)
transformers.utils.logging.set_verbosity_error()

LOSS_TOLERANCE = 5e-5  # hearth keeps 16 bits of what meets a quantised matrix
WIDTH = {"hidden_size": 64, "intermediate_size": 96, "moe_intermediate_size": 64}
TEXTS = [("hello", "the thing in it"), ("what is it?", "it is the other thing"), ("why", "the answer is in here")]


def make(family, folder):
    """A random model, its tokenizer the golden's."""
    golden = f"tests/golden/{family}/tiny"
    config = transformers.AutoConfig.from_pretrained(golden)
    config.__dict__.pop("quantization_config", None)
    for key, value in WIDTH.items():
        if hasattr(config, key):
            setattr(config, key, value)
    if family == "mixtral":
        config.head_dim = config.hidden_size // config.num_attention_heads  # mlx-lm's knows no other
    torch.manual_seed(5)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape) * (0.3 if p.dim() > 1 else 0.1) + (p.dim() == 1))
    model.save_pretrained(folder)
    for name in os.listdir(golden):
        if name.startswith("tokenizer"):
            shutil.copy(os.path.join(golden, name), folder)
    saved = json.load(open(os.path.join(folder, "config.json")))  # mlx-lm asks for the older keys
    if family in ("mixtral", "qwen2moe", "qwen3moe"):
        saved.setdefault("rope_theta", saved.get("rope_parameters", {}).get("rope_theta", 10000.0))
        saved.setdefault("num_experts", saved.get("num_local_experts"))
    json.dump(saved, open(os.path.join(folder, "config.json"), "w"))


def short_rows(model, folder):
    out = []
    for i, (user, answer) in enumerate(TEXTS):
        row = json.dumps({"messages": [{"role": "user", "content": user}, {"role": "assistant", "content": answer}]})
        for name in (f"row{i}.jsonl", "train.jsonl", "valid.jsonl"):
            with open(os.path.join(folder, name), "a", encoding="utf-8") as f:
                f.write(row + "\n")
        path = os.path.join(folder, f"row{i}.jsonl")
        tokens = hearth("data", "show", path, "--model", model, "--rows", "1", "--json")[0]["tokens"]
        out.append((path, [t["id"] for t in tokens], [bool(t["target"]) for t in tokens]))
    return out


def theirs(folder, row_list, adapter=None):
    model = load_model(Path(folder))[0]
    if adapter:
        model = load_adapters(model, adapter)
    model.set_dtype(mx.float32)
    model.eval()
    return [log_softmax_loss(np.array(model(mx.array([ids]))[0].astype(mx.float32)), ids, target) for _, ids, target in row_list]


def make_adapter(folder, path, keys):
    """What mlx_lm.lora writes, with weights at random in place of trained ones."""
    model = load_model(Path(folder))[0]
    model.freeze()
    config = {"rank": 3, "scale": 2.0, "dropout": 0.0} | ({"keys": keys} if keys else {})
    linear_to_lora_layers(model, len(model.layers), config)
    mx.random.seed(6)
    weights = {k: mx.random.normal(v.shape) * 0.1 for k, v in tree_flatten(model.trainable_parameters())}
    os.makedirs(path)
    mx.save_safetensors(os.path.join(path, "adapters.safetensors"), weights)
    json.dump({"fine_tune_type": "lora", "num_layers": len(model.layers), "lora_parameters": config},
              open(os.path.join(path, "adapter_config.json"), "w"))


def adapters(family, folder, work, row_list):
    """LoRA on experts: ours in mlx-lm, as PEFT has it (gate and up share A) and with an A each; mlx-lm's in ours. By default
    mlx-lm adapts the router too, and the gate of a shared expert, which is no linear here."""
    for what, experts in (("experts", "experts"), ("experts, an A each", "switch_mlp.gate_proj")):
        run = os.path.join(work, "run-" + str(len(what)))
        hearth("train", "--model", folder, "--data", work, "--output-dir", run, "--compute", "f32", "--iters", "6", "--batch-size",
               "3", "--learning-rate", "1e-2", "--sample-rows", "0", "--target-modules", "q_proj", "--target-modules", experts)
        adapter = os.path.join(run, "adapter")
        judge_losses(f"{family}: adapter on {what} -> mlx-lm", theirs(folder, row_list, adapter),
                     our_losses(row_list, adapter=adapter, model=folder), LOSS_TOLERANCE)
    keys = None
    if family in ("qwen2moe", "gemma4_moe"):
        block = "mlp.switch_mlp" if family == "qwen2moe" else "experts.switch_glu"
        keys = ["self_attn.v_proj"] + [f"{block}.{p}_proj" for p in ("gate", "up", "down")]
    path = os.path.join(work, "mlx-adapter")
    make_adapter(folder, path, keys)
    want = theirs(folder, row_list, path)
    judge_losses(f"{family}: mlx-lm's adapter on experts -> hearth", want, our_losses(row_list, adapter=path, model=folder),
                 LOSS_TOLERANCE)
    again = os.path.join(work, "again")
    hearth("convert", path, "--output", again)
    judge_losses(f"{family}: and back to mlx-lm", theirs(folder, row_list, again), want, LOSS_TOLERANCE)


def check(family):
    work = os.path.join(WORK, "mlx-" + family)
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    base = os.path.join(work, "base")
    make(family, base)
    row_list = short_rows(base, work)
    for kind in ("f32", "mlx4", "mlx8"):
        folder = os.path.join(work, "ours-" + kind)
        hearth("convert", base, "--output", folder, "--to", "mlx", "--type", kind, "--group-size", "32", "--shard-size", "100KB")
        judge_losses(f"{family}: MLX folder, {kind} -> mlx-lm", theirs(folder, row_list), our_losses(row_list, model=folder),
                     LOSS_TOLERANCE)
    adapters(family, os.path.join(work, "ours-f32"), work, row_list)
    if family in ("gptoss_mxfp4", "gemma4_moe"):  # not as transformers 5 saves them: experts turned; sizes in per_layer_config
        base = os.path.join(work, "ours-f32")
    for bits, mode in ((0, "affine"), (4, "affine"), (8, "affine"), (4, "mxfp4")):
        folder = os.path.join(work, f"theirs-{bits}-{mode}")
        convert(base, folder, quantize=bits > 0, q_group_size=32, q_bits=bits or 4, q_mode=mode, dtype="float32")
        what = "plain" if bits == 0 else mode if mode != "affine" else f"{bits} bits"
        judge_losses(f"{family}: mlx_lm.convert, {what} -> hearth", theirs(folder, row_list), our_losses(row_list, model=folder),
                     LOSS_TOLERANCE)
        if bits:
            gguf = folder + ".gguf"
            hearth("convert", folder, "--output", gguf, "--type", "f32")
            judge_losses(f"{family}: and on to GGUF", our_losses(row_list, model=gguf), our_losses(row_list, model=folder),
                         LOSS_TOLERANCE)


for name in ("qwen3moe", "mixtral", "qwen2moe", "gptoss_mxfp4", "gemma4_moe"):
    check(name)
