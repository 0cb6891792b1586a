#!/bin/sh
# What the compiler does not check: banned functions, heap calls outside base, #ifdef outside its rooms, long lines.
# Comments are left out of the search.
status=0
code() { sed -e 's|//.*||' -e 's|/\*.*\*/||' -e 's|^[[:space:]]*\*.*||' -e 's|^[[:space:]]*/\*.*||' "$1"; }
find_in() { # FILE PATTERN WHY
	hits=$(code "$1" | grep -nE "$2") || return 0
	echo "$hits" | sed "s|^|$1:|"
	echo "  $3"
	status=1
}
for f in $(find src tests bench -name "*.[ch]" ! -name "*_data.c" 2>/dev/null); do
	find_in "$f" '(^|[^a-zA-Z_])(strcpy|strcat|sprintf|gets|atoi|atol|atof|strtok|alloca)\(' 'banned: it has no bound or no error'
	case $f in
	tests/*|bench/*) continue ;;
	src/base/mem.c|src/base/json_heap.c) ;;
	*) find_in "$f" '(^|[^a-zA-Z_])(malloc|calloc|realloc|strdup)\(' 'the heap is base/mem.h' ;;
	esac
	case $f in
	src/base/*|src/kernels/*|src/backend/*|src/cmd/version.c) ;;
	*) find_in "$f" '^#[[:space:]]*(ifdef|if defined|elif)' '#if on platforms belongs in base, kernels or backend' ;;
	esac
	awk -v f="$f" '{ gsub(/\t/, "        "); if (length($0) > 132) { print f ":" NR ": " length($0) " columns"; bad = 1 } }
	     END { exit bad }' "$f" || status=1
done
[ $status = 0 ] && echo "style: clean"
exit $status
