"""One side of the inference comparison: llama.cpp on the same file, ids and threads.

usage: llama.py MODEL.gguf IDS.json TOKENS THREADS      prints {"prompt": tok/s, "decode": tok/s, "ids": [...]}"""
import json
import sys
import time

import llama_cpp
import numpy as np

path, ids_path, n_tokens, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
ids = json.load(open(ids_path))
llama = llama_cpp.Llama(model_path=path, n_ctx=len(ids) + n_tokens + 8, n_batch=512, n_ubatch=512, n_gpu_layers=0,
                        n_threads=threads, n_threads_batch=threads, verbose=False)
llama.eval(ids[:64])  # warm
best_prompt, best_decode, out = 0.0, 0.0, []
for _ in range(3):
    llama.reset()
    start = time.perf_counter()
    llama.eval(ids)
    best_prompt = max(best_prompt, len(ids) / (time.perf_counter() - start))
    out = []
    start = time.perf_counter()
    for _ in range(n_tokens):
        logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(llama.ctx, -1), shape=(llama.n_vocab(),))
        out.append(int(logits.argmax()))
        llama.eval([out[-1]])
    best_decode = max(best_decode, n_tokens / (time.perf_counter() - start))
print(json.dumps({"prompt": best_prompt, "decode": best_decode, "ids": out}))
