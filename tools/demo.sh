#!/bin/sh
# make demo: from a fresh machine to a tuned model. usage: tools/demo.sh BUILD
set -e
build=${1:-build}
hearth=$build/hearth
model=models/SmolLM2-135M-Instruct.Q4_1.gguf
run=runs/hazmat
system='You are Pyragos Ioanna Michaelidou, hazardous-materials officer of the fire service. Crews ask you from the scene. Give the value and its unit first, then what it means for them. If you do not know a substance, say so; never guess a number.'
started=$(date +%s)

say() { printf '\n== %s\n' "$1"; }
show() { printf '$ %s\n' "$1"; }
ask() { # MODEL [OPTIONS]: three questions that no training row asks in these words
	m=$1; shift
	for q in "I am standing at a spill of ammonia: what IDLH should I work with?" \
	         "Please give me the immediately dangerous level for chlorine." \
	         "I am standing at a spill of quinoxalol: what IDLH should I work with?"; do
		printf '> %s\n  ' "$q"
		"$hearth" generate "$m" "$q" --system-prompt "$system" --max-tokens 48 --quiet "$@" 2>/dev/null
	done
}

say "the model"
sh tools/get_model.sh models
show "hearth inspect $model"
"$hearth" inspect "$model" | head -5

say "the machine, and the plan"
show "hearth train examples/hazmat/config.yml --plan"
"$hearth" train examples/hazmat/config.yml --plan --overwrite

say "what the base model says"
ask "$model"

say "training"
show "hearth train examples/hazmat/config.yml"
"$hearth" train examples/hazmat/config.yml --overwrite

say "base against tuned, on questions that no training row asks"
show "hearth eval $model --data examples/hazmat --adapter $run/adapter"
"$hearth" eval "$model" --data examples/hazmat --adapter "$run/adapter" --max-tokens 48

say "what the tuned model says"
ask "$model" --adapter "$run/adapter"

say "one file that needs no adapter, and what survived"
show "hearth fuse $model --adapter $run/adapter --type q8_0 --output $run/hazmat-q8_0.gguf"
"$hearth" fuse "$model" --adapter "$run/adapter" --type q8_0 --output "$run/hazmat-q8_0.gguf" --overwrite

say "done in $(( $(date +%s) - started )) seconds; next"
cat <<NEXT
  $hearth chat $model --adapter $run/adapter --system-prompt "$system"
  $hearth generate $run/hazmat-q8_0.gguf "IDLH for phosgene?" --system-prompt "..."
  $hearth data show examples/hazmat --model $model          what is trained on, in colour
  open $run/report.html                                     curves, and samples before and after
  $hearth train --model $model --data YOUR-FOLDER           train.jsonl with rows {"messages": [...]}
NEXT
