#!/bin/sh
# Installs a build into a temporary folder, moves that, and builds tests/install out of the tree
# with the CMake package and with pkg-config: usage check_install.sh BUILD_FOLDER.
set -eu
source=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/first" >/dev/null
mv "$work/first" "$work/prefix"

echo "with the CMake package:"
cmake -S "$source/tests/install" -B "$work/cmake" -G Ninja -DCMAKE_PREFIX_PATH="$work/prefix" >/dev/null
cmake --build "$work/cmake" >"$work/log" || { cat "$work/log"; exit 1; }
"$work/cmake/relu"
"$work/cmake/prune"

echo "with pkg-config:"
mkdir "$work/pc"
cd "$work/pc"
pc=$(dirname "$(find "$work/prefix" -name spcc.pc)")
"$work/prefix/bin/spcc" "$source/tests/install/tiny.yaml" -o tiny.o
flags=$(PKG_CONFIG_PATH="$pc" pkg-config --cflags --libs spcc)
# The flags are several words on purpose.
cc -I. "$source/tests/install/main.c" tiny.o $flags -o relu
./relu
flags=$(PKG_CONFIG_PATH="$pc" pkg-config --cflags --libs spo)
cc "$source/tests/install/prune.c" $flags -o prune
./prune
