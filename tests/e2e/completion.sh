#!/bin/sh
# hearth completion: scripts that the shells accept and that complete verbs, options and choices.
. tests/e2e/tap.inc

run "$HEARTH" completion bash
cp "$tmp/out" "$tmp/bash"
claim "a script for bash" '[ $rc = 0 ]' 'out_has "complete " "_hearth"'
run "$HEARTH" completion zsh
cp "$tmp/out" "$tmp/zsh"
claim "a script for zsh" '[ $rc = 0 ]' 'out_has "#compdef hearth"'
run "$HEARTH" completion fish
claim "an unknown shell is bad use" '[ $rc = 2 ]' 'err_has "bash or zsh"'
if command -v bash > /dev/null 2>&1; then
	run bash -n "$tmp/bash"
	claim "bash accepts it" '[ $rc = 0 ]' 'err_lines 0'
	# What pressing TAB after these words offers; the last word is the one being typed.
	complete() { run bash -c '. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _hearth; printf "%s\n" "${COMPREPLY[@]}"' bash "$tmp/bash" "$@"; }
	complete hearth tr
	claim "verbs complete" 'out_is "train\n"'
	complete hearth ""
	claim "all verbs are offered" 'out_has doctor generate completion' '[ $(wc -l < "$tmp/out") -ge 12 ]'
	complete hearth train --learn
	claim "options complete" 'out_is "%%s\n" || grep -qx -- --learning-rate "$tmp/out"'
	complete hearth train --lr-schedule lin
	claim "choices complete" 'out_is "linear\n"'
	complete hearth train --model "$golden/ti"
	claim "paths complete" 'out_has "$golden/tied.gguf"'
	complete hearth data ch
	claim "the actions of hearth data complete" 'out_has check'
fi
if command -v zsh > /dev/null 2>&1; then
	run zsh -n "$tmp/zsh"
	claim "zsh accepts it" '[ $rc = 0 ]'
fi
finish
