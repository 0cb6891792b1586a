#!/bin/sh
# hearth data: check, show, split and prepare.
. tests/e2e/tap.inc

mkdir "$tmp/set"
for i in 1 2 3 4 5 6 7 8 9 10; do
	printf '{"messages":[{"role":"user","content":"q%s"},{"role":"assistant","content":"a%s"}]}\n' $i $i
done > "$tmp/set/train.jsonl"
run "$HEARTH" data check "$tmp/set" --model "$model"
claim "a sound set is said to be sound" '[ $rc = 0 ]' 'out_has "10 rows, 10 examples" "every row can be trained on"' 'err_lines 0'
run "$HEARTH" data check "$tmp/set" --model "$model" --json
claim "check --json has the counts" '[ $rc = 0 ]' 'out_lines 1' 'out_has "\"rows\":10" "\"bad\":0" "\"targets\":"'

cat > "$tmp/bad.jsonl" <<'ROWS'
{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}
{"messages":[]}
not json
{"foo":1}

{"messages":[{"role":"user","content":"a"}]}
{"messages":[{"role":"user"},{"role":"assistant","content":"b"}]}
{"prompt":"p"}
{"text":5}
{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}],"messages":[]}
[1]
ROWS
run "$HEARTH" data check "$tmp/bad.jsonl" --model "$model"
claim "a set with bad rows fails" '[ $rc = 1 ]' 'err_has "9 rows cannot be trained on"'
for line in 2 3 4 6 7 8 9 10 11; do
	claim "bad row at line $line is named by file and line" 'err_has "bad.jsonl:$line: "'
done
claim "the good row and the blank line are not" '! err_has "bad.jsonl:1: "' '! err_has "bad.jsonl:5: "'
claim "a file and line stand there once" '! err_has "bad.jsonl:2: $tmp/bad.jsonl:2:"'
printf 'x\037\213\010' > "$tmp/binary.jsonl"
run "$HEARTH" data check "$tmp/binary.jsonl" --model "$model"
claim "bytes that are no text are named and not echoed" '[ $rc = 1 ]' 'err_has "binary.jsonl:1"' '! grep -q "$(printf "\037")" "$tmp/err"'
: > "$tmp/empty.jsonl"
run "$HEARTH" data check "$tmp/empty.jsonl" --model "$model"
claim "an empty file cannot be trained on" '[ $rc = 1 ] || out_has "0 rows"'
run "$HEARTH" data check "$tmp/nothere" --model "$model"
claim "a path that is not there" '[ $rc = 1 ]' 'err_has "$tmp/nothere"'
run "$HEARTH" data check "$tmp/set"
claim "check without a model says what to give" '[ $rc = 2 ]' 'err_has "--model"'
run "$HEARTH" data polish "$tmp/set"
claim "an unknown action lists the four" '[ $rc = 2 ]' 'err_has "check, prepare, split or show"'

run "$HEARTH" data show "$tmp/set" --model "$model" --rows 2
claim "show marks what is trained on" '[ $rc = 0 ]' 'out_has "⟦a1<|im_end|>⟧" "⟦a2<|im_end|>⟧"' '! out_has "a3"'
run "$HEARTH" data show "$tmp/set" --model "$model" --line 4
claim "show --line shows that row" '[ $rc = 0 ]' 'out_has "⟦a4<|im_end|>⟧"' '! out_has "a3"'
run "$HEARTH" data show "$tmp/set" --model "$model" --line 40
claim "a line beyond the file is an error" '[ $rc = 1 ]' 'err_has "40"'
run "$HEARTH" data show "$tmp/set" --model "$model" --rows 1 --train-on-inputs
claim "--train-on-inputs trains on the prompt too" '[ $rc = 0 ]' 'out_has "q1<|im_end|>"' '! out_has "⟦a1"'
run "$HEARTH" data show "$tmp/set" --model "$model" --rows 1 --json
claim "show --json is a row a line" '[ $rc = 0 ]' 'out_has "\"tokens\":[{\"id\":" "\"target\":true"'
printf '{"messages":[{"role":"user","content":"\\u001b[31mred"},{"role":"assistant","content":"b\\u0007"}]}\n' > "$tmp/esc.jsonl"
run "$HEARTH" data show "$tmp/esc.jsonl" --model "$model"
claim "a data set cannot steer the terminal" '[ $rc = 0 ]' '! grep -q "$(printf "\033")" "$tmp/out"' '! grep -q "$(printf "\007")" "$tmp/out"'

