#!/bin/sh
# hearth train on the tiny model: what a run leaves, and what it refuses.
. tests/e2e/tap.inc

for i in 1 2 3 4 5 6 7 8; do
	printf '{"messages":[{"role":"user","content":"q%s"},{"role":"assistant","content":"%s%s%s"}]}\n' $i $i $i $i
done > "$tmp/rows.jsonl"
train() { run "$HEARTH" train --model "$model" --data "$tmp/rows.jsonl" --batch-size 2 --rank 4 "$@"; }

train --iters 12 --learning-rate 0.02 --output-dir "$tmp/run" --steps-per-eval 4 --save-every 4
claim "a run ends well and says where its files are" '[ $rc = 0 ]' 'out_has "12 steps" "$tmp/run: adapter/"'
claim "every option is shown with its origin" 'err_has "learning-rate" "flag" "default"'
for f in config.yml metrics.jsonl report.html adapter.gguf adapter/adapter_model.safetensors adapter/adapters.safetensors \
	adapter/adapter_config.json checkpoints/step-12/manifest.json checkpoints/step-12/weights.safetensors; do
	claim "the run folder holds $f" '[ -s "$tmp/run/$f" ]'
done
claim "nothing half written is left" '[ -z "$(find "$tmp/run" -name "*.tmp*" -o -name ".*" ! -name .lock | grep -v "/run$")" ]'
grep -v val_loss "$tmp/run/metrics.jsonl" > "$tmp/steps"; grep val_loss "$tmp/run/metrics.jsonl" > "$tmp/vals"
claim "metrics.jsonl has a row a step" '[ $(wc -l < "$tmp/steps") = 12 ]'
for key in step epoch loss lr grad_norm tokens targets tokens_per_s mem_bytes time_s; do
	claim "each with $key" '[ $(grep -c "\"$key\":" "$tmp/steps") = 12 ]'
done
claim "and a row a validation" '[ $(wc -l < "$tmp/vals") = 4 ]'
first=$(sed -n '1s/.*"loss":\([0-9.]*\).*/\1/p' "$tmp/steps"); last=$(sed -n '$s/.*"loss":\([0-9.]*\).*/\1/p' "$tmp/steps")
claim "the loss fell (from $first to $last)" 'awk -v a="$first" -v b="$last" "BEGIN { exit !(b < a) }"'
claim "report.html loads nothing from elsewhere and runs no script" '! grep -qiE "<script|src=.http|href=.http|url\(" "$tmp/run/report.html"' \
	'grep -q "<svg" "$tmp/run/report.html"'
claim "the log reads as mlx-lm's" 'err_has "Iter 4: Val loss"'

train --iters 2 --output-dir "$tmp/run"
claim "an existing run folder is refused with what to do" '[ $rc = 1 ]' 'err_has "--resume" "--overwrite"'
claim "and left as it was" '[ $(grep -vc val_loss "$tmp/run/metrics.jsonl") = 12 ]'
train --iters 2 --output-dir "$tmp/run" --overwrite
claim "--overwrite replaces it" '[ $rc = 0 ]' '[ $(grep -vc val_loss "$tmp/run/metrics.jsonl") = 2 ]' '[ ! -e "$tmp/run/checkpoints/step-12" ]'
mkdir "$tmp/mine"; echo precious > "$tmp/mine/thesis.txt"
train --iters 2 --output-dir "$tmp/mine" --overwrite
claim "--overwrite never removes files that are not a run's" '[ "$(cat "$tmp/mine/thesis.txt")" = precious ]'

train --iters 4 --output-dir "$tmp/json" --json
claim "--json gives one line of results" '[ $rc = 0 ]' 'out_lines 1' 'out_has "\"steps\":4" "\"first_loss\":" "\"last_loss\":" "\"anon_peak_bytes\":"'
train --iters 4 --output-dir "$tmp/ap" --adapter-path "$tmp/elsewhere"
claim "--adapter-path writes the adapter there too" '[ $rc = 0 ]' 'cmp -s "$tmp/elsewhere/adapter_model.safetensors" "$tmp/ap/adapter/adapter_model.safetensors"'
run "$HEARTH" generate "$model" q1 --adapter "$tmp/ap/adapter" --max-tokens 4 --json
cp "$tmp/out" "$tmp/by_folder"
run "$HEARTH" generate "$model" q1 --adapter "$tmp/ap/adapter.gguf" --max-tokens 4 --json
claim "adapter/ and adapter.gguf answer alike" '[ $rc = 0 ]' '[ "$(sed "s/.*ids//" "$tmp/by_folder")" = "$(sed "s/.*ids//" "$tmp/out")" ]'

