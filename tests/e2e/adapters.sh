#!/bin/sh
# Adapters beyond plain LoRA through the whole program: DoRA, weights trained whole, fused modules.
. tests/e2e/tap.inc

for i in 1 2 3 4 5 6 7 8; do
	printf '{"messages":[{"role":"user","content":"q%s"},{"role":"assistant","content":"%s%s%s"}]}\n' $i $i $i $i
done > "$tmp/rows.jsonl"
train() { base=$1; shift; run "$HEARTH" train --model "$base" --data "$tmp/rows.jsonl" --batch-size 2 --rank 4 --iters 8 \
	--learning-rate 0.02 --sample-rows 1 "$@"; }
loss() { "$HEARTH" eval "$1" --data "$tmp/rows.jsonl" --answers off --json --adapter "$2" --skip-base 2>/dev/null | sed 's/.*"loss"://; s/,.*//'; }
near() { awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; exit !(a > 0 && b > 0 && d < 2e-5 && d > -2e-5) }'; }

train "$model" --use-dora --output-dir "$tmp/dora"
claim "a DoRA run leaves one folder for PEFT and mlx-lm" '[ $rc = 0 ]' '[ -s "$tmp/dora/adapter/adapters.safetensors" ]' \
	'grep -q "\"use_dora\": true" "$tmp/dora/adapter/adapter_config.json"' 'grep -q "\"fine_tune_type\": \"dora\"" "$tmp/dora/adapter/adapter_config.json"'
claim "and says that GGUF has no such adapters" 'err_has "no adapter.gguf: GGUF adapters have no magnitudes (DoRA)"' '[ ! -e "$tmp/dora/adapter.gguf" ]'
claim "and counts it not among the files" 'out_has "dora: adapter/ (PEFT, mlx-lm), report.html"'
claim "the config reruns it" 'grep -q "peft_use_dora: true" "$tmp/dora/config.yml"'
want=$(loss "$model" "$tmp/dora/adapter")
run "$HEARTH" inspect "$tmp/dora/adapter"
claim "inspect calls it DoRA" '[ $rc = 0 ]' 'out_has "DoRA adapter, rank 4"'
mkdir "$tmp/mlx"; cp "$tmp/dora/adapter/adapters.safetensors" "$tmp/dora/adapter/adapter_config.json" "$tmp/mlx"
run "$HEARTH" convert "$tmp/mlx" --to peft --output "$tmp/peft"
claim "its MLX files alone become PEFT's" '[ $rc = 0 ]' 'near "$(loss "$model" "$tmp/peft")" "$want"' 'near "$(loss "$model" "$tmp/mlx")" "$want"'
run "$HEARTH" convert "$tmp/dora/adapter" --to gguf --model "$model" --output "$tmp/d.gguf"
claim "a GGUF adapter is refused by name" '[ $rc = 1 ]' 'err_has "magnitudes (DoRA)" "hearth fuse"' '[ ! -e "$tmp/d.gguf" ]'
run "$HEARTH" fuse "$model" --adapter "$tmp/dora/adapter" --type f32 --no-check --output "$tmp/fused.gguf"
run "$HEARTH" eval "$tmp/fused.gguf" --data "$tmp/rows.jsonl" --answers off --json
claim "the fused file says what base and adapter say" '[ $rc = 0 ]' 'near "$(sed "s/.*\"loss\"://; s/,.*//" "$tmp/out")" "$want"'
ids() { "$HEARTH" generate "$@" --max-tokens 12 --json 2>&1 | sed 's/.*"ids"//'; }
claim "and answers alike, token by token" '[ "$(ids "$model" hi --adapter "$tmp/dora/adapter")" = "$(ids "$tmp/fused.gguf" hi)" ]' \
	'[ "$(ids "$model" hi)" != "$(ids "$tmp/fused.gguf" hi)" ]'
train "$model" --fine-tune-type dora --output-dir "$tmp/dora2"
claim "mlx-lm's name for it gives the same bits" '[ $rc = 0 ]' 'cmp "$tmp/dora/adapter/adapter_model.safetensors" "$tmp/dora2/adapter/adapter_model.safetensors"'
train "$model" --resume-adapter-file "$tmp/dora/adapter" --output-dir "$tmp/more"
claim "it can be trained on" '[ $rc = 0 ]' 'grep -q "\"use_dora\": true" "$tmp/more/adapter/adapter_config.json"'

