# spcc run, verify, bench and inspect on a little model.
. "${0%/*}/lib.sh"
make_model
help='(see spcc run --help)'

succeed "$SPCC" in.yaml --emit=shared -o tiny.so
files tiny.h tiny.so

# Ones in, for one token: every weight row is 1, 0.5, -2, 0 twice, so h = -1 + bias.
one='\0\0\200\77'
npy in.x.npy '<f4' '(1, 1, 8)' "$one$one$one$one$one$one$one$one"
succeed "$SPCC" run tiny.so -i x=in.x.npy -o y=y.npy
[ ! -s .out ] || fail 'run prints on standard output'
[ "$(head -c 6 y.npy | od -An -c | tr -d ' ')" = '223NUMPY' ] || fail 'the output is no .npy file'
head -c 128 y.npy | grep -q "'shape': (1, 1, 16)" || fail "the output's header is $(head -c 128 y.npy)"
# bias 1: h = 0, so gelu is 0; bias 0: h = -1, so gelu is -0.1587 (0xbe2279d1, up to rounding)
set -- $(tail -c 64 y.npy | od -An -v -t f4)
awk -v zero="$1" -v low="$4" 'BEGIN {
  exit !(zero < 1e-6 && zero > -1e-6 && low < -0.158654 && low > -0.158657) }' ||
  fail "the outputs are $*"
cp y.npy in.y.npy
succeed "$SPCC" run tiny.so -i x=in.x.npy -o y=y.npy -j 3 --pin
cmp -s y.npy in.y.npy || fail 'three threads give other bits'
rm y.npy

# What is wrong about a run.
so="$SPCC run tiny.so"
expect 2 "spcc: error: input 'x' is missing: give -i x=FILE.npy $help" $so -o y=y.npy
expect 2 "spcc: error: no output is asked for: give -o NAME=FILE.npy (the model has y) $help" $so -i x=in.x.npy
expect 2 "spcc: error: -i in.x.npy: NAME=FILE.npy is expected $help" $so -i in.x.npy -o y=y.npy
expect 2 "spcc: error: the model has no input 'xx'; did you mean 'x'? (it has x) $help" $so -i xx=in.x.npy -o y=y.npy
expect 2 "spcc: error: the model has no output 'long_name' (it has y) $help" $so -i x=in.x.npy -o long_name=y.npy
expect 2 "spcc: error: -i x is given twice $help" $so -i x=in.x.npy -i x=in.x.npy -o y=y.npy
expect 1 "in.x.npy: error: this output is also the input 'in.x.npy'; choose another name [E_SAME]" $so -i x=in.x.npy -o y=in.x.npy
expect 3 "missing.npy: error: cannot open: No such file or directory [E_OPEN]" $so -i x=missing.npy -o y=y.npy
expect 3 "missing/y.npy: error: cannot make a file in this folder: No such file or directory [E_OPEN]" $so -i x=in.x.npy -o y=missing/y.npy
expect 1 "in.yaml: error: this is no .npy file; write one with numpy.save(name, array) [E_NPY]" $so -i x=in.yaml -o y=y.npy
npy in.i.npy '<i4' '(1, 1, 8)' '12341234123412341234123412341234'
expect 1 "in.i.npy: error: input 'x' is float32, the file holds int32 [E_DTYPE]" $so -i x=in.i.npy -o y=y.npy
npy in.r.npy '<f4' '(1, 8)' '12341234123412341234123412341234'
expect 1 "in.r.npy: error: input 'x' has 3 dimensions, the file's array 2 [E_SHAPE]" $so -i x=in.r.npy -o y=y.npy
npy in.d.npy '<f4' '(1, 2, 4)' '12341234123412341234123412341234'
expect 1 "in.d.npy: error: input 'x': dimension 2 is 4, expected 8 [E_SHAPE]" $so -i x=in.d.npy -o y=y.npy
npy in.b.npy '<f4' '(5, 0, 8)' ''
expect 1 "spcc: error: batch 5 and sequence 0 are over the model's limits, 4 and 64; compile with other --max-batch and --max-seq [E_DIM]" $so -i x=in.b.npy -o y=y.npy
expect 3 "missing.so: error: cannot open: No such file or directory [E_OPEN]" "$SPCC" run missing.so -i x=in.x.npy -o y=y.npy
sed 's/outputs: .*/outputs: [h, y]/' in.yaml >in.two.yaml
succeed "$SPCC" in.two.yaml --emit=shared -o in.two.so
ln -s y.npy in.y.link
for same in y.npy ./y.npy "$work/y.npy"; do
  expect 1 "$same: error: this output is also the output 'y.npy'; choose another name [E_SAME]" "$SPCC" run in.two.so -i x=in.x.npy -o h=y.npy -o "y=$same"
done
: >y.npy
expect 1 "in.y.link: error: this output is also the output 'y.npy'; choose another name [E_SAME]" "$SPCC" run in.two.so -i x=in.x.npy -o h=y.npy -o y=in.y.link
rm y.npy
succeed "$SPCC" run in.two.so -i x=in.x.npy -o h=/dev/null -o y=/dev/null
"$SPCC" run in.yaml -i x=in.x.npy -o y=y.npy >.out 2>.err
[ $? = 1 ] && grep -q '^in\.yaml: error: cannot load it: .*\[E_OBJECT\]$' .err || fail "run in.yaml: $(cat .err)"
files tiny.h tiny.so

