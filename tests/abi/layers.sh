#!/bin/sh
# Debuggers and profilers see a name per layer: layers.sh SPCC MODEL_YAML OBJECT NAME
# Every step has a function of its own, at every level, that stays on the stack while the kernels
# that layers share run; and the stack can be walked from any function.
set -eu
LC_ALL=C
export LC_ALL
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

report() {
  printf 'error: %s: %s\n' "$object" "$1"
  failed=1
}

object=$3
name=$4
"$1" profile "$2" -t 0.01 -w 0 -l 1 |
  awk '/^step / { listing = 1; next } /^$/ { listing = 0 } listing { print $1 }' >"$work/steps"
[ "$(wc -l <"$work/steps")" -gt 9 ] || report "few steps: $(cat "$work/steps")"

# Addresses of functions, and those where an entry of .eh_frame begins.
nm "$object" | awk '$2 ~ /^[tT]$/ { print $1, $3 }' >"$work/functions"
readelf --debug-dump=frames "$object" 2>/dev/null |
  sed -n 's/.* FDE .* pc=\([0-9a-f]*\)\.\..*/\1/p' >"$work/entries"
objdump -d --no-show-raw-insn "$object" >"$work/code"

while read -r address function; do
  grep -qx "$address" "$work/entries" || report "no entry in .eh_frame for $function"
done <"$work/functions"

while read -r step; do
  for level in x86-64-v3 x86-64-v4; do
    function="$name.$step@$level"
    grep -qF " $function" "$work/functions" || report "no function $function"
    awk -v begin="<$function>:" 'index($0, begin) { inside = 1; next } /^$/ { inside = 0 }
      inside && /\tjmp/' "$work/code" | grep -vF "<$function+" && report "$function leaves by a jump"
  done
done <"$work/steps"

[ "$failed" = 0 ] && echo "$object has a function for each of $(wc -l <"$work/steps") steps, and .eh_frame for all"
exit "$failed"
