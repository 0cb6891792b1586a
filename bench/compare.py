"""Runs hearth and its peers on the same work, one after the other, and prints a ratio a row against the project's targets.
Both sides get the same ids, the same starting adapter, the same threads; a training row counts only if the losses agree.

usage: compare.py HEARTH MODEL.gguf WORK THREADS [ROW...]      rows: dense chat losses quantised inference large"""
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time

HEARTH, MODEL, WORK, THREADS = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
WANTED = sys.argv[5:] or ["dense", "chat", "losses", "quantised", "inference", "large"]
HERE = os.path.dirname(os.path.abspath(__file__))
START = os.path.join(WORK, "start")
STEPS = int(os.environ.get("HEARTH_BENCH_STEPS", "4"))
LOSS_STEPS = 50
HELD = {"f32": ("eager",), "bf16": ("summed",)}
LOSS_TOLERANCE = 0.005  # of the peer's mean loss, same type on both sides
AMX = "amx_bf16" in (open("/proc/cpuinfo").read() if os.path.exists("/proc/cpuinfo") else "")
missed = wrong = 0


def hearth(*args, stdin=None):
    done = subprocess.run([HEARTH, *args], input=stdin, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"hearth {args[0]}: {done.stderr.strip()[-400:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def peer(script, *args):
    env = dict(os.environ, OMP_NUM_THREADS=str(THREADS), TOKENIZERS_PARALLELISM="false")
    done = subprocess.run([sys.executable, os.path.join(HERE, script), *map(str, args)], capture_output=True, text=True, env=env)
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"  {script} {' '.join(map(str, args[3:5]))}: status {done.returncode}: {why[:120]}")
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def row(name, ratio, least, otherwise=(False, "")):
    """otherwise: another way to reach the target, and its name."""
    global missed
    good, also = ratio >= least or otherwise[0], f" or {otherwise[1]}" if otherwise[1] else ""
    missed += not good
    print(f"{name}: {ratio:.2f}x (at least {least}x{also}){'' if good else '  BELOW'}", flush=True)


def random_rows(n, length):
    """Rows of exactly `length` tokens: random words that are one token each, so that text and ids say the same."""
    words = []
    ids = list(range(300, 20000))
    texts = hearth("tokenize", MODEL, "--decode", stdin="".join(json.dumps({"ids": [i]}) + "\n" for i in ids))
    candidates = [t["text"] for t in texts if re.fullmatch(r" [a-z]+", t["text"])]
    back = hearth("tokenize", MODEL, stdin="".join(json.dumps({"text": "a" + c, "add_special": False}) + "\n" for c in candidates))
    words = [c for c, b in zip(candidates, back) if len(b["ids"]) == 2]
    rng = random.Random(7)
    path = os.path.join(WORK, "dense.jsonl")
    with open(path, "w") as f:
        for _ in range(n):
            f.write(json.dumps({"text": "a" + "".join(rng.choice(words) for _ in range(length - 2))}) + "\n")
    return path


def as_ids(path, n):
    shown = hearth("data", "show", path, "--model", MODEL, "--rows", str(n), "--json")
    out = [[[t["id"] for t in e["tokens"]], [bool(t["target"]) for t in e["tokens"]]] for e in shown]
    ids_path = path + ".ids.json"
    with open(ids_path, "w") as f:
        json.dump(out, f)
    return ids_path, out


def ours(path, batch, model=MODEL, steps=STEPS + 2, compute="auto"):
    run = os.path.join(WORK, "run")
    shutil.rmtree(run, ignore_errors=True)
    result = hearth("train", "--model", model, "--data", path, "--output-dir", run, "--iters", str(steps), "--batch-size", str(batch),
                    "--resume-adapter-file", START, "--rank", "8", "--alpha", "16", "--learning-rate", "1e-4", "--lr-schedule", "constant",
                    "--warmup-steps", "0", "--weight-decay", "0", "--max-grad-norm", "0", "--no-shuffle", "--val-set-size", "0",
                    "--sample-rows", "0", "--save-every", "100000", "--threads", str(THREADS), "--compute", compute, "--json")[-1]
    rows = [json.loads(line) for line in open(os.path.join(run, "metrics.jsonl"))]
    rows = [r for r in rows if "loss" in r]
    late = rows[1:]
    return {"losses": [r["loss"] for r in rows], "best": max(r["tokens_per_s"] for r in rows),
            "mean": sum(r["tokens"] for r in late) / sum(r["tokens"] / r["tokens_per_s"] for r in late),
            "peak_bytes": result["anon_peak_bytes"]}


