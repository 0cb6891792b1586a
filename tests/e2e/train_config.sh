#!/bin/sh
# Configurations and command lines of the tools that hearth train replaces, unchanged; and what a config file may not say.
. tests/e2e/tap.inc

mkdir "$tmp/data"
for i in 1 2 3 4 5 6 7 8 9 10; do
	printf '{"messages":[{"role":"user","content":"q%s"},{"role":"assistant","content":"a%s"}]}\n' $i $i
done > "$tmp/data/train.jsonl"
head -3 "$tmp/data/train.jsonl" > "$tmp/data/valid.jsonl"

# Axolotl's keys as the guide uses them.
cat > "$tmp/axolotl.yml" <<YAML
base_model: $model
model_type: LlamaForCausalLM

device: mps
bf16: true
fp16: false
flash_attention: false

adapter: lora
lora_r: 8
lora_alpha: 16
lora_dropout: 0.05
lora_target_modules:
  - q_proj
  - k_proj
  - v_proj
  - o_proj
  - gate_proj
  - up_proj
  - down_proj

batch_size: 1
gradient_accumulation_steps: 4
gradient_checkpointing: true
sequence_len: 1024

num_epochs: 2
learning_rate: 2e-4
optimizer: adamw_torch
lr_scheduler: cosine
warmup_steps: 2
weight_decay: 0.01

datasets:
  - path: $tmp/data/train.jsonl
    type: chat_template

output_dir: $tmp/ax
logging_steps: 1
save_steps: 2
YAML
run "$HEARTH" train "$tmp/axolotl.yml"
claim "an Axolotl config runs unchanged" '[ $rc = 0 ]' '[ -s "$tmp/ax/adapter/adapter_model.safetensors" ]'
claim "its keys that need nothing here say why" 'err_has "flash_attention has no effect here"' '! err_has "gradient_checkpointing has no effect here"'
claim "its values are shown with the file as origin" 'err_has "axolotl.yml"' 'grep -q "rank  *8 " "$tmp/err"' 'grep -q "learning-rate  *0.0002 " "$tmp/err"'
run "$HEARTH" inspect "$tmp/ax/adapter"
claim "the adapter has its rank, alpha and modules" '[ $rc = 0 ]' 'out_has "rank 8, alpha 16, dropout 0.05, 14 modules"'
claim "a step is batch_size x gradient_accumulation_steps examples" '[ $(grep -vc val_loss "$tmp/ax/metrics.jsonl") = 6 ]'

run "$HEARTH" train "$tmp/axolotl.yml" --output-dir "$tmp/flag" --rank 4 --epochs 1
run "$HEARTH" inspect "$tmp/flag/adapter"
claim "a flag wins over the file" '[ $rc = 0 ]' 'out_has "rank 4"'
run "$HEARTH" train --config "$tmp/flag/config.yml" --output-dir "$tmp/rerun"
claim "config.yml reruns the run bit for bit" '[ $rc = 0 ]' \
	'cmp -s "$tmp/flag/adapter/adapter_model.safetensors" "$tmp/rerun/adapter/adapter_model.safetensors"'
grep -v '^output_dir:' "$tmp/flag/config.yml" > "$tmp/a"; grep -v '^output_dir:' "$tmp/rerun/config.yml" > "$tmp/b"
claim "and writes the same config.yml" 'cmp -s "$tmp/a" "$tmp/b"'

# mlx_lm.lora's command line as the guide uses it.
run "$HEARTH" train --model "$model" --data "$tmp/data" --train --iters 6 --steps-per-eval 3 --val-batches 1 \
	--lora-layers 1 --batch-size 2 --learning-rate 1e-4 --save-every 3 --adapter-path "$tmp/adapters" --output-dir "$tmp/mlx"
claim "an mlx_lm.lora command line runs unchanged" '[ $rc = 0 ]' '[ -s "$tmp/adapters/adapters.safetensors" ]' \
	'[ -s "$tmp/adapters/adapter_config.json" ]'
run "$HEARTH" inspect "$tmp/adapters"
claim "--lora-layers is the number of layers" '[ $rc = 0 ]' 'out_has "7 modules" "layers.1."' '! out_has "layers.0."'
cat > "$tmp/mlx.yml" <<YAML
model: $model
train: true
fine_tune_type: lora
data: $tmp/data
seed: 0
num_layers: 2
batch_size: 2
iters: 3
val_batches: 1
learning_rate: 1e-4
steps_per_report: 1
steps_per_eval: 3
resume_adapter_file: null
adapter_path: $tmp/adapters2
save_every: 100
test: false
test_batches: 100
max_seq_length: 128
grad_checkpoint: false
lora_parameters:
  keys: ["self_attn.q_proj", "self_attn.v_proj"]
  rank: 4
  scale: 20.0
  dropout: 0.0
lr_schedule:
  name: cosine
  warmup: 1
YAML
run "$HEARTH" train -c "$tmp/mlx.yml" --output-dir "$tmp/mlx2"
claim "an mlx-lm config runs too" '[ $rc = 0 ]'
run "$HEARTH" inspect "$tmp/adapters2"
claim "with its keys, rank and scale" '[ $rc = 0 ]' 'out_has "4 modules" "rank 4, scale 20"'

refuse() { # FACT YAML-LINE EXPECTED...
	fact=$1; sed "s|^output_dir:.*|output_dir: $tmp/never|" "$tmp/axolotl.yml" > "$tmp/r.yml"; printf "$2" >> "$tmp/r.yml"; shift 2
	run "$HEARTH" train "$tmp/r.yml"
	cp "$tmp/err" "$tmp/keep"; missing=
	for t in "$@"; do err_has "$t" || missing=$t; done
	claim "$fact" '[ $rc = 2 ]' '[ -z "$missing" ]' '[ ! -e "$tmp/never" ]'
}
lines=$(wc -l < "$tmp/axolotl.yml")
refuse "an unknown key is an error with its line and the nearest key" 'learning_rat: 1\n' "r.yml:$((lines + 1))" 'did you mean "learning_rate"'
refuse "a key given twice is an error" 'lora_r: 9\n' "lora_r"
refuse "a wrong type is an error with its line" 'seed: often\n' "r.yml:$((lines + 1))" "often"
refuse "a list where one value belongs is an error" 'seed: [1, 2]\n' "r.yml:$((lines + 1))" "list"
refuse "an unknown nested key is an error" 'lora_parameters:\n  rnak: 3\n' "rnak"
refuse "anchors are an error" 'x: &a 1\n' "r.yml"
refuse "an unknown optimizer is an error that lists them" 'optimzer: sgd\n' "optimizer"
printf 'base_model: [\n' > "$tmp/broken.yml"
run "$HEARTH" train "$tmp/broken.yml"
claim "broken YAML is an error with its line" '[ $rc != 0 ]' 'err_has "broken.yml:"'
run "$HEARTH" train "$tmp/none.yml"
claim "a config that is not there is named" '[ $rc != 0 ]' 'err_has "none.yml"'
finish
