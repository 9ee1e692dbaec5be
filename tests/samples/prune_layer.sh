#!/bin/sh
# The sample prunes, and refuses what cannot be: prune_layer.sh PROGRAM
set -eu
program=$1

# expect STATUS PATTERN-OF-THE-OUTPUT ARGUMENTS...
expect() {
  want=$1
  text=$2
  shift 2
  status=0
  out=$("$program" "$@" 2>&1) || status=$?
  [ "$status" = "$want" ] || { echo "error: '$*' exits with $status, not $want"; exit 1; }
  case $out in
  *"$text"*) ;;
  *) echo "error: '$*' prints '$out'"; exit 1 ;;
  esac
}

expect 0 "2:4: 294912 of 589824 weights kept, with 8" 2:4
expect 0 "4x1: 58984 of 589824 weights kept" 4x1 0.9
expect 0 "unstructured: 589824 of 589824 weights kept, with 100.0 %" unstructured 0
expect 1 "usage"
expect 1 "usage" 5:4
expect 1 "a sparsity of 0 to 1 is needed, got -1" 4x1
expect 1 "does not divide its shape [768, 768]" 5x1 0.5
echo "prune_layer prunes, and refuses what cannot be"
