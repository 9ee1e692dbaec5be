#!/bin/sh
# The whole path on a real model: all-MiniLM-L6-v2 pruned to 90 % in 4x1 blocks, compiled, linked into
# a C program, verified, and timed against PyTorch and LLVM's generic code. Installs what is missing.
set -eu
cd "$(dirname "$0")/.."
exec </dev/null

cache=.cache/all-MiniLM-L6-v2
work=build/demo
pruned=$work/minilm-4x1
spcc=build/spcc
start=$(date +%s)

step() {
  now=$(($(date +%s) - start))
  printf '\n== %d:%02d %s\n' $((now / 60)) $((now % 60)) "$*"
}

# Shows a command, then runs it.
run() {
  printf '$ %s\n' "$*"
  "$@"
}

bytes() {
  stat -L -c %s "$1"
}

# shorten COMMAND...: runs it, and shows the first lines of a long table and its last one.
shorten() {
  printf '$ %s\n' "$*"
  "$@" >"$work/table.txt" || { cat "$work/table.txt"; exit 1; }
  sed -n '1,8p; 9s/.*/…/p; $p' "$work/table.txt"
}

# size FILE WHAT: a row of the table of sizes.
size() {
  printf '%9.1f MB  %s\n' "$(awk "BEGIN { print $(bytes "$1") / 1e6 }")" "$2"
}

step "installing what is missing"
sh scripts/setup.sh

step "building spcc"
mkdir -p "$work/dense"
cmake -S . -B build -G Ninja >$work/configure.log 2>&1 || { cat $work/configure.log; exit 1; }
cmake --build build --target spcc spcc_rt spcc_text -- --quiet

step "getting the checkpoint"
sh scripts/fetch_minilm.sh
cat >"$work/minilm.yaml" <<EOF
spcc: 1
model: {huggingface: ../../$cache}
outputs: [last_hidden_state]
max_batch: 8
max_sequence: 512
EOF

step "pruning to 90 % in 4x1 blocks"
run $spcc prune $work/minilm.yaml --method=magnitude --sparsity=0.9 --pattern=4x1 -o $pruned
shorten $spcc inspect $pruned/model.yaml

step "compiling"
run $spcc $pruned/model.yaml --name=minilm -o $work/minilm.o
run $spcc $work/minilm.yaml --name=minilm -o $work/dense/minilm.o

step "a C program: which sentences are alike, by the dense and by the pruned model"
link() { # link MODEL.o PROGRAM
  run cc -O2 -I "$(dirname "$1")" -I runtime -I text samples/similarity/main.c "$1" \
    build/libspcc_text.a build/libspcc_rt.a -lutf8proc -lm -pthread -o "$2"
}
link $work/dense/minilm.o $work/similarity-dense
link $work/minilm.o $work/similarity
run $work/similarity-dense $cache/vocab.txt samples/similarity/sentences.txt
run $work/similarity $cache/vocab.txt samples/similarity/sentences.txt

step "verifying the pruned model: against the f64 interpreter, and against PyTorch"
shorten $spcc verify $pruned/model.yaml -b 1 -l 32
run .venv/bin/python tests/diff/torch_check.py --spcc $spcc --model $pruned

step "timing, one thread, batch 1, 128 tokens"
run env SPCC_PYTHON=.venv/bin/python $spcc bench $pruned/model.yaml \
  --engine=spcc,dense,torch,generic -b 1 -l 128 -j 1 -t 3

step "sizes"
size $cache/model.safetensors "the checkpoint"
size $work/dense/minilm.o "the object, dense"
size $work/minilm.o "the object, 90 % in 4x1 blocks (the word table, 46.9 MB, stays dense)"

cat <<EOF

One-shot magnitude pruning to 90 % ruins the accuracy of this model: look at the similarities above.
This demo shows speed alone. A model that is to be used is fine-tuned while, or after, it is pruned.
EOF
