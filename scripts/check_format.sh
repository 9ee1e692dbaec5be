#!/bin/sh
# Every C file is formatted as .clang-format says.
set -eu
cd "$(dirname "$0")/.."
git ls-files -co --exclude-standard '*.c' '*.h' | xargs clang-format-19 --dry-run -Werror
echo "all C files are formatted"
