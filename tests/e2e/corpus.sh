#!/bin/sh
# Every class of malformed file that is known to break readers, as named files: tests/corpus/*.c makes them,
# tests/corpus/table.txt says what hearth answers to each. No crash, no hang, no code run, nothing written.
. tests/e2e/tap.inc
tools=$(dirname "$HEARTH")/tests/corpus
table=tests/corpus/table.txt
HF_HOME=$tmp/home; export HF_HOME
unset HF_TOKEN HF_HUB_CACHE HUGGINGFACE_HUB_CACHE HF_HUB_OFFLINE TRANSFORMERS_OFFLINE http_proxy https_proxy all_proxy
awk 'BEGIN { printf "{\"text\":\""; for (i = 0; i < 3000; i++) printf "a"; print "\"}" }' > "$tmp/text"
printf '{"messages":[{"role":"user","content":"hi"}]}\n' > "$tmp/row"
"$tools/make_corpus" "$tmp/corpus" 2> "$tmp/err"; rc=$?
claim "the corpus is made" '[ $rc = 0 ]'
ulimit -t 60 2>/dev/null # seconds of processor, so that a hang ends

answer() { # VERB FILE
	in=/dev/null
	case $1 in
	inspect) set -- inspect "$2" ;;
	tokenize) in=$tmp/text; set -- tokenize "$2" ;;
	render) in=$tmp/row; set -- render "$2" ;;
	adapter) set -- generate "$model" hi --max-tokens 1 --adapter "$2" ;;
	quantize) set -- quantize tests/golden/gptoss/tiny.gguf --type q4_0 --imatrix "$2" --output "$tmp/made" ;;
	pull) "$tools/serve_listing" "$2" "$HEARTH" pull org/model > "$tmp/out" 2> "$tmp/err" < $in; rc=$?; return ;;
	esac
	"$HEARTH" "$@" > "$tmp/out" 2> "$tmp/err" < $in; rc=$?
}

sed '/^#/d' "$table" > "$tmp/rows"
while IFS='|' read -r class file verb result text; do
	class=${class% } file=${file# } file=${file% } verb=${verb# } verb=${verb% } result=${result# } result=${result% } text=${text# }
	rm -f "$tmp/made"
	answer "$verb" "$tmp/corpus/$file"
	case $result in
	0) claim "$class: $file is sound" '[ $rc = 0 ]' 'out_has "$text"' ;;
	row) claim "$class: $file: $text" '[ $rc = 0 ]' 'out_lines 1' 'out_has "\"error\":\"" "$text"' ;;
	warned) claim "$class: $file: $text" '[ $rc = 0 ]' 'err_has "warning: " "$text"' ;;
	1)
		where=${file%/m-0*} # any part may be named
		[ "$verb" = pull ] && where=org/model
		claim "$class: $file: $text" '[ $rc = 1 ]' 'err_has "error: " "$where" "$text"' '! grep -q . "$tmp/out"' \
			'[ ! -e "$tmp/made" ]' ;;
	*) claim "$class: $file: a result that the table may name" false ;;
	esac
done < "$tmp/rows"
claim "no template or config ran a command" '[ ! -e pwned ]'
claim "nothing of a refused listing is in the cache" '[ ! -e "$HF_HOME/hub" ]'

# The table names every file, or folder, that is made; the makers make every one that it names.
(cd "$tmp/corpus" && ls -d gguf/* split/*.gguf split/*/m-00001-of-00002.gguf model/* hf/* st/* adapter/* imatrix/* tokenizer/* \
	template/* hub/*) | sort > "$tmp/made_files"
awk -F ' [|] ' '{ print $2 }' "$tmp/rows" | sort > "$tmp/named_files"
claim "table and corpus name the same files" 'cmp -s "$tmp/made_files" "$tmp/named_files"'
classes=$(awk -F ' [|] ' '$4 != 0 { print $1 }' "$tmp/rows" | sort -u | tr '\n' ' ')
for c in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
	case " $classes" in *" G$c "*) ;; *) missing="$missing G$c" ;; esac
done
for c in 1 2 3 4 5 6 8 9; do
	case " $classes" in *" S$c "*) ;; *) missing="$missing S$c" ;; esac
done
claim "every class has a file that is refused (missing:$missing)" '[ -z "$missing" ]'
finish
