#!/bin/sh
# Builds the samples against an installed spcc, with a small BERT of random weights, and runs them:
# usage check_samples.sh BUILD_FOLDER. Needs .venv (scripts/setup.sh).
set -eu
cd "$(dirname "$0")/.."
source=$PWD
build=$(cd "$1" && pwd)
vocab=$source/tests/text/vocab.txt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/prefix" >/dev/null
.venv/bin/python bench/make_model.py "$work/bert" --layers 2 --hidden 128 --heads 2 --ffn 512 \
  --vocab 2000 --positions 64 --pattern 4x1@0.9

for sample in similarity two_models prune_layer; do
  echo "$sample:"
  cmake -S "samples/$sample" -B "$work/$sample" -G Ninja -DCMAKE_PREFIX_PATH="$work/prefix" \
    -DSPCC_SAMPLE_MODEL="$work/bert/model.yaml" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
  cmake --build "$work/$sample" >"$work/log" || { cat "$work/log"; exit 1; }
done
"$work/similarity/similarity" -j 2 -n 3 "$vocab" samples/similarity/sentences.txt
"$work/two_models/two_models" -j 4 -r 5 -l 33
"$work/prune_layer/prune_layer" 2:4
"$work/prune_layer/prune_layer" 4x1 0.9

echo "embed.py:"
"$work/prefix/bin/spcc" "$work/bert/model.yaml" --emit=shared -o "$work/bert.so"
.venv/bin/python samples/embed.py "$work/bert.so" "$vocab" "A man is eating food." "Share prices dropped."
