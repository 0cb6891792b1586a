#!/bin/sh
# hearth quantize and hearth fuse: types, importance, the check, and what they refuse.
. tests/e2e/tap.inc

adapter=$golden/tied-adapter-step10
printf '{"text":"abc def abc"}\n{"text":"the quick brown fox"}\n{"text":"fox the abc"}\n' > "$tmp/rows.jsonl"

run "$HEARTH" quantize "$model" --type q8_0 --output "$tmp/a.gguf"
claim "rows of 20 fall back to f16, and it says so" '[ $rc = 0 ]' 'out_has "q8_0" "not checked"' 'err_has "no multiple of 256"'
run "$HEARTH" inspect "$tmp/a.gguf"
claim "what was written opens" '[ $rc = 0 ]' 'out_has "f16" "tied"'
run "$HEARTH" quantize "$model" --type q8_0 --output "$tmp/a.gguf"
claim "a file that is there stays" '[ $rc = 1 ]' 'err_has "exists" "--overwrite"'
run "$HEARTH" quantize "$model" --type q4_k_mm --output "$tmp/b.gguf"
claim "an unknown type gets the nearest" '[ $rc = 2 ]' 'err_has "q4_k_mm" "did you mean q4_k_m"' '[ ! -e "$tmp/b.gguf" ]'
run "$HEARTH" quantize "$model"
claim "no output is bad use" '[ $rc = 2 ]' 'err_has "--output"'
run "$HEARTH" quantize "$model" --output "$tmp/b.gguf" --calibrate "$tmp/rows.jsonl" --imatrix "$tmp/x"
claim "two sources of importance are bad use" '[ $rc = 2 ]' 'err_has "--calibrate and --imatrix"'

run "$HEARTH" quantize "$model" --type q4_0 --output "$tmp/c.gguf" --calibrate "$tmp/rows.jsonl" --imatrix-out "$tmp/im.gguf" --json
claim "calibration writes its matrix" '[ $rc = 0 ]' '[ -s "$tmp/im.gguf" ]' 'out_lines 1' 'out_has "\"calibration_loss\":"'
run "$HEARTH" quantize "$model" --type q4_0 --output "$tmp/d.gguf" --imatrix "$tmp/im.gguf" --threads 1
claim "the matrix read again gives the same file" '[ $rc = 0 ]' 'cmp "$tmp/c.gguf" "$tmp/d.gguf"'
run "$HEARTH" quantize "$model" --type q4_0 --output "$tmp/e.gguf" --imatrix "$tmp/rows.jsonl"
claim "other files are no importance matrix" '[ $rc = 1 ]' 'err_has "importance matrix"' '[ ! -e "$tmp/e.gguf" ]'

run "$HEARTH" fuse "$model" --adapter "$adapter" --output "$tmp/f.gguf" --eval "$tmp/rows.jsonl"
claim "a fused file is checked and survives" '[ $rc = 0 ]' 'out_has "base + adapter" "KL divergence" "survived:"' \
	'[ ! -e "$tmp/f.gguf.unchecked" ]' '[ -s "$tmp/f.gguf" ]'
echo half > "$tmp/f.gguf.unchecked"
run "$HEARTH" fuse "$model" --adapter "$adapter" --output "$tmp/f.gguf" --no-check --overwrite
claim "what a killed run left unchecked is named and removed" '[ $rc = 0 ]' 'err_has "f.gguf.unchecked: left by a run"' '[ ! -e "$tmp/f.gguf.unchecked" ]'
run "$HEARTH" quantize "$tmp/f.gguf" --base "$model" --type q8_0 --output "$tmp/g.gguf" --eval "$tmp/rows.jsonl" --json
claim "a tuned file is checked against its base" '[ $rc = 0 ]' 'out_lines 1' 'out_has "\"verdict\":\"survived\"" "\"base\":{\"loss\":"'
run "$HEARTH" quantize "$model" --output "$tmp/h.gguf" --eval "$tmp/none.jsonl"
claim "rows that were named must be there" '[ $rc = 1 ]' 'err_has "none.jsonl"' '[ ! -e "$tmp/h.gguf" ]'
run "$HEARTH" fuse "$model" --adapter "$adapter" --output "$tmp/i.gguf" --no-check
claim "--no-check leaves the check out" '[ $rc = 0 ]' 'out_has "not checked"'

mkdir -p "$tmp/run"; cp -R "$adapter" "$tmp/run/adapter"
mkdir -p "$tmp/data"; cp "$tmp/rows.jsonl" "$tmp/data/train.jsonl"; cp "$tmp/rows.jsonl" "$tmp/data/valid.jsonl"
printf 'base_model: %s\ndata: %s\n' "$model" "$tmp/data" > "$tmp/run/config.yml"
run "$HEARTH" fuse "$model" --adapter "$tmp/run/adapter" --output "$tmp/j.gguf"
claim "the run's validation rows are found" '[ $rc = 0 ]' 'out_has "survived:" "of 3 examples"'
rm "$tmp/data/train.jsonl" "$tmp/data/valid.jsonl"
run "$HEARTH" fuse "$model" --adapter "$tmp/run/adapter" --output "$tmp/k.gguf"
claim "rows of a run that are gone are no error" '[ $rc = 0 ]' 'out_has "not checked"' 'err_has "no validation rows"'

run "$HEARTH" fuse "$model" --adapter "$golden/untied-adapter-start" --output "$tmp/l.gguf"
claim "an adapter of another model is refused" '[ $rc = 1 ]' '[ ! -e "$tmp/l.gguf" ]'
finish
