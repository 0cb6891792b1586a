"""What the interop checks share: hearth as a subprocess, rows and prompts as ids, and the two judgements.

Texts never go through a peer's tokenizer: transformers' import of this GGUF loses the digit splitting, so everything is
compared on hearth's ids (which have tests of their own against the tokenizers library)."""
import json
import os
import subprocess
import sys

HEARTH, MODEL, WORK = sys.argv[1:4]
ADAPTER = os.path.join(WORK, "run/adapter")
ADAPTER_GGUF = os.path.join(WORK, "run/adapter.gguf")
PROMPTS = [
    "What is the IDLH of ammonia?", "IDLH for chlorine?", "Give me the IDLH of hydrogen sulfide.",
    "How dangerous is carbon monoxide?", "What does IDLH mean?", "Name three toxic gases.",
    "What should a crew do at a chlorine leak?", "Is ammonia lighter than air?", "Write one sentence about the sea.",
    "What is 12 + 30?"]
ANSWER_TOKENS = 24
N_ROWS = 8


def hearth(*args, stdin=None):
    done = subprocess.run([HEARTH, *args], input=stdin, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"hearth {' '.join(args)}: {done.stderr.strip()[-300:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def rows(model=MODEL):
    """The first rows of the hazmat test set as (file, ids, targets); each in a file of its own."""
    out = []
    lines = open("examples/hazmat/test.jsonl", encoding="utf-8").readlines()[:N_ROWS]
    for i, line in enumerate(lines):
        path = os.path.join(WORK, f"row{i}.jsonl")
        with open(path, "w", encoding="utf-8") as f:
            f.write(line)
        tokens = hearth("data", "show", path, "--model", model, "--rows", "1", "--json")[0]["tokens"]
        out.append((path, [t["id"] for t in tokens], [bool(t["target"]) for t in tokens]))
    return out


def our_losses(row_list, adapter=None, model=MODEL):
    """hearth's mean -log p over each row's targets."""
    out = []
    for path, _, _ in row_list:
        args = ["eval", model, "--data", path, "--answers", "off", "--json"]
        if adapter:
            args += ["--adapter", adapter, "--skip-base"]
        out.append(hearth(*args)[0]["results"][0]["loss"])
    return out


def greedy(model=MODEL, adapter=None, prompts=PROMPTS):
    """hearth's greedy answers as (prompt ids, answer ids)."""
    messages = "".join(json.dumps({"messages": [{"role": "user", "content": p}], "add_generation_prompt": True}) + "\n"
                       for p in prompts)
    texts = hearth("render", model, stdin=messages)
    ids = hearth("tokenize", model, stdin="".join(
        json.dumps({"text": t["text"], "add_special": False}) + "\n" for t in texts))
    out = []
    for prompt, row in zip(prompts, ids):
        # keys and values in f32, as the peers that these answers are held against keep them
        args = ["generate", model, prompt, "--max-tokens", str(ANSWER_TOKENS), "--kv-type", "f32", "--json"]
        if adapter:
            args += ["--adapter", adapter]
        answer = hearth(*args)[0]
        assert answer["prompt_tokens"] == len(row["ids"]), (prompt, answer["prompt_tokens"], len(row["ids"]))
        out.append((row["ids"], answer["ids"]))
    return out


def report(good, name, text):
    print(f"{'ok' if good else 'FAIL'} {name}: {text}", flush=True)


def skip(name, why):
    print(f"skip {name}: {why}", flush=True)


def log_softmax_loss(logits, ids, target):
    """Mean -log p of the targets; logits (T,V) as a numpy array."""
    import numpy as np
    total, n = 0.0, 0
    for t in range(1, len(ids)):
        if target[t]:
            row = logits[t - 1].astype(np.float64)
            top = row.max()
            total += top + np.log(np.exp(row - top).sum()) - row[ids[t]]
            n += 1
    return total / n


def judge_losses(name, theirs, ours, tolerance):
    worst = max(abs(a - b) for a, b in zip(theirs, ours))
    mean = sum(ours) / len(ours)
    word = "equal" if worst <= tolerance else "DIFFERENT"
    report(worst <= tolerance, name, f"{word} on {len(ours)} rows (max |dloss| {worst:.1e}, at most {tolerance:.0e}; mean loss {mean:.4f})")


def judge_greedy(name, answers, logits_of, tie):
    """Feeds prompt and our answer to the peer: each of our tokens must be its likeliest, or within `tie` of it."""
    near, worst, bad, same = 0, 0.0, [], 0
    for n, (prompt, answer) in enumerate(answers):
        logits = logits_of(prompt + answer)
        clean = True
        for i, token in enumerate(answer):
            row = logits[len(prompt) - 1 + i]
            gap = float(row.max() - row[token])
            if gap > 0:
                near += 1
                clean = False
                worst = max(worst, gap)
                if gap > tie:
                    bad.append((n, i, gap))
        same += clean
    tokens = sum(len(a) for _, a in answers)
    text = f"{same} of {len(answers)} greedy answers equal"
    if near:
        text += f", {near} of {tokens} tokens a near tie (largest gap {worst:.3f}, at most {tie:g})"
    if bad:
        text += f"; first apart: prompt {bad[0][0]} token {bad[0][1]} by {bad[0][2]:.3f}"
    report(not bad, name, text)
