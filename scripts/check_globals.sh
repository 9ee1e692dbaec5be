#!/bin/sh
# No library has writable data: usage check_globals.sh BUILD_FOLDER (a build without sanitizers).
set -eu
bad=0
for library in "$1"/libspcc_*.a "$1"/libspo.a; do
  found=$(nm -A --defined-only --format=sysv "$library" 2>/dev/null |
    awk -F'|' '$7 ~ /^ *\.(data|bss|tdata|tbss)/ && $7 !~ /\.data\.rel\.ro/ && $4 ~ /OBJECT|TLS/' || true)
  [ -z "$found" ] || { printf 'error: writable data: %s\n' "$found"; bad=1; }
done
[ "$bad" = 0 ] && echo "no library has writable data"
exit "$bad"
