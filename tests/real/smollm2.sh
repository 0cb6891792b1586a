#!/bin/sh
# The real SmolLM2 from data to a fused model: check, a short training, interrupted and resumed, evaluation, fuse to q8_0,
# answers. Part of `make check`; HTH_SMOLLM2 names the file.
. tests/e2e/tap.inc
real=${HTH_SMOLLM2:-models/SmolLM2-135M-Instruct.Q4_1.gguf}
if [ ! -s "$real" ]; then
	echo "ok 1 - the real model # SKIP $real is not here: tools/get_model.sh models gets it"
	echo "1..1"
	exit 0
fi
ammonia="What is the IDLH of ammonia?"

run "$HEARTH" inspect "$real"
claim "its family, size and formats" '[ $rc = 0 ]' 'out_has "llama, 134,515,008 parameters" "30 layers, width 576" q4_1'
run "$HEARTH" data check examples/hazmat --model "$real" --json
claim "every row of examples/hazmat can be trained on" '[ $rc = 0 ]' '! grep -v "\"bad\":0" "$tmp/out" | grep -q .'
run "$HEARTH" generate "$real" "What is the capital of France?" --max-tokens 24 --json
claim "the base knows Paris" '[ $rc = 0 ]' 'out_has Paris'

# Twelve substances, few enough to learn in a minute or two.
mkdir "$tmp/data"
head -72 examples/hazmat/train.jsonl > "$tmp/data/train.jsonl"
set -- --model "$real" --data "$tmp/data" --val-set-size 0 --batch-size 12 --rank 8 --learning-rate 3e-3 --iters 18 \
	--lr-schedule constant --warmup-steps 1 --save-every 6 --sample-rows 0 --seed 2
run "$HEARTH" train "$@" --output-dir "$tmp/plan" --plan
claim "the plan says what it takes, and writes nothing" '[ $rc = 0 ]' '[ ! -e "$tmp/plan" ]'
"$HEARTH" train "$@" --output-dir "$tmp/run" > "$tmp/out" 2> "$tmp/err" < /dev/null & pid=$!
i=0
while [ "$(cat "$tmp/run/metrics.jsonl" 2>/dev/null | wc -l)" -lt 8 ] && kill -0 $pid 2>/dev/null && [ $i -lt 1500 ]; do sleep 0.1; i=$((i + 1)); done
kill -TERM $pid; wait $pid; rc=$?
claim "SIGTERM saves and leaves" '[ $rc = 1 ]' 'err_has "--resume"'
run "$HEARTH" train "$@" --output-dir "$tmp/run" --resume --json
claim "the resumed run ends" '[ $rc = 0 ]' 'err_has "resum"'
claim "with every step once" '[ $(wc -l < "$tmp/run/metrics.jsonl") = 18 ]'
peak=$(sed 's/.*"anon_peak_bytes":\([0-9]*\).*/\1/' "$tmp/out")
claim "in less than 1 GB of memory (${peak})" '[ "$peak" -lt 1000000000 ]'
first=$(sed -n '1s/.*"loss":\([0-9.]*\).*/\1/p' "$tmp/run/metrics.jsonl"); last=$(sed -n '$s/.*"loss":\([0-9.]*\).*/\1/p' "$tmp/run/metrics.jsonl")
claim "the loss fell to less than a third (from $first to $last)" 'awk -v a="$first" -v b="$last" "BEGIN { exit !(b < a / 3) }"'

run "$HEARTH" eval "$real" --data "$tmp/data/train.jsonl" --rows 12 --adapter "$tmp/run/adapter" --max-tokens 24 --json
base=$(sed 's/.*"model":"base","loss":\([0-9.]*\).*/\1/' "$tmp/out")
tuned=$(sed 's/.*"loss":\([0-9.]*\),"perplexity.*/\1/' "$tmp/out")
right=$(sed 's/.*"contains_rate":\([0-9.]*\).*/\1/' "$tmp/out")
claim "eval: the tuned loss ($tuned) is below a third of the base's ($base)" '[ $rc = 0 ]' 'awk -v a="$base" -v b="$tuned" "BEGIN { exit !(b < a / 3) }"'
run "$HEARTH" generate "$real" "$ammonia" --adapter "$tmp/run/adapter" --max-tokens 16 --json
sed 's/.*"ids":\(.*\)/\1/' "$tmp/out" > "$tmp/tuned"
claim "the tuned model answers" '[ $rc = 0 ]' 'out_has "IDLH"'
run "$HEARTH" generate "$real" "$ammonia" --adapter "$tmp/run/adapter.gguf" --max-tokens 16 --json
sed 's/.*"ids":\(.*\)/\1/' "$tmp/out" > "$tmp/gguf"
claim "adapter.gguf answers the same" '[ $rc = 0 ]' 'cmp -s "$tmp/tuned" "$tmp/gguf"'
run "$HEARTH" fuse "$real" --adapter "$tmp/run/adapter" --type q8_0 --output "$tmp/fused.gguf"
claim "fuse to q8_0" '[ $rc = 0 ]' '[ -s "$tmp/fused.gguf" ]'
run "$HEARTH" eval "$tmp/fused.gguf" --data "$tmp/data/train.jsonl" --rows 12 --answers off --json
fused=$(sed 's/.*"loss":\([0-9.]*\),"perplexity.*/\1/' "$tmp/out")
claim "the fused model kept the fine-tune (loss $fused beside $tuned)" '[ $rc = 0 ]' 'awk -v a="$tuned" -v b="$fused" "BEGIN { exit !(b < a + 0.05) }"'
run "$HEARTH" generate "$tmp/fused.gguf" "$ammonia" --max-tokens 16
claim "and answers" '[ $rc = 0 ]' 'out_has "IDLH"'
finish
