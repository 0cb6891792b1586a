#!/bin/sh
# Files that are cut, changed, empty, special or oddly named: an error with a message, exit 1, nothing written, no wait.
. tests/e2e/tap.inc

refused() { # FACT CMD... : ends within seconds with exit 1 and a message, not by a signal
	fact=$1; shift
	run_for 20 "$@"
	claim "$fact" '[ $rc = 1 ]' '[ -s "$tmp/err" ]' '[ ! -e "$tmp/made" ]'
}
bytes=$(wc -c < "$model")
bad=0
for at in 0 1 3 4 8 16 23 24 25 31 100 500 1000 2000 3000 4000 5000 6000 8000 20000 $((bytes / 2)) $((bytes - 4096)) $((bytes - 33)); do
	head -c $at "$model" > "$tmp/cut.gguf"
	run_for 20 "$HEARTH" generate "$tmp/cut.gguf" hi --max-tokens 2
	[ $rc = 1 ] && [ -s "$tmp/err" ] && ! grep -q . "$tmp/out" || { bad=$at; break; }
done
claim "a model cut anywhere is an error (wrong at byte $bad)" '[ $bad = 0 ]'
refused "a cut model cannot be fused" "$HEARTH" fuse "$tmp/cut.gguf" --output "$tmp/made"
refused "a cut model cannot be quantised" "$HEARTH" quantize "$tmp/cut.gguf" --type q8_0 --output "$tmp/made"
refused "a cut model cannot be trained on" "$HEARTH" train --model "$tmp/cut.gguf" --data examples/hazmat --output-dir "$tmp/made"
refused "a cut model cannot be inspected" "$HEARTH" inspect "$tmp/cut.gguf"

# Single bytes of the header changed: an error or a model, never a crash.
crashed=
for at in 4 8 9 15 16 17 23 24 30 32 40 60 90 130 200 400 700 900; do
	for byte in '\000' '\377' '\200'; do
		cp "$model" "$tmp/bits.gguf"
		printf $byte | dd of="$tmp/bits.gguf" bs=1 seek=$at conv=notrunc 2>/dev/null
		run_for 20 "$HEARTH" generate "$tmp/bits.gguf" hi --max-tokens 1
		[ $rc -le 1 ] || crashed="$crashed $at:$byte($rc)"
	done
done
claim "a changed byte never crashes (crashed at:$crashed)" '[ -z "$crashed" ]'

: > "$tmp/empty.gguf"
refused "an empty file is no model" "$HEARTH" inspect "$tmp/empty.gguf"
refused "a folder is no model" "$HEARTH" generate "$tmp" hi
mkdir "$tmp/dir.gguf"
refused "a folder that ends in .gguf is no model" "$HEARTH" generate "$tmp/dir.gguf" hi
refused "a device is no model" "$HEARTH" generate /dev/zero hi
refused "text is no model" "$HEARTH" generate Makefile hi
refused "a model is no data" "$HEARTH" train --model "$model" --data "$model" --output-dir "$tmp/made"
if mkfifo "$tmp/fifo" 2>/dev/null; then
	cp "$tmp/fifo" /dev/null 2>/dev/null &
	kill $! 2>/dev/null
	refused "a FIFO as model is refused without waiting" "$HEARTH" generate "$tmp/fifo" hi
	refused "a FIFO as data is refused without waiting" "$HEARTH" train --model "$model" --data "$tmp/fifo" --output-dir "$tmp/made"
	refused "a FIFO as rows of eval is refused without waiting" "$HEARTH" eval "$model" --data "$tmp/fifo"
	refused "a FIFO as data of split is refused without waiting" "$HEARTH" data split "$tmp/fifo" --output "$tmp/made"
	refused "a FIFO as data of prepare is refused without waiting" "$HEARTH" data prepare "$tmp/fifo" --model "$model" --output "$tmp/made"
	refused "a FIFO as adapter is refused without waiting" "$HEARTH" generate "$model" hi --adapter "$tmp/fifo"
	refused "a FIFO as template is refused without waiting" "$HEARTH" render "$tmp/fifo"
	refused "a FIFO as tokenizer is refused without waiting" "$HEARTH" inspect "$tmp/fifo"
	run_for 20 "$HEARTH" train "$tmp/fifo"
	claim "a FIFO as config is refused without waiting" '[ $rc = 1 ] || [ $rc = 2 ]' '[ -s "$tmp/err" ]'
	mkdir "$tmp/ad"; mkfifo "$tmp/ad/adapter_config.json"; cp "$golden/tied-adapter-start/adapter_model.safetensors" "$tmp/ad"
	refused "a FIFO inside an adapter is refused without waiting" "$HEARTH" generate "$model" hi --adapter "$tmp/ad"
