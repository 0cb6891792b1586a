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
    from mlx_lm import convert
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
        path = os.path.join(folder, f"row{i}.jsonl")
        with open(path, "w", encoding="utf-8") as f:
            f.write(json.dumps({"messages": [{"role": "user", "content": user}, {"role": "assistant", "content": answer}]}))
        tokens = hearth("data", "show", path, "--model", model, "--rows", "1", "--json")[0]["tokens"]
        out.append((path, [t["id"] for t in tokens], [bool(t["target"]) for t in tokens]))
    return out


def theirs(folder, row_list):
    model = load_model(Path(folder))[0]
    model.set_dtype(mx.float32)
    model.eval()
    return [log_softmax_loss(np.array(model(mx.array([ids]))[0].astype(mx.float32)), ids, target) for _, ids, target in row_list]


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
