#!/bin/sh
# hearth chat without a terminal: every line of stdin is a turn.
. tests/e2e/tap.inc

feed 'hi\nand now?\n' "$HEARTH" chat "$model" --max-tokens 5 --temp 0
claim "two lines get two answers" '[ $rc = 0 ]' '[ $(wc -l < "$tmp/out") -ge 2 ]'
cp "$tmp/out" "$tmp/first"
feed 'hi\nand now?\n' "$HEARTH" chat "$model" --max-tokens 5 --temp 0
claim "the same conversation again is the same" '[ $rc = 0 ]' 'cmp -s "$tmp/first" "$tmp/out"'
feed 'hi\n/reset\nhi\n/exit\nnever\n' "$HEARTH" chat "$model" --max-tokens 5 --temp 0
claim "/reset forgets: the same question gets the same answer" '[ $rc = 0 ]' \
	'[ "$(head -n $(($(wc -l < "$tmp/out") / 2)) "$tmp/out")" = "$(tail -n $(($(wc -l < "$tmp/out") / 2)) "$tmp/out")" ]'
feed "hi\n/save $tmp/talk.jsonl\n" "$HEARTH" chat "$model" --max-tokens 5 --temp 0 --system "Be brief."
claim "/save writes a row of training data" '[ $rc = 0 ]' '[ $(wc -l < "$tmp/talk.jsonl") = 1 ]' \
	'grep -q "\"role\":\"system\",\"content\":\"Be brief.\"" "$tmp/talk.jsonl"'
run "$HEARTH" data check "$tmp/talk.jsonl" --model "$model"
claim "which the data doctor accepts" '[ $rc = 0 ]'
feed '/help\n/temp 5000\n/nonsense\n' "$HEARTH" chat "$model"
claim "commands explain themselves" '[ $rc = 0 ]' 'out_has "/reset" "/save"' 'err_has "/temp: expected"'
feed 'hi\n' "$HEARTH" chat "$model" --adapter "$golden/tied-adapter-step10" --compare-base --max-tokens 4
claim "--compare-base answers twice" '[ $rc = 0 ]' 'out_has "base:" "tuned:"'
feed '' "$HEARTH" chat "$model"
claim "no lines, no answers" '[ $rc = 0 ]'
finish
