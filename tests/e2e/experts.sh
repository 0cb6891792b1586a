#!/bin/sh
# Adapters on the experts of mixtures through the whole program: training, resuming, files, fusing, answering.
. tests/e2e/tap.inc

for i in 1 2 3 4 5 6 7 8; do
	printf '{"messages":[{"role":"user","content":"q%s"},{"role":"assistant","content":"%s%s%s"}]}\n' $i $i $i $i
done > "$tmp/rows.jsonl"
train() { base=$1; shift; run "$HEARTH" train --model "$base" --data "$tmp/rows.jsonl" --batch-size 2 --rank 3 --iters 6 \
	--learning-rate 0.02 --sample-rows 0 "$@"; }
loss() { "$HEARTH" eval "$@" --data "$tmp/rows.jsonl" --answers off --json 2>/dev/null | sed 's/.*"loss"://; s/,.*//'; }
tuned() { loss "$1" --adapter "$2" --skip-base; }
near() { awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; exit !(a > 0 && b > 0 && d < 2e-5 && d > -2e-5) }'; }
ids() { "$HEARTH" generate "$@" --max-tokens 12 --json 2>&1 | sed 's/.*"ids"//'; }

moe=tests/golden/qwen3moe/tiny
train $moe.gguf --output-dir "$tmp/plain"
claim "all linears are not the experts, which is said" '[ $rc = 0 ]' 'err_has "the experts stay as they are, as in PEFT" "--target-modules experts"' \
	'! grep -q experts "$tmp/plain/adapter/adapter_config.json"'
train $moe.gguf --target-modules all-linear --target-modules experts --target-modules gate --dropout 0.1 --output-dir "$tmp/moe"
claim "experts and router are adapted by name, without dropout" '[ $rc = 0 ]' 'err_has "dropout: not on the experts"' \
	'grep -q "\"mlp.experts.gate_up_proj\"" "$tmp/moe/adapter/adapter_config.json"' \
	'grep -q "\"lora_dropout\": 0.0" "$tmp/moe/adapter/adapter_config.json"'
want=$(tuned $moe.gguf "$tmp/moe/adapter")
claim "and learn more" 'awk -v a="$want" -v b="$(tuned $moe.gguf "$tmp/plain/adapter")" "BEGIN { exit !(a > 0 && a < b) }"'
train $moe.gguf --target-modules all-linear --target-modules experts --target-modules gate --dropout 0.1 --output-dir "$tmp/one" --threads 1
claim "one thread gives the same bits" '[ $rc = 0 ]' 'cmp "$tmp/one/adapter/adapter_model.safetensors" "$tmp/moe/adapter/adapter_model.safetensors"'
train $moe.gguf --target-modules all-linear --target-modules experts --target-modules gate --dropout 0.1 --output-dir "$tmp/half" --save-every 3
rm -rf "$tmp/half/adapter" "$tmp/half/checkpoints/step-6"
run "$HEARTH" train --config "$tmp/half/config.yml" --resume
claim "a resumed run too" '[ $rc = 0 ]' 'cmp "$tmp/half/adapter/adapter_model.safetensors" "$tmp/moe/adapter/adapter_model.safetensors"'
mkdir "$tmp/mlx"; cp "$tmp/moe/adapter/adapters.safetensors" "$tmp/moe/adapter/adapter_config.json" "$tmp/mlx"
claim "MLX's file and GGUF's say the same, on the folder too" 'near "$(tuned $moe.gguf "$tmp/mlx")" "$want"' \
	'near "$(tuned $moe.gguf "$tmp/moe/adapter.gguf")" "$want"' 'near "$(tuned $moe "$tmp/moe/adapter")" "$want"'
run "$HEARTH" convert "$tmp/mlx" --to peft --output "$tmp/peft"
"$HEARTH" convert "$tmp/moe/adapter" --to peft --output "$tmp/sorted" > /dev/null
claim "MLX's file becomes PEFT's, whose gate and up share A again" '[ $rc = 0 ]' \
	'cmp "$tmp/peft/adapter_model.safetensors" "$tmp/sorted/adapter_model.safetensors"'
