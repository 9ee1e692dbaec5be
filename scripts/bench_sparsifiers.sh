#!/bin/sh
# Measures the sparsifiers beside PyTorch, NumPy and a plain copy: installs what is missing, builds, and
# writes docs/benchmarks/sparsifiers.md and .json (about five minutes). --help says what can be chosen.
set -eu
cd "$(dirname "$0")/.."
exec </dev/null

build=build-bench
sh scripts/setup.sh test
mkdir -p "$build"
{ cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DBUILD_TESTING=OFF &&
  cmake --build "$build" --target spcc spcc_rt spo prune_probe; } >"$build/bench.log" 2>&1 ||
  { tail -n 30 "$build/bench.log"; exit 1; }
sh scripts/fetch_minilm.sh
sh scripts/fetch_reviews.sh
exec .venv/bin/python bench/sparsifiers.py "$@" --build-path="$PWD/$build" \
  --model-path="$PWD/.cache/all-MiniLM-L6-v2" --reviews-path="$PWD/.cache/movie-reviews.tsv"