train --iters 4 --output-dir "$tmp/t1" --threads 1
train --iters 4 --output-dir "$tmp/t2" --threads 2
claim "the thread count changes no bit" '[ $rc = 0 ]' 'cmp -s "$tmp/t1/adapter/adapter_model.safetensors" "$tmp/t2/adapter/adapter_model.safetensors"'
train --iters 4 --output-dir "$tmp/s2" --threads 2 --seed 9
claim "another seed gives other weights" '[ $rc = 0 ]' '! cmp -s "$tmp/s2/adapter/adapter_model.safetensors" "$tmp/t2/adapter/adapter_model.safetensors"'

train --iters 4 --output-dir "$tmp/plan" --plan
claim "--plan shows memory and leaves before anything is written" '[ $rc = 0 ]' '[ ! -e "$tmp/plan" ]' 'out_has "B"' '! out_has "train loss"'
train --iters 4 --output-dir "$tmp/plan" --plan --json
claim "--plan --json is machine-readable" '[ $rc = 0 ]' '[ ! -e "$tmp/plan" ]' 'grep -q "^{.*}$" "$tmp/out"'
train --iters 4 --output-dir "$tmp/tight" --memory-limit 100KB
claim "--memory-limit refuses a run that needs more, with the parts" '[ $rc = 1 ]' 'err_has "memory" "B"' '[ ! -e "$tmp/tight" ]'

printf '{"messages":[]}\n' > "$tmp/bad.jsonl"
run "$HEARTH" train --model "$model" --data "$tmp/bad.jsonl" --output-dir "$tmp/bad"
claim "a bad row is named before anything is written" '[ $rc = 1 ]' 'err_has "bad.jsonl:1: "' '[ ! -e "$tmp/bad" ]'
run "$HEARTH" train --model "$model" --data "$tmp/rows.jsonl" --output-dir "$tmp/tm" --target-modules q_prj
claim "an unknown target module is bad use that lists them" '[ $rc = 2 ]' 'err_has q_prj q_proj down_proj' '[ ! -e "$tmp/tm" ]'
run "$HEARTH" train --model "$model" --data "$tmp/rows.jsonl" --output-dir "$tmp/tm" --mask-prompt --train-on-inputs
claim "options that contradict each other are bad use" '[ $rc = 2 ]' '[ ! -e "$tmp/tm" ]'
train --iters 3 --output-dir "$tmp/full" --fine-tune-type full
claim "full fine-tuning leaves a model, not an adapter" '[ $rc = 0 ]' '[ -s "$tmp/full/model.safetensors" ]' '[ ! -e "$tmp/full/adapter" ]'
claim "and a folder that answers" '[ -s "$tmp/full/model/config.json" ]' '"$HEARTH" generate "$tmp/full/model" hi --max-tokens 4 > /dev/null 2>&1'
train --iters 3 --output-dir "$tmp/few" --target-modules q_proj --target-modules v_proj --num-layers 1
run "$HEARTH" inspect "$tmp/few/adapter"
claim "chosen modules of the last layers" '[ $rc = 0 ]' 'out_has "2 modules" "layers.1.self_attn.q_proj" "layers.1.self_attn.v_proj"'
train --iters 3 --output-dir "$tmp/start" --resume-adapter-file "$golden/tied-adapter-step10"
claim "training starts from a given adapter" '[ $rc = 0 ]'
train --epochs 2 --output-dir "$tmp/ep" --val-set-size 0
claim "--epochs counts passes over the data" '[ $rc = 0 ]' '[ $(wc -l < "$tmp/ep/metrics.jsonl") = 8 ]'
chmod -w "$tmp"; train --iters 2 --output-dir "$tmp/ro/run"; chmod +w "$tmp"
[ "$(id -u)" = 0 ] || claim "a folder that cannot be written is named" '[ $rc = 1 ]' 'err_has "$tmp/ro"'
finish