run "$HEARTH" convert "$tmp/peft" --output "$tmp/back"
claim "and back only with the model at hand" '[ $rc = 1 ]' 'err_has "--model names it"' '[ ! -e "$tmp/back" ]'
run "$HEARTH" convert "$tmp/peft" --model $moe.gguf --output "$tmp/back"
claim "which says the same" '[ $rc = 0 ]' 'rm "$tmp/back/adapter_model.safetensors"' 'near "$(tuned $moe.gguf "$tmp/back")" "$want"'
run "$HEARTH" inspect "$tmp/moe/adapter"
claim "inspect counts every expert" '[ $rc = 0 ]' 'out_has "rank 3, scale" "8 experts of (24,16)" "mlp.gate "'
train $moe.gguf --resume-adapter-file "$tmp/mlx" --output-dir "$tmp/more"
claim "an adapter from MLX's file is trained on as it is" '[ $rc = 0 ]' 'grep -q "mlp.switch_mlp.up_proj" "$tmp/more/adapter/adapter_config.json"'

for family in qwen3moe mixtral gptoss_mxfp4; do
	moe=tests/golden/$family/tiny
	train $moe.gguf --target-modules experts --target-modules q_proj --output-dir "$tmp/$family"
	want=$(tuned $moe.gguf "$tmp/$family/adapter")
	run "$HEARTH" fuse $moe.gguf --adapter "$tmp/$family/adapter" --type f32 --no-check --output "$tmp/$family.gguf"
	claim "$family: fused into GGUF" '[ $rc = 0 ]' 'near "$(loss "$tmp/$family.gguf")" "$want"'
	claim "$family: and answers alike, token by token" '[ "$(ids $moe.gguf hi --adapter "$tmp/$family/adapter")" = "$(ids "$tmp/$family.gguf" hi)" ]' \
		'[ "$(ids $moe.gguf hi)" != "$(ids "$tmp/$family.gguf" hi)" ]'
	run "$HEARTH" fuse $moe --adapter "$tmp/$family/adapter" --type f32 --no-check --output "$tmp/$family-folder"
	claim "$family: fused into a folder" '[ $rc = 0 ]' 'near "$(loss "$tmp/$family-folder")" "$want"'
done

moe=tests/golden/mixtral/tiny
train $moe --target-modules mlp.switch_mlp.gate_proj --target-modules mlp.switch_mlp.up_proj --output-dir "$tmp/apart"
want=$(tuned $moe "$tmp/apart/adapter")
claim "by mlx-lm's names gate and up have an A each" '[ $rc = 0 ]' 'grep -q "block_sparse_moe.switch_mlp.up_proj" "$tmp/apart/adapter/adapter_config.json"' \
	'near "$(tuned $moe.gguf "$tmp/apart/adapter.gguf")" "$want"'
train $moe --target-modules switch_mlp.up_proj --target-modules experts.gate_up_proj --output-dir "$tmp/x"
claim "not both ways at once" '[ $rc = 2 ]' 'err_has "either one (gate_up_proj) or two"'
train $moe --target-modules experts --use-dora --output-dir "$tmp/x"
claim "experts have no magnitudes" '[ $rc = 1 ]' 'err_has "experts take LoRA without magnitudes"'
train "$model" --target-modules experts --output-dir "$tmp/x"
claim "a dense model has no experts" '[ $rc = 1 ]' 'err_has "is no mixture of experts; leave it out"'
train $moe --target-modules down_proj --output-dir "$tmp/x"
claim "nor a mixture a dense down_proj" '[ $rc = 1 ]' 'err_has "none outside its experts" "mlp.experts.down_proj"'
run "$HEARTH" eval "$model" --data "$tmp/rows.jsonl" --answers off --adapter "$tmp/moe/adapter"
claim "an adapter of experts is none of a dense model" '[ $rc = 1 ]' 'err_has "was the adapter trained on another model?"'
run "$HEARTH" plan --model $moe --data "$tmp/rows.jsonl" --target-modules experts --rank 3
claim "the plan counts every expert" '[ $rc = 0 ]' 'out_has "moments      49.9 KB"' # 2496 values, five copies
finish
