#!/bin/sh
# What compiled spcc itself does not show in its outputs: builds.sh SPCC MAKE_BERT [OTHER_SPCC]
# Exit code 77 means skipped: there is no second spcc (cmake -DSPCC_OTHER=…).
set -eu
spcc=$1
make_bert=$2
other=${3-}
[ -x "$other" ] || { echo 'no spcc of another build: skipped'; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

# model NAME SIZES...: compiled by both at two -O levels and by the generic pipeline.
model() {
  name=$1
  shift
  "$make_bert" "$work/$name" "$@"
  for flags in -O0 -O2 -g --pipeline=generic --emit=ir; do
    mkdir -p "$work/this" "$work/that"
    "$spcc" "$work/$name/model.yaml" $flags -o "$work/this/out"
    "$other" "$work/$name/model.yaml" $flags -o "$work/that/out"
    diff -rq "$work/this" "$work/that" || { echo "FAILED: $name $flags" >&2; failures=1; }
    rm -r "$work/this" "$work/that"
  done
}

#     name    layers hidden heads ffn vocab positions block% seed
model blocks  2      24     2     56  97    80        4 70   1
model single  1      15     3     37  31    80        1 40   2
model dense   1      64     4     96  50    64        1 0    3
[ $failures = 0 ]
