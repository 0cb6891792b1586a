"""llama.cpp through llama-cpp-python: adapter.gguf on the base, and fused GGUF files. It rounds what enters a product to
the block format's 8 bits, so tokens may part at near ties; each tolerance is about twice the noise seen. One thread:
its waiting threads spin, which on a busy machine costs minutes."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from common import *  # noqa: F403

try:
    import llama_cpp
    import numpy as np
except Exception as e:  # a wheel for another processor fails in many ways
    skip("adapter.gguf -> llama.cpp", str(e))
    sys.exit(0)


def logits_of(path, lora=None):
    llama = llama_cpp.Llama(model_path=path, lora_path=lora, logits_all=True, n_ctx=512, n_batch=512, n_gpu_layers=0,
                            n_threads=1, n_threads_batch=1, verbose=False)

    def run(ids):
        llama.reset()
        llama.eval(ids)
        return np.array(llama.scores[: len(ids)])
    return run


def losses(run, row_list):
    return [log_softmax_loss(run(ids), ids, target) for _, ids, target in row_list]


def main():
    row_list = rows()
    run = logits_of(MODEL)
    judge_losses("base GGUF, llama.cpp beside hearth", losses(run, row_list), our_losses(row_list), 1e-1)
    judge_greedy("base GGUF, llama.cpp beside hearth, answers", greedy(), run, 0.6)
    run = logits_of(MODEL, ADAPTER_GGUF)
    judge_losses("adapter.gguf -> llama.cpp", losses(run, row_list), our_losses(row_list, ADAPTER), 5e-2)
    judge_greedy("adapter.gguf -> llama.cpp, answers", greedy(adapter=ADAPTER), run, 0.6)
    for kind, loss, tie in (("f16", 2e-3, 0.05), ("bf16", 1e-2, 0.2), ("q8_0", 2e-2, 0.3)):
        fused = os.path.join(WORK, f"fused-{kind}.gguf")
        if not os.path.exists(fused):
            hearth("fuse", MODEL, "--adapter", ADAPTER, "--type", kind, "--no-check", "--output", fused)
        run = logits_of(fused)
        judge_losses(f"fused {kind} -> llama.cpp", losses(run, row_list), our_losses(row_list, model=fused), loss)
        judge_greedy(f"fused {kind} -> llama.cpp, answers", greedy(model=fused), run, tie)


main()
