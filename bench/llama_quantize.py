"""llama.cpp's quantiser as it comes with llama-cpp-python: FROM.gguf TO.gguf TYPE THREADS. Prints {"seconds": wall}."""
import ctypes
import json
import sys
import time

import llama_cpp

source, target, kind, threads = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
params = llama_cpp.llama_model_quantize_default_params()
params.nthread = threads
params.ftype = {"q4_k_m": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M, "q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0}[kind]
silent = llama_cpp.llama_log_callback(lambda *_: None)
llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
start = time.perf_counter()
status = llama_cpp.llama_model_quantize(source.encode(), target.encode(), params)
seconds = time.perf_counter() - start
if status != 0:
    sys.exit(f"llama_model_quantize: status {status}")
print(json.dumps({"seconds": seconds}))
