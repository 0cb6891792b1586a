#!/bin/sh
# hearth tokenize: rows of text to rows of ids, and back.
. tests/e2e/tap.inc

feed '{"text":"hello"}\n' "$HEARTH" tokenize "$model"
claim "a word becomes ids with its merges" '[ $rc = 0 ]' 'out_is "{\"ids\":[257,108,108,111]}\n"'
cat > "$tmp/rows" <<'ROWS'
{"text":"IDLH of ammonia: 300 ppm\n"}
{"text":""}

{"text":"\t  spaces   \u00e9 \ud83d\ude00 \u0000 end"}
{"text":"<|im_start|>user\nhi<|im_end|>"}
ROWS
"$HEARTH" tokenize "$model" < "$tmp/rows" > "$tmp/ids" 2> "$tmp/err"; rc=$?
"$HEARTH" tokenize "$model" --decode < "$tmp/ids" > "$tmp/out" 2>> "$tmp/err"
claim "one row out for each row in, blank lines left out" '[ $rc = 0 ]' '[ $(wc -l < "$tmp/ids") = 4 ]'
printf '%s\n' '{"text":"IDLH of ammonia: 300 ppm\n"}' '{"text":""}' '{"text":"\t  spaces   é 😀 \u0000 end"}' \
	'{"text":"<|im_start|>user\nhi<|im_end|>"}' > "$tmp/want"
claim "decoding gives the text back" 'cmp -s "$tmp/want" "$tmp/out"'
feed '{"text":"<|im_end|>"}\n{"text":"<|im_end|>","parse_special":false}\n' "$HEARTH" tokenize "$model"
claim "special tokens are parsed unless a row says no" '[ $rc = 0 ]' \
	'[ $(head -1 "$tmp/out" | tr -cd , | wc -c) = 0 ]' '[ $(tail -1 "$tmp/out" | tr -cd , | wc -c) = 9 ]'
cp "$tmp/out" "$tmp/ids"
"$HEARTH" tokenize "$model" --decode --skip-special < "$tmp/ids" > "$tmp/out" 2> "$tmp/err"; rc=$?
claim "--skip-special leaves special tokens out" '[ $rc = 0 ]' 'out_is "{\"text\":\"\"}\n{\"text\":\"<|im_end|>\"}\n"'
feed '{"text":"hello \\u00e9"}\n' "$HEARTH" tokenize "$model" --offsets
claim "--offsets adds bytes where tokens begin and end" '[ $rc = 0 ]' 'out_has "\"starts\":[0," "\"ends\":[" ",8]}"'
feed '{"text":"a"}\n{"txt":"b"}\n' "$HEARTH" tokenize "$model"
claim "a row without text is an error with its line" '[ $rc = 1 ]' 'err_has "stdin:2"' 'out_lines 1'
feed '{"text":"a"\n' "$HEARTH" tokenize "$model"
claim "broken JSON is an error with its line" '[ $rc = 1 ]' 'err_has "stdin:1"' 'out_lines 0'
for ids in '[99999]' '[-1]' '[1.5]' '["1"]' '[9999999999999]' '7'; do
	feed "{\"ids\":$ids}\n" "$HEARTH" tokenize "$model" --decode
	claim "ids $ids are refused" '[ $rc = 1 ]' 'err_has "stdin:1"'
done
feed '{"text":"\\ud800"}\n' "$HEARTH" tokenize "$model"
claim "half a surrogate pair is refused or replaced, not passed on" '[ $rc = 0 ] || err_has "stdin:1"'
feed '' "$HEARTH" tokenize "$model"
claim "no rows give no rows" '[ $rc = 0 ]' 'out_lines 0'
feed '{"text":"a"}' "$HEARTH" tokenize "$model"
claim "a last line without its newline counts" '[ $rc = 0 ]' 'out_is "{\"ids\":[97]}\n"'
finish
