# Sourced by the tests of the command line, which run in a new folder. $SPCC is the program.
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failures=0

fail() {
  echo "FAILED: $*" >&2
  failures=$((failures + 1))
}

# Runs a command; its exit code is in $code, what it printed in the files .out and .err.
run() {
  "$@" >.out 2>.err
  code=$?
}

# expect CODE MESSAGE COMMAND…: the exit code, standard error as a whole (without its last line
# end), and nothing on standard output.
expect() {
  wanted_code=$1 wanted=$2
  shift 2
  run "$@"
  [ "$code" = "$wanted_code" ] || fail "$*: exit code $code instead of $wanted_code: $(cat .err)"
  [ "$(cat .err)" = "$wanted" ] || fail "$*: printed '$(cat .err)' instead of '$wanted'"
  [ ! -s .out ] || fail "$*: printed '$(head -c 200 .out)' on standard output"
}

# succeed COMMAND…: exit code 0 and nothing on standard error.
succeed() {
  run "$@"
  [ "$code" = 0 ] || fail "$*: exit code $code: $(cat .err)"
  [ ! -s .err ] || fail "$*: printed '$(cat .err)' on standard error"
}

# files NAME…: the folder holds these files alone, besides those that begin with a dot or `in`.
# Files left over under a temporary name, which begins with .spcc, count.
files() {
  found=$(ls -A | grep -v -e '^in' -e '^\.out$' -e '^\.err$' | tr '\n' ' ')
  [ "$found" = "${*:+$* }" ] || fail "files are '$found' instead of '$*'"
}

# A little model, in.yaml: y = gelu(x w^T + b) from 8 to 16 channels, and its weights.
make_model() {
  header='{"w":{"dtype":"F32","shape":[16,8],"data_offsets":[0,512]},"b":{"dtype":"F32","shape":[16],"data_offsets":[512,576]}}'
  {
    printf "\\$(printf %o ${#header})\0\0\0\0\0\0\0%s" "$header"
    i=0
    while [ $i -lt 36 ]; do # 1.0, 0.5, -2.0, 0.0
      printf '\0\0\200\77\0\0\0\77\0\0\0\300\0\0\0\0'
      i=$((i + 1))
    done
  } >in.safetensors
  cat >in.yaml <<'END'
spcc: 1
name: tiny
weights: in.safetensors
max_batch: 4
max_sequence: 64
inputs: [{name: x, type: "f32[B,S,8]"}]
graph:
  - {name: h, op: linear, in: x, weight: w, bias: b}
  - {name: y, op: gelu, in: h, attributes: {form: erf}}
outputs: [y]
END
}

# npy FILE TYPE SHAPE [DATA]: a .npy file, such as npy x.npy '<f4' '(1, 2)' '\0\0\200\77\0\0\0\0';
# DATA is an argument of printf.
npy() {
  header="{'descr': '$2', 'fortran_order': False, 'shape': $3, }"
  {
    printf '\223NUMPY\1\0'
    printf "\\$(printf %o $((${#header} + 1)))\0%s\n" "$header"
    # shellcheck disable=SC2059
    printf "${4-}"
  } >"$1"
}

# The threads that -j 2 gives on this machine.
two_threads() {
  if [ "$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)" = 1 ]; then echo 1; else echo 2; fi
}

finish() {
  [ $failures = 0 ] || echo "$failures failed" >&2
  [ $failures = 0 ]
  exit $?
}
