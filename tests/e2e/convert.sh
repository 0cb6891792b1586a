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
run "$HEARTH" convert "$tmp/peft" --model "$model" --output "$tmp/auto.gguf"
claim "the output's name says so too" '[ $rc = 0 ]' 'cmp "$tmp/a.gguf" "$tmp/auto.gguf"'
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
claim "an unknown layout lists the known" '[ $rc = 2 ]' 'err_has "peft+mlx|peft|mlx|gguf|hf"'
run "$HEARTH" convert "$model" --model "$model" --output "$tmp/x"
claim "a model is no adapter" '[ $rc = 2 ]' 'err_has "is no adapter"' '[ ! -e "$tmp/x" ]'

# Models.
answer() { "$HEARTH" generate "$1" hi --max-tokens 12 --json 2>&1 | sed 's/.*"ids"//'; }
base=$(answer "$model")
run "$HEARTH" convert "$model" --to hf --type f32 --output "$tmp/hf"
claim "a GGUF file to a folder" '[ $rc = 0 ]' '[ -s "$tmp/hf/model.safetensors" ]' '[ -s "$tmp/hf/tokenizer.json" ]'
claim "which answers alike" '[ "$(answer "$tmp/hf")" = "$base" ]'
echo '{"messages":[{"role":"user","content":"hi"}]}' > "$tmp/chat.jsonl"
claim "and renders alike" '[ "$("$HEARTH" render "$tmp/hf" < "$tmp/chat.jsonl")" = "$("$HEARTH" render "$model" < "$tmp/chat.jsonl")" ]'
run "$HEARTH" convert "$tmp/hf" --output "$tmp/back.gguf"
claim "the folder back to GGUF, as it is stored" '[ $rc = 0 ]' 'out_has "f32"'
claim "answers alike too" '[ "$(answer "$tmp/back.gguf")" = "$base" ]'
run "$HEARTH" convert "$tmp/hf" --to mlx --type bf16 --output "$tmp/mlx16" --json
claim "a folder to an MLX folder" '[ $rc = 0 ]' 'out_has "\"type\":\"bf16\""' 'grep -q rope_theta "$tmp/mlx16/config.json"'
run "$HEARTH" convert "$tmp/hf" --to hf --output "$tmp/hf"
claim "a folder is not overwritten" '[ $rc = 1 ]' 'err_has "--overwrite"'
run "$HEARTH" convert "$tmp/hf" --to hf --type f32 --output "$tmp/hf" --overwrite
claim "a folder over itself stays whole" '[ $rc = 0 ]' '[ "$(answer "$tmp/hf")" = "$base" ]'
run "$HEARTH" convert "$tmp/hf" --to hf --type q4_0 --output "$tmp/q"
claim "a GGUF type does not go into a folder" '[ $rc = 2 ]' 'err_has "q4_0" ".gguf"' '[ ! -e "$tmp/q" ]'
run "$HEARTH" quantize "$tmp/hf" --type mlx4 --output "$tmp/q.gguf"
claim "an MLX type does not go into a file" '[ $rc = 2 ]' 'err_has "mlx4"' '[ ! -e "$tmp/q.gguf" ]'
run "$HEARTH" quantize "$tmp/hf" --type mlx8 --group-size 48 --output "$tmp/q"
claim "nor with groups of 48" '[ $rc = 2 ]' 'err_has "32, 64 or 128"'
run "$HEARTH" quantize tests/golden/qwen3/mlx --type mlx4 --group-size 32 --output "$tmp/mlx4"
claim "an MLX folder quantised again, named where a matrix stays plain" '[ $rc = 0 ]' 'out_has "groups of 32"' 'grep -q "\"bits\": 4" "$tmp/mlx4/config.json"'
run "$HEARTH" quantize "$tmp/hf" --type q8_0 --output "$tmp/q8.gguf"
claim "a folder to GGUF blocks, or why not" '[ $rc = 0 ] || err_has "q8_0"'
run "$HEARTH" fuse "$tmp/hf" --adapter "$adapter" --output "$tmp/fused"
claim "an adapter fused into a folder answers as both did" '[ $rc = 0 ]' '[ "$(answer "$tmp/fused")" = "$want" ]'
run "$HEARTH" fuse "$tmp/hf" --adapter "$adapter" --output "$tmp/fused.gguf"
claim "and into a GGUF file from a folder" '[ $rc = 0 ]' '[ "$(answer "$tmp/fused.gguf")" = "$want" ]'
mkdir "$tmp/ollama"
run "$HEARTH" convert "$tmp/hf" --output "$tmp/ollama/m.gguf" --modelfile
claim "a Modelfile beside it: file, template, stops" '[ $rc = 0 ]' 'grep -q "^FROM ./m.gguf" "$tmp/ollama/Modelfile"' 'grep -q "PARAMETER stop \"<|im_end|>\"" "$tmp/ollama/Modelfile"' 'grep -qF "{{ if eq .Role \"system\" }}<|im_start|>system" "$tmp/ollama/Modelfile"'
run "$HEARTH" convert "$tmp/hf" --to mlx --output "$tmp/om" --modelfile
claim "no Modelfile for a folder" '[ $rc = 2 ]' 'err_has "--modelfile"'
mkdir "$tmp/parts"; cp "$model" "$tmp/parts/m-00001-of-00002.gguf"
run "$HEARTH" convert "$tmp/parts/none-00001-of-00002.gguf" --to hf --output "$tmp/x"
claim "a missing file is named" '[ $rc = 1 ]' 'err_has "none-00001-of-00002.gguf"'
finish
