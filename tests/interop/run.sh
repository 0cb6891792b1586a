#!/bin/sh
# Our files in the peers' programs and theirs in ours, on the real SmolLM2: an adapter trained here in PEFT, mlx-lm and
# llama.cpp, fused, converted and quantised models, adapters and models made by the peers in hearth; Gemma 3 270M too.
# BUILD/interop.md is the table of it. Needs the network once: the peers go into a virtual environment outside the tree
# ($HEARTH_PEERS).
# usage: tests/interop/run.sh BUILD [tokenizers|peft|mlx|llama|adapters|experts|mlx_experts|convert|quants|chat]...
build=${1:-build}
[ $# -gt 0 ] && shift
here=tests/interop
peers=${HEARTH_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/hearth-peers}
model=models/SmolLM2-135M-Instruct.Q4_1.gguf
work=$build/tmp/interop
python=$peers/bin/python

has() { "$python" -c "import $1" >/dev/null 2>&1; }
if [ ! -x "$python" ]; then
	echo "Making $peers (several GB: PyTorch and the rest from PyPI) ..."
	python3 -m venv "$peers" || { echo "no virtual environment: install python3-venv"; exit 1; }
fi
mlx='mlx[cpu]'; [ "$(uname -s)" = Darwin ] && mlx=mlx
for p in torch transformers peft "$mlx" mlx_lm llama_cpp gguf; do
	name=$(echo "$p" | sed 's/\[.*//')
	has "$name" && continue
	case $p in mlx_lm) p=mlx-lm ;; llama_cpp) p=llama-cpp-python ;; esac
	echo "Installing $p into $peers ..."
	"$python" -m pip install --quiet --disable-pip-version-check "$p" || echo "$p could not be installed: its rows are skipped"
done
sh tools/get_model.sh models || exit 1
sh tools/get_gemma.sh models || echo "Gemma 3 270M could not be had: its rows are skipped"

rm -rf "$work"; mkdir -p "$work"
echo "Training a small adapter on $model ..."
"$build/hearth" train --model $model --data examples/hazmat --output-dir "$work/run" --compute f32 --iters 14 --batch-size 4 \
	--rank 8 --alpha 16 --learning-rate 2e-3 --steps-per-eval 14 --val-batches 1 --sample-rows 0 --seed 3 \
	> "$work/train.log" 2>&1 || { tail -5 "$work/train.log"; echo "0 passed, 1 failed, 0 skipped"; exit 1; }
log=$work/rows
: > "$log"
# One process a peer: one that crashes takes no other with it.
for p in ${*:-tokenizers peft mlx llama adapters experts mlx_experts convert quants chat}; do
	HF_HUB_OFFLINE=1 OMP_WAIT_POLICY=passive TOKENIZERS_PARALLELISM=false "$python" $here/with_$p.py "$build/hearth" "$model" "$work" > "$work/$p.out" 2> "$work/$p.err"
	rc=$?
	grep -E '^(ok|FAIL|skip) ' "$work/$p.out" | tee -a "$log"
	if [ $rc != 0 ]; then
		echo "FAIL $p: ended with status $rc: $(tail -1 "$work/$p.err" | cut -c1-160)" | tee -a "$log"
	fi
done
"$python" $here/table.py "$log" > "$build/interop.md" && echo "The table: $build/interop.md"
awk '/^ok /{p++} /^FAIL /{f++} /^skip /{s++} END {printf "%d passed, %d failed, %d skipped\n", p, f, s; exit f > 0}' "$log"
