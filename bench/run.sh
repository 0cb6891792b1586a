#!/bin/sh
# hearth beside its peers on this machine: every row of the project's targets that a CPU can run, as a ratio. The peers are
# the interop tests' ($HEARTH_PEERS). Nothing else should run meanwhile; the rows take half an hour.
# usage: bench/run.sh BUILD [dense|chat|losses|quantised|inference|large]...      HEARTH_THREADS=N for fewer threads
build=${1:-build}
[ $# -gt 0 ] && shift
peers=${HEARTH_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/hearth-peers}
if [ ! -x "$peers/bin/python" ] || ! "$peers/bin/python" -c 'import torch, transformers, peft' 2>/dev/null; then
	echo "The peers are not here: make interop installs them (or set HEARTH_PEERS)."; exit 1
fi
sh tools/get_model.sh models || exit 1
threads=${HEARTH_THREADS:-$("$build/hearth" doctor --json | sed 's/.*"threads":\([0-9]*\).*/\1/')}
work=$build/tmp/beside-peers
rm -rf "$work"; mkdir -p "$work"
# This machine's peaks and hearth alone, as fractions of them; then beside the peers.
"$build/hearth" bench models/SmolLM2-135M-Instruct.Q4_1.gguf --threads "$threads" || exit 1
exec "$peers/bin/python" bench/compare.py "$build/hearth" models/SmolLM2-135M-Instruct.Q4_1.gguf "$work" "$threads" "$@"
