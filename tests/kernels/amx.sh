#!/bin/sh
# The AMX set with its tile instructions emulated (amx_emulated.h), on any processor that has the rest of it (AVX512_BF16).
# Prints TAP; skips visibly elsewhere. usage: sh tests/kernels/amx.sh   (in the project's root; BUILD, CC as in the Makefile)
skip() { echo "1..1"; echo "ok 1 - amx with emulated tiles # SKIP $1"; exit 0; }
[ "$(uname -m)" = x86_64 ] || skip "not this architecture"
grep -qw avx512_bf16 /proc/cpuinfo 2>/dev/null || skip "this processor has no AVX512_BF16"
dir=${BUILD:-build}/amx; mkdir -p "$dir"
flags="-std=c17 -O2 -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wno-unused-function -Werror -D_GNU_SOURCE -fno-math-errno -ffp-contract=off -Isrc -Itests"
isa="-mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma -mf16c -mavx512bf16 -mamx-tile -mamx-bf16"
if ! ${CC:-cc} $flags $isa -include tests/kernels/amx_emulated.h -c -o "$dir/amx.o" src/kernels/x86_product_amx.c ||
	! ${CC:-cc} $flags -o "$dir/checks" tests/kernels/amx_main.c "$dir/amx.o" src/base/rng.c src/base/status.c src/base/utf8.c src/base/num.c \
	src/kernels/interleave.c src/quant/*.c -lm; then
	echo "1..1"; echo "not ok 1 - the AMX kernels do not compile"; exit 1
fi
exec "$dir/checks"
