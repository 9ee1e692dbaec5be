#!/bin/sh
# Measures spcc beside other engines: installs what is missing, builds, and runs bench/bench.py.
#   sh scripts/bench.sh --quick          BERT-base, sequence 128, batch 1, one thread
#   sh scripts/bench.sh --help           everything else
# Environments, models and what engines make of them are kept in .cache/bench.
set -eu
cd "$(dirname "$0")/.."

cache=$PWD/.cache/bench
build=build-bench
say() { printf '== %s\n' "$*"; }

# DeepSparse has no wheels for Python after 3.11, so older interpreters are tried as well.
interpreters='python3 python3.11 python3.10'

# environment NAME: the private environment of an engine, made again when its versions change. What
# can't be installed is said in missing.txt, and by the tables.
environment() {
  file=bench/requirements-$1.txt
  venv=$cache/venvs/$1
  if cmp -s "$file" "$venv/installed.txt"; then return 0; fi
  for python in $interpreters; do
    "$python" -c '' 2>/dev/null || continue
    say "installing $1 with $python"
    rm -rf "$venv"
    mkdir -p "$venv"
    if "$python" -m venv "$venv" >"$venv.log" 2>&1 &&
      "$venv/bin/pip" install -q --disable-pip-version-check --no-input -r "$file" \
        >>"$venv.log" 2>&1 </dev/null; then
      cp "$file" "$venv/installed.txt"
      return 0
    fi
  done
  grep -v '^WARNING' "$venv.log" | tail -n 1 >"$venv/missing.txt"
  [ -s "$venv/missing.txt" ] || echo "no Python for it" >"$venv/missing.txt"
  say "$1 can't be installed: $(cat "$venv/missing.txt")"
}

sh scripts/setup.sh
mkdir -p "$cache/venvs"
say "building spcc"
{ cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DBUILD_TESTING=OFF &&
  cmake --build "$build" --target spcc spcc_rt fma_probe; } >"$cache/build.log" 2>&1 ||
  { tail -n 30 "$cache/build.log"; exit 1; }
for engine in report torch onnxruntime openvino deepsparse tensorflow iree; do
  environment "$engine"
done
[ -f "$cache/venvs/report/installed.txt" ] || { cat "$cache/venvs/report.log"; exit 1; }
exec "$cache/venvs/report/bin/python" bench/bench.py "$@" --spcc-path="$PWD/$build/spcc" \
  --runtime-path="$PWD/$build/libspcc_rt.a" --probe-path="$PWD/$build/fma_probe" \
  --venvs-path="$cache/venvs" --cache-path="$cache"
