"""Greedy answers of the real SmolLM2-135M-Instruct (Q4_1 GGUF) as transformers gives them in float32.

Writes tests/golden/smollm2/greedy.json: prompts as token ids, the first 48 greedy tokens (fewer when a turn ends), and
for each token the distance between the two best logits: where it is tiny, another order of summation may choose
differently. Prompts are tokenized with the fixture's tokenizer.json, since the one that transformers rebuilds from a
GGUF lacks a step (fixtures/README.md, trap 1); the test feeds ids and compares ids.

    python tools/golden_smollm2.py MODEL.gguf tokenizer.json
"""

import argparse
import json
import pathlib

import torch
import transformers
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

ROOT = pathlib.Path(__file__).resolve().parent.parent
STEPS = 48
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
PROMPTS = [
    "What is the capital of France?",
    "What should I do if I smell ammonia?",
    "Write a haiku about the sea.",
    "Explain photosynthesis in one sentence.",
    "List three primary colors.",
    "What is 17 + 25?",
    "Translate 'good morning' to Spanish.",
    "Why is the sky blue?",
    "Give me a recipe for pancakes.",
    "Who wrote Romeo and Juliet, and in which century?",
]


def chat(user):
    """The model's own template for one user message, written out."""
    return f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"


@torch.no_grad()
def greedy(model, ids, end):
    out, gaps, cache, feed = [], [], None, torch.tensor([ids])
    while len(out) < STEPS and end not in out:
        r = model(input_ids=feed, past_key_values=cache, use_cache=True)
        cache, best = r.past_key_values, torch.topk(r.logits[0, -1], 2)
        out.append(best.indices[0].item())
        gaps.append(round((best.values[0] - best.values[1]).item(), 5))
        feed = best.indices[:1][None]
    return out, gaps


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("gguf", type=pathlib.Path)
    ap.add_argument("tokenizer")
    args = ap.parse_args()
    tok = Tokenizer.from_file(args.tokenizer)
    model = AutoModelForCausalLM.from_pretrained(
        args.gguf.parent, gguf_file=args.gguf.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    end = tok.token_to_id("<|im_end|>")
    rows = []
    for p in PROMPTS:
        ids = tok.encode(chat(p), add_special_tokens=False).ids
        out, gaps = greedy(model, ids, end)
        rows.append({"prompt": p, "ids": ids, "greedy": out, "gap": gaps})
        print(repr(tok.decode(out)), "smallest gap", min(gaps))
    path = ROOT / "tests" / "golden" / "smollm2" / "greedy.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(r, separators=(",", ":")) for r in rows)
    made_by = f"torch {torch.__version__}, transformers {transformers.__version__}, float32"
    path.write_text(f'{{"made_by":{json.dumps(made_by)},"model":{json.dumps(args.gguf.name)},"rows":[\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
