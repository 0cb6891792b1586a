#!/bin/sh
# hearth inspect: models, adapters, tensor files, and things that are none.
. tests/e2e/tap.inc

run "$HEARTH" inspect "$model"
claim "a model's family, shape, tokenizer and formats" '[ $rc = 0 ]' \
	'out_has "llama, 14,020 parameters" "2 layers, width 20" "264 tokens" "20 tensors"'
run "$HEARTH" inspect "$model" --tensors --metadata
claim "--tensors and --metadata list them" '[ $rc = 0 ]' 'out_has "token_embd.weight" "(264,20)" "general.architecture = \"llama\""'
run "$HEARTH" inspect "$model" --json
claim "--json is one line" '[ $rc = 0 ]' 'out_lines 1' 'out_has "\"params\":14020" "\"vocabulary\":264" "\"tied\":true"'
run "$HEARTH" inspect "$golden/tied-adapter-start"
claim "a PEFT adapter" '[ $rc = 0 ]' 'out_has "rank 4, alpha 8" "14 modules" "model.layers.1.mlp.down_proj"'
run "$HEARTH" inspect "$golden/tied-adapter-start" --json
claim "an adapter's --json is JSON" '[ $rc = 0 ]' 'out_lines 1' 'out_has "\"rank\":4"'
run "$HEARTH" inspect "$golden/tied.safetensors" --tensors
claim "a safetensors file" '[ $rc = 0 ]' 'out_has safetensors "train.losses" F32'
run "$HEARTH" inspect "$golden/tied.safetensors" --json
claim "a safetensors file's --json is JSON" '[ $rc = 0 ]' 'out_lines 1' 'grep -q "^{.*}$" "$tmp/out"'
"$HEARTH" convert "$golden/tied-adapter-start" --to gguf --model "$model" --output "$tmp/a.gguf" > /dev/null 2>&1
run "$HEARTH" inspect "$tmp/a.gguf"
claim "an adapter in a GGUF file" '[ $rc = 0 ]' 'out_has "adapter" "28 tensors"'
run "$HEARTH" inspect "$tmp/none.gguf"
claim "a file that is not there" '[ $rc = 1 ]' 'err_has "no such file or folder"'
run "$HEARTH" inspect README.nothing/x
claim "a path through nothing" '[ $rc = 1 ]'
mkdir "$tmp/empty"
run "$HEARTH" inspect "$tmp/empty"
claim "an empty folder is no adapter and says what was expected" '[ $rc = 1 ]' 'err_has "adapter"'
finish
