"""transformers and PEFT: our adapter in theirs, theirs in ours, our fused file in theirs. All in f32."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from common import *  # noqa: F403

try:
    import torch
    import transformers
    from peft import LoraConfig, PeftModel, get_peft_model
except ImportError as e:
    skip("adapter -> PEFT", str(e))
    sys.exit(0)
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

LOSS_TOLERANCE = 2e-5  # f32 sums in another order through 30 layers, and eval's six decimals
TIE = 1e-3


def load(path):
    folder, name = os.path.split(path)
    return transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()


def logits_of(model):
    def run(ids):
        with torch.no_grad():
            return model(torch.tensor([ids])).logits[0].numpy()
    return run


def losses(model, row_list):
    run = logits_of(model)
    return [log_softmax_loss(run(ids), ids, target) for _, ids, target in row_list]


def random_b(model):
    """An untrained B is zero and would test nothing."""
    torch.manual_seed(5)
    for name, p in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.02)


def theirs_in_ours(name, base, row_list, config):
    tuned = get_peft_model(base, config)
    random_b(tuned)
    folder = os.path.join(WORK, "made_by_peft_" + name.split()[0])
    tuned.save_pretrained(folder)
    judge_losses(f"PEFT adapter ({name}) -> hearth", losses(tuned.eval(), row_list), our_losses(row_list, folder), LOSS_TOLERANCE)
    return tuned.unload()


def save_folder(base):
    """mlx-lm wants a model folder: the same base in f32. A model that came from a GGUF refuses to be saved, a copy does not."""
    config = base.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    copy = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    copy.load_state_dict(base.state_dict())
    folder = os.path.join(WORK, "hf")
    copy.save_pretrained(folder)
    # transformers 5 writes rope_parameters; mlx-lm's Llama reads rope_theta and would take its default without a word.
    path = os.path.join(folder, "config.json")
    with open(path) as f:
        written = json.load(f)
    written["rope_theta"] = written["rope_parameters"]["rope_theta"]
    with open(path, "w") as f:
        json.dump(written, f)


def main():
    row_list = rows()
    base = load(MODEL)
    save_folder(base)
    judge_losses("base GGUF, transformers beside hearth", losses(base, row_list), our_losses(row_list), LOSS_TOLERANCE)
    tuned = PeftModel.from_pretrained(base, ADAPTER).eval()
    judge_losses("adapter -> PEFT", losses(tuned, row_list), our_losses(row_list, ADAPTER), LOSS_TOLERANCE)
    judge_greedy("adapter -> PEFT, answers", greedy(adapter=ADAPTER), logits_of(tuned), TIE)
    base = tuned.unload()
    every = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    base = theirs_in_ours("plain r 6", base, row_list, LoraConfig(r=6, lora_alpha=12, target_modules=every, task_type="CAUSAL_LM"))
    base = theirs_in_ours("rslora and patterns", base, row_list, LoraConfig(
        r=8, lora_alpha=16, use_rslora=True, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM",
        layers_to_transform=list(range(10, 30)), rank_pattern={"v_proj": 3, r"layers\.29\..*down_proj": 5},
        alpha_pattern={"q_proj": 4}))
    plain = os.path.join(WORK, "plain_peft")
    hearth("convert", ADAPTER, "--to", "peft", "--output", plain)
    tuned = PeftModel.from_pretrained(base, plain).eval()
    judge_losses("convert --to peft -> PEFT", losses(tuned, row_list), our_losses(row_list, ADAPTER), LOSS_TOLERANCE)
    del base, tuned
    fused = os.path.join(WORK, "fused-f16.gguf")
    if not os.path.exists(fused):
        hearth("fuse", MODEL, "--adapter", ADAPTER, "--type", "f16", "--no-check", "--output", fused)
    judge_losses("fused f16 GGUF -> transformers", losses(load(fused), row_list), our_losses(row_list, model=fused), LOSS_TOLERANCE)


if __name__ == "__main__":
    main()
