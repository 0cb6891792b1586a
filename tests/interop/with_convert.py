"""Converted models in transformers, mlx-lm and llama.cpp: every golden family from its folder to GGUF, back to a folder and
to an MLX folder, against the golden logits; SmolLM2 from GGUF to a folder and to MLX's 4 bits, ids, chats and answers.

Where a peer computes something else the row says what: mlx-lm has no windows for Mistral and Gemma 2 and takes LongRoPE's
long divisors, both round the ends of YaRN's ramp, which gpt-oss does not; llama.cpp has no window for Mistral, and GELU from a table of f16 for Gemma. Files for it are f32 here, its
cache too: a product with bf16 weights rounds what enters it, which moved logits by 0.1 and, where it chose another
expert (Qwen 3 MoE), by 0.64."""
import json
import os
import pathlib
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from common import *  # noqa: F403

FAMILIES = ["llama/untied", "gemma/tiny", "gemma2/tiny", "gemma3/tiny", "gemma4/tiny", "gemma4_large/tiny", "granite/tiny",
            "mistral/tiny", "olmo2/tiny",
            "olmo3/tiny", "phi3/tiny", "qwen2/tiny", "qwen3/tiny", "smollm3/tiny", "mixtral/tiny", "qwen2moe/tiny", "qwen3moe/tiny",
            "qwen35/tiny", "qwen35moe/tiny", "gptoss/tiny", "gptoss_mxfp4/tiny", "gemma4_moe/tiny", "ministral3/tiny",
            "ministral3_beyond/tiny", "phi3_beyond/tiny"]
NOT_IN = {"mlx": {"mistral/tiny": "no window", "gemma2/tiny": "no window", "gemma3/tiny": "needs 6 layers",
                  "phi3/tiny": "long divisors", "gptoss/tiny": "YaRN's ramp"},
          "llama.cpp": {"mistral/tiny": "no window", "gptoss/tiny": "YaRN's ramp"}}
# Peers that take LongRoPE's long divisors whatever a row's length are asked for the rows that are longer than this.
LONG_ALONE = {"mlx": {"phi3_beyond/tiny": 16}, "llama.cpp": {"phi3_beyond/tiny": 16}}
TEXTS = ["Hello world 12345", "  two  spaces\n\n\nline", "na\u00efve caf\u00e9 \u2014 \u6771\u4eac", "def f(x):\n\treturn x**2",
         "<|im_start|>user\nhi<|im_end|>\n", "I'm you'LL   \t x"]


def golden(f, longer_than=0):
    from safetensors.numpy import load_file
    g = load_file(f"tests/golden/{f}.safetensors")
    begin = g["begin"].tolist()
    logits = g["logits"].reshape(len(g["ids"]), -1)
    taken = [(a, b) for a, b in zip(begin, begin[1:]) if b - a > longer_than]
    return [g["ids"].tolist()[a:b] for a, b in taken], [x for a, b in taken for x in logits[a:b]]


def judge(peer, f, run, want, tolerance, rows):
    import numpy as np
    name = f"{f} converted -> {peer}"
    try:
        got = np.concatenate([run(r) for r in rows])
    except Exception as e:
        report(False, name, repr(e)[:150])
        return
    worst = float(np.abs(got - np.stack(want)).max())
    report(worst <= tolerance, name, f"max |dlogit| {worst:.1e}, at most {tolerance:.0e}")


def families(peer, suffix, load, tolerance):
    for f in FAMILIES:
        stem = os.path.join(WORK, "convert-" + f.replace("/", "-"))
        if f in NOT_IN.get(peer, {}):
            skip(f"{f} converted -> {peer}", NOT_IN[peer][f])
            continue
        rows, want = golden(f, LONG_ALONE.get(peer, {}).get(f, 0))
        judge(peer, f, load(stem + suffix), want, tolerance, rows)


def convert_all():
    for f in FAMILIES:
        stem = os.path.join(WORK, "convert-" + f.replace("/", "-"))
        hearth("convert", f"tests/golden/{f}", "--output", stem + ".gguf")
        hearth("convert", f"tests/golden/{f}", "--output", stem + "-f32.gguf", "--type", "f32")
        hearth("convert", stem + ".gguf", "--output", stem + "-hf")
        hearth("convert", f"tests/golden/{f}", "--to", "mlx", "--output", stem + "-mlx")


def in_transformers(path):
    import torch
    from transformers import AutoModelForCausalLM
    m = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").float()
    return lambda ids: m(torch.tensor([ids])).logits[0].detach().numpy()


def in_mlx(path):
    import mlx.core as mx
    import mlx_lm
    import numpy as np
    m, _ = mlx_lm.utils.load_model(pathlib.Path(path))
    m.set_dtype(mx.float32)
    return lambda ids: np.array(m(mx.array([ids]))[0])


def in_llama(path):
    import llama_cpp
    import numpy as np
    llama = llama_cpp.Llama(model_path=path, logits_all=True, n_ctx=64, n_batch=64, n_threads=1, type_k=0, type_v=0, verbose=False)

    def run(ids):
        llama.reset()
        llama.eval(ids)
        return np.array(llama.scores[: len(ids)])
    return run


def real():
    from transformers import AutoTokenizer
    folder, four = os.path.join(WORK, "smol-hf"), os.path.join(WORK, "smol-mlx4")
    hearth("convert", MODEL, "--to", "hf", "--output", folder)
    hearth("quantize", folder, "--type", "mlx4", "--output", four)
    t = AutoTokenizer.from_pretrained(folder)
    ours = hearth("tokenize", MODEL, stdin="".join(json.dumps({"text": x}) + "\n" for x in TEXTS))
    equal = sum(t(x)["input_ids"] == o["ids"] for x, o in zip(TEXTS, ours))
    report(equal == len(TEXTS), "tokenizer from GGUF -> transformers", f"{equal} of {len(TEXTS)} texts equal")
    chat = [{"role": "user", "content": PROMPTS[0]}]
    row = json.dumps({"messages": chat, "add_generation_prompt": True}) + "\n"
    same = t.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) == hearth("render", MODEL, stdin=row)[0]["text"]
    report(same, "chat template from GGUF -> transformers", "equal" if same else "DIFFERENT")
    judge_greedy("folder from GGUF -> transformers, answers", greedy(model=folder), in_transformers(folder), 0.01)
    judge_greedy("folder quantised to MLX's 4 bits -> mlx-lm, answers", greedy(model=four), in_mlx(four), 0.05)
    judge_greedy("MLX's 4 bits, base of it -> mlx-lm, answers", greedy(model=folder), in_mlx(folder), 0.05)


def main():
    convert_all()
    for peer, suffix, load, tolerance in (("transformers", "-hf", in_transformers, 1e-5), ("mlx", "-mlx", in_mlx, 2e-3),
                                          ("llama.cpp", "-f32.gguf", in_llama, 1e-2)):
        try:
            __import__({"mlx": "mlx_lm", "llama.cpp": "llama_cpp"}.get(peer, peer))
        except Exception as e:
            skip(f"converted models -> {peer}", str(e))
            continue
        families(peer, suffix, load, tolerance)
    real()


main()
