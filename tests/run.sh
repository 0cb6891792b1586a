#!/bin/sh
# Runs test programs (cmocka, in TAP) and prints one closing line: N passed, N failed, N skipped.
# usage: tests/run.sh BUILD PROGRAM...   A program that ends in .sh prints TAP itself.
build=$1; shift
log=$build/test.log; : > "$log"
CMOCKA_MESSAGE_OUTPUT=TAP; export CMOCKA_MESSAGE_OUTPUT
HEARTH=$build/hearth; export HEARTH
# The conformance fixtures (84 MB) are beside the project where there are any; tests that need them say when they skip.
if [ -z "${HTH_FIXTURES:-}" ] && [ ! -d build/fixtures/public ] && [ -f ../shared/fixtures/tokenizers.tar.xz ]; then
	mkdir -p build/fixtures.part && tar -xJf ../shared/fixtures/tokenizers.tar.xz -C build/fixtures.part &&
		tar -xJf ../shared/fixtures/templates.tar.xz -C build/fixtures.part && mv build/fixtures.part build/fixtures
fi
for t in "$@"; do
	printf '# %s\n' "$t" >> "$log"
	case $t in *.sh) sh "$t" > "$build/test.out" 2>&1 ;; *) "$t" > "$build/test.out" 2>&1 ;; esac
	rc=$?
	# cmocka writes a skipped test as "not ok N # SKIP name".
	sed 's/^not ok\( .*# *SKIP\)/ok\1/' "$build/test.out" > "$build/test.tap" && mv "$build/test.tap" "$build/test.out"
	cat "$build/test.out" >> "$log"
	grep -E '^not ok' "$build/test.out" | sed "s|^|$t: |"
	if [ $rc -ne 0 ] && ! grep -qE '^not ok' "$build/test.out"; then
		echo "$t: ended with status $rc"; tail -20 "$build/test.out"; echo "not ok - $t ended with status $rc" >> "$log"
	elif [ $rc -ne 0 ]; then
		grep -vE '^(ok|not ok|1\.\.|TAP)' "$build/test.out" | tail -40
	fi
	printf '%s: %s ok\n' "$t" "$(grep -cE '^ok' "$build/test.out")"
done
awk '/^ok .*# *[Ss][Kk][Ii][Pp]/ {s++; next} /^ok/ {p++} /^not ok/ {f++}
     END {printf "%d passed, %d failed, %d skipped\n", p, f, s; exit f > 0}' "$log"
