#!/bin/sh
# Help, version and what bad use says: exit 2 and the nearest name.
. tests/e2e/tap.inc

run "$HEARTH" --help
claim "--help lists the commands" '[ $rc = 0 ]' 'out_has "usage: hearth" "  train " "  generate " "  doctor "' 'err_lines 0'
verbs=$(sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p' "$tmp/out")
claim "there are commands" '[ $(echo $verbs | wc -w) -ge 12 ]'
for v in $verbs; do
	run "$HEARTH" $v --help
	claim "$v --help says how it is used" '[ $rc = 0 ]' 'out_has "usage: hearth $v"' 'err_lines 0'
	cp "$tmp/out" "$tmp/first"
	run "$HEARTH" help $v
	claim "help $v says the same" '[ $rc = 0 ]' 'cmp -s "$tmp/first" "$tmp/out"'
	run "$HEARTH" $v --no-such-option-here
	claim "$v refuses an unknown option" '[ $rc = 2 ]' 'err_has "--no-such-option-here: unknown option"' 'out_lines 0'
done
run "$HEARTH"
claim "no command is bad use" '[ $rc = 2 ]'
run "$HEARTH" --version
claim "--version states version, compiler, libraries and backends" '[ $rc = 0 ]' \
	'out_has "hearth $(cat VERSION)" compiler libraries backends'
run "$HEARTH" trian
claim "an unknown command names the nearest" '[ $rc = 2 ]' 'err_has "did you mean hearth train?"' 'out_lines 0'
run "$HEARTH" xyzzyplugh
claim "a command like none points to --help" '[ $rc = 2 ]' 'err_has "hearth --help"'
run "$HEARTH" "$(printf 'tr\033[31main')"
claim "a command's control bytes are not echoed" '[ $rc = 2 ]' '! grep -q "$(printf "\033")" "$tmp/err"'
run "$HEARTH" train --iter 5
claim "an unknown option names the nearest" '[ $rc = 2 ]' 'err_has "did you mean --iters?"'
run "$HEARTH" train --iters
claim "a missing value is named" '[ $rc = 2 ]' 'err_has "--iters: a value is missing"'
run "$HEARTH" train --iters many
claim "a wrong value says found and expected" '[ $rc = 2 ]' 'err_has "--iters: found \"many\", expected a whole number"'
run "$HEARTH" train --iters -1
claim "a value out of range says the range" '[ $rc = 2 ]' 'err_has "found \"-1\"" "0.."'
run "$HEARTH" train --lr-schedule cosin
claim "a wrong choice lists the choices" '[ $rc = 2 ]' 'err_has "constant|linear|cosine"'
run "$HEARTH" train --memory-limit 5apples
claim "a wrong size shows what a size looks like" '[ $rc = 2 ]' 'err_has "1.5GB"'
run "$HEARTH" train --learning-rate nan
claim "a number that is none is refused" '[ $rc = 2 ]' 'err_has "expected a number"'
run "$HEARTH" train
claim "train without a model says what to give" '[ $rc = 2 ]' 'err_has "--model"'
run "$HEARTH" generate "$model"
claim "generate without a prompt says so" '[ $rc = 2 ]' 'err_has "prompt"'
run "$HEARTH" inspect a b c
claim "too many arguments are bad use" '[ $rc = 2 ]' 'err_has "unexpected argument"'
run "$HEARTH" inspect
claim "too few arguments are bad use" '[ $rc = 2 ]' 'err_has "an argument is missing"'
run "$HEARTH" generate "$model" hi --backend tpu
claim "an unknown backend is named" '[ $rc = 2 ]' 'err_has "tpu"'
if [ -w /dev/full ]; then
	"$HEARTH" --help > /dev/full 2> "$tmp/err"; rc=$?
	claim "help that cannot be written is a failure" '[ $rc = 1 ]'
	"$HEARTH" train --help > /dev/full 2> "$tmp/err"; rc=$?
	claim "a command's help that cannot be written is a failure" '[ $rc = 1 ]' 'err_has "stdout"'
fi
run "$HEARTH" doctor
claim "doctor describes machine, kernels and backends" '[ $rc = 0 ]' 'out_has machine memory kernels backends'
run "$HEARTH" doctor --json
claim "doctor --json is one line of JSON" '[ $rc = 0 ]' 'out_lines 1' 'out_has "\"kernels\":\"" "\"threads\":"'
HEARTH_CPU=ref; export HEARTH_CPU
run "$HEARTH" doctor
claim "HEARTH_CPU=ref forces the portable kernels" '[ $rc = 0 ]' 'out_has "in force    ref"'
HEARTH_CPU=nosuch
run "$HEARTH" doctor
claim "an unknown HEARTH_CPU is an error" '[ $rc != 0 ]' 'err_has "nosuch"'
unset HEARTH_CPU
finish
