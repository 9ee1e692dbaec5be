#!/bin/sh
# No function over 120 lines, no file over 800. Relies on the layout that clang-format gives: a
# function starts at the last line before its body that begins in column 1, and ends with a lone }.
set -eu
cd "$(dirname "$0")/.."
find . \( -path './build*' -o -path './.?*' \) -prune -o \( -name '*.[ch]' -o -name '*.def' \) -print |
  sort | xargs awk '
  function check_file() {
    if (lines > 800) { printf "%s: %d lines, more than 800\n", file, lines; bad = 1 }
  }
  FNR == 1 { check_file(); file = FILENAME; start = 0 }
  { lines = FNR }
  /^[A-Za-z_]/ { start = FNR }
  /^}$/ && FNR - start + 1 > 120 {
    printf "%s:%d: a function of %d lines, more than 120\n", FILENAME, start, FNR - start + 1
    bad = 1
  }
  END { check_file(); if (!bad) print "no function or file is too long"; exit bad }'
