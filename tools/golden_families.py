"""Golden values for every model family but Llama's own: tiny random models from transformers and PEFT.

Writes tests/golden/FAMILY/tiny*: a Hugging Face folder (bf16, or what the spec says), the same as GGUF where llama.cpp
has the family, the values as tests/golden/llama/README.md names them (without gradients of base weights, three training
losses), and a PEFT adapter. Weights are rounded to bf16 first, so that all files say the same; sums are float32.

    python tools/golden_families.py [FAMILY...]
    python tools/golden_families.py --llama-cpp [FAMILY...]    compare llama.cpp's logits of the GGUF files with these
    python tools/golden_families.py --mlx       tests/golden/qwen3/mlx* (a folder quantised by MLX) and tests/golden/mlx
"""

import argparse
import json
import pathlib
import re
import shutil
import tempfile

import gguf
import numpy as np
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

import golden
from golden import CHATML, LINEARS, MERGES, SPECIALS, TOKENS, V, byte_tokens, hf_name, i32, loss_of, permute, put_rows

GOLDEN = golden.ROOT / "tests" / "golden"
ROWS = [10, 8, 2]
BEYOND = [34, 20, 16, 17, 3] # around an original context of 16
BASE = dict(
    vocab_size=V, max_position_embeddings=128, rms_norm_eps=1e-5, bos_token_id=TOKENS.index("<|im_start|>"),
    eos_token_id=TOKENS.index("<|im_end|>"), pad_token_id=None, attn_implementation="eager", num_hidden_layers=2,
)  # fmt: skip
PLAIN = {"rope_type": "default", "rope_theta": 10000.0}

