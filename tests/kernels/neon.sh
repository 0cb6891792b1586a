#!/bin/sh
# Cross-compiles the kernels and their checks for 64-bit Arm and runs them under qemu. Prints TAP; skips visibly where
# the tools are missing. usage: sh tests/kernels/neon.sh   (in the project's root; BUILD names the build folder)
CROSS=${CROSS:-aarch64-linux-gnu-gcc}
QEMU=${QEMU:-qemu-aarch64}
for tool in "$CROSS" "$QEMU"; do
	if ! command -v "$tool" > /dev/null 2>&1; then
		echo "1..1"; echo "ok 1 - neon kernels # SKIP no $tool here"; exit 0
	fi
done
dir=${BUILD:-build}/neon; mkdir -p "$dir"
flags="-std=c17 -O2 -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Werror -D_GNU_SOURCE -fno-math-errno -ffp-contract=off -Isrc -Itests"
# The objects' flags are the Makefile's: only one file may have dot products.
if ! "$CROSS" $flags -march=armv8.2-a+dotprod -c -o "$dir/dots.o" src/kernels/arm_dots_dotprod.c ||
	! "$CROSS" $flags -static -o "$dir/checks" tests/kernels/neon_main.c "$dir/dots.o" \
	src/kernels/ref.c src/kernels/pick.c src/kernels/detect.c src/kernels/arm_neon.c src/kernels/interleave.c src/quant/*.c src/base/rng.c src/base/status.c src/base/utf8.c src/base/num.c -lm; then
	echo "1..1"; echo "not ok 1 - neon kernels do not compile"; exit 1
fi
exec "$QEMU" "$dir/checks"
