#!/usr/bin/env python3
"""Golden blocks of every weight block format, from the PyPI package `gguf` (ggml's own Python code).

Writes tests/golden/quant/NAME.bin for each format: random block bytes, then the f32 values that gguf's dequantize
gives for them. Layout, little-endian: u32 blocks, u32 bytes a block, u32 elements a block, the blocks, the values.
The last block's f16 scales are infinite, so that its values are infinities and NaN.

Also gauss.bin and heavy.bin: 16 rows of 256 f32 weights (normal, and Student's t with 4 degrees), importance.bin:
256 weights of the squared error, and reference_errors.txt: for each format the root mean square error of ggml's own C
encoder on them, without and with those weights (`format data rms weighted_rms`). ggml comes with llama-cpp-python.

mlx8 is MLX's: its blocks are made here, its reference encoder is mlx.core.quantize.

Needs: pip install gguf numpy llama-cpp-python mlx. Run in the project's root: python3 tools/golden_quant.py
"""
import ctypes
import glob
import os
import struct
import sysconfig

import numpy as np
import gguf
from gguf.quants import dequantize

OUT = "tests/golden/quant"
BLOCKS = {1: 64, 32: 8, 256: 3}
# Where the f16 scales of a block stand, so that most blocks get ordinary ones.
SCALES = {
    "q8_0": [0], "q4_0": [0], "q4_1": [0, 2], "q5_0": [0], "q5_1": [0, 2],
    "q2_k": [80, 82], "q3_k": [108], "q4_k": [0, 2], "q5_k": [0, 2], "q6_k": [208],
}
TYPES = {
    "f16": "F16", "bf16": "BF16", "q8_0": "Q8_0", "q4_0": "Q4_0", "q4_1": "Q4_1", "q5_0": "Q5_0", "q5_1": "Q5_1",
    "q2_k": "Q2_K", "q3_k": "Q3_K", "q4_k": "Q4_K", "q5_k": "Q5_K", "q6_k": "Q6_K", "mxfp4": "MXFP4",
}


def encoder():
    """ggml_quantize_chunk of the C library."""
    libs = os.path.join(sysconfig.get_paths()["purelib"], "llama_cpp", "lib")
    path = sorted(glob.glob(os.path.join(libs, "libggml-base.*")))[0]
    f = ctypes.CDLL(path).ggml_quantize_chunk
    f.restype = ctypes.c_size_t
    pf = ctypes.POINTER(ctypes.c_float)
    f.argtypes = [ctypes.c_int, pf, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [pf]
    return f


def errors(encode, qtype, data, weights):
    elems, size = gguf.GGML_QUANT_SIZES[qtype]
    pf = ctypes.POINTER(ctypes.c_float)
    out = np.zeros(data.size // elems * size, np.uint8)
    encode(int(qtype), data.ctypes.data_as(pf), out.ctypes.data, 0, data.shape[0], data.shape[1],
           weights.ctypes.data_as(pf) if weights is not None else None)
    diff = dequantize(out, qtype).reshape(data.shape).astype(np.float64) - data
    w = np.ones(data.shape[1]) if weights is None else weights.astype(np.float64)
    return np.sqrt((diff**2 * w).sum() / (w.sum() * data.shape[0]))


def references(rng):
    data = {
        "gauss": rng.normal(0, 0.02, (16, 256)).astype("<f4"),
        "heavy": (rng.standard_t(4, (16, 256)) * 0.02).astype("<f4"),
    }
    weights = np.exp(rng.normal(0, 1.5, 256)).astype("<f4")
    for name, values in data.items():
        values.tofile(f"{OUT}/{name}.bin")
    weights.tofile(f"{OUT}/importance.bin")
    encode = encoder()
    with open(f"{OUT}/reference_errors.txt", "w") as f:
        for name, kind in TYPES.items():
            if name in SCALES or name == "mxfp4":
                qtype = gguf.GGMLQuantizationType[kind]
                for which, values in data.items():
                    f.write(f"{name} {which} {errors(encode, qtype, values, None):.6e} "
                            f"{errors(encode, qtype, values, weights):.6e}\n")
        for which, values in data.items():
            f.write(f"mlx8 {which} {mlx_error(values, None):.6e} {mlx_error(values, weights):.6e}\n")


def mlx8():
    """Not ggml's: 32 levels of a byte with an f32 scale and offset, as MLX's dequantize computes them in f32."""
    rng = np.random.default_rng(8)
    n, size, elems = 8, 40, 32
    blocks = rng.integers(0, 256, (n, size), dtype=np.uint8)
    lines = rng.normal(0, 0.02, (n, 2)).astype("<f4")
    lines[-1] = [np.inf, -np.inf]
    blocks[:, :8] = lines.view(np.uint8).reshape(n, 8)
    with np.errstate(all="ignore"):
        values = blocks[:, 8:].astype("<f4") * lines[:, :1] + lines[:, 1:]
    with open(f"{OUT}/mlx8.bin", "wb") as f:
        f.write(struct.pack("<III", n, size, elems))
        f.write(blocks.tobytes())
        f.write(values.astype("<f4").tobytes())


def mlx_error(values, weights):
    """Of mlx.core.quantize with 8 bits in groups of 32."""
    import mlx.core as mx
    q, scales, biases = mx.quantize(mx.array(values), group_size=32, bits=8)
    back = np.array(mx.dequantize(q, scales, biases, group_size=32, bits=8)).astype(np.float64)
    w = np.ones(values.shape[1]) if weights is None else weights.astype(np.float64)
    return np.sqrt(((back - values) ** 2 * w).sum() / (w.sum() * values.shape[0]))


def main():
    os.makedirs(OUT, exist_ok=True)
    rng = np.random.default_rng(20240607)
    for name, kind in TYPES.items():
        qtype = gguf.GGMLQuantizationType[kind]
        elems, size = gguf.GGML_QUANT_SIZES[qtype]
        n = BLOCKS[elems]
        # A stream of its own for what came later: the others' bytes stay. Its exponent is a byte, every value of it good.
        blocks = (np.random.default_rng(39) if name == "mxfp4" else rng).integers(0, 256, (n, size), dtype=np.uint8)
        for at in SCALES.get(name, []):
            scale = rng.normal(0, 0.02, n).astype("<f2").view(np.uint8).reshape(n, 2)
            blocks[:-1, at:at + 2] = scale[:-1]
            blocks[-1, at:at + 2] = [0x00, 0x7C]
        with np.errstate(all="ignore"):
            if kind == "F16":
                values = blocks.reshape(-1).view("<f2").astype("<f4")
            else:
                values = dequantize(blocks.reshape(-1), qtype).astype("<f4").reshape(-1)
        assert values.size == n * elems
        with open(f"{OUT}/{name}.bin", "wb") as f:
            f.write(struct.pack("<III", n, size, elems))
            f.write(blocks.tobytes())
            f.write(values.tobytes())
        print(name, n, "blocks", values.size, "values")
    mlx8()
    references(rng)


if __name__ == "__main__":
    main()
