#!/bin/sh
# hearth plan: what a run takes, before anything is read or written.
. tests/e2e/tap.inc

for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
	printf '{"messages":[{"role":"user","content":"q%s"},{"role":"assistant","content":"a%s"}]}\n' $i $i
done > "$tmp/rows.jsonl"
set -- --model "$model" --data "$tmp/rows.jsonl" --batch-size 4 --rank 4 --epochs 2
cd_free=$(ls runs 2>/dev/null | wc -l)
run "$HEARTH" plan "$@"
claim "a plan has memory, data, steps and time" '[ $rc = 0 ]' 'out_has memory total fits "tokens computed" steps time'
claim "and writes nothing" '[ "$(ls runs 2>/dev/null | wc -l)" = "$cd_free" ]'
run "$HEARTH" plan "$@" --json
cp "$tmp/out" "$tmp/plan.json"
claim "--json is one line" '[ $rc = 0 ]' 'out_lines 1' 'out_has "\"fits\":true" "\"total_bytes\":" "\"steps\":" "\"seconds\":"'
run "$HEARTH" train "$@" --plan --json --output-dir "$tmp/run"
field() { sed "s/.*\"$1\":\([0-9]*\).*/\1/" "$2"; }
claim "hearth train --plan says the same" '[ $rc = 0 ]' '[ "$(field steps "$tmp/out")" = "$(field steps "$tmp/plan.json")" ]' \
	'[ "$(field arena_bytes "$tmp/out")" = "$(field arena_bytes "$tmp/plan.json")" ]' '[ ! -e "$tmp/run" ]'
run "$HEARTH" train "$@" --output-dir "$tmp/run" --sample-rows 0 --json
claim "the run takes the planned steps" '[ $rc = 0 ]' '[ "$(field steps "$tmp/out")" = "$(field steps "$tmp/plan.json")" ]'
claim "and just the planned memory of a step" '[ "$(field arena_bytes "$tmp/out")" = "$(field arena_bytes "$tmp/plan.json")" ]' \
	'[ "$(field planned_bytes "$tmp/out")" = "$(field arena_bytes "$tmp/plan.json")" ]'
run "$HEARTH" train "$@" --output-dir "$tmp/twice" --sample-rows 0 --json --gradient-checkpointing on
claim "with gradient checkpointing a step needs less" '[ $rc = 0 ]' 'err_has "gradient checkpointing: 1 of 2 layers run twice in every micro-batch"' \
	'[ "$(field arena_bytes "$tmp/out")" = "$(field planned_bytes "$tmp/out")" ]' '[ "$(field arena_bytes "$tmp/out")" -lt "$(field arena_bytes "$tmp/plan.json")" ]'
claim "and gives the same adapter, bit for bit" 'cmp -s "$tmp/run/adapter/adapter_model.safetensors" "$tmp/twice/adapter/adapter_model.safetensors"'
run "$HEARTH" plan "$@" --json --gradient-checkpointing maybe
claim "it is auto, off or on, or what other tools call it" '[ $rc = 2 ]' 'err_has "auto|off|on"'
run "$HEARTH" plan "$@" --memory-limit 100KB
claim "what does not fit is refused with its parts and what to do" '[ $rc = 1 ]' 'out_has "DOES NOT FIT"' 'err_has "does not fit" "100 KB"'
run "$HEARTH" plan "$@" --memory-limit 100KB --json
claim "in JSON too" '[ $rc = 1 ]' 'out_has "\"fits\":false"'
run "$HEARTH" plan examples/hazmat/config.yml --model "$model" --output-dir "$tmp/run2"
claim "a config file with flags over it" '[ $rc = 0 ] || err_has hazmat'
run "$HEARTH" plan
claim "without a model it says what to give" '[ $rc = 2 ]' 'err_has "--model"'
finish
