#!/bin/sh
# What --emit=shared makes: shared.sh SPCC MODEL_YAML
set -eu
LC_ALL=C
export LC_ALL
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
library=$work/tiny.so
"$1" "$2" --emit=shared --name=tiny -o "$library"

fail() {
  echo "error: $1"
  exit 1
}

exported=$(nm -D --defined-only "$library" | awk '{print $3}' | sort | tr '\n' ' ')
[ "$exported" = "spcc_model tiny_info tiny_run tiny_workspace " ] || fail "it exports $exported"

# Weak ones are those of the system's start files.
needed=$(nm -D -u "$library" | awk '$1 == "U" && $2 !~ /^mem(cpy|set)@/ {print $2}')
[ -z "$needed" ] || fail "it needs $needed"

readelf -dW "$library" | grep -q TEXTREL && fail "it has relocations in its code"
readelf -lW "$library" | grep -Eq 'GNU_STACK.* RWE |LOAD.* RWE ' &&
  fail "it has memory that is writable and executable"

# The weights are pages that nobody can write to. readelf numbers the segments as it lists them.
segments=$(readelf -lW "$library" | awk '
  $1 == "Type" { listing = 1; next }
  /Section to Segment/ { listing = 0 }
  listing && NF > 5 && $1 !~ /^\[/ { writable[count++] = $1 == "LOAD" && $0 ~ / RW/ }
  /^ +[0-9][0-9] +/ && writable[$1 + 0] && /lrodata/ { print $1 }')
[ -z "$segments" ] || fail "the weights lie in the writable segment $segments"
readelf -SW "$library" | grep -q lrodata || fail "it has no weights"
echo "the shared object exports, needs and contains only what it may"
