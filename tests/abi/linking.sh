#!/bin/sh
# Links one object in every way a program may: linking.sh OBJECT_FOLDER SOURCE_ROOT RUNTIME CC CXX
# OBJECT_FOLDER has tiny.o, twin.o and their headers. All ways must print the same sum.
set -eu
objects=$1
root=$2
runtime=$3
cc=$4
cxx=$5
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
main=$root/tests/abi/link_main.c
warnings="-Wall -Wextra -Wpedantic -Werror -Wl,--fatal-warnings -Wl,-z,noexecstack"
include="-I$objects -I$root/runtime"
expected=

# check NAME COMMAND...: runs a program, whose output must be that of the first one.
check() {
  name=$1
  shift
  out=$("$@")
  [ -n "$expected" ] || expected=$out
  if [ "$out" != "$expected" ]; then
    echo "error: $name prints '$out', not '$expected'"
    exit 1
  fi
  echo "$name: $out"
}

# link NAME COMPILER FLAGS...: builds and runs a program of main and both objects.
link() {
  name=$1
  compiler=$2
  shift 2
  # Flags are several words on purpose.
  "$compiler" $warnings $include "$@" "$objects/tiny.o" "$objects/twin.o" "$runtime" -pthread \
    -o "$work/$name"
  check "$name" "$work/$name"
  if readelf -lW "$work/$name" | grep -Eq 'GNU_STACK.* RWE |LOAD.* RWE '; then
    echo "error: $name has memory that is writable and executable"
    exit 1
  fi
  if readelf -dW "$work/$name" | grep -q TEXTREL; then
    echo "error: $name has relocations in its code"
    exit 1
  fi
}

link pie "$cc" -std=c11 -fPIE -pie -Wl,-z,text "$main"
link no-pie "$cc" -std=c11 -fno-pie -no-pie "$main"
link static "$cc" -std=c11 -static "$main"
link static-pie "$cc" -std=c11 -fPIE -static-pie -Wl,-z,text "$main"
link optimized "$cc" -std=c11 -O2 -Wl,--gc-sections -Wl,-z,now -Wl,-z,relro "$main"
cp "$main" "$work/main.cc"
link c++ "$cxx" -std=c++11 -fPIE -pie "$work/main.cc"
link c++20 "$cxx" -std=c++20 -fPIE -pie "$work/main.cc"

# In a library of one's own, whole; then the program needs nothing but that library.
ar rcs "$work/libmodels.a" "$objects/tiny.o" "$objects/twin.o"
"$cc" $warnings -shared -Wl,-z,text -Wl,-z,defs -o "$work/libmodels.so" -Wl,--whole-archive \
  "$work/libmodels.a" -Wl,--no-whole-archive
"$cc" $warnings $include -std=c11 "$main" -L"$work" -lmodels "$runtime" -pthread -o "$work/shared"
check shared env LD_LIBRARY_PATH="$work" "$work/shared"

# The exported names of that library are those of the two models.
exported=$(nm -D --defined-only "$work/libmodels.so" | awk '{print $3}' | sort | tr '\n' ' ')
[ "$exported" = "tiny_info tiny_run tiny_workspace twin_info twin_run twin_workspace " ] || {
  echo "error: the library exports $exported"
  exit 1
}

# The header alone, twice, as C and as C++, without the runtime's folder in the search path.
printf '#include "tiny.h"\n#include "twin.h"\n#include "tiny.h"\nint main(void) { return 0; }\n' >"$work/twice.c"
cp "$work/twice.c" "$work/twice.cc"
"$cc" -std=c99 -Wall -Wextra -Wpedantic -Werror -I"$objects" -c "$work/twice.c" -o "$work/twice.o"
"$cxx" -std=c++11 -Wall -Wextra -Wpedantic -Werror -I"$objects" -c "$work/twice.cc" -o "$work/twice.o"
echo "the headers stand alone"
