#!/bin/sh
# Cross-compiles the kernels and their checks for 64-bit Arm and runs them under qemu: on a processor that has every set,
# and on one of 2016 that has neon alone. Prints TAP; skips visibly where
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
march=-march=armv8.2-a+dotprod
# The objects' flags are the Makefile's: no other file may have these instructions.
if ! "$CROSS" $flags $march -c -o "$dir/dots.o" src/kernels/arm_dots_dotprod.c ||
	! "$CROSS" $flags $march+i8mm -c -o "$dir/i8mm.o" src/kernels/arm_lanes_i8mm.c ||
	! "$CROSS" $flags $march+bf16 -c -o "$dir/bf16.o" src/kernels/arm_product_bf16.c ||
	! "$CROSS" $flags $march+bf16 -c -o "$dir/peak_bf16.o" src/kernels/peak_bf16.c ||
	! "$CROSS" $flags -static -o "$dir/checks" tests/kernels/neon_main.c "$dir/dots.o" "$dir/i8mm.o" "$dir/bf16.o" "$dir/peak_bf16.o" \
	src/kernels/ref.c src/kernels/pick.c src/kernels/detect.c src/kernels/arm_neon.c src/kernels/interleave.c src/quant/*.c src/base/rng.c src/base/status.c src/base/utf8.c src/base/num.c -lm; then
	echo "1..1"; echo "not ok 1 - neon kernels do not compile"; exit 1
fi
echo "1..2"
bad=0
run() { # number, qemu's processor, the highest set there
	if "$QEMU" -cpu "$2" "$dir/checks" "$3" > "$dir/$2.out" 2>&1; then
		echo "ok $1 - arm kernels on $2, up to $3"
	else
		echo "not ok $1 - arm kernels on $2, up to $3"; bad=1
	fi
	sed 's/^/# /' "$dir/$2.out"
}
run 1 max neonbf16
run 2 cortex-a72 neon
exit $bad
