"""Makes tests/golden/mix/*.txt: the type of every tensor in llama.cpp's mixes.

Needs llama-cpp-python (0.3.36 here) and gguf. Models are shapes only: matrices of two rows of zeros."""
import ctypes, os, sys, tempfile
import gguf, llama_cpp, numpy as np

FTYPES = dict(f16=1, bf16=32, q4_0=2, q4_1=3, q8_0=7, q5_0=8, q5_1=9, q2_k=10, q3_k_s=11, q3_k_m=12, q3_k_l=13,
              q4_k_s=14, q4_k_m=15, q5_k_s=16, q5_k_m=17, q6_k=18)
LETTER = dict(F32="f", F16="h", BF16="b", Q4_0="0", Q4_1="1", Q5_0="5", Q5_1="6", Q8_0="8", Q2_K="C", Q3_K="D",
              Q4_K="E", Q5_K="F", Q6_K="G")
# name: layers, columns, columns of ffn_down, heads, kv heads, tied, experts
MODELS = dict(smol=(30, 576, 1536, 9, 3, True, 0), wide=(32, 256, 512, 32, 8, False, 0),
              big=(80, 256, 512, 64, 8, False, 0), odd=(7, 40, 200, 4, 4, False, 0),
              experts=(20, 256, 512, 32, 8, False, 8))

@llama_cpp.llama_log_callback
def quiet(level, text, user):
    pass

def write(path, layers, cols, down, heads, kv, tied, experts):
    w = gguf.GGUFWriter(path, "llama")
    w.add_tokenizer_model("gpt2")
    w.add_token_list(["a", "b"])
    w.add_token_types([1, 1])
    w.add_block_count(layers), w.add_embedding_length(cols), w.add_feed_forward_length(down)
    w.add_head_count(heads), w.add_head_count_kv(kv), w.add_context_length(64), w.add_layer_norm_rms_eps(1e-5)
    if experts:
        w.add_expert_count(experts), w.add_expert_used_count(2)
    matrix = lambda n, *more: np.zeros((*more, 2, n), np.float16)
    w.add_tensor("token_embd.weight", matrix(cols))
    w.add_tensor("output_norm.weight", np.ones(cols, np.float32))
    if not tied:
        w.add_tensor("output.weight", matrix(cols))
    for l in range(layers):
        p = f"blk.{l}."
        w.add_tensor(p + "attn_norm.weight", np.ones(cols, np.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            w.add_tensor(f"{p}{name}.weight", matrix(cols))
        if experts:
            w.add_tensor(p + "ffn_gate_inp.weight", matrix(cols))
            for name in ("ffn_gate_exps", "ffn_up_exps"):
                w.add_tensor(f"{p}{name}.weight", matrix(cols, experts))
            w.add_tensor(p + "ffn_down_exps.weight", matrix(down, experts))
        else:
            for name in ("ffn_gate", "ffn_up"):
                w.add_tensor(f"{p}{name}.weight", matrix(cols))
            w.add_tensor(p + "ffn_down.weight", matrix(down))
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()

llama_cpp.llama_log_set(quiet, None)
here = os.path.dirname(os.path.abspath(__file__))
with tempfile.TemporaryDirectory() as tmp:
    for model, shape in MODELS.items():
        source, out = f"{tmp}/in.gguf", f"{tmp}/out.gguf"
        write(source, *shape)
        order = [t.name for t in gguf.GGUFReader(source).tensors]
        with open(f"{here}/{model}.txt", "w") as f:
            for mix, ftype in FTYPES.items():
                p = llama_cpp.llama_model_quantize_default_params()
                p.ftype, p.nthread = ftype, 1
                if llama_cpp.llama_model_quantize(source.encode(), out.encode(), ctypes.byref(p)):
                    sys.exit(f"{model} {mix}: llama_model_quantize failed")
                types = {t.name: LETTER[t.tensor_type.name] for t in gguf.GGUFReader(out).tensors}
                f.write(f"{mix} {''.join(types[n] for n in order)}\n")
