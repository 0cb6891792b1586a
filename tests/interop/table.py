"""The rows of a run of tests/interop/run.sh as one Markdown table: rows of a kind are one line, with their worst figure.

usage: table.py ROWS > interop.md"""
import importlib.metadata
import re
import sys

HEARTH = "hearth"
PEERS = ("PEFT", "transformers", "mlx-lm", "llama.cpp", "tokenizers")
MIXTURES = r"^(?:mixtral|qwen2moe|qwen3moe|qwen35moe|gptoss_mxfp4|gemma4_moe)"
# Rows that are one line of the table: a pattern of their names, and what the line says instead.
KINDS = [
    (r"^\S+/\S+ converted", "converted models of {n} families"),
    (MIXTURES + r": (MLX|mlx_lm|and on)", "mixtures of experts as MLX folders ({n})"),
    (MIXTURES + r", on experts.*: adapter\.gguf|" + MIXTURES + ": adapter on experts", "mixtures of experts ({n}): adapter on experts"),
    (MIXTURES + r".*: adapter", "mixtures of experts ({n}): adapter"),
    (MIXTURES + r".*: ", "mixtures of experts ({n}): models"),
    (r"^qwen35.*: adapter", "layers that recur ({n}): adapter"),
    (r"^qwen35.*: ", "layers that recur ({n}): models"),
    (r"^Phi3 (LoRA|DoRA)", "Phi 3's fused modules: LoRA, DoRA"),
    (r"^\w+ in f32 of", "{n} block formats, the same weights in f32, answers"),
    (r"^(q\d|b?f16)\S* of ", "{n} block formats, on blocks, answers"),
    (r"^fused \S+ (GGUF )?-> \S+ answers", "fused models ({n}), answers"),
    (r"^fused \S+ ", "fused models ({n})"),
    (r"^PEFT adapter", "adapters: LoRA, rsLoRA, patterns of ranks"),
]


def version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def ends(name):
    """(peer, direction)"""
    to = re.search(r"-> ([\w.-]+)", name)
    to = {"mlx": "mlx-lm"}.get(to.group(1), to.group(1)) if to else None
    said = re.sub(r"mlx_lm\.(lora|convert)", "mlx-lm", name)
    if ": and on to GGUF" in name:  # of what mlx-lm has made
        return "mlx-lm", "theirs in ours"
    beside = re.search(r"([\w.-]+) beside", name)
    if to == HEARTH:
        return next(p for p in PEERS if p in said), "theirs in ours"
    if to in PEERS:
        return to, "ours in theirs"
    if "llama-quantize" in name:
        return "llama.cpp", "side by side"
    return (beside.group(1), "side by side") if beside and beside.group(1) in PEERS else ("none", "hearth alone")


def what(name):
    for pattern, text in KINDS:
        if re.search(pattern, name):
            return text
    if "llama-quantize" in name:
        return name.replace(" beside llama-quantize's,", " of hearth and of llama-quantize:")
    text = re.sub(r" -> [\w.-]+|, hearth alone|,? [\w.-]+ beside hearth", "", name)
    return re.sub(r" of (hearth|PEFT|mlx_lm\.lora)$|^mlx_lm\.lora ", "", text).replace(" of mlx_lm.lora", "")


def figures(texts):
    """What rows of one kind measured: sums of what is counted, the worst of what is bounded."""
    greedy = [re.match(r"(\d+) of (\d+) greedy answers equal(?:, (\d+) of (\d+) tokens a near tie \(largest gap ([\d.]+))?", t) for t in texts]
    if all(greedy):
        same, of, near = (sum(int(m.group(i) or 0) for m in greedy) for i in (1, 2, 3))
        text = f"{same} of {of} greedy answers equal"
        gap = max(float(m.group(5) or 0) for m in greedy)
        return text + (f"; {near} tokens part, by at most {max(gap, 0.001):.3f} in logits" if near else "")
    bounds = [re.search(r"max \|(d\w+)\| ([\d.e+-]+), at most ([\d.e+-]+)", t) for t in texts]
    if all(bounds):
        worst = max(bounds, key=lambda m: float(m.group(2)))
        kind = {"dloss": "loss of a row", "dlogit": "a logit"}[worst.group(1)]
        return f"{kind}: off by at most {float(worst.group(2)):.1e} (allowed {float(worst.group(3)):.0e})"
    return "; ".join(dict.fromkeys(texts))


def main():
    lines = {}
    for row in open(sys.argv[1], encoding="utf-8"):
        m = re.match(r"(ok|FAIL|skip) (.*?): (?!GGUF|folder|adapter|MLX|mlx_lm|and on)(.*)", row)
        state, name, text = m.groups()
        lines.setdefault((*ends(name), what(name)), []).append((state, name, text))
    print("| peer | direction | what | measured | result |\n|---|---|---|---|---|")
    order = [*PEERS, "none"]
    for (peer, way, thing), rows in sorted(lines.items(), key=lambda x: order.index(x[0][0])):
        ran = [r for r in rows if r[0] != "skip"]
        bad, left = sum(r[0] == "FAIL" for r in rows), [f"{r[1].split()[0]}: {r[2]}" for r in rows if r[0] == "skip"]
        measured = figures([r[2] for r in ran]) if ran else "-"
        if left and ran:
            measured += "; not compared: " + ", ".join(left)
        result = f"{bad} of {len(ran)} FAIL" if bad else "ok" if ran else "skipped: " + ", ".join(left)
        print(f"| {'' if peer == 'none' else peer} | {way} | {thing.format(n=len(ran)).replace('|', '/')} | {measured.replace('|', '/')} | {result} |")
    print("\nPeers: " + ", ".join(f"{p} {version(p)}" for p in ("peft", "transformers", "tokenizers", "torch", "mlx-lm", "mlx", "llama-cpp-python")) + ".")


main()