train "$golden/untied.gguf" --target-modules q_proj --modules-to-save embed_tokens --modules-to-save lm_head --modules-to-save norm \
	--output-dir "$tmp/whole"
claim "weights trained whole are PEFT's modules_to_save" '[ $rc = 0 ]' 'err_has "mlx-lm" "modules_to_save" "no adapter.gguf"' \
	'[ ! -e "$tmp/whole/adapter/adapters.safetensors" ]' 'grep -q "\"model.norm\"" "$tmp/whole/adapter/adapter_config.json"'
want=$(loss "$golden/untied.gguf" "$tmp/whole/adapter")
run "$HEARTH" inspect "$tmp/whole/adapter"
claim "inspect names them" '[ $rc = 0 ]' 'out_has "model.embed_tokens.weight" "trained whole"'
run "$HEARTH" convert "$tmp/whole/adapter" --output "$tmp/w"
claim "a folder for mlx-lm is refused by name" '[ $rc = 1 ]' 'err_has "modules_to_save" "--to peft"' '[ ! -e "$tmp/w" ]'
run "$HEARTH" convert "$tmp/whole/adapter" --to peft --output "$tmp/w"
claim "PEFT's keeps all" '[ $rc = 0 ]' '[ "$(loss "$golden/untied.gguf" "$tmp/w")" = "$want" ]'
run "$HEARTH" fuse "$golden/untied.gguf" --adapter "$tmp/whole/adapter" --type f32 --no-check --output "$tmp/wf.gguf"
run "$HEARTH" eval "$tmp/wf.gguf" --data "$tmp/rows.jsonl" --answers off --json
claim "fused they are in the file" '[ $rc = 0 ]' 'near "$(sed "s/.*\"loss\"://; s/,.*//" "$tmp/out")" "$want"'
train "$model" --modules-to-save down_proj --output-dir "$tmp/x"
claim "a linear is not trained whole" '[ $rc = 2 ]' 'err_has "down_proj" "embed_tokens, lm_head and norms"' '[ ! -e "$tmp/x/adapter" ]'
train "$model" --fine-tune-type full --use-dora --output-dir "$tmp/x"
claim "full fine-tuning has no magnitudes" '[ $rc = 2 ]' 'err_has "--use-dora"'

phi=tests/golden/phi3/tiny
train "$phi" --output-dir "$tmp/phi"
claim "Phi 3's fused modules have one A each" '[ $rc = 0 ]' 'grep -q qkv_proj "$tmp/phi/adapter/adapter_config.json"' '! grep -q q_proj.lora "$tmp/phi/adapter/adapter_model.safetensors"'
want=$(loss "$phi" "$tmp/phi/adapter")
claim "as GGUF too" '[ -s "$tmp/phi/adapter.gguf" ]' 'near "$(loss "$phi.gguf" "$tmp/phi/adapter.gguf")" "$want"'
train "$phi" --target-modules qkv_proj --output-dir "$tmp/qkv"
claim "qkv_proj is a target" '[ $rc = 0 ]' '! grep -q gate_up_proj "$tmp/qkv/adapter/adapter_config.json"'
train "$phi" --target-modules q_proj --output-dir "$tmp/x"
claim "a part of it is not" '[ $rc = 2 ]' 'err_has "self_attn.q_proj is a part of self_attn.qkv_proj"'

for case in gemma/tiny:whole-head qwen2/tiny:whole-tied; do
	base=tests/golden/${case%%:*}; adapter=tests/golden/adapters/${case##*:}-step10
	for from in "$base" "$base.gguf"; do
		want=$(loss "$from" "$adapter")
		run "$HEARTH" fuse "$from" --adapter "$adapter" --type f32 --no-check --output "$tmp/untied.gguf" --overwrite
		"$HEARTH" eval "$tmp/untied.gguf" --data "$tmp/rows.jsonl" --answers off --json > "$tmp/out" 2> "$tmp/err"
		claim "a tied $from gets a head of its own where the adapter has one" '[ $rc = 0 ]' 'near "$(sed "s/.*\"loss\"://; s/,.*//" "$tmp/out")" "$want"'
	done
done
finish
