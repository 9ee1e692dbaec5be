#!/bin/sh
# Every C file is formatted as .clang-format says.
set -eu
cd "$(dirname "$0")/.."
find . \( -path './build*' -o -path './.?*' \) -prune -o -name '*.[ch]' -print |
  xargs clang-format-19 --dry-run -Werror
echo "all C files are formatted"
