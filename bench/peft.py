"""One side of a training comparison: PEFT on the same rows, from the same adapter, with the same optimizer.

usage: peft.py MODEL.gguf ROWS.json ADAPTER f32|bf16 eager|compile|autocast|summed BATCH STEPS THREADS
   or: peft.py MODEL.gguf --init ADAPTER          writes the adapter that both sides start from
bf16 is the whole model in bf16; with autocast the weights are f32 and only products run in bf16; with summed a linear's
base and its adapter are added in f32 besides (docs/speed.md, bf16, says why).
ROWS.json holds [[ids, targets], ...]; each step takes the next BATCH of them, padded to the longest.
Prints one JSON line: losses, tok_s (data-set tokens a second, the best step and over all but the first), peak_bytes."""
import json
import os
import resource
import sys
import time
import types

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.pop(0)  # this folder: `import peft` would find this file
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora.layer import Linear as LoraLinear

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
LR = 1e-4


def load(path, dtype):
    folder, name = os.path.split(path)
    return transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=dtype)


def init(model, out):
    torch.manual_seed(1)
    config = LoraConfig(r=8, lora_alpha=16, task_type="CAUSAL_LM", target_modules=[
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])
    get_peft_model(load(model, torch.float32), config).save_pretrained(out)


def batch_of(rows, pad):
    longest = max(len(ids) for ids, _ in rows)
    ids, labels, mask = [], [], []
    for row, target in rows:
        fill = longest - len(row)
        ids.append(row + [pad] * fill)
        labels.append([t if on else -100 for t, on in zip(row, target)] + [-100] * fill)
        mask.append([1] * len(row) + [0] * fill)
    return torch.tensor(ids), torch.tensor(labels), torch.tensor(mask)


def forward_summed(self, x):
    """A LoRA linear whose sum of base and adapter is not rounded to bf16."""
    y = self.base_layer(x).float()
    for name in self.active_adapters:
        y = y + self.lora_B[name](self.lora_A[name](x)).float() * self.scaling[name]
    return y


def main():
    if sys.argv[2] == "--init":
        return init(sys.argv[1], sys.argv[3])
    path, rows_path, adapter, dtype, mode = sys.argv[1:6]
    batch, steps, threads = map(int, sys.argv[6:9])
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    rows = json.load(open(rows_path))
    base = load(path, torch.bfloat16 if dtype == "bf16" and mode not in ("autocast", "summed") else torch.float32)
    model = PeftModel.from_pretrained(base, adapter, is_trainable=True, autocast_adapter_dtype=True)
    model.train()
    for m in model.modules():
        if mode == "summed" and isinstance(m, LoraLinear):
            m.forward = types.MethodType(forward_summed, m)
    params = [p for p in model.parameters() if p.requires_grad]
    adam = torch.optim.AdamW(params, lr=LR, weight_decay=0.0)
    ragged = len({len(ids) for ids, _ in rows}) > 1
    run = torch.compile(model, dynamic=ragged) if mode == "compile" else model
    losses, speeds, spent, counted = [], [], 0.0, 0
    for step in range(steps):
        part = [rows[(step * batch + i) % len(rows)] for i in range(batch)]
        ids, labels, mask = batch_of(part, 0)
        tokens = sum(len(r) for r, _ in part)
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mode in ("autocast", "summed")):
            loss = run(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        adam.step()
        adam.zero_grad()
        took = time.perf_counter() - start
        losses.append(float(loss.detach()))
        speeds.append(tokens / took)
        if step > 0:
            spent, counted = spent + took, counted + tokens
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"losses": losses, "best": max(speeds), "mean": counted / spent if spent else speeds[0], "peak_bytes": peak}))


main()