def training(name, path, ids_path, batch, key, least):
    mine = ours(path, batch)
    print(f"  hearth: {mine['best']:.0f} tok/s best step, {mine['mean']:.0f} mean, {mine['peak_bytes'] / 1e9:.2f} GB")
    best, best_name = None, ""
    for dtype in ("f32", "bf16"):
        for mode in ("eager", "compile"):
            got = peer("peft.py", MODEL, ids_path, START, dtype, mode, batch, STEPS, THREADS)
            if got is None:
                continue
            apart = max(abs(a - b) / b for a, b in zip(mine["losses"], got["losses"]))
            print(f"  PEFT {dtype} {mode}: {got['best']:.0f} tok/s best step, {got['mean']:.0f} mean, "
                  f"{got['peak_bytes'] / 1e9:.2f} GB; losses up to {100 * apart:.2f} % apart", flush=True)
            if best is None or got[key] > best[key]:
                best, best_name = got, f"{dtype} {mode}"
    if best is None:
        print(f"{name}: skipped, PEFT does not run here")
        return
    row(f"{name}, ours {mine[key]:.0f} tok/s, PEFT {best_name} {best[key]:.0f} tok/s", mine[key] / best[key], least)
    row(f"  its memory, PEFT {best['peak_bytes'] / 1e9:.2f} GB, ours {mine['peak_bytes'] / 1e9:.2f} GB; room below 1 GB",
        1e9 / mine["peak_bytes"], 1.0)


def losses():
    """50 steps of 2 real rows, f32 beside f32 and bf16 beside bf16, where this machine computes in it: the mean over all
    steps and over the last ten are held to the tolerance. PEFT in bf16, the whole model or products alone (autocast), adds an adapter's
    part onto a base output already rounded to bf16, where the first steps' part is lost: it learns later than its own f32, and is
    shown, not held against us. Held is the same PEFT with that one sum in f32, as ours has it."""
    global wrong
    path, ids_path, _ = chat_rows("losses.jsonl", 2 * LOSS_STEPS)
    for dtype in ("f32", "bf16"):
        try:
            mine = ours(path, 2, steps=LOSS_STEPS, compute=dtype)["losses"]
        except RuntimeError as e:
            print(f"losses in {dtype}: skipped, {e}")
            continue
        for mode in ("eager",) if dtype == "f32" else ("summed", "autocast", "eager"):
            theirs = peer("peft.py", MODEL, ids_path, START, dtype, mode, 2, LOSS_STEPS, THREADS)["losses"]
            wrong += not same_losses(f"{dtype} beside PEFT {dtype} {mode}", mine, theirs) and mode in HELD[dtype]


def same_losses(name, mine, theirs):
    n = min(len(mine), len(theirs))
    worst = max(abs(a - b) / b for a, b in zip(mine, theirs))
    all_of, late = (abs(sum(mine[i:n]) / sum(theirs[i:n]) - 1) for i in (0, n - 10))
    good = n == LOSS_STEPS and max(all_of, late) <= LOSS_TOLERANCE
    print(f"losses over {n} steps, {name}: {sum(mine) / n:.4f} and {sum(theirs) / n:.4f}, {100 * all_of:.2f} % apart, the last ten "
          f"{100 * late:.2f} % (at most {100 * LOSS_TOLERANCE} %), a single step up to {100 * worst:.2f} %{'' if good else '  DIFFERENT'}", flush=True)
    return good


def chat_rows(name, n):
    path = os.path.join(WORK, name)
    lines = open("examples/hazmat/train.jsonl", encoding="utf-8").readlines()[:n]
    random.Random(3).shuffle(lines)
    open(path, "w", encoding="utf-8").writelines(lines)
    return path, *as_ids(path, len(lines))


def dense():
    path = random_rows(4, 512)
    ids_path, rows = as_ids(path, 4)
    assert all(len(ids) == 512 for ids, _ in rows), [len(ids) for ids, _ in rows]
    training("dense LoRA step, 4 x 512", path, ids_path, 4, "best", 3 if AMX else 1.6)


def chat():
    path, ids_path, rows = chat_rows("chat.jsonl", 48)
    tokens, targets = sum(len(i) for i, _ in rows), sum(sum(t) for _, t in rows)
    print(f"  {len(rows)} rows, {tokens} tokens, {targets} of them targets")
    training("real chat rows, batches of 8", path, ids_path, 8, "mean", 6 if AMX else 3)


def quantised():
    path = random_rows(4, 512)
    bf16 = os.path.join(WORK, "bf16.gguf")
    if not os.path.exists(bf16):
        hearth("fuse", MODEL, "--type", "bf16", "--no-check", "--output", bf16)
    q, full = ours(path, 4), ours(path, 4, model=bf16)
    row(f"LoRA step on a quantised base, q4_1 {q['best']:.0f} tok/s, bf16 {full['best']:.0f} tok/s", q["best"] / full["best"], 0.9)


