"""Mixtures of experts and layers that recur, tiny ones from tests/golden: adapters trained here in PEFT and llama.cpp, files converted here in
transformers and llama.cpp. All in f32."""
import os
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from common import *  # noqa: F403

try:
    import numpy as np
    import torch
    import transformers
    from peft import PeftModel
except ImportError as e:
    skip("mixtures of experts", str(e))
    sys.exit(0)
try:
    import llama_cpp
except ImportError as e:
    llama_cpp = None
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

LOSS_TOLERANCE = 1e-5  # f32 sums in another order, and eval's six decimals
TABLE_TOLERANCE = 5e-4  # llama.cpp has Gemma's GELU from a table of f16
# llama.cpp rounds the ends of YaRN's ramp: of gpt-oss the golden whose ends are whole stands here.
FAMILIES = ["mixtral", "qwen2moe", "qwen3moe", "gptoss_mxfp4", "gemma4_moe", "qwen35", "qwen35moe"]
TEXTS = [("hello", "the thing in it"), ("what is it?", "it is the other thing"), ("in the", "then in the end"),
         ("why", "the answer is in here"), ("one more", "and then the last"), ("no", "in the middle of it")]


def short_rows(model, folder):
    """As rows(), from texts that fit a context of 128 bytes."""
    out = []
    os.makedirs(folder)
    for i, (user, answer) in enumerate(TEXTS):
        row = {"messages": [{"role": "user", "content": user}, {"role": "assistant", "content": answer}]}
        for name in (f"row{i}.jsonl", "train.jsonl", "valid.jsonl"):
            with open(os.path.join(folder, name), "a", encoding="utf-8") as f:
                f.write(json.dumps(row) + "\n")
        path = os.path.join(folder, f"row{i}.jsonl")
        tokens = hearth("data", "show", path, "--model", model, "--rows", "1", "--json")[0]["tokens"]
        out.append((path, [t["id"] for t in tokens], [bool(t["target"]) for t in tokens]))
    return out


def ours(row_list, model, adapter=None):
    out = []
    for path, _, _ in row_list:
        args = ["eval", model, "--data", path, "--answers", "off", "--json"]
        args += ["--adapter", adapter, "--skip-base"] if adapter else []
        out.append(hearth(*args)[0]["results"][0]["loss"])
    return out


def theirs(model, row_list):
    with torch.no_grad():
        return [log_softmax_loss(model(torch.tensor([ids])).logits[0].numpy(), ids, target) for _, ids, target in row_list]


def with_llama_cpp(name, path, adapter, row_list, base, tuned):
    for what, lora, want in ((f"{name}: GGUF -> llama.cpp", None, base), (f"{name}: adapter.gguf -> llama.cpp", adapter, tuned)):
        llm = llama_cpp.Llama(path, lora_path=lora, n_ctx=128, logits_all=True, verbose=False, n_threads=1, type_k=0, type_v=0)
        got = []
        for _, ids, target in row_list:
            llm.reset()
            llm.eval(ids)
            got.append(log_softmax_loss(np.array(llm.scores[: len(ids)]), ids, target))
        judge_losses(what, got, want, TABLE_TOLERANCE if name.startswith("gemma") else LOSS_TOLERANCE)


def train(model, data, run, targets=("all-linear",)):
    hearth("train", "--model", model, "--data", data, "--output-dir", run, "--compute", "f32", "--iters", "8",
           "--batch-size", "3", "--learning-rate", "1e-2", "--sample-rows", "0",
           *(word for t in targets for word in ("--target-modules", t)))
    return os.path.join(run, "adapter")


def with_gguf(family, gguf, data, row_list, load):
    adapter = train(gguf, data, os.path.join(data, "run-gguf"))
    want = ours(row_list, gguf, adapter)
    base = load(f"tests/golden/{family}/tiny")
    judge_losses(f"{family}: adapter trained on GGUF -> PEFT", theirs(PeftModel.from_pretrained(base, adapter).eval(), row_list),
                 want, LOSS_TOLERANCE)
    if llama_cpp is not None:
        with_llama_cpp(f"{family}, trained on GGUF", gguf, os.path.join(data, "run-gguf", "adapter.gguf"), row_list,
                       ours(row_list, gguf), want)


def on_experts(family, folder, gguf, data, row_list, load):
    """Adapters on attention, router and experts: gate and up as one module, as PEFT has them, or each with its own A.
    Gemma 4's router is no plain one."""
    router = () if family == "gemma4_moe" else ("gate",)
    for what, experts in (("experts", ("experts",)), ("experts, an A each", ("switch_mlp.gate_proj", "switch_mlp.up_proj"))):
        run = os.path.join(data, "run-" + str(len(what)))
        adapter = train(folder, data, run, ("q_proj", "v_proj", *router, *experts))
        tuned = PeftModel.from_pretrained(load(folder), adapter).eval()
        judge_losses(f"{family}: adapter on {what} -> PEFT", theirs(tuned, row_list), ours(row_list, folder, adapter), LOSS_TOLERANCE)
        if llama_cpp is None or (family == "gemma4_moe" and "experts" in experts):  # its down_proj cannot be said in GGUF
            continue
        adapter = train(gguf, data, run + "-gguf", ("q_proj", "v_proj", *router, *experts))
        with_llama_cpp(f"{family}, on {what}", gguf, os.path.join(run + "-gguf", "adapter.gguf"), row_list, ours(row_list, gguf),
                       ours(row_list, gguf, adapter))


def check(family):
    folder, data = f"tests/golden/{family}/tiny", os.path.join(WORK, family)
    shutil.rmtree(data, ignore_errors=True)
    row_list = short_rows(folder, data)
    run = os.path.join(data, "run")
    adapter = train(folder, data, run)
    base, tuned = ours(row_list, folder), ours(row_list, folder, adapter)
    load = lambda path: transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    model = load(folder)
    judge_losses(f"{family}: folder, transformers beside hearth", theirs(model, row_list), base, LOSS_TOLERANCE)
    judge_losses(f"{family}: adapter -> PEFT", theirs(PeftModel.from_pretrained(model, adapter).eval(), row_list), tuned,
                 LOSS_TOLERANCE)
    gguf = os.path.join(data, "f32.gguf")
    hearth("convert", folder, "--output", gguf, "--type", "f32")
    if llama_cpp is None:
        skip(f"{family}: llama.cpp", "no llama_cpp")
    else:
        with_llama_cpp(family, gguf, os.path.join(run, "adapter.gguf"), row_list, base, tuned)
    if family.startswith("qwen35"):  # its GGUF has another order of heads: adapters are trained on that, too
        with_gguf(family, gguf, data, row_list, load)
    if "qwen35" != family:
        on_experts(family, folder, gguf, data, row_list, load)
    back = os.path.join(data, "back")
    hearth("convert", gguf, "--output", back, "--to", "hf", "--type", "f32")
    judge_losses(f"{family}: GGUF to folder -> transformers", theirs(load(back), row_list), base, LOSS_TOLERANCE)


for name in FAMILIES:
    check(name)
