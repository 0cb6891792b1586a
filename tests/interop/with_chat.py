"""SmolLM2 and Gemma 3 270M, the two real models: each is trained for a few steps on its quantised blocks, is chatted with,
and its adapter.gguf means the same in llama.cpp. This Gemma file is the base model without a chat template: gguf's own
script puts one in, as a person would."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from common import *  # noqa: F403

GEMMA = os.path.join(os.path.dirname(MODEL), "gemma-3-270m-q4_k_m.gguf")
TEMPLATE = ("{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else 'user') + '\\n'"
            " + m.content + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}"
            "{% endif %}")
TOLERANCE = 1e-1  # llama.cpp rounds what enters a product on blocks to 8 bits
TIE = 0.6


def templated():
    out = os.path.join(WORK, "gemma.gguf")
    subprocess.run([sys.executable, "-m", "gguf.scripts.gguf_new_metadata", "--chat-template", TEMPLATE, "--force", GEMMA, out],
                   check=True, capture_output=True)
    return out


def train(name, model):
    run = os.path.join(WORK, "chat-" + name.split()[0])
    hearth("train", "--model", model, "--data", "examples/hazmat", "--output-dir", run, "--iters", "10", "--batch-size", "4",
           "--rank", "8", "--alpha", "16", "--learning-rate", "2e-3", "--steps-per-eval", "10", "--val-batches", "1",
           "--sample-rows", "0", "--seed", "3", "--overwrite", "--json")
    with open(os.path.join(run, "metrics.jsonl")) as f:
        losses = [row["loss"] for row in map(json.loads, f) if "loss" in row]
    report(losses[-1] < losses[0] / 2, f"{name} trains, hearth alone", f"loss from {losses[0]:.2f} to {losses[-1]:.2f} in {len(losses)} steps")
    return os.path.join(run, "adapter"), os.path.join(run, "adapter.gguf")


def chat(name, model, adapter):
    """Two turns through `hearth chat`; the first must be what `hearth generate` says."""
    done = subprocess.run([HEARTH, "chat", model, "--adapter", adapter, "--temp", "0", "--max-tokens", "32"], text=True,
                          input=PROMPTS[0] + "\nAnd of chlorine?\n", capture_output=True)
    lines = [line for line in done.stdout.split("\n") if line.strip()]
    alone = hearth("generate", model, PROMPTS[0], "--adapter", adapter, "--max-tokens", "32", "--json")[0]
    good = done.returncode == 0 and done.stdout.startswith(alone["text"]) and len(lines) >= 2 and "ppm" in alone["text"]
    report(good, f"{name} chats, hearth alone", f"\"{lines[0] if lines else done.stderr.strip()[-100:]}\"")


def in_llama(name, model, adapter, adapter_gguf):
    try:
        import llama_cpp
        import numpy as np
    except Exception as e:
        skip(f"{name}'s adapter.gguf -> llama.cpp", str(e))
        return
    llama = llama_cpp.Llama(model_path=model, lora_path=adapter_gguf, logits_all=True, n_ctx=512, n_batch=512, n_gpu_layers=0,
                            n_threads=1, n_threads_batch=1, verbose=False)

    def run(ids):
        llama.reset()
        llama.eval(ids)
        return np.array(llama.scores[: len(ids)])
    row_list = rows(model)[:4]
    there = [log_softmax_loss(run(ids), ids, target) for _, ids, target in row_list]
    judge_losses(f"{name}'s adapter.gguf -> llama.cpp", there, our_losses(row_list, adapter, model=model), TOLERANCE)
    judge_greedy(f"{name}'s adapter.gguf -> llama.cpp, answers", greedy(model, adapter, PROMPTS[:4]), run, TIE)


def main():
    models = [("SmolLM2", MODEL)]
    if os.path.exists(GEMMA):
        models.append(("Gemma 3 270M", templated()))
    else:
        skip("Gemma 3 270M", f"{GEMMA} is not here")
    for name, model in models:
        adapter, adapter_gguf = train(name, model)
        chat(name, model, adapter)
        in_llama(name, model, adapter, adapter_gguf)


main()
