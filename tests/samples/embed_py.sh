#!/bin/sh
# The Python sample finds the same similarities as the C one:
# embed_py.sh PYTHON EMBED_PY SPCC MODEL_YAML SIMILARITY VOCAB; exits with 77 when numpy is missing.
set -eu
"$1" -c 'import numpy' 2>/dev/null || exit 77
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$3" "$4" --emit=shared --name=minilm -o "$work/minilm.so"
set -- "$1" "$2" "$5" "$6" "The quick brown fox." "the lazy dog, 1984" "New York café 中国" "a sparse matrix" \
  "play" "plays and plays and plays" "transformer embeddings" "hello world" "unaffable" "it's"
python=$1
embed=$2
similarity=$3
vocab=$4
shift 4
"$python" "$embed" "$work/minilm.so" "$vocab" "$@" | sort >"$work/python"
printf '%s\n' "$@" | "$similarity" -n 100 "$vocab" | sort >"$work/c"
[ "$(wc -l <"$work/c")" = 45 ]
cmp "$work/python" "$work/c"
echo "45 similarities are the same"
