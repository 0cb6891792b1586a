#!/bin/sh
# Names what the build lacks and the one command that installs it; runs that command where it may: as root, in CI, or
# after a yes. POSIX sh. usage: tools/deps.sh [build|check]
want=${1:-build}
libs="jansson yaml-0.1 libpcre2-8 libutf8proc libmicrohttpd libcurl libedit libxxhash"
missing=
for tool in cc make pkg-config; do
	command -v $tool >/dev/null 2>&1 || missing="$missing $tool"
done
for lib in $libs; do
	pkg-config --exists $lib 2>/dev/null || missing="$missing $lib"
done
printf '#include <stdarg.h>\n#include <stddef.h>\n#include <setjmp.h>\n#include <stdint.h>\n#include <cmocka.h>\nint main(void){return 0;}\n' > "${TMPDIR:-/tmp}/hearth-deps-$$.c"
cc $(pkg-config --cflags cmocka 2>/dev/null) -o /dev/null -c "${TMPDIR:-/tmp}/hearth-deps-$$.c" >/dev/null 2>&1 || missing="$missing cmocka"
rm -f "${TMPDIR:-/tmp}/hearth-deps-$$.c"
command -v xz >/dev/null 2>&1 || missing="$missing xz"
if [ "$want" = check ]; then
	for tool in clang aarch64-linux-gnu-gcc qemu-aarch64 python3; do
		command -v $tool >/dev/null 2>&1 || missing="$missing $tool"
	done
fi
[ -z "$missing" ] && exit 0

apt_name() {
	case $1 in
	cc) echo gcc ;; make) echo make ;; pkg-config) echo pkg-config ;; jansson) echo libjansson-dev ;;
	yaml-0.1) echo libyaml-dev ;; libpcre2-8) echo libpcre2-dev ;; libutf8proc) echo libutf8proc-dev ;;
	libmicrohttpd) echo libmicrohttpd-dev ;; libcurl) echo libcurl4-openssl-dev ;; libedit) echo libedit-dev ;;
	libxxhash) echo libxxhash-dev ;; cmocka) echo libcmocka-dev ;; xz) echo xz-utils ;; clang) echo clang ;;
	aarch64-linux-gnu-gcc) echo gcc-aarch64-linux-gnu libc6-dev-arm64-cross ;; qemu-aarch64) echo qemu-user ;;
	python3) echo python3 python3-venv ;;
	esac
}
brew_name() {
	case $1 in
	cc|make) echo "" ;; pkg-config) echo pkgconf ;; jansson) echo jansson ;; yaml-0.1) echo libyaml ;;
	libpcre2-8) echo pcre2 ;; libutf8proc) echo utf8proc ;; libmicrohttpd) echo libmicrohttpd ;; libcurl) echo curl ;;
	libedit) echo libedit ;; libxxhash) echo xxhash ;; cmocka) echo cmocka ;; xz) echo xz ;; python3) echo python ;;
	esac
}
packages=
if command -v apt-get >/dev/null 2>&1; then
	for m in $missing; do packages="$packages $(apt_name $m)"; done
	command="apt-get install -y --no-install-recommends$packages"
	[ "$(id -u)" = 0 ] || command="sudo $command"
elif command -v brew >/dev/null 2>&1; then
	for m in $missing; do packages="$packages $(brew_name $m)"; done
	command="brew install$packages"
else
	echo "hearth's build lacks:$missing"
	echo "Install them with this system's package manager (neither apt-get nor brew is here), then run make again."
	exit 1
fi
echo "hearth's build lacks:$missing"
echo "  $command"
case $command in sudo*|brew*)
	if [ -z "$CI" ]; then
		[ -t 0 ] || { echo "Run the command above, then make again."; exit 1; }
		printf 'Run it now? [y/N] '; read -r answer
		case $answer in y|Y|yes) ;; *) exit 1 ;; esac
	fi ;;
esac
case $command in *apt-get*)
	DEBIAN_FRONTEND=noninteractive; export DEBIAN_FRONTEND
	${command%%apt-get*}apt-get update -qq ;;
esac
$command >"${TMPDIR:-/tmp}/hearth-deps.log" 2>&1 || { tail -5 "${TMPDIR:-/tmp}/hearth-deps.log"; echo "The installation failed; the command was: $command"; exit 1; }