def beside_llama(name, model, n_tokens):
    """Prompt and decode of one file as the default has it (f32; keys and values f16), and the prompt again as --compute auto has it;
    greedy ids of the default are counted where they are the same. llama.cpp rounds what enters a product to 8 bits."""
    text = json.loads(open(random_rows(1, 512)).readline())["text"]
    ids = hearth("tokenize", MODEL, stdin=json.dumps({"text": text}) + "\n")[0]["ids"]
    ids_path = os.path.join(WORK, "prompt.json")
    json.dump(ids, open(ids_path, "w"))
    best = {"prompt": 0.0, "auto": 0.0, "decode": 0.0}
    for _ in range(3):
        ask = ("generate", model, text, "--raw", "--threads", str(THREADS), "--json", "--max-tokens")
        auto = hearth(*ask, "1", "--compute", "auto")[0]
        got = hearth(*ask, str(n_tokens))[0]
        best["auto"] = max(best["auto"], auto["prompt_tokens"] / auto["prompt_s"])
        best["prompt"] = max(best["prompt"], got["prompt_tokens"] / got["prompt_s"])
        best["decode"] = max(best["decode"], max(1, got["tokens"] - 1) / got["decode_s"])
    alone = hearth("bench", model, "--what", "peaks,decode", "--threads", str(THREADS), "--seconds", "3", "--json")[0]["rows"][0]
    print(f"  hearth: prompt of {got['prompt_tokens']} at {best['prompt']:.0f} tok/s in f32, {best['auto']:.0f} with --compute auto; "
          f"{got['tokens']} tokens at {best['decode']:.1f} tok/s; hearth bench: {alone['bytes_per_s'] / 1e9:.1f} GB/s, "
          f"{100 * alone['fraction']:.0f} % of what this machine reads now")
    theirs = peer("llama.py", model, ids_path, n_tokens, THREADS)
    if theirs is None:
        print(f"{name}: skipped, llama.cpp does not run here (its default build fails on some AMX machines)")
        return
    same = sum(a == b for a, b in zip(got["ids"], theirs["ids"]))
    print(f"  llama.cpp: {theirs['prompt']:.0f} and {theirs['decode']:.1f} tok/s; {same} of the first {min(len(got['ids']), n_tokens)} ids the same")
    row(f"decode{name}, ours {best['decode']:.1f} tok/s, llama.cpp {theirs['decode']:.1f} tok/s, {100 * alone['fraction']:.0f} % of the bandwidth",
        best["decode"] / theirs["decode"], 2, otherwise=(alone["fraction"] >= 0.8, "80 % of the bandwidth"))
    row(f"prompt of 512{name}, ours {max(best['prompt'], best['auto']):.0f} tok/s, llama.cpp {theirs['prompt']:.0f} tok/s",
        max(best["prompt"], best["auto"]) / theirs["prompt"], 15 if AMX else 2)


def inference():
    beside_llama("", MODEL, 128)


def large():
    """Random weights, rows of 2048: quantising f16 to q4_k_m, and decoding 1.1 GB of q8_0."""
    f16, q8, q4 = (os.path.join(WORK, f"random-{t}.gguf") for t in ("f16", "q8_0", "q4_k_m"))
    try:
        if not os.path.exists(f16):
            subprocess.run([sys.executable, os.path.join(HERE, "random_model.py"), MODEL, f16], check=True)
        start = time.perf_counter()
        hearth("quantize", f16, "--type", "q4_k_m", "--output", q4, "--threads", str(THREADS), "--no-check", "--json")
        mine = time.perf_counter() - start
        size = os.path.getsize(q4)
        os.remove(q4)
        theirs = peer("llama_quantize.py", f16, q4, "q4_k_m", THREADS)
        if theirs is not None:
            print(f"  q4_k_m: ours {size / 1e6:.0f} MB, llama-quantize {os.path.getsize(q4) / 1e6:.0f} MB")
            os.remove(q4)
            row(f"quantise f16 to q4_k_m, ours {mine:.1f} s, llama-quantize {theirs['seconds']:.1f} s", theirs["seconds"] / mine, 1)
        hearth("quantize", f16, "--type", "q8_0", "--output", q8, "--threads", str(THREADS), "--no-check", "--json")
        os.remove(f16)
        beside_llama(f", {os.path.getsize(q8) / 1e9:.1f} GB of q8_0", q8, 48)
    finally:
        for path in (f16, q8, q4):
            if os.path.exists(path):
                os.remove(path)


def main():
    doctor = hearth("doctor", "--json")[0]
    print(f"{doctor['cpu']}, {THREADS} threads, kernels {doctor['kernels']}{', AMX' if AMX else ''}; {os.path.basename(MODEL)}", flush=True)
    if not os.path.exists(START) and set(WANTED) - {"inference", "large"}:
        subprocess.run([sys.executable, os.path.join(HERE, "peft.py"), MODEL, "--init", START], check=True, stderr=subprocess.DEVNULL)
    for name, work in (("dense", dense), ("chat", chat), ("losses", losses), ("quantised", quantised), ("inference", inference), ("large", large)):
        if name in WANTED:
            work()
    print(f"{missed} below target, {wrong} with other losses", flush=True)
    sys.exit(1 if wrong else 0)


main()