ATTENTION = LINEARS[:4]
DELTA = ["in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "out_proj"]
GPT_OSS = dict(
    hidden_size=32, num_attention_heads=4, num_key_value_heads=2, head_dim=8, intermediate_size=32, num_local_experts=4,
    num_experts_per_tok=2, tie_word_embeddings=False, sliding_window=4,
    layer_types=["sliding_attention", "full_attention"],
    rope_parameters={
        "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32,
        "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False,
    },
)  # fmt: skip
# A ramp that begins and ends between pairs of columns. llama.cpp rounds its ends, and differs.
BETWEEN = GPT_OSS["rope_parameters"] | {"original_max_position_embeddings": 64, "beta_fast": 2.0, "beta_slow": 0.05}

GEMMA4_ROPE = {
    "sliding_attention": PLAIN,
    "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1e6},
}

# gguf None: a folder only, because llama.cpp computes something else there. fused: adapters on o and down alone.
FAMILIES = {
    "qwen2": dict(
        cls="Qwen2", gguf="qwen2", seed=11, hidden_size=16, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=24, tie_word_embeddings=True, vocab_size=V + 8, use_sliding_window=False,
        rope_parameters={"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32},
    ),
    "qwen3": dict(
        cls="Qwen3", gguf="qwen3", seed=12, hidden_size=16, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        intermediate_size=24, tie_word_embeddings=True, rope_parameters=PLAIN | {"rope_theta": 1e6},
    ),
    "gemma": dict(
        cls="Gemma", gguf="gemma", seed=13, hidden_size=16, num_attention_heads=2, num_key_value_heads=1, head_dim=8,
        intermediate_size=24, hidden_act="gelu_pytorch_tanh", rope_parameters=PLAIN,
    ),
    "gemma2": dict(
        cls="Gemma2", gguf="gemma2", seed=14, hidden_size=16, num_attention_heads=2, num_key_value_heads=1, head_dim=8,
        intermediate_size=24, sliding_window=4, query_pre_attn_scalar=8, attn_logit_softcapping=2.0,
        final_logit_softcapping=5.0, rope_parameters=PLAIN,
    ),
    "gemma3": dict(
        cls="Gemma3", config="Gemma3TextConfig", gguf="gemma3", seed=15, hidden_size=16, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, intermediate_size=24, num_hidden_layers=3, sliding_window=4,
        query_pre_attn_scalar=8, layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters={
            "sliding_attention": PLAIN,
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        },
    ),
    # As E2B and E4B are: inputs of the layers' own, the last two layers without keys, their blocks twice as wide.
    "gemma4": dict(
        cls="Gemma4", config="Gemma4TextConfig", gguf="gemma4", seed=29, hidden_size=16, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, global_head_dim=16, intermediate_size=24, num_hidden_layers=6,
        sliding_window=4, layer_types=["sliding_attention", "full_attention"] * 3, num_kv_shared_layers=2,
        use_double_wide_mlp=True, hidden_size_per_layer_input=4, vocab_size_per_layer_input=V, tie_word_embeddings=True,
        final_logit_softcapping=5.0, rope_parameters=GEMMA4_ROPE,
    ),
    # As 31B is: keys for values where there is no window, and fewer of them.
    "gemma4_large": dict(
        cls="Gemma4", config="Gemma4TextConfig", gguf="gemma4", seed=30, hidden_size=16, num_attention_heads=4,
        num_key_value_heads=2, num_global_key_value_heads=1, head_dim=8, global_head_dim=16, intermediate_size=24,
        num_hidden_layers=3, sliding_window=4, layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        attention_k_eq_v=True, hidden_size_per_layer_input=0, tie_word_embeddings=True, final_logit_softcapping=4.0,
        rope_parameters=GEMMA4_ROPE, published=True,
    ),
    # As 26B-A4B is: experts beside every dense block.
    "gemma4_moe": dict(
        cls="Gemma4", config="Gemma4TextConfig", gguf="gemma4", seed=33, hidden_size=16, num_attention_heads=4,
        num_key_value_heads=2, num_global_key_value_heads=1, head_dim=8, global_head_dim=16, intermediate_size=24,
        num_hidden_layers=2, sliding_window=4, layer_types=["sliding_attention", "full_attention"],
        attention_k_eq_v=True, hidden_size_per_layer_input=0, tie_word_embeddings=True, final_logit_softcapping=4.0,
        enable_moe_block=True, num_experts=5, top_k_experts=2, moe_intermediate_size=12, rope_parameters=GEMMA4_ROPE,
        published=True,
    ),
    # As published: inside a model with eyes and ears; keys that take no part stand in the layers that share others'.
    "gemma4_nested": dict(
        cls="Gemma4", config="Gemma4TextConfig", gguf=None, seed=34, hidden_size=16, num_attention_heads=2,
        num_key_value_heads=1, num_global_key_value_heads=None, head_dim=8, global_head_dim=16, intermediate_size=24,
        num_hidden_layers=3, sliding_window=4, layer_types=["full_attention", "sliding_attention", "full_attention"],
        num_kv_shared_layers=1, hidden_size_per_layer_input=8, vocab_size_per_layer_input=V, tie_word_embeddings=True,
        use_bidirectional_attention="vision", rope_parameters=GEMMA4_ROPE, published=True, nested=True,
    ),
    # As published: inside a model with eyes, saying only what its class does not.
    "gemma3_nested": dict(
        cls="Gemma3", config="Gemma3TextConfig", gguf=None, seed=43, hidden_size=16, num_attention_heads=8,
        num_key_value_heads=4, head_dim=8, intermediate_size=24, sliding_window=4, query_pre_attn_scalar=8,
        num_hidden_layers=3, layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        tie_word_embeddings=True, rms_norm_eps=1e-6, nested=True, terse=True,
        rope_parameters={
            "sliding_attention": PLAIN,
            "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
        },
    ),
    "mistral3": dict(
        cls="Mistral", gguf=None, seed=44, hidden_size=16, num_attention_heads=2, num_key_value_heads=1, head_dim=16,
        intermediate_size=24, tie_word_embeddings=False, sliding_window=None, nested=True,
        rope_parameters=PLAIN | {"rope_theta": 1e6},
    ),
    "ministral3": dict(
        cls="Ministral3", gguf="mistral3", seed=45, hidden_size=16, num_attention_heads=2, num_key_value_heads=1, head_dim=16,
        intermediate_size=24, tie_word_embeddings=False, sliding_window=None, nested=True, permuted=True,
        rope_parameters={
            "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 32.0,
            "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1,
        },
    ),
    "phi3": dict(
        cls="Phi3", gguf="phi3", seed=16, hidden_size=16, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=24, tie_word_embeddings=False, fused=True, vocab_size=V + 3, max_position_embeddings=512, original_max_position_embeddings=256,
        rope_parameters={
            "rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.75,
            "short_factor": [1.0, 1.25, 2.0], "long_factor": [1.5, 4.0, 8.0], "original_max_position_embeddings": 256,
        },
    ),
    # The two whose queries or divisors change beyond the original context, with rows on both sides of it.
    "ministral3_beyond": dict(
        cls="Ministral3", gguf="mistral3", seed=51, hidden_size=16, num_attention_heads=2, num_key_value_heads=1, head_dim=16,
        intermediate_size=24, tie_word_embeddings=False, sliding_window=None, nested=True, permuted=True, rows=BEYOND,
        max_position_embeddings=64,
        rope_parameters={
            "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 32.0,
            "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.3,
        },
    ),
    "phi3_beyond": dict(
        cls="Phi3", gguf="phi3", seed=52, hidden_size=16, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=24, tie_word_embeddings=False, fused=True, vocab_size=V + 3, max_position_embeddings=64,
        original_max_position_embeddings=16, rows=BEYOND,
        rope_parameters={
            "rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.75,
            "short_factor": [1.0, 1.25, 2.0], "long_factor": [1.5, 4.0, 8.0], "original_max_position_embeddings": 16,
        },
    ),
    "olmo2": dict(
        cls="Olmo2", gguf="olmo2", seed=17, hidden_size=16, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=24, tie_word_embeddings=False, rope_parameters=PLAIN | {"rope_theta": 500000.0},
    ),
    "olmo3": dict(
        cls="Olmo3", gguf="olmo2", seed=20, hidden_size=16, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=24, tie_word_embeddings=False, sliding_window=4,
        layer_types=["sliding_attention", "full_attention"],
        rope_parameters={"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32},
    ),
    "granite": dict(
        cls="Granite", gguf="granite", seed=18, hidden_size=16, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=24, tie_word_embeddings=True, embedding_multiplier=3.0, residual_multiplier=0.5,
        attention_multiplier=0.2, logits_scaling=2.0, rope_parameters=PLAIN, permuted=True,
    ),
    "smollm3": dict(
        cls="SmolLM3", gguf="smollm3", seed=19, hidden_size=16, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=16, num_hidden_layers=4, tie_word_embeddings=True, rope_parameters=PLAIN, permuted=True,
    ),
    "mistral": dict(
        cls="Mistral", gguf=None, seed=21, hidden_size=16, num_attention_heads=2, num_key_value_heads=1, head_dim=8,
        intermediate_size=24, tie_word_embeddings=False, sliding_window=5, rope_parameters=PLAIN, shards=2,
    ),
    "mixtral": dict(
        cls="Mixtral", gguf="llama", seed=22, hidden_size=16, num_attention_heads=2, num_key_value_heads=1, head_dim=8,
        intermediate_size=24, num_local_experts=4, num_experts_per_tok=2, tie_word_embeddings=False, sliding_window=None,
        rope_parameters=PLAIN, permuted=True, modules=ATTENTION,
    ),
    "qwen2moe": dict(
        cls="Qwen2Moe", gguf="qwen2moe", seed=27, hidden_size=16, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=24, moe_intermediate_size=12, shared_expert_intermediate_size=20, num_experts=6,
        num_experts_per_tok=2, norm_topk_prob=False, tie_word_embeddings=False, use_sliding_window=False,
        rope_parameters=PLAIN | {"rope_theta": 1e6},
    ),
    # A folder alone says: weights that sum to 1, a dense layer, windows.
    "qwen2moe_mixed": dict(
        cls="Qwen2Moe", gguf=None, seed=28, hidden_size=16, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=24, moe_intermediate_size=12, shared_expert_intermediate_size=8, num_experts=5,
        num_experts_per_tok=3, norm_topk_prob=True, num_hidden_layers=3, decoder_sparse_step=1, mlp_only_layers=[1],
        tie_word_embeddings=True, use_sliding_window=True, sliding_window=4, max_window_layers=2, rope_parameters=PLAIN,
    ),
    "qwen3moe": dict(
        cls="Qwen3Moe", gguf="qwen3moe", seed=23, hidden_size=16, num_attention_heads=4, num_key_value_heads=2,
        head_dim=8, intermediate_size=24, moe_intermediate_size=12, num_experts=8, num_experts_per_tok=3,
        norm_topk_prob=True, tie_word_embeddings=False, rope_parameters=PLAIN | {"rope_theta": 1e6}, modules=ATTENTION,
        stacked=True,
    ),
    # Weights as they are in the softmax over all experts, and a dense layer: no GGUF says either.
    "qwen3moe_plain": dict(
        cls="Qwen3Moe", gguf=None, seed=24, hidden_size=16, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        intermediate_size=24, moe_intermediate_size=12, num_experts=5, num_experts_per_tok=2, norm_topk_prob=False,
        num_hidden_layers=3, mlp_only_layers=[1], tie_word_embeddings=True, rope_parameters=PLAIN, modules=ATTENTION,
    ),
    "qwen35": dict(
        cls="Qwen3_5", config="Qwen3_5TextConfig", gguf="qwen35", seed=41, hidden_size=16, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, intermediate_size=24, num_hidden_layers=3, tie_word_embeddings=True,
        layer_types=["linear_attention", "full_attention", "linear_attention"], linear_key_head_dim=8,
        linear_value_head_dim=8, linear_num_key_heads=2, linear_num_value_heads=4, modules=LINEARS + DELTA,
        rope_parameters=PLAIN | {"rope_theta": 1e6, "partial_rotary_factor": 0.5, "mrope_section": [1, 1, 0]},
    ),
    "qwen35moe": dict(
        cls="Qwen3_5Moe", config="Qwen3_5MoeTextConfig", gguf="qwen35moe", seed=43, hidden_size=16, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, moe_intermediate_size=8, shared_expert_intermediate_size=12, num_experts=5,
        num_experts_per_tok=2, tie_word_embeddings=False, layer_types=["linear_attention", "full_attention"],
        linear_key_head_dim=8, linear_value_head_dim=8, linear_num_key_heads=1, linear_num_value_heads=2,
        modules=LINEARS + DELTA, rope_parameters=PLAIN | {"partial_rotary_factor": 0.5, "mrope_section": [1, 1, 0]},
    ),
    # As published: the text model inside one with eyes, whose tensors are there too; heads of two sizes, which no GGUF has.
    "qwen35_nested": dict(
        cls="Qwen3_5", config="Qwen3_5TextConfig", gguf=None, seed=42, hidden_size=16, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, intermediate_size=24, tie_word_embeddings=False, nested=True,
        layer_types=["linear_attention", "full_attention"], linear_key_head_dim=6, linear_value_head_dim=10,
        linear_num_key_heads=3, linear_num_value_heads=3, linear_conv_kernel_dim=3, modules=LINEARS + DELTA,
        rope_parameters=PLAIN | {"partial_rotary_factor": 0.25, "mrope_section": [1, 1, 0]},
    ),
    "gptoss": dict(
        cls="GptOss", gguf="gpt-oss", seed=25, modules=ATTENTION, **GPT_OSS | {"rope_parameters": BETWEEN},
    ),
    # The same in mxfp4, as published.
    "gptoss_mxfp4": dict(
        cls="GptOss", gguf="gpt-oss", seed=26, modules=ATTENTION, mxfp4=True, **GPT_OSS,
    ),
}  # fmt: skip
OURS = {"cls", "config", "gguf", "seed", "fused", "permuted", "shards", "modules", "stacked", "mxfp4", "published", "nested", "terse"}


def make_model(spec):
    config_cls = getattr(transformers, spec.get("config", spec["cls"] + "Config"))
    config = config_cls(**(BASE | {k: v for k, v in spec.items() if k not in OURS}))
    model = getattr(transformers, spec["cls"] + "ForCausalLM")(config).to(torch.float32)
    gen = torch.Generator().manual_seed(spec["seed"])
    around = 0.0 if spec["cls"].startswith(("Gemma", "Qwen3_5")) and spec["cls"] != "Gemma4" else 1.0
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=gen)
            if "bias" in name:
                p.copy_(0.3 * noise)
            elif name.endswith("experts.gate_up_proj") and spec["cls"] == "GptOss":
                p.copy_(noise * 3.6 / p.shape[1] ** 0.5)  # some beyond the clamps
            elif p.dim() == 1:
                p.copy_((1.0 if name.endswith("linear_attn.norm.weight") else around) + 0.2 * noise)
            elif "conv1d" in name:
                p.copy_(0.6 * noise)
            else:
                p.copy_(noise * (0.4 if "embed" in name else 1.2 / p.shape[1] ** 0.5))
            p.copy_(p.to(torch.bfloat16).to(torch.float32))
            if spec.get("mxfp4") and name.endswith(("experts.gate_up_proj", "experts.down_proj")):
                p.copy_(torch.from_numpy(from_mxfp4(to_mxfp4(p))).transpose(1, 2))
        for name, p in model.named_buffers():
            if name.endswith("layer_scalar"):
                p.copy_((1 + 0.2 * torch.randn(p.shape, generator=gen)).to(torch.bfloat16))
    return model.eval(), gen


def weights(model):
    """Parameters, and the buffers that files have."""
    yield from model.named_parameters()
    for name, p in model.named_buffers():
        if name.endswith("layer_scalar"):
            yield name, p


MXFP4 = gguf.GGMLQuantizationType.MXFP4


def to_mxfp4(p):
    """(E,K,N) -> ggml's blocks of its rows of K, (E,N,K/32*17)."""
    return gguf.quants.quantize(np.ascontiguousarray(p.detach().numpy().transpose(0, 2, 1)), MXFP4)


def from_mxfp4(blocks):
    return gguf.quants.dequantize(blocks, MXFP4)


def published_mxfp4(blocks):
    """ggml's blocks as the byte tensors of OpenAI's files: neighbours share a byte, exponents stand apart."""
    b = blocks.reshape(*blocks.shape[:2], -1, 17)
    values = np.concatenate([b[..., 1:] & 15, b[..., 1:] >> 4], -1)
    packed = values[..., 0::2] | values[..., 1::2] << 4
    return torch.from_numpy(packed.copy()), torch.from_numpy(b[..., 0].copy())


# Tensors of other parts of a checkpoint.
MODELS_WITH_EYES = {"Mistral": "Mistral3", "Ministral3": "Mistral3"}  # else of the text's own name
ASIDE = {
    "Gemma3": ["model.vision_tower.vision_model.embeddings.patch_embedding.weight",
               "model.multi_modal_projector.mm_input_projection_weight"],
    "Mistral": ["vision_tower.patch_conv.weight", "multi_modal_projector.linear_1.weight"],
    "Ministral3": ["vision_tower.patch_conv.weight", "multi_modal_projector.linear_1.weight"],
    "Qwen3_5": ["model.visual.patch_embed.proj.weight", "mtp.fc.weight"],
    "Gemma4": ["model.vision_tower.patch_embedder.input_proj.weight", "model.audio_tower.output_proj.weight",
               "model.embed_vision.embedding_projection.weight",
               "model.language_model.layers.2.self_attn.k_proj.weight"],
}  # fmt: skip


def folder_tensors(model, spec, stacked, dtype):
    """Names and tensors as the published folders have them; stacked: as transformers 5 has them in memory."""
    cls = spec.get("cls")
    for name, p in weights(model):
        t = p.detach().to(dtype).contiguous()
        if cls == "Mixtral" and not stacked:
            name = name.replace(".mlp.", ".block_sparse_moe.")
        stem = name.rsplit(".", 1)[0]
        if spec.get("nested"):
            old = cls in ("Mistral", "Ministral3")  # the names of transformers 4
            name = "language_model." + name if old else name.replace("model.", "model.language_model.", 1)
        if stacked or p.dim() != 3 or "conv1d" in name or cls in ("Gemma4", "Qwen3_5Moe") or cls == "GptOss" and not spec.get("mxfp4"):
            yield name, t
        elif cls == "GptOss":
            yield f"{name}_blocks", published_mxfp4(to_mxfp4(p))[0]
            yield f"{name}_scales", published_mxfp4(to_mxfp4(p))[1]
        else:
            gate, up, down = ("w1", "w3", "w2") if cls == "Mixtral" else ("gate_proj", "up_proj", "down_proj")
            for e in range(t.shape[0]):
                if name.endswith("down_proj"):
                    yield f"{stem}.{e}.{down}.weight", t[e].clone()
                else:
                    half = t.shape[1] // 2
                    yield f"{stem}.{e}.{gate}.weight", t[e, :half].clone()
                    yield f"{stem}.{e}.{up}.weight", t[e, half:].clone()


def tokenizer_json():
    words = byte_tokens() + [a + b for a, b in MERGES]
    flags = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
    byte_level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [dict(id=TOKENS.index(t), content=t, **flags) for t in SPECIALS],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level],
        },
        "post_processor": None,
        "decoder": byte_level,
        "model": dict(
            type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None, end_of_word_suffix=None,
            fuse_unk=False, byte_fallback=False, ignore_merges=False, vocab={t: i for i, t in enumerate(words)},
            merges=[list(m) for m in MERGES],
        ),
    }  # fmt: skip


