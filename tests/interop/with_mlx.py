"""mlx-lm: our adapter/ in theirs, an adapter trained by mlx_lm.lora in ours. The base is the f32 folder that with_peft.py
saved from the same GGUF."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from common import *  # noqa: F403

HF = os.path.join(WORK, "hf")
LOSS_TOLERANCE = 5e-5
TIE = 2e-3
try:
    import mlx.core as mx
    import numpy as np
    from pathlib import Path
    from mlx_lm.tuner.utils import load_adapters
    from mlx_lm.utils import load_model
except ImportError as e:
    skip("adapter -> mlx-lm", str(e))
    sys.exit(0)
if not os.path.exists(os.path.join(HF, "model.safetensors")):
    skip("adapter -> mlx-lm", "no model folder: with_peft.py makes it")
    sys.exit(0)
if sys.platform != "darwin":
    mx.set_default_device(mx.cpu)


def logits_of(model):
    def run(ids):
        return np.array(model(mx.array([ids]))[0].astype(mx.float32))
    return run


def load(adapter=None):
    model = load_model(Path(HF))[0]
    if adapter:
        model = load_adapters(model, adapter)
    model.eval()
    return model


def losses(model, row_list):
    run = logits_of(model)
    return [log_softmax_loss(run(ids), ids, target) for _, ids, target in row_list]


def write_tokenizer():
    """mlx_lm.lora wants a tokenizer beside the model; what it makes of text does not matter here."""
    import transformers
    folder, name = os.path.split(MODEL)
    transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(HF)


def train_there(kind):
    """Three steps of mlx_lm.lora on the last three layers; its adapter folder."""
    write_tokenizer()
    data, made = os.path.join(WORK, "mlx_data"), os.path.join(WORK, "made_by_mlx_" + kind)
    os.makedirs(data, exist_ok=True)
    for part in ("train", "valid"):
        with open(os.path.join(data, part + ".jsonl"), "w") as f:
            for i in range(2):
                f.write(json.dumps({"text": f"The IDLH of ammonia is 300 ppm, row {i}."}) + "\n")
    code = "import mlx.core as mx; mx.set_default_device(mx.cpu); from mlx_lm.lora import main; main()"
    subprocess.run([sys.executable, "-c", code if sys.platform != "darwin" else "from mlx_lm.lora import main; main()",
                    "--model", HF, "--train", "--fine-tune-type", kind, "--data", data, "--iters", "3", "--batch-size", "1",
                    "--num-layers", "3", "--learning-rate", "1e-3", "--val-batches", "1", "--steps-per-eval", "1000",
                    "--max-seq-length", "32", "--adapter-path", made], check=True, capture_output=True)
    return made


def main():
    row_list = rows()[:4]
    tuned = load(ADAPTER)
    judge_losses("adapter -> mlx-lm", losses(tuned, row_list), our_losses(row_list, ADAPTER), LOSS_TOLERANCE)
    judge_greedy("adapter -> mlx-lm, answers", greedy(adapter=ADAPTER, prompts=PROMPTS[:4]), logits_of(tuned), TIE)
    made = train_there("lora")
    judge_losses("mlx_lm.lora adapter -> hearth", losses(load(made), row_list), our_losses(row_list, made), LOSS_TOLERANCE)


if __name__ == "__main__":
    main()
