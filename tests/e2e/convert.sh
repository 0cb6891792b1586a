#!/bin/sh
# hearth convert: an adapter through all its layouts and back, with the same answers.
. tests/e2e/tap.inc
adapter=$golden/tied-adapter-step10
ids() { "$HEARTH" generate "$model" hi --adapter "$1" --max-tokens 12 --json 2>&1 | sed 's/.*"ids"//'; }
want=$(ids "$adapter")

run "$HEARTH" convert "$adapter" --output "$tmp/both"
claim "PEFT to one folder for PEFT and mlx-lm" '[ $rc = 0 ]' 'out_has "14 modules, rank 4"' \
	'[ -s "$tmp/both/adapter_model.safetensors" ]' '[ -s "$tmp/both/adapters.safetensors" ]'
claim "its one config holds both tools' keys" 'grep -q peft_type "$tmp/both/adapter_config.json"' 'grep -q lora_parameters "$tmp/both/adapter_config.json"'
claim "which answers alike" '[ "$(ids "$tmp/both")" = "$want" ]'
mkdir "$tmp/mlx"; cp "$tmp/both/adapters.safetensors" "$tmp/both/adapter_config.json" "$tmp/mlx"
claim "as do its MLX files alone" '[ "$(ids "$tmp/mlx")" = "$want" ]'
run "$HEARTH" convert "$tmp/mlx" --to peft --output "$tmp/peft"
claim "MLX to plain PEFT" '[ $rc = 0 ]' '! grep -q lora_parameters "$tmp/peft/adapter_config.json"' '[ ! -e "$tmp/peft/adapters.safetensors" ]'
claim "which answers alike too" '[ "$(ids "$tmp/peft")" = "$want" ]'
run "$HEARTH" convert "$tmp/peft" --to gguf --model "$model" --output "$tmp/a.gguf"
claim "PEFT to GGUF" '[ $rc = 0 ]' '[ -s "$tmp/a.gguf" ]'
claim "GGUF answers alike" '[ "$(ids "$tmp/a.gguf")" = "$want" ]'
run "$HEARTH" convert "$tmp/a.gguf" --to peft --model "$model" --output "$tmp/back"
claim "GGUF back to PEFT has the same weights" '[ $rc = 0 ]' '[ "$(ids "$tmp/back")" = "$want" ]'
run "$HEARTH" convert "$adapter" --to gguf --output "$tmp/b.gguf"
claim "GGUF without its base is bad use" '[ $rc = 2 ]' 'err_has "--model"' '[ ! -e "$tmp/b.gguf" ]'
run "$HEARTH" convert "$adapter" --output "$tmp/both"
claim "convert does not overwrite" '[ $rc = 1 ]' 'err_has "--overwrite"'
run "$HEARTH" convert "$adapter" --output "$tmp/both" --to peft --overwrite
claim "--overwrite replaces the folder whole" '[ $rc = 0 ]' '[ ! -e "$tmp/both/adapters.safetensors" ]'
mkdir "$tmp/mine"; echo precious > "$tmp/mine/thesis.txt"
run "$HEARTH" convert "$adapter" --output "$tmp/mine" --overwrite
claim "--overwrite never removes files that are not an adapter's" '[ "$(cat "$tmp/mine/thesis.txt" 2>/dev/null)" = precious ]'
run "$HEARTH" convert "$adapter"
claim "no output is bad use" '[ $rc = 2 ]' 'err_has "--output"'
run "$HEARTH" convert "$adapter" --to onnx --output "$tmp/x"
claim "an unknown layout lists the known" '[ $rc = 2 ]' 'err_has "peft+mlx|peft|gguf"'
run "$HEARTH" convert "$model" --model "$model" --output "$tmp/x"
claim "a model is no adapter" '[ $rc = 1 ]' '[ ! -e "$tmp/x" ]'
finish
