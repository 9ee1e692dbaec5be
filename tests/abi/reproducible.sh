#!/bin/sh
# The same model gives the same bytes, twice and from another folder: reproducible.sh SPCC FOLDER
set -eu
spcc=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/elsewhere"
cp -R "$2" "$work/elsewhere/copy"
"$spcc" "$2/model.yaml" --name=same -o "$work/first.o"
"$spcc" "$2/model.yaml" --name=same -o "$work/second.o"
(cd "$work/elsewhere" && "$spcc" copy/model.yaml --name=same -o ../third.o)
for again in second third; do
  cmp "$work/first.o" "$work/$again.o"
  cmp "$work/first.h" "$work/$again.h"
done
echo "the same bytes, and no path of a folder in them"
! grep -aqF "$work" "$work/first.o" "$work/first.h"
