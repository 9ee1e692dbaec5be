#!/bin/sh
# From the start of a process to its last result: cold_start.sh BUILD_FOLDER MODEL_YAML VOCAB
# Compiles the model of samples/similarity, runs the sample on its sentences, the files being in the
# page cache, and prints milliseconds: the fastest, the median and the slowest of 31 processes. MODEL_YAML
# is a sentence embedder such as MiniLM.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$build/spcc" "$2" --name=minilm -o "$work/minilm.o"
# The flags are several words on purpose.
# shellcheck disable=SC2046
cc -O2 -D_GNU_SOURCE -I"$work" -I"$root/runtime" -I"$root/text" "$root/samples/similarity/main.c" \
  "$work/minilm.o" "$build/libspcc_rt.a" "$build/libspcc_text.a" \
  $(pkg-config --cflags --libs libutf8proc) -lm -pthread -o "$work/similarity"

run=0
while [ $run -lt 32 ]; do # the first one fills the page cache
  start=$(date +%s%N)
  "$work/similarity" "$3" "$root/samples/similarity/sentences.txt" >"$work/out"
  [ $run = 0 ] || echo $((($(date +%s%N) - start) / 10000))
  run=$((run + 1))
done | sort -n | awk '{ ms[NR] = $1 / 100 }
  END { printf "process start to end: %.1f ms at least, %.1f in the median, %.1f at most (of %d)\n",
               ms[1], ms[(NR + 1) / 2], ms[NR], NR }'