def write_folder(model, path, dtype=torch.bfloat16, shards=1, spec={}, stacked=False):
    """A folder without what changes from run to run; the order and names of its files are transformers'."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    tensors = dict(folder_tensors(model, spec, stacked, dtype))
    config = json.loads(model.config.to_json_string())
    config.pop("transformers_version", None)
    if spec.get("published"):
        config.pop("per_layer_config")
        config |= {k: spec[k] for k in ("global_head_dim", "num_global_key_value_heads")}
    config["dtype"] = str(dtype).removeprefix("torch.")
    config["architectures"] = [type(model).__name__]
    if spec.get("mxfp4"):
        config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    put_json(path / "config.json", config)
    put_json(path / "tokenizer.json", tokenizer_json(), indent=None)
    names = {"bos_token": "<|im_start|>", "eos_token": "<|endoftext|>", "chat_template": CHATML}
    put_json(path / "tokenizer_config.json", names)
    put_json(path / "generation_config.json", {"eos_token_id": [TOKENS.index("<|im_end|>")]})
    if spec.get("nested"):
        tensors |= {n: torch.zeros(2, 3, dtype=dtype) for n in ASIDE[spec["cls"]]}
        whole = MODELS_WITH_EYES.get(spec["cls"], spec["cls"]) + "ForConditionalGeneration"
        kind = whole.removesuffix("ForConditionalGeneration").lower() if spec["cls"] in MODELS_WITH_EYES else config["model_type"]
        tied = config.pop("tie_word_embeddings")
        if spec.get("terse"):
            plain = json.loads(getattr(transformers, spec["config"])().to_json_string())
            config = {k: v for k, v in config.items() if k in ("model_type", "dtype", "layer_types") or v != plain.get(k)}
            config["rope_scaling"] = {"rope_type": "linear", "factor": config.pop("rope_parameters")["full_attention"]["factor"]}
        put_json(path / "config.json", dict(
            architectures=[whole], model_type=kind.removesuffix("_text"), dtype=config.pop("dtype"),
            tie_word_embeddings=tied, text_config=config, vision_config={"depth": 1}))  # fmt: skip
    if shards == 1:
        save_file(tensors, path / "model.safetensors", {"format": "pt"})
        return
    names, where = sorted(tensors), {}
    for i in range(shards):
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        part = names[i::shards]
        save_file({n: tensors[n] for n in part}, path / file, {"format": "pt"})
        where |= {n: file for n in part}
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    put_json(path / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": where})


def put_json(path, value, indent=1):
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=False) + "\n")


def gguf_name(name, spec):
    norms_after = spec["cls"] in ("Gemma2", "Gemma3", "Gemma4", "Olmo2", "Olmo3", "GptOss", "Qwen3_5", "Qwen3_5Moe")
    for a, b in [
        ("model.embed_tokens_per_layer.", "per_layer_token_embd."),
        ("model.per_layer_model_projection.", "per_layer_model_proj."),
        ("model.per_layer_projection_norm.", "per_layer_proj_norm."), ("per_layer_input_gate", "inp_gate"),
        ("per_layer_projection", "proj"), ("post_per_layer_input_norm", "post_norm"),
        ("layer_scalar", "layer_output_scale.weight"), ("router.proj", "ffn_gate_inp"),
        ("router.scale", "ffn_gate_inp.scale"), ("router.per_expert_scale", "ffn_down_exps.scale"),
        ("post_feedforward_layernorm_1", "post_ffw_norm_1"), ("post_feedforward_layernorm_2", "post_ffw_norm_2"),
        ("pre_feedforward_layernorm_2", "pre_ffw_norm_2"), ("model.embed_tokens.", "token_embd."), ("model.norm.", "output_norm."), ("lm_head.", "output."),
        ("model.layers.", "blk."), ("self_attn.q_proj", "attn_q"), ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"), ("self_attn.o_proj", "attn_output"), ("self_attn.qkv_proj", "attn_qkv"),
        ("self_attn.q_norm", "attn_q_norm"), ("self_attn.k_norm", "attn_k_norm"), ("mlp.gate_up_proj", "ffn_up"),
        ("mlp.shared_expert_gate.", "ffn_gate_inp_shexp."), ("mlp.shared_expert.gate_proj", "ffn_gate_shexp"),
        ("mlp.shared_expert.up_proj", "ffn_up_shexp"), ("mlp.shared_expert.down_proj", "ffn_down_shexp"),
        ("self_attn.sinks", "attn_sinks.weight"), ("mlp.router.", "ffn_gate_inp."), ("mlp.gate.", "ffn_gate_inp."),
        ("mlp.gate_proj", "ffn_gate"), ("mlp.up_proj", "ffn_up"), ("mlp.down_proj", "ffn_down"),
        ("pre_feedforward_layernorm", "ffn_norm"), ("post_feedforward_layernorm", "post_ffw_norm"),
        ("post_attention_layernorm", "post_attention_norm" if norms_after else "ffn_norm"),
        ("input_layernorm", "attn_norm"), ("linear_attn.in_proj_qkv", "attn_qkv"), ("linear_attn.in_proj_z", "attn_gate"),
        ("linear_attn.in_proj_b", "ssm_beta"), ("linear_attn.in_proj_a", "ssm_alpha"), ("linear_attn.out_proj", "ssm_out"),
        ("linear_attn.A_log", "ssm_a"), ("linear_attn.dt_bias", "ssm_dt.bias"), ("linear_attn.conv1d", "ssm_conv1d"),
        ("linear_attn.norm", "ssm_norm"),
    ]:  # fmt: skip
        name = name.replace(a, b)
    return name


def put_rope(w, c, spec):
    """As llama.cpp's converters write them."""
    p = c.rope_parameters
    full = p.get("full_attention", p)
    w.add_rope_freq_base(full["rope_theta"])
    if "sliding_attention" in p and spec["cls"] in ("Gemma3", "Gemma4"):
        w.add_rope_freq_base_swa(p["sliding_attention"]["rope_theta"])
    kind = full["rope_type"]
    if kind == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(full["factor"])
    elif kind == "proportional":
        head = spec["global_head_dim"]
        n = int(full["partial_rotary_factor"] * head // 2)
        w.add_tensor("rope_freqs.weight", np.array([1.0] * n + [1e30] * (head // 2 - n), dtype=np.float32))
    elif kind == "yarn":
        w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        w.add_rope_scaling_factor(full["factor"])
        w.add_rope_scaling_orig_ctx_len(full["original_max_position_embeddings"])
        w.add_rope_scaling_yarn_beta_fast(full.get("beta_fast", 32.0))
        w.add_rope_scaling_yarn_beta_slow(full.get("beta_slow", 1.0))
        if "mscale_all_dim" in full:
            w.add_rope_scaling_yarn_log_mul(full["mscale_all_dim"])
        if "llama_4_scaling_beta" in full:
            w.add_attn_temperature_scale(full["llama_4_scaling_beta"])
    elif kind == "longrope":
        stretch = c.max_position_embeddings / full["original_max_position_embeddings"]
        attn = float(np.sqrt(1 + np.log(stretch) / np.log(full["original_max_position_embeddings"])))
        w.add_rope_scaling_orig_ctx_len(full["original_max_position_embeddings"])
        w.add_rope_scaling_attn_factors(attn)
        for name in ("long", "short"):
            w.add_tensor(f"rope_factors_{name}.weight", np.array(full[f"{name}_factor"], dtype=np.float32))


def put_family(w, c, spec):
    kind = spec["cls"]
    if kind in ("Mixtral", "Qwen2Moe", "Qwen3Moe", "Qwen3_5Moe", "GptOss"):
        w.add_expert_count(c.num_experts if kind in ("Qwen2Moe", "Qwen3_5Moe") else c.num_local_experts)
        w.add_expert_used_count(c.num_experts_per_tok)
        if kind != "Mixtral":
            w.add_expert_feed_forward_length(c.moe_intermediate_size if kind.startswith("Qwen") else c.intermediate_size)
        if kind in ("Qwen2Moe", "Qwen3_5Moe"):
            w.add_expert_shared_feed_forward_length(c.shared_expert_intermediate_size)
    if kind in ("Gemma2", "Gemma3", "Gemma4", "Olmo3", "GptOss"):
        w.add_sliding_window(c.sliding_window)
    if kind in ("Gemma3", "Gemma4", "Olmo3"):
        w.add_sliding_window_pattern([t == "sliding_attention" for t in c.layer_types])
    if kind == "Gemma4" and c.enable_moe_block:
        w.add_expert_count(c.num_experts)
        w.add_expert_used_count(c.top_k_experts)
        w.add_expert_feed_forward_length(c.moe_intermediate_size)
    if kind == "Gemma4":
        w.add_final_logit_softcapping(c.final_logit_softcapping)
        w.add_key_length_swa(spec["head_dim"])
        w.add_value_length_swa(spec["head_dim"])
        w.add_rope_dimension_count_swa(spec["head_dim"])
        w.add_shared_kv_layers(c.num_kv_shared_layers)
        w.add_embedding_length_per_layer_input(c.hidden_size_per_layer_input)
    if kind.startswith("Qwen3_5"):
        w.add_ssm_conv_kernel(c.linear_conv_kernel_dim)
        w.add_ssm_state_size(c.linear_key_head_dim)
        w.add_ssm_group_count(c.linear_num_key_heads)
        w.add_ssm_time_step_rank(c.linear_num_value_heads)
        w.add_ssm_inner_size(c.linear_value_head_dim * c.linear_num_value_heads)
        w.add_full_attention_interval(c.layer_types.index("full_attention") + 1)
        w.add_rope_dimension_sections(c.rope_parameters["mrope_section"] + [0])
    if kind == "Gemma2":
        w.add_attn_logit_softcapping(c.attn_logit_softcapping)
        w.add_final_logit_softcapping(c.final_logit_softcapping)
    if kind == "Granite":
        w.add_attention_scale(c.attention_multiplier)
        w.add_embedding_scale(c.embedding_multiplier)
        w.add_residual_scale(c.residual_multiplier)
        w.add_logit_scale(c.logits_scaling)


def put_tokenizer(w, n_vocab):
    # Names that llama.cpp looks for in every Phi 3 vocabulary; otherwise fillers as its converters write them.
    fill = ["</s>", "<unk>", "<s>"] if n_vocab == V + 3 else [f"[PAD{i}]" for i in range(V, n_vocab)]
    tokens = TOKENS + fill
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("smollm")
    w.add_token_list(tokens)
    w.add_token_types([3 if t in SPECIALS else 5 if i >= V else 1 for i, t in enumerate(tokens)])
    w.add_token_merges([f"{a} {b}" for a, b in MERGES])
    w.add_bos_token_id(TOKENS.index("<|im_start|>"))
    w.add_eos_token_id(TOKENS.index("<|im_end|>"))
    w.add_add_bos_token(False)
    w.add_chat_template(CHATML)


def gguf_tensors(model, spec):
    """(name, array) with the experts' gate and up apart, rows first."""
    for name, q in weights(model):
        a = q.detach().numpy()
        if ".experts." not in name:
            yield gguf_name(name, spec), name, a
            continue
        layer, bias = name.split(".")[2], name.endswith("_bias")
        if spec["cls"] == "GptOss" and not bias:
            a = a.transpose(0, 2, 1)
        part = f"blk.{layer}.ffn_%s_exps.{'bias' if bias else 'weight'}"
        if "down_proj" in name:
            yield part % "down", name, a
        elif spec["cls"] == "Gemma4":
            yield part % "gate_up", name, a
        elif spec["cls"] == "GptOss":
            yield part % "gate", name, a[:, 0::2]
            yield part % "up", name, a[:, 1::2]
        else:
            yield part % "gate", name, a[:, : a.shape[1] // 2]
            yield part % "up", name, a[:, a.shape[1] // 2 :]


def delta_array(name, a, c):
    """As llama.cpp's converter has it: norms with their 1, rates negative, value heads one of each group in turn."""
    if name.endswith("norm.weight") and not name.endswith("linear_attn.norm.weight"):
        return a + 1
    if "linear_attn." not in name:
        return a
    keys, n_k, n_v = c.linear_key_head_dim * c.linear_num_key_heads, c.linear_num_key_heads, c.linear_num_value_heads
    tile = lambda x: x.reshape(n_k, n_v // n_k, -1, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape)
    if name.endswith("A_log"):
        return tile(-np.exp(a.astype(np.float64)).astype(np.float32))
    if name.endswith("conv1d.weight"):
        a = a.squeeze(1)
    if "conv1d" in name or "in_proj_qkv" in name:
        return np.concatenate([a[: 2 * keys], tile(a[2 * keys :])])
    if "out_proj" in name:
        return tile(a.T).T
    return a if name.endswith("norm.weight") else tile(a)


def ff_of_layers(c):
    first = c.num_hidden_layers - c.num_kv_shared_layers
    return [c.intermediate_size * (1 if i < first else 2) for i in range(c.num_hidden_layers)]


def kv_of_layers(c, spec):
    full = spec["num_global_key_value_heads"]
    return [full if t == "full_attention" else spec["num_key_value_heads"] for t in c.layer_types]


def write_gguf(model, path, spec, plain=False):
    c = model.config
    head = spec.get("global_head_dim") or getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    p = c.rope_parameters
    rot = head if spec["cls"] == "Gemma4" else int(head * p.get("full_attention", p).get("partial_rotary_factor", 1.0))
    w = gguf.GGUFWriter(path, spec["gguf"])
    w.add_name(f"golden {spec['cls']}")
    w.add_vocab_size(c.vocab_size)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_block_count(c.num_hidden_layers)
    if spec["cls"] != "Qwen3_5Moe":  # no layer is dense
        w.add_feed_forward_length(ff_of_layers(c) if spec.get("use_double_wide_mlp") else c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(kv_of_layers(c, spec) if spec.get("num_global_key_value_heads") else c.num_key_value_heads)
    w.add_key_length(head)
    w.add_value_length(head)
    w.add_rope_dimension_count(rot)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    w.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    put_family(w, c, spec)
    put_rope(w, c, spec)
    put_tokenizer(w, c.vocab_size)
    for stored, name, a in gguf_tensors(model, spec):
        if spec.get("permuted") and re.search("[qk]_proj", name):
            a = permute(a, c.num_attention_heads if "q_proj" in name else c.num_key_value_heads)
        if spec["cls"] in ("Gemma", "Gemma2", "Gemma3") and name.endswith("norm.weight"):
            a = a + 1
        if stored.endswith("ffn_gate_inp_shexp.weight"):
            a = a[0]
        if spec["cls"].startswith("Qwen3_5"):
            a = delta_array(name, a, c)
        a = np.ascontiguousarray(a)
        kind = MXFP4 if spec.get("mxfp4") and a.ndim == 3 else gguf.GGMLQuantizationType.BF16
        if a.ndim >= 2 and not plain and not stored.endswith(".bias") and "ffn_gate_inp" not in stored and "conv1d" not in stored:
            w.add_tensor(stored, gguf.quants.quantize(a, kind), raw_dtype=kind)
        else:
            w.add_tensor(stored, a)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def with_adapter(model, gen, modules):
    lora = LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules=sorted(modules), bias="none",
                      task_type="CAUSAL_LM")  # fmt: skip
    tuned = get_peft_model(model, lora)
    with torch.no_grad():
        for name, p in tuned.named_parameters():
            if "lora_" in name:
                p.copy_(torch.randn(p.shape, generator=gen) * (0.3 if "lora_A" in name else 0.1))
    return tuned


def greedy(model, prompt, n):
    """prompt and the likeliest tokens after it, n in all: every token from a pass over all before it, which generate()
    agrees with."""
    ids = prompt
    while len(ids) < n:
        first, second = model(input_ids=ids[None], use_cache=False).logits[0, -1].topk(2).values.tolist()
        assert first - second > 1e-3, "a near tie: take another seed"
        ids = torch.cat([ids, model(input_ids=ids[None], use_cache=False).logits[0, -1].argmax()[None]])
    said = model.generate(prompt[None], max_length=n, do_sample=False, eos_token_id=None, pad_token_id=0)[0]
    assert torch.equal(ids, said), f"generate() gives {said.tolist()}, whole passes give {ids.tolist()}"
    return ids


def put_greedy(out, model, gen):
    """Answers that stay within the original context, that pass it, and that begin beyond it."""
    said = [greedy(model, torch.randint(0, V, (p,), generator=gen), n) for p, n in [(3, 15), (10, 40), (20, 40)]]
    out["greedy.ids"] = i32(torch.cat(said).tolist())
    out["greedy.prompt"] = i32([3, 10, 20])
    out["greedy.length"] = i32([len(s) for s in said])


def write_values(stem, model, gen, modules, lengths=ROWS):
    """What the model computes, and the adapter it does some of it with."""
    out = {}
    rows, targets = golden.make_rows(gen, lengths, shared=5)
    put_rows(out, "", rows, targets)
    out["logits"] = golden.logits_of(model, rows).detach()
    out["loss"] = loss_of(model, rows, targets).detach().reshape(1)
    if lengths == BEYOND:
        put_greedy(out, model, torch.Generator().manual_seed(7))
    tuned = with_adapter(model, gen, modules)
    golden.save_adapter(tuned, stem.with_name(stem.name + "-adapter-start"))
    last = torch.cumsum(torch.tensor([len(r) for r in rows]), 0) - 1
    out["lora.logits"] = golden.logits_of(tuned, rows).detach()[last]
    loss = loss_of(tuned, rows, targets)
    loss.backward()
    out["lora.loss"] = loss.detach().reshape(1)
    for n, p in tuned.named_parameters():
        if "lora_" in n:
            out["lora.grad." + hf_name(n)] = p.grad.clone()
    order = [[0, 1], [2, 0], [1, 2]]
    out["train.order"] = i32(order)
    out["train.losses"] = torch.tensor(golden.train(tuned, rows, targets, order, lr=5e-3), dtype=torch.float32)
    out = {k: v.contiguous() for k, v in sorted(out.items())}
    save_file(out, stem.with_name(stem.name + ".safetensors"), {"made_by": golden.versions()})


def check_folder(model, stem):
    """transformers reads what was written as the model that wrote it."""
    if (stem / "config.json").read_text().find("text_config") > 0:
        return  # only the class with eyes reads such a folder
    again = type(model).from_pretrained(stem, dtype=torch.float32, attn_implementation="eager")
    for (name, a), b in zip(model.named_parameters(), again.parameters()):
        assert torch.equal(a, b.to(torch.float32)), f"{stem}: {name} is read otherwise"


def make(family, spec):
    stem = GOLDEN / family / "tiny"
    stem.parent.mkdir(parents=True, exist_ok=True)
    model, gen = make_model(spec)
    write_folder(model, stem, shards=spec.get("shards", 1), spec=spec)
    if spec.get("stacked"):
        write_folder(model, stem.with_name("tiny-stacked"), spec=spec, stacked=True)
    check_folder(model, stem)
    if spec["gguf"]:
        write_gguf(model, stem.with_name("tiny.gguf"), spec)
    write_values(stem, model, gen, spec.get("modules", ["o_proj", "down_proj"] if spec.get("fused") else LINEARS),
                 spec.get("rows", ROWS))  # fmt: skip


# Bits of each linear of the quantised model; the others and the embedding have the folder's own, 4.
MLX_BITS = {"q_proj": 2, "k_proj": 3, "v_proj": 5, "o_proj": 6, "gate_proj": 8}


def quantise(mx, w, bits, group):
    """weight, scales, biases as MLX writes them for a bf16 matrix, and the values they stand for in f32."""
    q, scales, biases = mx.quantize(mx.array(w.numpy()).astype(mx.bfloat16), group_size=group, bits=bits)
    value = mx.dequantize(q, scales.astype(mx.float32), biases.astype(mx.float32), group_size=group, bits=bits)
    to_torch = lambda a: torch.from_numpy(np.array(a.astype(mx.float32))).to(torch.bfloat16)
    return {
        "weight": torch.from_numpy(np.array(q).view(np.int32)).view(torch.uint32),
        "scales": to_torch(scales),
        "biases": to_torch(biases),
    }, torch.from_numpy(np.array(value))


def make_mlx():
    import mlx.core as mx

    spec = FAMILIES["qwen3"] | dict(seed=31, hidden_size=32, intermediate_size=32, num_attention_heads=4)
    stem = GOLDEN / "qwen3" / "mlx"
    model, gen = make_model(spec)
    tensors, quantization = {}, {"group_size": 32, "bits": 4, "mode": "affine"}
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() == 1:
                tensors[name] = p.detach().to(torch.bfloat16)
                continue
            module = name.removesuffix(".weight")
            bits = MLX_BITS.get(module.split(".")[-1], 4)
            if bits != 4:
                quantization[module] = {"group_size": 32, "bits": bits}
            parts, value = quantise(mx, p.detach(), bits, 32)
            tensors |= {f"{module}.{k}": v for k, v in parts.items()}
            p.copy_(value)
    write_folder(model, stem)
    save_file(tensors, stem / "model.safetensors", {"format": "mlx"})
    config = json.loads((stem / "config.json").read_text())
    put_json(stem / "config.json", config | {"quantization": quantization, "quantization_config": quantization})
    write_values(stem, model, gen, LINEARS)
    make_mlx_tensors(mx)


def make_mlx_tensors(mx):
    """A folder of single tensors in every layout, each with the values it stands for; one has scales too small for f16."""
    out = GOLDEN / "mlx" / "affine"
    out.mkdir(parents=True, exist_ok=True)
    gen = torch.Generator().manual_seed(32)
    tensors, quantization = {}, {"group_size": 64, "bits": 4}
    for bits in (2, 3, 4, 5, 6, 8):
        for group in (32, 64, 128):
            module = f"b{bits}g{group}"
            parts, value = quantise(mx, torch.randn(2, 128, generator=gen), bits, group)
            tensors |= {f"{module}.{k}": v for k, v in parts.items()} | {f"{module}.want": value}
            quantization[module] = {"group_size": group, "bits": bits}
    parts, value = quantise(mx, torch.randn(2, 128, generator=gen) * 1e-6, 4, 64)
    tensors |= {f"small.{k}": v for k, v in parts.items()} | {"small.want": value}
    save_file({k: v.contiguous() for k, v in tensors.items()}, out / "model.safetensors", {"format": "mlx"})
    put_json(out / "config.json", {"model_type": "none", "quantization": quantization})


def compare_llama_cpp(family, spec):
    """llama.cpp on a GGUF against transformers' logits: says whether the file is what its name promises. The committed
    file is loaded too, but compared as f32, because llama.cpp rounds inputs of bf16 products to bf16."""
    import llama_cpp

    if not spec["gguf"]:
        return
    want = load_file(GOLDEN / family / "tiny.safetensors")
    begin = want["begin"].tolist()
    with tempfile.TemporaryDirectory() as tmp:
        write_gguf(make_model(spec)[0], f"{tmp}/plain.gguf", spec, plain=True)
        for what, path in [("bf16", str(GOLDEN / family / "tiny.gguf")), ("f32", f"{tmp}/plain.gguf")]:
            llm = llama_cpp.Llama(path, n_ctx=64, logits_all=True, verbose=False, n_threads=1, type_k=0, type_v=0)
            worst = 0.0
            for a, b in zip(begin, begin[1:]):
                # llama.cpp takes the long divisors for all rows: its n_ctx, 256 at least, is beyond this original context.
                if family == "phi3_beyond" and b - a <= spec["original_max_position_embeddings"]:
                    continue
                llm.reset()
                llm.eval(want["ids"][a:b].tolist())
                got = torch.tensor(np.array(llm.scores[: b - a]))
                d = (got - want["logits"][a:b]).abs().max() / want["logits"][a:b].abs().max()
                worst = max(worst, d.item())
            print(f"{family}, {what}: llama.cpp's logits differ by {worst:.1e} of the largest")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("families", nargs="*")
    ap.add_argument("--llama-cpp", action="store_true")
    ap.add_argument("--mlx", action="store_true")
    args = ap.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    if args.mlx:
        return make_mlx()
    for family in args.families or FAMILIES:
        (compare_llama_cpp if args.llama_cpp else make)(family, FAMILIES[family])


if __name__ == "__main__":
    main()
