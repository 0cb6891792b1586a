#!/bin/sh
# hearth fuse: adapter into model, the answers survive.
. tests/e2e/tap.inc
adapter=$golden/tied-adapter-step10

"$HEARTH" generate "$model" hi --adapter "$adapter" --max-tokens 12 --json 2>/dev/null | sed 's/.*"ids"//' > "$tmp/tuned"
run "$HEARTH" fuse "$model" --adapter "$adapter" --type f32 --output "$tmp/f32.gguf"
claim "fuse writes a model" '[ $rc = 0 ]' 'out_has "f32.gguf"'
run "$HEARTH" inspect "$tmp/f32.gguf"
claim "of the same family and shape, with template and tokenizer" '[ $rc = 0 ]' 'out_has "2 layers, width 20" "264 tokens" "template    yes"'
"$HEARTH" generate "$tmp/f32.gguf" hi --max-tokens 12 --json 2>/dev/null | sed 's/.*"ids"//' > "$tmp/fused"
claim "the fused model answers as model and adapter did" 'cmp -s "$tmp/tuned" "$tmp/fused"'
for type in f16 bf16 q8_0; do
	run "$HEARTH" fuse "$model" --adapter "$adapter" --type $type --save-path "$tmp/$type.gguf"
	claim "fuse to $type writes a model or says why it cannot" '[ $rc = 0 ] && [ -s "$tmp/$type.gguf" ] || { [ $rc = 1 ] && [ ! -e "$tmp/$type.gguf" ] && err_has "$type"; }'
done
run "$HEARTH" fuse "$model" --adapter "$adapter" --type f32 --output "$tmp/one.gguf" --threads 1
claim "the thread count changes no byte" '[ $rc = 0 ]' 'cmp -s "$tmp/one.gguf" "$tmp/f32.gguf"'
run "$HEARTH" fuse "$model" --adapter "$adapter" --type f16 --output "$tmp/f32.gguf"
claim "fuse does not overwrite" '[ $rc = 1 ]' 'err_has "--overwrite"'
run "$HEARTH" fuse "$model" --adapter "$adapter" --type f16 --output "$tmp/f32.gguf" --overwrite --json
claim "--overwrite does; --json says path and size" '[ $rc = 0 ]' 'out_lines 1' 'out_has "\"path\":" "\"bytes\":"'
run "$HEARTH" fuse "$model" --adapter "$golden/untied-adapter-step10" --output "$tmp/wrong.gguf"
claim "an adapter of another model is refused and nothing written" '[ $rc = 1 ]' '[ ! -e "$tmp/wrong.gguf" ]'
run "$HEARTH" fuse "$model" --adapter "$adapter"
claim "no output is bad use" '[ $rc = 2 ]' 'err_has "--output"'
cp "$model" "$tmp/copy.gguf"
run "$HEARTH" fuse "$tmp/copy.gguf" --adapter "$adapter" --type f32 --output "$tmp/copy.gguf" --overwrite
"$HEARTH" generate "$tmp/copy.gguf" hi --max-tokens 12 --json 2>/dev/null | sed 's/.*"ids"//' > "$tmp/fused"
claim "fusing over the model itself leaves a whole file" '{ [ $rc = 0 ] && cmp -s "$tmp/tuned" "$tmp/fused"; } || { [ $rc != 0 ] && cmp -s "$model" "$tmp/copy.gguf"; }'
run "$HEARTH" fuse "$model" --adapter "$adapter" --output "$tmp/no/such/folder.gguf"
claim "a folder that is not there is named or made" '[ $rc = 0 ] || err_has "$tmp/no/such"'
finish
