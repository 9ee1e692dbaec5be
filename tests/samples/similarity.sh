#!/bin/sh
# The sample on sentences of which two are alike but for case and accents: similarity.sh PROGRAM VOCAB
set -eu
program=$1
vocab=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  echo "error: $1"
  exit 1
}

# expect STATUS ARGUMENTS...: the exit status, with a message and nothing on stdout.
expect() {
  want=$1
  shift
  status=0
  "$program" "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
  [ "$status" = "$want" ] || fail "'$*' exits with $status, not $want"
  [ ! -s "$work/out" ] || fail "'$*' writes to stdout"
  [ -s "$work/err" ] || fail "'$*' says nothing"
}

printf 'The naïve fox plays.\n\nNew York, 1984\nthe NAIVE fox plays.\r\nsparse matrix transformer\n' >"$work/in"
"$program" "$vocab" "$work/in" >"$work/first"
[ "$(head -n 1 "$work/first")" = " 1.000  The naïve fox plays. | the NAIVE fox plays." ] ||
  fail "the closest pair is '$(head -n 1 "$work/first")'"
[ "$(wc -l <"$work/first")" = 6 ] || fail "four sentences make six pairs"
grep -q '^ 1.000' "$work/first" && [ "$(grep -c '^ 1.000' "$work/first")" = 1 ] ||
  fail "different sentences are the same"

"$program" -j 3 "$vocab" <"$work/in" | cmp - "$work/first" || fail "three threads, or stdin, differ"
[ "$("$program" -n 2 "$vocab" "$work/in" | wc -l)" = 2 ] || fail "-n 2 prints two pairs"

# More sentences than fit a batch, one far longer than the model's limit.
for i in 1 2 3 4 5 6 7 8 9; do
  echo "the $i play"
done >"$work/many"
seq -s ' ' 1 300 >>"$work/many"
[ "$("$program" -n 100 "$vocab" "$work/many" | wc -l)" = 45 ] || fail "ten sentences make 45 pairs"

expect 2
expect 2 -j x "$vocab"
expect 2 -q "$vocab"
expect 2 "$vocab" a b
expect 1 "$work/missing"
expect 1 "$vocab" "$work/missing"
expect 1 "$vocab" # no sentences on stdin
expect 1 "$work/in" "$work/in" # not a vocabulary
echo "similarity does as its first lines say"
