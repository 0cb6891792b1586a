#!/bin/sh
# Runs that are interrupted: by a signal, by a kill, by damage; resumed, they end with the bits of a run that was not.
. tests/e2e/tap.inc

for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
	printf '{"messages":[{"role":"user","content":"q%s"},{"role":"assistant","content":"a%s"}]}\n' $i $i
done > "$tmp/rows.jsonl"
iters=400
set -- --model "$model" --data "$tmp/rows.jsonl" --batch-size 2 --rank 4 --dropout 0.1 --iters $iters \
	--steps-per-eval 150 --save-every 150 --sample-rows 0 --learning-rate 1e-3
steps_of() { grep -v val_loss "$1/metrics.jsonl" 2>/dev/null | wc -l; }
# Starts a run in the background and waits until it has made some steps; $pid.
start() { # DIR STEPS OPTIONS...
	dir=$1 wanted=$2; shift 2
	"$HEARTH" train "$@" --output-dir "$dir" > "$tmp/out" 2> "$tmp/err" < /dev/null & pid=$!
	i=0
	while [ "$(steps_of "$dir")" -lt "$wanted" ] && kill -0 $pid 2>/dev/null && [ $i -lt 3000 ]; do sleep 0.02; i=$((i + 1)); done
}

run "$HEARTH" train "$@" --output-dir "$tmp/whole"
claim "the uninterrupted run" '[ $rc = 0 ]'
want=$tmp/whole/adapter/adapter_model.safetensors

start "$tmp/term" 20 "$@"
kill -TERM $pid; wait $pid; rc=$?
claim "SIGTERM ends the run with status 1 and says how to go on" '[ $rc = 1 ]' 'err_has "--resume"'
at=$(ls "$tmp/term/checkpoints" | sed -n 's/^step-//p' | sort -n | tail -1)
claim "a checkpoint of that moment stands (step ${at:-none})" '[ "${at:-0}" -ge 20 ]' '[ "${at:-0}" -lt $iters ]' '[ -s "$tmp/term/checkpoints/step-$at/manifest.json" ]'
claim "no adapter is written yet" '[ ! -e "$tmp/term/adapter" ]'
run "$HEARTH" train "$@" --output-dir "$tmp/term" --resume
claim "--resume ends the run" '[ $rc = 0 ]'
claim "with the bits of the uninterrupted one" 'cmp -s "$want" "$tmp/term/adapter/adapter_model.safetensors"'
strip() { sed -e 's/,"tokens_per_s".*//' "$1/metrics.jsonl"; }
strip "$tmp/whole" > "$tmp/a"; strip "$tmp/term" > "$tmp/b"
claim "and the same losses, each step once" 'cmp -s "$tmp/a" "$tmp/b"'

start "$tmp/int" 20 "$@"
kill -INT $pid; wait $pid; rc=$?
claim "Ctrl-C saves too" '[ $rc = 1 ] || [ $rc = 130 ]' '[ $(ls "$tmp/int/checkpoints" | grep -c "^step-") -ge 1 ]'

start "$tmp/kill" 170 "$@"
kill -9 $pid; wait $pid 2>/dev/null
claim "a killed run leaves its last checkpoint" '[ -s "$tmp/kill/checkpoints/step-150/manifest.json" ]'
run "$HEARTH" train "$@" --output-dir "$tmp/kill" --resume
claim "and is resumed to the same bits" '[ $rc = 0 ]' 'cmp -s "$want" "$tmp/kill/adapter/adapter_model.safetensors"'
strip "$tmp/kill" > "$tmp/b"
claim "with no step lost or doubled in metrics.jsonl" 'cmp -s "$tmp/a" "$tmp/b"'

# A copy of the whole run whose newest checkpoint is damaged.
cp -r "$tmp/whole" "$tmp/damaged"
rm -rf "$tmp/damaged/adapter" "$tmp/damaged/adapter.gguf"
printf 'x' | dd of="$tmp/damaged/checkpoints/step-$iters/weights.safetensors" bs=1 seek=400 conv=notrunc 2>/dev/null
run "$HEARTH" train "$@" --output-dir "$tmp/damaged" --resume
claim "a damaged checkpoint is passed over with a warning" '[ $rc = 0 ]' 'err_has "damaged checkpoint" "step-$iters"'
claim "and the older one ends at the same bits" 'cmp -s "$want" "$tmp/damaged/adapter/adapter_model.safetensors"'
cp -r "$tmp/whole" "$tmp/ruined"
for f in "$tmp/ruined/checkpoints"/step-*/manifest.json; do echo '{}' > "$f"; done
run "$HEARTH" train "$@" --output-dir "$tmp/ruined" --resume
claim "when all are damaged nothing is guessed" '[ $rc = 1 ]' 'err_has "damaged"'

run "$HEARTH" train "$@" --output-dir "$tmp/int" --resume --rank 8
claim "a resume with another rank is refused by name" '[ $rc != 0 ]' 'err_has "rank"'
run "$HEARTH" train "$@" --output-dir "$tmp/int" --resume --seed 5
claim "a resume with another seed is refused by name" '[ $rc != 0 ]' 'err_has "seed"'
cp "$tmp/rows.jsonl" "$tmp/rows.bak"; sed 's/q1"/q0"/' "$tmp/rows.bak" > "$tmp/rows.jsonl"
run "$HEARTH" train "$@" --output-dir "$tmp/int" --resume
claim "a resume on changed data is refused" '[ $rc != 0 ]' 'err_has "data"'
cp "$tmp/rows.bak" "$tmp/rows.jsonl"
run "$HEARTH" train "$@" --output-dir "$tmp/nothing" --resume
claim "a resume of nothing says so" '[ $rc = 0 ] || err_has "nothing"' '[ $rc != 0 ] || err_has "no checkpoint" || err_has "anew" || [ -s "$tmp/nothing/adapter.gguf" ]'
finish
