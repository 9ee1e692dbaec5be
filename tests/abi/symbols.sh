#!/bin/sh
# What an object may define, need and contain: symbols.sh OBJECT NAME
set -eu
LC_ALL=C
export LC_ALL
object=$1
name=$2
failed=0

report() {
  printf 'error: %s: %s\n' "$object" "$1"
  failed=1
}

exported=$(nm -g --defined-only "$object" | awk '{print $3}' | sort | tr '\n' ' ')
[ "$exported" = "${name}_info ${name}_run ${name}_workspace " ] ||
  report "it exports $exported"

# Common and weak symbols would be shared with another model of the same program.
shared=$(nm "$object" | awk '$2 ~ /^[CVWu]$/ {print $3}')
[ -z "$shared" ] || report "common or weak symbols: $shared"

# The linker itself makes _GLOBAL_OFFSET_TABLE_, from which code finds its far-away weights.
needed=$(nm -u "$object" |
  awk '$2 != "memcpy" && $2 != "memset" && $2 != "_GLOBAL_OFFSET_TABLE_" {print $2}')
[ -z "$needed" ] || report "it needs $needed"

# Number, name, type, address, offset, size, entry size, flags; the number's bracket may be apart.
sections=$(readelf -SW "$object" | sed -n 's/^ *\[ *[0-9]*\] //p')

writable=$(printf '%s\n' "$sections" |
  awk '$7 ~ /W/ && $5 !~ /^0+$/ && $1 !~ /^\.data\.rel\.ro/ {print $1}')
[ -z "$writable" ] || report "writable data in $writable"

both=$(printf '%s\n' "$sections" | awk '$7 ~ /W/ && $7 ~ /X/ {print $1}')
[ -z "$both" ] || report "writable and executable: $both"

start=$(printf '%s\n' "$sections" | awk '$1 ~ /^\.(init|fini|ctors|dtors|preinit|tdata|tbss)/ {print $1}')
[ -z "$start" ] || report "code that runs by itself, or data of threads: $start"

printf '%s\n' "$sections" | awk '$1 == ".note.GNU-stack"' | grep -q . ||
  report "no .note.GNU-stack: the program's stack would be executable"
printf '%s\n' "$sections" | awk '$1 == ".note.GNU-stack" && $0 ~ / A?X /' | grep -q . &&
  report ".note.GNU-stack asks for an executable stack"

[ "$failed" = 0 ] && echo "$object exports, needs and contains only what it may"
exit "$failed"