fi
cp -r "$golden/tied-adapter-start" "$tmp/cutad"
head -c 1000 "$golden/tied-adapter-start/adapter_model.safetensors" > "$tmp/cutad/adapter_model.safetensors"
refused "a cut adapter is refused" "$HEARTH" generate "$model" hi --adapter "$tmp/cutad"
refused "and cannot be converted" "$HEARTH" convert "$tmp/cutad" --output "$tmp/made"
refused "nor fused" "$HEARTH" fuse "$model" --adapter "$tmp/cutad" --output "$tmp/made"
cp -r "$golden/tied-adapter-start" "$tmp/nocfg"; rm "$tmp/nocfg/adapter_config.json"
refused "an adapter without its config is refused" "$HEARTH" generate "$model" hi --adapter "$tmp/nocfg"
cp -r "$golden/tied-adapter-start" "$tmp/deep"
awk 'BEGIN { for (i = 0; i < 100000; i++) printf "[" }' > "$tmp/deep/adapter_config.json"
refused "a config nested 100,000 deep is refused" "$HEARTH" generate "$model" hi --adapter "$tmp/deep"
awk 'BEGIN { for (i = 0; i < 100000; i++) printf "["; print "" }' > "$tmp/deep.jsonl"
refused "a row nested 100,000 deep is refused" "$HEARTH" data check "$tmp/deep.jsonl" --model "$model"
awk 'BEGIN { for (i = 0; i < 100000; i++) printf "[" }' > "$tmp/deep.yml"
run_for 20 "$HEARTH" train "$tmp/deep.yml"
claim "a config nested 100,000 deep is refused" '[ $rc = 1 ] || [ $rc = 2 ]'
printf '{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"' > "$tmp/long.jsonl"
awk 'BEGIN { for (i = 0; i < 300000; i++) printf "word " }' >> "$tmp/long.jsonl"
printf '"}]}\n' >> "$tmp/long.jsonl"
run_for 30 "$HEARTH" data check "$tmp/long.jsonl" --model "$model"
claim "a row of 1.5 MB is cut and counted in seconds" '[ $rc -le 1 ]' 'out_has "cut"'

# Names that look like options, paths or terminal codes.
cp "$model" "$tmp/--help"
run sh -c 'cd "$1" && "$2" inspect -- --help' sh "$tmp" "$HEARTH"
claim "a file called --help is a file behind --" '[ $rc = 0 ]' 'out_has "2 layers"'
odd=$(printf 'a b\033[31m"\nc.gguf')
run "$HEARTH" inspect "$tmp/$odd"
claim "a name's control bytes are not echoed" '[ $rc = 1 ]' '! grep -q "$(printf "\033")" "$tmp/err"'
for i in 1 2 3 4; do printf '{"text":"row %s"}\n' $i; done > "$tmp/rows.jsonl"
run "$HEARTH" train --model "$model" --data "$tmp/rows.jsonl" --iters 2 --output-dir "$tmp/it's \"a\" run/x" --sample-rows 0
claim "an output folder with quotes and spaces" '[ $rc = 0 ]' '[ -s "$tmp/it'"'"'s \"a\" run/x/adapter.gguf" ]'
run "$HEARTH" train "$tmp/it's \"a\" run/x/config.yml" --overwrite
claim "whose config.yml reruns it" '[ $rc = 0 ]'
echo file > "$tmp/file"
refused "an output folder that is a file is refused" "$HEARTH" train --model "$model" --data "$tmp/rows.jsonl" --iters 2 --output-dir "$tmp/file" --overwrite
claim "and the file is as it was" '[ "$(cat "$tmp/file")" = file ]'
refused "an output folder below a file is refused" "$HEARTH" train --model "$model" --data "$tmp/rows.jsonl" --iters 2 --output-dir "$tmp/file/run"
if [ -w /dev/full ]; then
	"$HEARTH" generate "$model" hi --max-tokens 2 --json > /dev/full 2> "$tmp/err"; rc=$?
	claim "a full disk behind stdout is a failure" '[ $rc = 1 ]'
	echo '{"text":"a"}' | "$HEARTH" tokenize "$model" > /dev/full 2> "$tmp/err"; rc=$?
	claim "a full disk behind tokenize is a failure" '[ $rc = 1 ]'
fi
finish