run "$HEARTH" data split "$tmp/set/train.jsonl" --output "$tmp/parts" --valid 0.2 --test 0.1 --seed 3
claim "split writes the parts" '[ $rc = 0 ]' '[ $(wc -l < "$tmp/parts/train.jsonl") = 7 ]' \
	'[ $(wc -l < "$tmp/parts/valid.jsonl") = 2 ]' '[ $(wc -l < "$tmp/parts/test.jsonl") = 1 ]'
sort "$tmp/parts"/*.jsonl > "$tmp/all"; sort "$tmp/set/train.jsonl" > "$tmp/want"
claim "split loses and doubles no row" 'cmp -s "$tmp/all" "$tmp/want"'
run "$HEARTH" data split "$tmp/set/train.jsonl" --output "$tmp/parts"
claim "split does not overwrite" '[ $rc = 1 ]' 'err_has "exists" "--overwrite"'
run "$HEARTH" data split "$tmp/set/train.jsonl" --output "$tmp/again" --valid 0.2 --test 0.1 --seed 3
claim "the same seed gives the same split" '[ $rc = 0 ]' 'cmp -s "$tmp/again/valid.jsonl" "$tmp/parts/valid.jsonl"'
run "$HEARTH" data split "$tmp/set/train.jsonl" --output "$tmp/p2" --valid 0.6 --test 0.6
claim "parts that leave nothing are bad use" '[ $rc = 2 ]' '[ ! -e "$tmp/p2" ]'

run "$HEARTH" data prepare "$tmp/set/train.jsonl" --model "$model" --output "$tmp/text.jsonl"
claim "prepare makes rows of text" '[ $rc = 0 ]' '[ $(wc -l < "$tmp/text.jsonl") = 10 ]' \
	'grep -qF "{\"text\":\"<|im_start|>user\nq1<|im_end|>" "$tmp/text.jsonl"'
run "$HEARTH" data check "$tmp/text.jsonl" --model "$model"
claim "prepared rows can be trained on" '[ $rc = 0 ]'
run "$HEARTH" data prepare "$tmp/set/train.jsonl" --model "$model" --output "$tmp/text.jsonl"
claim "prepare does not overwrite" '[ $rc = 1 ]' 'err_has "exists"'
run "$HEARTH" data prepare "$tmp/bad.jsonl" --model "$model" --output "$tmp/no.jsonl"
claim "prepare of a bad row names it and writes nothing" '[ $rc = 1 ]' 'err_has "bad.jsonl:"' '[ ! -e "$tmp/no.jsonl" ]'
run "$HEARTH" data check "$tmp/set/train.jsonl" --model "$model" --max-seq-length 10
claim "rows over the limit are counted as cut" '[ $rc = 0 ] || [ $rc = 1 ]' 'out_has "cut"'
printf '\357\273\277{"text":"one"}\r\n{"text":"two"}\r\n' > "$tmp/crlf.jsonl"
run "$HEARTH" data check "$tmp/crlf.jsonl" --model "$model"
claim "a byte-order mark and CRLF are fine" '[ $rc = 0 ]' 'out_has "2 rows"'
cp "$tmp/set/train.jsonl" "$tmp/quote\".jsonl"
run "$HEARTH" data check "$tmp/quote\".jsonl" --model "$model" --json
claim "a quote in a file's name is escaped in JSON" '[ $rc = 0 ]' 'out_has "quote\\\".jsonl"'
finish