# Weights in a file of their own.
succeed "$SPCC" in.yaml --emit=shared --weights=file -o apart.so
files apart.h apart.so apart.weights tiny.h tiny.so
expect 1 "apart.so: error: the weights of this model lie in a file of their own; name it with --weights-file=FILE [E_OBJECT]" "$SPCC" run apart.so -i x=in.x.npy -o y=y.npy
succeed "$SPCC" run apart.so --weights-file=apart.weights -i x=in.x.npy -o y=y.npy
cmp -s y.npy in.y.npy || fail 'weights in a file give other bits'
cp apart.weights in.weights && printf 'X' >>in.weights
rm -f y.npy

# -g tells which line of the model a function was made for, and changes no code.
succeed "$SPCC" in.yaml -g -o debug.o
succeed "$SPCC" in.yaml -g --emit=shared -o debug.so
address=$(nm debug.so | sed -n 's/ t tiny\.w@x86-64-v3$//p')
[ "$(addr2line -e debug.so "$address")" = in.yaml:9 ] || fail "-g: $address is $(addr2line -e debug.so "$address")"
succeed "$SPCC" in.yaml -o plain.o
for object in debug plain; do
  objcopy -O binary -j .text $object.o $object.text || fail "no .text in $object.o"
done
cmp -s debug.text plain.text || fail '-g changes the code'
rm debug.* plain.*

# A mask that is left out holds what it says: here that no token counts.
cat >in.masked.yaml <<'END'
spcc: 1
inputs: [{name: x, type: "f32[B,S,8]"}, {name: m, type: "i32[B,S]", mask: true, optional: true, absent: 0}]
graph: [{name: y, op: relu, in: x}]
outputs: [y]
END
npy in.m.npy '<i4' '(1, 1)' '\1\0\0\0'
for pipeline in optimized generic; do
  succeed "$SPCC" in.masked.yaml --pipeline=$pipeline --emit=shared -o masked.so
  succeed "$SPCC" run masked.so -i x=in.x.npy -o y=y.npy
  [ "$(tail -c 32 y.npy | od -An -v -t x1 | tr -d ' 0\n')" = '' ] || fail "$pipeline: an absent mask of 0"
  succeed "$SPCC" run masked.so -i x=in.x.npy -i m=in.m.npy -o y=y.npy
  tail -c 32 in.x.npy >in.tail
  tail -c 32 y.npy | cmp -s - in.tail || fail "$pipeline: a mask of 1"
done
rm masked.* y.npy

# A command that reads the model several times warns once.
sed 's/, bias: b//' in.yaml >in.unused.yaml
for command in "verify in.unused.yaml" "bench in.unused.yaml -t 0.01 -l 1"; do
  # shellcheck disable=SC2086
  "$SPCC" $command >.out 2>.err || fail "$command: $(cat .err)"
  [ "$(cat .err)" = "in.safetensors: warning: 1 tensor is not used: 'b' (F32)" ] || fail "$command: $(cat .err)"
done

# The other commands.
succeed "$SPCC" verify in.yaml
grep -q '^y  *.* ok$' .out || fail "verify prints $(cat .out)"
succeed "$SPCC" verify in.yaml tiny.so -b 3 -l 17 --seed=5
sed 's/form: erf/form: tanh/' in.yaml >in.tanh.yaml
"$SPCC" verify in.tanh.yaml tiny.so >.out 2>.err
[ $? = 1 ] && grep -q '\[E_VERIFY\]$' .err || fail "verify of another model: $(cat .err)"
succeed "$SPCC" inspect in.yaml
grep -q '^w  *16x8  *96  *75\.00% ' .out || fail "inspect prints $(cat .out)"
succeed "$SPCC" bench in.yaml -t 0.05 -w 0 -l 4 --engine=spcc,dense,generic
[ "$(grep -c 'x86-64-v' .out)" = 3 ] || fail "bench prints $(cat .out)"
two=$(two_threads)
for of in tiny.so in.yaml; do
  succeed "$SPCC" bench $of -t 0.05 -b 2 -l 4 -j 2 --json
  grep -Eqx '\{"engine":"spcc","threads":'"$two"',"batch":2,"sequence":4,"latency_ms":\{"min":[0-9.e-]+,"mean":[0-9.e-]+,"median":[0-9.e-]+,"p90":[0-9.e-]+,"p99":[0-9.e-]+\},"items_per_second":[0-9.e]+,"isa":"x86-64-v[34]","object_bytes":[0-9]+,"peak_gflops":[0-9.]+\}' .out ||
    fail "bench --json prints $(cat .out)"
done
for command in "verify in.yaml" "bench in.yaml" "bench tiny.so" "bench in.yaml --engine=torch"; do
  # Refused before memory is asked for.
  # shellcheck disable=SC2086
  expect 1 "spcc: error: batch 65536 and sequence 65 are over the model's limits, 4 and 64; compile with other --max-batch and --max-seq [E_DIM]" "$SPCC" $command -b 65536 -l 65
done
"$SPCC" bench in.yaml --engine=torch >.out 2>.err
[ $? = 1 ] && grep -q 'the torch engine needs a model in the Hugging Face form' .err || fail "torch on a graph: $(cat .err)"
files apart.h apart.so apart.weights tiny.h tiny.so
finish
