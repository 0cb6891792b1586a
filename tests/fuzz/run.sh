#!/bin/sh
# Runs every fuzz target for some seconds: with libFuzzer where clang has its runtime, else with driver.c and gcc.
# Prints `ok - fuzz NAME N runs` a target; a crash, leak, time-out or huge allocation is `not ok` and its input is kept.
# libFuzzer draws from the same seed each time, so that one state of the code has one verdict; FUZZ_SEED=0 draws anew, which is
# for hours by hand. What those find becomes a case of the tests.
# usage: tests/fuzz/run.sh BUILD SECONDS [TARGET...]      builds below BUILD-fuzz; FUZZ_ENGINE=driver forces the second
build=${1:-build}-fuzz seconds=${2:-10}
shift; [ $# -gt 0 ] && shift
here=tests/fuzz
targets=${*:-json yaml gguf safetensors adapter_config jinja tokenizer_json tokenizer_gguf text rows model adapter_gguf manifest config hub_listing hf_folder imatrix}

# The folder whose archive, with those before it, a target links; the longest input; the largest single allocation (MB).
layer_of() { case $1 in json|yaml) echo base ;; hub_listing) echo hub ;; gguf|safetensors|adapter_config) echo formats ;;
	jinja|tokenizer_json|tokenizer_gguf|text) echo text ;; rows) echo data ;; model|adapter_gguf|hf_folder) echo models ;; imatrix) echo export ;;
	manifest) echo train ;; *) echo cmd ;; esac; }
bytes_of() { case $1 in model|adapter_gguf|tokenizer_gguf) echo 16384 ;; jinja|yaml|config) echo 2048 ;; *) echo 4096 ;; esac; }
alloc_of() { case $1 in rows) echo 64 ;; *) echo 16 ;; esac; }

mkdir -p "$build/found" "$build/bin"
case $build in /*) ;; *) build=$PWD/$build ;; esac
tmp=$(mktemp -d /dev/shm/hearth-fuzz.XXXXXX 2>/dev/null || mktemp -d "${TMPDIR:-/tmp}/hearth-fuzz.XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT INT TERM
FUZZ_TMP=$tmp; export FUZZ_TMP

engine=${FUZZ_ENGINE:-libfuzzer}
if [ "$engine" = libfuzzer ]; then
	echo 'int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n){return d == 0 && n > 0;}' > "$tmp/probe.c"
	clang -fsanitize=fuzzer,address,undefined -o "$tmp/probe" "$tmp/probe.c" >/dev/null 2>&1 || engine=driver
fi
common="-fno-sanitize-recover=all -fno-omit-frame-pointer"
if [ "$engine" = libfuzzer ]; then
	cc=clang; lib_san="-fsanitize=fuzzer-no-link,address,undefined $common"; main_san="-fsanitize=fuzzer,address,undefined $common"
	driver=
else
	cc=cc; lib_san="-fsanitize=address,undefined $common"; main_san=$lib_san; driver=$here/driver.c
fi
build=$build/$engine
mkdir -p "$build/bin" "$build/found"
pkgs="jansson yaml-0.1 libpcre2-8 libutf8proc libmicrohttpd libcurl libedit libxxhash"
cflags="-std=c17 -O1 -g -D_GNU_SOURCE -Isrc -I$here $(pkg-config --cflags $pkgs)"
libs="$(pkg-config --libs $pkgs) -lm -lpthread"
all=$(sed -n "s/^LAYERS *:= *//p" Makefile)

# Archives of the layers up to the given one, highest first; made by the Makefile with the sanitizers on.
archives() {
	list=
	for l in $all; do
		ls src/$l/*.c >/dev/null 2>&1 && list="$build/lib/$l.a $list"
		[ "$l" = "$1" ] && break
	done
	echo "$list"
}
jobs=${JOBS:-$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)}
make_target() { # NAME LAYER SOURCE... -> build/bin/NAME
	name=$1 layer=$2; shift 2
	libs_here=$(archives "$layer")
	# Kernels and backends read no foreign bytes, and their unrolled loops take clang minutes under the sanitizers.
	for l in kernels backend; do
		case " $libs_here" in *" $build/lib/$l.a"*)
			${MAKE:-make} -j"$jobs" CC=$cc BUILD="$build" OPT=-O1 "$build/lib/$l.a" > "$build/make.log" 2>&1 ||
				{ tail -5 "$build/make.log"; return 1; } ;;
		esac
	done
	${MAKE:-make} -j"$jobs" CC=$cc BUILD="$build" OPT="-O1 -g" SAN="$lib_san" \
		$libs_here > "$build/make.log" 2>&1 || { tail -5 "$build/make.log"; return 1; }
	$cc $cflags $san -o "$build/bin/$name" "$@" $libs_here $libs 2> "$build/make.log" || { tail -5 "$build/make.log"; return 1; }
}

san=$(echo "$lib_san" | sed 's/fuzzer-no-link,//')
if make_target seeds export $here/seeds.c && ASAN_OPTIONS=detect_leaks=0 "$build/bin/seeds" "$tmp/seeds"; then :; else
	echo "not ok - fuzz seeds: could not be made"; exit 1
fi
san=$main_san
failed=0
for t in $targets; do
	if ! make_target fuzz_$t "$(layer_of $t)" $here/fuzz_$t.c $driver; then
		echo "not ok - fuzz $t: does not build"; failed=1; continue
	fi
	max=$(bytes_of $t); alloc=$(alloc_of $t)
	mkdir -p "$tmp/seeds/$t" "$build/corpus/$t"
	[ -d $here/seeds/$t ] && cp $here/seeds/$t/* "$tmp/seeds/$t/"
	[ $t = tokenizer_gguf ] && cp tests/golden/unigram/*.gguf "$tmp/seeds/$t/"
	if [ $t = jinja ] && [ -n "$HTH_FIXTURES" ]; then
		for f in "$HTH_FIXTURES"/templates/*.jinja; do [ "$(wc -c < "$f")" -lt $max ] && cp "$f" "$tmp/seeds/$t/"; done
	fi
	UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1; export UBSAN_OPTIONS
	if [ "$engine" = libfuzzer ]; then
		dict=; [ -f $here/$t.dict ] && dict=-dict=$here/$t.dict
		ASAN_OPTIONS=quarantine_size_mb=8:detect_leaks=1 "$build/bin/fuzz_$t" -max_total_time="$seconds" -max_len=$max \
			-seed="${FUZZ_SEED:-1}" -timeout=20 -rss_limit_mb=700 -malloc_limit_mb=$alloc -detect_leaks=1 -print_final_stats=1 -verbosity=0 $dict \
			-artifact_prefix="$build/found/$t-" "$build/corpus/$t" "$tmp/seeds/$t" > "$tmp/log" 2>&1
	else
		ASAN_OPTIONS=quarantine_size_mb=8:detect_leaks=1:max_allocation_size_mb=$alloc:allocator_may_return_null=0 \
			"$build/bin/fuzz_$t" "$seconds" $max "$build/found/$t.bin" "$tmp/seeds/$t" > "$tmp/log" 2>&1
	fi
	rc=$?
	runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$tmp/log")
	if [ $rc = 0 ]; then
		echo "ok - fuzz $t $runs runs"
	else
		failed=1
		cp "$tmp/log" "$build/found/$t.log"
		echo "not ok - fuzz $t (status $rc, ${runs:-?} runs); input and log in $build/found"
		grep -E 'promise broken|ERROR:|runtime error|SUMMARY|Test unit written|driver:' "$tmp/log" | head -6
	fi
	rm -rf "${tmp:?}"/hearth-fuzz-*
done
exit $failed
