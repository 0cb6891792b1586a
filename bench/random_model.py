"""Writes a GGUF of the Llama family with random f16 weights: rows of 2048, 22 layers, 1.07e9 parameters, and the tokenizer of
another file. Speed does not depend on what the weights say.

usage: random_model.py TOKENIZER.gguf OUT.gguf"""
import sys

import gguf
import numpy as np

source, out = sys.argv[1], sys.argv[2]
LAYERS, WIDTH, FF, HEADS, KV, D = 22, 2048, 5632, 32, 4, 64
SIZES = {"block_count": LAYERS, "embedding_length": WIDTH, "feed_forward_length": FF, "attention.head_count": HEADS,
         "attention.head_count_kv": KV, "rope.dimension_count": D, "context_length": 4096}
reader = gguf.GGUFReader(source)
writer = gguf.GGUFWriter(out, "llama")
vocab = 0
for field in reader.fields.values():
    if field.name.startswith("tokenizer."):
        value = field.contents()
        vocab = len(value) if field.name == "tokenizer.ggml.tokens" else vocab
        sub = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, value, field.types[0], sub)
for key, value in SIZES.items():
    writer.add_uint32("llama." + key, value)
writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
writer.add_float32("llama.rope.freq_base", 10000.0)
writer.add_name("Random 1B")
writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
shapes = {"token_embd.weight": (vocab, WIDTH), "output_norm.weight": (WIDTH,)}
for i in range(LAYERS):
    b = f"blk.{i}."
    shapes |= {b + "attn_norm.weight": (WIDTH,), b + "ffn_norm.weight": (WIDTH,), b + "attn_q.weight": (HEADS * D, WIDTH),
               b + "attn_k.weight": (KV * D, WIDTH), b + "attn_v.weight": (KV * D, WIDTH), b + "attn_output.weight": (WIDTH, HEADS * D),
               b + "ffn_gate.weight": (FF, WIDTH), b + "ffn_up.weight": (FF, WIDTH), b + "ffn_down.weight": (WIDTH, FF)}
for name, shape in shapes.items():
    dtype = np.float32 if len(shape) == 1 else np.float16
    writer.add_tensor_info(name, shape, np.dtype(dtype), int(np.prod(shape)) * np.dtype(dtype).itemsize)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_ti_data_to_file()
rng = np.random.default_rng(5)
for name, shape in shapes.items():
    data = np.ones(shape, np.float32) if len(shape) == 1 else (rng.standard_normal(shape, np.float32) * 0.02).astype(np.float16)
    writer.write_tensor_data(data)
writer.close()
