#!/bin/sh
# hearth generate: one answer, the same each time, cut and stopped where it is asked to.
. tests/e2e/tap.inc
adapter=$golden/tied-adapter-step10

run "$HEARTH" generate "$model" hi --max-tokens 12 --json
claim "--json is one line with text, ids, reason and times" '[ $rc = 0 ]' 'out_lines 1' \
	'out_has "\"text\":" "\"ids\":[" "\"finish\":\"" "\"prompt_tokens\":" "\"prompt_s\":" "\"decode_s\":"'
sed 's/"prompt_s.*"ids/"ids/' "$tmp/out" > "$tmp/first"
ids=$(sed 's/.*"ids":\[\([0-9,]*\)\].*/\1/' "$tmp/out")
run "$HEARTH" generate "$model" hi --max-tokens 12 --json --threads 1
sed 's/"prompt_s.*"ids/"ids/' "$tmp/out" > "$tmp/second"
claim "greedy answers are the same with one thread" '[ $rc = 0 ]' 'cmp -s "$tmp/first" "$tmp/second"'
run "$HEARTH" generate "$model" --prompt hi -m 12 --temperature 0 --json
sed 's/"prompt_s.*"ids/"ids/' "$tmp/out" > "$tmp/second"
claim "a prompt as an option, short and other names give the same" '[ $rc = 0 ]' 'cmp -s "$tmp/first" "$tmp/second"'
feed 'hi' "$HEARTH" generate "$model" - --max-tokens 12 --json
sed 's/"prompt_s.*"ids/"ids/' "$tmp/out" > "$tmp/second"
claim "a prompt from stdin gives the same" '[ $rc = 0 ]' 'cmp -s "$tmp/first" "$tmp/second"'
run "$HEARTH" generate "$model" hi --max-tokens 12 --json --backend ref
claim "the reference backend gives the same ids" '[ $rc = 0 ]' 'out_has "\"ids\":[$ids]"'

run "$HEARTH" generate "$model" hi --max-tokens 3 --json
claim "--max-tokens cuts and says so" '[ $rc = 0 ]' 'out_has "\"tokens\":3" "\"finish\":\"length\""'
run "$HEARTH" generate "$model" hi --max-tokens 12
claim "without --json the answer is on stdout and the speed on stderr" '[ $rc = 0 ]' 'err_has "tokens-per-sec" "--max-tokens"' \
	'! out_has "tokens-per-sec"'
run "$HEARTH" generate "$model" hi --max-tokens 12 --quiet
claim "--quiet says no speed" '[ $rc = 0 ]' '! err_has "tokens-per-sec"'

for seed in 1 2; do
	run "$HEARTH" generate "$model" hi --max-tokens 24 --temp 1.5 --seed $seed --json
	sed 's/"prompt_s.*"ids/"ids/' "$tmp/out" > "$tmp/seed$seed"
done
run "$HEARTH" generate "$model" hi --max-tokens 24 --temp 1.5 --seed 1 --json
sed 's/"prompt_s.*"ids/"ids/' "$tmp/out" > "$tmp/seed1b"
claim "a seed gives its text again" 'cmp -s "$tmp/seed1" "$tmp/seed1b"'
claim "another seed gives another" '! cmp -s "$tmp/seed1" "$tmp/seed2"'
run "$HEARTH" generate "$model" hi --max-tokens 24 --temp 1.5 --top-k 1 --seed 5 --json
claim "top-k 1 is greedy" '[ $rc = 0 ]' 'out_has "\"ids\":[$ids,"'

# The tiny model's answer holds " t"; stopping there must cut the text before it.
run "$HEARTH" generate "$model" hi --max-tokens 12 --json --stop " t"
claim "--stop ends the answer before its text" '[ $rc = 0 ]' 'out_has "\"finish\":\"stop\""' '! grep -q "\"text\":\"[^\"]* t" "$tmp/out"'
run "$HEARTH" generate "$model" hi --max-tokens 12 --json --stop zzzz --stop qqqq
claim "a stop text that never comes stops nothing" '[ $rc = 0 ]' 'out_has "\"ids\":[$ids]"'
run "$HEARTH" generate "$model" hello --max-tokens 6 --raw --json
claim "--raw continues the text itself" '[ $rc = 0 ]' 'out_has "\"prompt_tokens\":4"'
run "$HEARTH" generate "$model" hi --system "Be brief." --max-tokens 2 --json
claim "a system message makes the prompt longer" '[ $rc = 0 ]' '[ $(sed "s/.*prompt_tokens\":\([0-9]*\).*/\1/" "$tmp/out") -gt 21 ]'
run "$HEARTH" generate "$model" hi --max-tokens 500 --json
claim "the context's end ends the answer" '[ $rc = 0 ]' 'out_has "\"finish\":\"context\"" || out_has "\"finish\":\"stop\""'
run "$HEARTH" generate "$model" "$(awk 'BEGIN { for (i = 0; i < 400; i++) printf "word " }')" --max-tokens 2
claim "a prompt longer than the context is an error that says so" '[ $rc = 1 ]' 'err_has "context"'

run "$HEARTH" generate "$model" hi --adapter "$adapter" --max-tokens 12 --json
claim "an adapter changes the answer" '[ $rc = 0 ]' 'out_has "\"model\":\"tuned\""' '! out_has "\"ids\":[$ids]"'
run "$HEARTH" generate "$model" hi --adapter "$adapter" --max-tokens 12 --json --compare-base
claim "--compare-base gives both" '[ $rc = 0 ]' 'out_lines 2' 'out_has "\"model\":\"base\"" "\"model\":\"tuned\"" "\"ids\":[$ids]"'
run "$HEARTH" generate "$model" hi --adapter "$golden/untied-adapter-step10"
claim "an adapter of another model is refused by name" '[ $rc = 1 ]' 'err_has "untied-adapter-step10"' 'out_lines 0'
run "$HEARTH" generate "$tmp/none.gguf" hi
claim "a model that is not there" '[ $rc = 1 ]' 'err_has "none.gguf"'
run "$HEARTH" generate "$model" "$(printf 'a\377b')" --max-tokens 2 --json
claim "a prompt that is no UTF-8 is answered" '[ $rc = 0 ]'
run "$HEARTH" generate "$model" "" --max-tokens 2 --json
claim "an empty message is answered" '[ $rc = 0 ]'
finish
