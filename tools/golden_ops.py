#!/usr/bin/env python3
"""Golden values of the ops, from PyTorch in double precision: tests/golden/ops.h, arrays that tests/backend compares.

Inputs are x[i] = ((37 i + 11 k) mod 23 - 11) / 8 with one k an input, exact in f32; the test makes the same.
Needs: pip install torch. Run in the project's root: python3 tools/golden_ops.py
"""
import math

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
out = []


def ramp(k, *shape):
    n = math.prod(shape)
    return torch.tensor([((37 * i + 11 * k) % 23 - 11) / 8 for i in range(n)]).reshape(shape)


def emit(name, t):
    v = [f"{x:.9g}" for x in t.detach().flatten().tolist()]
    lines = [", ".join(v[i:i + 8]) for i in range(0, len(v), 8)]
    out.append(f"static const double golden_{name}[{len(v)}] = {{\n\t" + ",\n\t".join(lines) + ",\n};\n")


# norms: x (3,6), w and bias (6); per head: width 3
x, w, bias = ramp(1, 3, 6), ramp(2, 6), ramp(3, 6)
emit("rms", F.rms_norm(x, (6,), w, 1e-5))
emit("rms_offset_heads", F.rms_norm(x.reshape(3, 2, 3), (3,), w[:3] + 1, 1e-5))
emit("layer", F.layer_norm(x, (6,), w, bias, 1e-5))

# gated
gate, up = ramp(4, 2, 5), ramp(5, 2, 5)
emit("silu", F.silu(gate) * up)
emit("gelu_tanh", F.gelu(gate, approximate="tanh") * up)
emit("gelu_erf", F.gelu(gate) * up)

# rope: 3 rows at positions 0, 5, 130; 2 heads of 6, of which 4 columns turn (Hugging Face's rotate_half)
x, freq, pos = ramp(6, 3, 2, 6), torch.tensor([1.0, 0.125]), torch.tensor([0.0, 5.0, 130.0])
angle = pos[:, None] * freq[None]
cos, sin = torch.cat([angle.cos()] * 2, -1)[:, None], torch.cat([angle.sin()] * 2, -1)[:, None]
turn, keep = x[..., :4], x[..., 4:]
half = torch.cat([-turn[..., 2:], turn[..., :2]], -1)
emit("rope", torch.cat([(turn * cos + half * sin) * 1.5, keep], -1))

# attention: 5 rows, 4 heads, 2 kv heads of 3
q, k, v = ramp(7, 5, 4, 3), ramp(8, 5, 2, 3), ramp(9, 5, 2, 3)
kk, vv = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
i, j = torch.arange(5)[:, None], torch.arange(5)[None]
scale = 0.5
emit("attention", F.scaled_dot_product_attention(q.transpose(0, 1), kk.transpose(0, 1), vv.transpose(0, 1),
                                                 is_causal=True, scale=scale).transpose(0, 1))
s = torch.einsum("qhd,khd->hqk", q, kk) * scale


def attend(s, mask, sink=None):
    s = s.masked_fill(~mask, -math.inf)
    if sink is not None:
        s = torch.cat([s, sink[:, None, None].expand(4, 5, 1)], -1)
    return torch.einsum("hqk,khd->qhd", s.softmax(-1)[..., :5], vv)


emit("attention_window", attend(s, (j <= i) & (i - j < 2)))
emit("attention_cap", attend(1.5 * torch.tanh(s / 1.5), j <= i))
emit("attention_sinks", attend(s, j <= i, ramp(10, 4)))
emit("attention_all", attend(s, (j == j) & (i == i)))

# linear with bias and one adapter: x (3,4), W (5,4), A (2,4), B (5,2), scale 2
x, w, b = ramp(11, 3, 4), ramp(12, 5, 4), ramp(13, 5)
A, B = ramp(14, 2, 4), ramp(15, 5, 2)
emit("linear", F.linear(x, w, b) + 2 * (x @ A.T) @ B.T)
emit("linear_base", F.linear(x, w, b))

# head: x (2,4), W (7,4), scale 0.5, cap 2
x, w = ramp(16, 2, 4), ramp(17, 7, 4)
z = 2 * torch.tanh(F.linear(x, w) * 0.5 / 2)
emit("logits", z)
emit("logp", F.log_softmax(z, -1))

# AdamW, three steps on p (6) with gradients ramp(20 + step)
for name, kw in (("adamw", dict(lr=0.1, betas=(0.9, 0.99), eps=1e-6, weight_decay=0.1)),):
    p = torch.nn.Parameter(ramp(18, 6).clone())
    opt = torch.optim.AdamW([p], **kw)
    for step in range(1, 4):
        p.grad = ramp(20 + step, 6) * 0.5
        opt.step()
    emit(name, p)

with open("tests/golden/ops.h", "w") as f:
    f.write("/* Made by tools/golden_ops.py with PyTorch in double precision. */\n"
            "#ifndef HTH_TESTS_GOLDEN_OPS_H\n#define HTH_TESTS_GOLDEN_OPS_H\n\n" + "\n".join(out) + "\n#endif\n")
