#!/bin/sh
# hearth bench: every row is there and the JSON is JSON. No speed is asserted: other things run here.
. tests/e2e/tap.inc
XDG_CACHE_HOME=$tmp/cache; export XDG_CACHE_HOME

# Our own parser on the output: as a key that a training row ignores.
parses() {
	mkdir -p "$tmp/rows"
	{ printf '{"text":"a","bench":'; tr -d '\n' < "$tmp/out"; echo '}'; } > "$tmp/rows/train.jsonl"
	"$HEARTH" data check "$tmp/rows/train.jsonl" --model "$model" > "$tmp/check" 2>&1
}

run "$HEARTH" bench --what peaks --json
claim "the peaks are one line of JSON" '[ $rc = 0 ]' 'out_lines 1' parses \
	'out_has "\"peaks\":{" "\"f32 ref\":{\"one\":" "\"read_bytes_per_s\":{\"one\":" "\"round_trip_s\":" "\"rows\":[]"'
claim "they are kept" '[ -s "$tmp/cache/hearth/machine.json" ]' 'grep -q "f32 ref" "$tmp/cache/hearth/machine.json"'
cp "$tmp/cache/hearth/machine.json" "$tmp/kept"

run "$HEARTH" bench "$model" --what train,chat,prompt,decode --seconds 0.01 --json
claim "a model has all its rows" '[ $rc = 0 ]' 'out_lines 1' parses \
	'out_has "\"what\":\"train\"" "\"what\":\"chat\"" "\"what\":\"prompt\"" "\"what\":\"decode\"" "\"estimated\":false"' \
	'! out_has "\"peaks\":"' '! out_has "\"skipped\":"' '! out_has "\"tokens_per_s\":0.0,"'
claim "a chat step computes shared beginnings once" 'out_has "\"rows\":16,\"row_tokens\":118" "\"targets\":512.0"'
claim "what was kept of peaks stays, and a training speed joins it" 'grep -q "\"train_flops_per_s\": [1-9]" "$tmp/cache/hearth/machine.json"' \
	'[ "$(grep read_ "$tmp/kept")" = "$(grep read_ "$tmp/cache/hearth/machine.json")" ]'

run "$HEARTH" bench "$model" --what train,decode --seconds 0.01 --profile --threads 1
claim "for people: a line a row, and with --profile the ops" '[ $rc = 0 ]' \
	'out_has "tok/s" "GFLOP/s" "of memory read" "linear_backward" "attention"' '! out_has "peaks"'
run "$HEARTH" bench "$model" --what prompt --seconds 0.01 --backend ref --json
claim "the reference backend is measured as well" '[ $rc = 0 ]' parses 'out_has "\"device\":\"ref"' '! out_has "\"skipped\":"'

run "$HEARTH" bench --shape 1.5b --what decode --seconds 0.01 --json
# On a busy machine the difference of two runs may be lost in noise, and the row says so instead of a number.
claim "a shape too large to hold is worked out from a few layers" '[ $rc = 0 ]' parses \
	'out_has "\"model\":\"Qwen2.5-1.5B\"" "\"type\":\"q4_k\"" "\"estimated\":true" "\"layers\":28" "\"layers_run\":[" || out_has "too noisy"' \
	'! out_has "SmolLM2"'

run "$HEARTH" bench --what speed
claim "an unknown word is bad use" '[ $rc = 2 ]' 'err_has "speed" "peaks,train,chat,prompt,decode"'
run "$HEARTH" bench --shape 70b
claim "so is an unknown shape" '[ $rc = 2 ]' 'err_has "70b" "1.5B"'
run "$HEARTH" bench --shape 135m --what decode --type q9_9
claim "and an unknown format" '[ $rc = 2 ]' 'err_has "q9_9"'
run "$HEARTH" bench "$tmp/none.gguf" --what decode
claim "a model that is not there" '[ $rc = 1 ]' 'err_has "none.gguf"'
mkdir -p "$tmp/cache2/hearth/machine.json"
XDG_CACHE_HOME=$tmp/cache2 run "$HEARTH" bench "$model" --what prompt --seconds 0.01 --json
claim "a cache that cannot be written is a warning" '[ $rc = 0 ]' 'err_has "not kept"' 'out_has "\"what\":\"prompt\""'
finish
