"""Adapters beyond plain LoRA in PEFT and mlx-lm, both ways: DoRA, weights trained whole (modules_to_save), Phi 3's fused
modules (on the tiny golden, since the smallest real Phi 3 has 4 billion weights)."""
import shutil

from with_peft import *  # noqa: F403

PHI = "tests/golden/phi3/tiny"
EVERY = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def train(name, *args, model=MODEL, data="examples/hazmat"):
    """A short run of hearth; its adapter folder."""
    out = os.path.join(WORK, "run_" + name)
    hearth("train", "--model", model, "--data", data, "--output-dir", out, "--compute", "f32", "--iters", "6", "--batch-size", "2",
           "--rank", "8", "--alpha", "16", "--learning-rate", "2e-3", "--steps-per-eval", "6", "--val-batches", "1",
           "--sample-rows", "0", "--seed", "5", "--json", "--overwrite", *args)
    return os.path.join(out, "adapter")


def disturb(model):
    """What an untrained adapter holds would test nothing."""
    torch.manual_seed(9)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(p, std=0.02)
            elif "magnitude" in name:
                p.mul_(1 + 0.1 * torch.randn_like(p))
            elif "modules_to_save" in name:
                p.mul_(1 + 0.02 * torch.randn_like(p))


def ours_in_peft(name, base, row_list, adapter, model=MODEL):
    tuned = PeftModel.from_pretrained(base, adapter).eval()
    judge_losses(f"{name} of hearth -> PEFT", losses(tuned, row_list), our_losses(row_list, adapter, model=model), LOSS_TOLERANCE)
    return tuned.unload()


def peft_in_ours(name, base, row_list, config, model=MODEL):
    tuned = get_peft_model(base, config).eval()
    disturb(tuned)
    folder = os.path.join(WORK, "peft_" + name.split()[0])
    tuned.save_pretrained(folder)
    judge_losses(f"{name} of PEFT -> hearth", losses(tuned, row_list), our_losses(row_list, folder, model=model), LOSS_TOLERANCE)
    return tuned.unload()


def with_peft(row_list):
    base = load(MODEL)
    if not os.path.exists(os.path.join(WORK, "hf", "model.safetensors")):
        save_folder(base)
    dora = train("dora", "--use-dora")
    base = ours_in_peft("DoRA", base, row_list, dora)
    base = peft_in_ours("DoRA", base, row_list, LoraConfig(r=6, lora_alpha=12, target_modules=EVERY, use_dora=True, task_type="CAUSAL_LM"))
    base = ours_in_peft("modules_to_save", base, row_list, train(
        "whole", "--target-modules", "q_proj", "--modules-to-save", "embed_tokens", "--modules-to-save", "input_layernorm"))
    # unload() leaves what was trained whole in the base: a fresh one for each.
    peft_in_ours("modules_to_save", load(MODEL), row_list, LoraConfig(
        r=4, lora_alpha=4, target_modules=["v_proj"], modules_to_save=["lm_head", "embed_tokens", "model.norm"], task_type="CAUSAL_LM"))
    return dora


def phi_rows():
    """Rows that fit the tiny context."""
    path = os.path.join(WORK, "phi.jsonl")
    texts = [("What is the IDLH?", "300 ppm."), ("And of chlorine?", "10 ppm."), ("hi", "yes, the end")]
    with open(path, "w") as f:
        for q, a in texts:
            f.write(json.dumps({"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}) + "\n")
    out = []
    for i, line in enumerate(open(path).readlines()):
        one = os.path.join(WORK, f"phi{i}.jsonl")
        with open(one, "w") as f:
            f.write(line)
        tokens = hearth("data", "show", one, "--model", PHI, "--rows", "1", "--json")[0]["tokens"]
        out.append((one, [t["id"] for t in tokens], [bool(t["target"]) for t in tokens]))
    return path, out


def with_phi():
    path, row_list = phi_rows()
    fused = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]

    def fresh():
        return transformers.AutoModelForCausalLM.from_pretrained(PHI, dtype=torch.float32).eval()
    for dora in (False, True):
        name = "Phi3 DoRA" if dora else "Phi3 LoRA"
        made = train("phi" + str(dora), *(["--use-dora"] if dora else []), model=PHI, data=path)
        ours_in_peft(name, fresh(), row_list, made, model=PHI)
        peft_in_ours(name, fresh(), row_list, LoraConfig(r=3, lora_alpha=6, target_modules=fused, use_dora=dora,
                                                         task_type="CAUSAL_LM"), model=PHI)


def with_mlx(row_list, dora):
    try:
        import with_mlx as mlx
    except SystemExit:
        return
    row_list = row_list[:4]
    mlx_only = os.path.join(WORK, "dora_mlx_only")
    shutil.rmtree(mlx_only, ignore_errors=True)
    shutil.copytree(dora, mlx_only, ignore=shutil.ignore_patterns("adapter_model*"))
    judge_losses("DoRA of hearth -> mlx-lm", mlx.losses(mlx.load(mlx_only), row_list), our_losses(row_list, mlx_only), mlx.LOSS_TOLERANCE)
    made = mlx.train_there("dora")
    judge_losses("DoRA of mlx_lm.lora -> hearth", mlx.losses(mlx.load(made), row_list), our_losses(row_list, made), mlx.LOSS_TOLERANCE)


def main():
    row_list = rows()
    with_phi()
    dora = with_peft(row_list)
    with_mlx(row_list, dora)


main()
