"""Every block format both ways with llama.cpp: SmolLM2 (from the Q4_1 file by way of f16) quantised by hearth and read
there, quantised by llama_model_quantize (what llama-quantize calls) and read here; q4_k_m of both side by side.

Its products round what enters them to 8 bits, ours do not, so on the blocks themselves answers part at near ties. That
this is all is shown by the same weights in f32 in llama.cpp: there nothing is rounded, and answers must be equal."""
import ctypes
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from common import *  # noqa: F403

try:
    import llama_cpp
    import numpy as np
except Exception as e:  # a wheel for another processor fails in many ways
    skip("quantised models <-> llama.cpp", str(e))
    sys.exit(0)

TYPES = ["q8_0", "q6_k", "q5_k_m", "q5_k_s", "q4_k_m", "q4_k_s", "q3_k_l", "q3_k_m", "q3_k_s", "q2_k", "q2_k_s", "q4_0", "q4_1",
         "q5_0", "q5_1", "f16", "bf16"]
TIE = 5.0  # on blocks: twice the largest seen, by one token of q3_k_m
TIE_F32 = 0.02
FTYPES = {name: getattr(llama_cpp, "LLAMA_FTYPE_MOSTLY_" + name.upper()) for name in TYPES}
QUESTIONS = PROMPTS[:4]
SPEED_TOKENS = 48
N_TEXTS, TEXT_CHARS = 5, 2400


def at(name):
    return os.path.join(WORK, name + ".gguf")


def fresh(path):
    if os.path.exists(path):
        os.remove(path)
    return path


def opened(path, exact=False):
    """exact: the cache in f32 too. One thread: waiting threads spin."""
    kinds = {"type_k": 0, "type_v": 0} if exact else {}
    return llama_cpp.Llama(model_path=path, logits_all=True, n_ctx=1024, n_batch=1024, n_gpu_layers=0, n_threads=1,
                           n_threads_batch=1, verbose=False, **kinds)


def logits_of(path, exact=False):
    llama = opened(path, exact)

    def run(ids):
        llama.reset()
        llama.eval(ids)
        return np.array(llama.scores[: len(ids)])
    return run


def quantised_there(base, name, path):
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.nthread = FTYPES[name], os.cpu_count()
    if llama_cpp.llama_model_quantize(base.encode(), fresh(path).encode(), ctypes.byref(params)) != 0:
        raise RuntimeError(f"llama.cpp did not make {name}")


def judge_both(name, path, way):
    answers = greedy(model=path, prompts=QUESTIONS)
    judge_greedy(f"{name} of {way}, answers", answers, logits_of(path), TIE)
    same = fresh(at("same"))
    hearth("quantize", path, "--type", "f32", "--output", same)
    judge_greedy(f"{name} in f32 of {way}, answers", answers, logits_of(same, True), TIE_F32)
    os.remove(same)


def texts():
    """Prose whose every token counts, in one file: (file, [(ids, targets)])."""
    path = os.path.join(WORK, "texts.jsonl")
    prose = open("docs/tour.md", encoding="utf-8").read() + open("docs/pitfalls.md", encoding="utf-8").read()
    with open(path, "w", encoding="utf-8") as out:
        for i in range(N_TEXTS):
            out.write(json.dumps({"text": prose[i * TEXT_CHARS : (i + 1) * TEXT_CHARS]}) + "\n")
    shown = hearth("data", "show", path, "--model", MODEL, "--rows", str(N_TEXTS), "--json")
    return path, [([t["id"] for t in r["tokens"]], [bool(t["target"]) for t in r["tokens"]]) for r in shown]


def weight_error(base, made):
    """Root of the squared error of all matrices over their squares, as gguf-py reads the blocks."""
    from gguf import GGUFReader
    from gguf.quants import dequantize
    want = {t.name: t for t in GGUFReader(base).tensors}
    error, square = 0.0, 0.0
    for t in GGUFReader(made).tensors:
        if len(t.shape) == 2 and t.name != "token_embd.weight":
            w = dequantize(want[t.name].data, want[t.name].tensor_type)
            square += float((w.astype(np.float64) ** 2).sum())
            error += float(((dequantize(t.data, t.tensor_type) - w).astype(np.float64) ** 2).sum())
    return (error / square) ** 0.5


def perplexity_there(path, rows):
    run, total, n = logits_of(path, True), 0.0, 0
    for ids, target in rows:
        counted = sum(target[1:])
        total += log_softmax_loss(run(ids), ids, target) * counted
        n += counted
    return float(np.exp(total / n)), n


def decode_there(llama):
    llama.reset()
    llama.eval(list(range(100, 132)))
    start = time.perf_counter()
    for i in range(SPEED_TOKENS):
        llama.eval([100 + i])
    return SPEED_TOKENS / (time.perf_counter() - start)


def decode_here(path):
    done = hearth("generate", path, "Tell a long story about the sea.", "--max-tokens", str(SPEED_TOKENS), "--threads", "1",
                  "--json")[0]
    return done["tokens"] / done["decode_s"]


def side_by_side(base, ours, theirs):
    from gguf import GGUFReader
    a, b = ({t.name: t.tensor_type for t in GGUFReader(p).tensors} for p in (ours, theirs))
    equal = sum(b.get(k) == v for k, v in a.items())
    report(a == b, "q4_k_m beside llama-quantize's, formats of tensors", f"{equal} of {len(b)} equal")
    errors = weight_error(base, ours), weight_error(base, theirs)
    report(errors[0] <= errors[1], "q4_k_m beside llama-quantize's, error of the weights", "{:.4f} and {:.4f} of their size".format(*errors))
    path, rows = texts()

    def here(model):
        return float(np.exp(hearth("eval", model, "--data", path, "--answers", "off", "--json")[0]["results"][0]["loss"]))
    f16, we, they = here(base), here(ours), here(theirs)
    we_there, n = perplexity_there(ours, rows)
    they_there, _ = perplexity_there(theirs, rows)
    report(we < they * 1.02, "q4_k_m beside llama-quantize's, perplexity",
           f"{we:.2f} and {they:.2f} in hearth, {we_there:.2f} and {they_there:.2f} in llama.cpp (f16: {f16:.2f}; {n} tokens)")
    models = [llama_cpp.Llama(model_path=p, n_ctx=256, n_threads=1, n_threads_batch=1, n_gpu_layers=0, verbose=False)
              for p in (ours, theirs)]
    best = [0.0] * 4
    for _ in range(8):  # in turn: what else the machine does hits all alike
        now = [decode_here(ours), decode_here(theirs), decode_there(models[0]), decode_there(models[1])]
        best = [max(x) for x in zip(best, now)]
    report(best[0] > best[1] * 0.8 and best[2] > best[3] * 0.8, "q4_k_m beside llama-quantize's, speed",
           "{:.0f} and {:.0f} tokens a second in hearth, {:.0f} and {:.0f} in llama.cpp (one thread)".format(*best))


def main():
    base = at("base-f16")
    if not os.path.exists(base):
        hearth("quantize", MODEL, "--type", "f16", "--output", base)
    for name in TYPES:
        ours, theirs = fresh(at("ours-" + name)), at("theirs-" + name)
        hearth("quantize", base, "--type", name, "--output", ours)
        judge_both(name, ours, "hearth -> llama.cpp")
        if name != "q2_k_s":  # there it wants an importance matrix
            quantised_there(base, name, theirs)
            judge_both(name, theirs, "llama.cpp -> hearth")
        if name == "q4_k_m":
            side_by_side(base, ours, theirs)
        fresh(ours)
        fresh(theirs)


main()
