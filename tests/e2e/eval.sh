#!/bin/sh
# hearth eval: base and adapters in one table.
. tests/e2e/tap.inc
adapter=$golden/tied-adapter-step10

cat > "$tmp/test.jsonl" <<'ROWS'
{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}
{"messages":[{"role":"user","content":"c"},{"role":"assistant","content":"d"}],"expect":"d"}
{"text":"only for perplexity"}
ROWS
run "$HEARTH" eval "$model" --data "$tmp/test.jsonl" --adapter "$adapter" --max-tokens 4
claim "a table with base and adapter" '[ $rc = 0 ]' 'out_has "2 questions, 3 examples" perplexity "base " "tied-adapter-step10"'
run "$HEARTH" eval "$model" --data "$tmp/test.jsonl" --adapter "$adapter" --max-tokens 4 --json
claim "--json is one line with both results" '[ $rc = 0 ]' 'out_lines 1' \
	'out_has "\"rows\":2" "\"model\":\"base\"" "\"loss\":" "\"perplexity\":" "\"exact\":" "\"contains_rate\":"'
sed 's/"seconds":[0-9.]*//g' "$tmp/out" > "$tmp/first"
run "$HEARTH" eval "$model" --data "$tmp/test.jsonl" --adapter "$adapter" --max-tokens 4 --json --threads 1
sed 's/"seconds":[0-9.]*//g' "$tmp/out" > "$tmp/second"
claim "the thread count changes no digit" 'cmp -s "$tmp/first" "$tmp/second"'
run "$HEARTH" eval "$model" --data "$tmp/test.jsonl" --adapter "$adapter" --skip-base --json --answers off
claim "--skip-base and --answers off leave those out" '[ $rc = 0 ]' '! out_has "\"model\":\"base\""'
run "$HEARTH" eval "$model" --data "$tmp" --rows 1 --json --max-tokens 2
claim "a folder stands for its test.jsonl, --rows limits" '[ $rc = 0 ] || err_has "train.jsonl"' 'out_has "\"rows\":1" || err_has "train.jsonl"'
# The tiny model's own greedy answer as the reference must count as exact.
answer=$("$HEARTH" generate "$model" hi --max-tokens 6 --json 2>/dev/null | sed 's/.*"text":\("[^"]*"\),"finish.*/\1/')
printf '{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":%s}]}\n' "$answer" > "$tmp/own.jsonl"
run "$HEARTH" eval "$model" --data "$tmp/own.jsonl" --max-tokens 6 --json
claim "its own answer is an exact one" '[ $rc = 0 ]' 'out_has "\"exact\":1" "\"contains\":1"'
run "$HEARTH" eval "$model" --data "$tmp/test.jsonl" --show-misses --max-tokens 4
claim "--show-misses prints what was expected and answered" '[ $rc = 0 ]' 'err_has "expected \"" "answered \""'
run "$HEARTH" eval "$model"
claim "no data is bad use" '[ $rc = 2 ]' 'err_has "--data"'
printf '{"messages":[]}\n' > "$tmp/bad.jsonl"
run "$HEARTH" eval "$model" --data "$tmp/bad.jsonl"
claim "a bad row is named by file and line" '[ $rc = 1 ]' 'err_has "bad.jsonl:1"'
cp -r "$adapter" "$tmp/it's \"mine\""
run "$HEARTH" eval "$model" --data "$tmp/test.jsonl" --adapter "$tmp/it's \"mine\"" --json --max-tokens 2
claim "a quote in an adapter's name is escaped in JSON" '[ $rc = 0 ]' 'out_has "\\\"mine\\\""'
finish
