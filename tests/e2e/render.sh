#!/bin/sh
# hearth render: conversations through a chat template.
. tests/e2e/tap.inc

row='{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yo"}]}'
feed "$row\n" "$HEARTH" render "$model"
claim "a model's own template renders a row" '[ $rc = 0 ]' \
	'out_is "{\"text\":\"<|im_start|>user\\\\nhi<|im_end|>\\\\n<|im_start|>assistant\\\\nyo<|im_end|>\\\\n\"}\n"'
feed '{"messages":[{"role":"user","content":"hi"}],"add_generation_prompt":true}\n' "$HEARTH" render "$model"
claim "add_generation_prompt opens the answer" '[ $rc = 0 ]' 'out_has "<|im_start|>assistant\\n\"}"'
printf '{%% for m in messages %%}[{{ m.role }}|{{ m.content | trim }}]{%% endfor %%}{{ strftime_now("%%Y-%%m-%%d %%H:%%M") }}' > "$tmp/t.jinja"
feed '{"messages":[{"role":"user","content":" x "}]}\n' "$HEARTH" render "$tmp/t.jinja" --now 2026-01-15T09:30:00
claim "a template file renders at a given time" '[ $rc = 0 ]' 'out_is "{\"text\":\"[user|x]2026-01-15 09:30\"}\n"'
feed '{"messages":[{"role":"user","content":" x "}]}\n' "$HEARTH" render "$tmp/t.jinja" --origins
claim "--origins says which bytes came from which message" '[ $rc = 0 ]' \
	'out_has "{\"start\":6,\"end\":7,\"message\":0,\"field\":\"content\"}"'
printf '{{ messages[0].n }}' > "$tmp/n.jinja"
feed '{"messages":[{"role":"user","content":"","n":123456789012345678901234567890}]}\n' "$HEARTH" render "$tmp/n.jinja"
claim "integers have any size" '[ $rc = 0 ]' 'out_is "{\"text\":\"123456789012345678901234567890\"}\n"'
printf '{%% if messages[0].role != "user" %%}{{ raise_exception("user first") }}{%% endif %%}ok' > "$tmp/r.jinja"
feed '{"messages":[{"role":"system","content":""}]}\n{"messages":[{"role":"user","content":""}]}\n' "$HEARTH" render "$tmp/r.jinja"
claim "a row that the template refuses is an error row, the next goes on" '[ $rc = 0 ]' \
	'out_is "{\"error\":\"user first\"}\n{\"text\":\"ok\"}\n"'
printf 'a\n{%% for x in %%}' > "$tmp/bad.jinja"
feed '{}\n' "$HEARTH" render "$tmp/bad.jinja"
claim "a template's syntax error has its line" '[ $rc = 1 ]' 'err_has "bad.jinja" "2"' 'out_lines 0'
printf '{%% for x in range(999999999) %%}{%% for y in range(999999999) %%}.{%% endfor %%}{%% endfor %%}' > "$tmp/bomb.jinja"
printf '{"messages":[]}\n' > "$tmp/in"
run_for 60 sh -c '"$1" render "$2" < "$3"' sh "$HEARTH" "$tmp/bomb.jinja" "$tmp/in"
claim "a template without end is stopped" '[ $rc != 124 ]' 'out_has "\"error\":" || err_has "error"'
feed 'nonsense\n' "$HEARTH" render "$model"
claim "a row that is no JSON is an error with its line" '[ $rc = 1 ]' 'err_has "stdin:1"'
feed '{}\n' "$HEARTH" render "$model" --now yesterday
claim "a wrong --now is bad use" '[ $rc = 2 ]' 'err_has "--now"'
finish
