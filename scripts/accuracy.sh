#!/bin/sh
# What pruning costs: all-MiniLM-L6-v2 pruned by every one-shot method, compared with itself. Installs
# what is missing, builds, and writes docs/accuracy.md (some minutes). Arguments go to
# bench/accuracy.py.
set -eu
cd "$(dirname "$0")/.."
exec </dev/null

sh scripts/setup.sh test
mkdir -p build
cmake -S . -B build -G Ninja >build/accuracy.log 2>&1 || { cat build/accuracy.log; exit 1; }
cmake --build build --target spcc spcc_rt -- --quiet
sh scripts/fetch_minilm.sh
sh scripts/fetch_reviews.sh
exec .venv/bin/python bench/accuracy.py --spcc build/spcc --model .cache/all-MiniLM-L6-v2 \
  --reviews .cache/movie-reviews.tsv --out docs/accuracy.md "$@"
