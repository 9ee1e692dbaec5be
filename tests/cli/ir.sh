# IR text as output and as input.
. "${0%/*}/lib.sh"
make_model

succeed "$SPCC" in.yaml --emit=ir --passes=fold -o a.ir
files a.ir a.safetensors
succeed "$SPCC" a.ir --emit=ir --passes=dead -o b.ir
cmp -s a.ir b.ir || fail 'IR text changes on its way through the parser'
succeed "$SPCC" a.ir --emit=ir --passes=fold,dead
grep -q '^spcc-ir 1$' .out || fail "--emit=ir prints '$(head -1 .out)'"

"$SPCC" in.yaml --emit=ir --dump-after=import --dump-after=fold >.out 2>.err
[ "$(grep -c '^; after ' .err)" = 2 ] || fail "--dump-after: $(grep '^;' .err)"
grep -A1 '^; after import$' .err | grep -q '^spcc-ir 1$' || fail '--dump-after prints no IR'

succeed "$SPCC" a.ir -o from_ir.o
succeed "$SPCC" in.yaml -o from_yaml.o
cmp -s from_ir.o from_yaml.o || fail 'IR text and model.yaml give different objects'

# What one run decided, another decides anew.
succeed "$SPCC" in.yaml --emit=ir --passes=partition,schedule,plan -o planned.ir
succeed "$SPCC" planned.ir -o from_plan.o
cmp -s from_plan.o from_yaml.o || fail 'a planned graph gives another object'
succeed "$SPCC" verify planned.ir

# Taps get names that neither values nor outputs have, one after the other.
sed 's/^output y/output tap/; s/%h\b/%"tap.1"/g' a.ir >tap.ir
cp a.safetensors tap.safetensors
succeed "$SPCC" verify tap.ir
grep -q '^tap  *.* ok$' .out || fail "verify of an output called tap: $(cat .out)"
layers() {
  printf 'spcc-ir 1\nmodel relus max_batch=1 max_sequence=4\ninput %%x : f32[B,S,8]\n'
  printf '%%r0 = pack %%x : f32[N,8]\n'
  awk "BEGIN { for (i = 1; i <= $1; i++) printf \"%%r%d = relu %%r%d : f32[N,8]\n\", i, i - 1 }"
  printf '%%y = unpack %%r%d : f32[B,S,8]\noutput y = %%y\nend\n' "$1"
}
layers 20000 >relus.ir # refused after the taps are there, for the code of so many takes long
expect 1 "spcc: error: batch 2 and sequence 1 are over the model's limits, 1 and 4; compile with other --max-batch and --max-seq [E_DIM]" "$SPCC" verify relus.ir -b 2 -l 1
layers 40000 >relus.ir
expect 1 "relus.ir: error: the model has 40003 values, and 40000 more are needed to compare its layers; at most 65536 are possible [E_LIMIT]" "$SPCC" verify relus.ir -b 1 -l 1

# Control characters in names do not reach the terminal.
odd='\x1b[1m\xc2\x9b'
cat >odd.ir <<END
spcc-ir 1
model odd max_batch=1 max_sequence=4
input %x : f32[B,S,4]
const @"w$odd" : f32[2,4] = 0x1p+0, 0x0p+0, 0x1p+0, 0x0p+0, 0x1p+0, 0x0p+0, 0x1p+0, 0x0p+0
%p = pack %x : f32[N,4]
%h = linear %p, @"w$odd" : f32[N,2]
%"r$odd" = relu %h : f32[N,2]
%y = unpack %"r$odd" : f32[B,S,2]
output y = %y
end
END
for command in inspect verify 'profile -t 0.01 -w 0' estimate; do
  # shellcheck disable=SC2086
  succeed "$SPCC" $command odd.ir
  grep -qF "$odd " .out || fail "$command does not escape names: $(cat -v .out)"
  LC_ALL=C grep -q "$(printf '[\033\302]')" .out && fail "$command prints control characters: $(cat -v .out)"
done
sed 's/w\\x1b\[1m\\xc2\\x9b/w\\xff/' odd.ir >bytes.ir
expect 3 'spcc: error: cannot write JSON [E_WRITE]' "$SPCC" profile bytes.ir -t 0.01 -w 0 --json

# The command line counts more than the text; names go into the header.
succeed "$SPCC" a.ir --name=other --max-batch=3 --max-seq=5 -o other.o
grep -q '^enum { other_max_batch = 3, other_max_sequence = 5 };$' other.h || fail "flags on IR text: $(grep enum other.h)"
for names in 's/^model tiny/model tiny-1/' 's/^output y/output y.1/' 's/%x /%"x x" /g'; do
  sed "$names" a.ir >bad.ir
  cp a.safetensors bad.safetensors
  "$SPCC" bad.ir -o bad.o 2>.err
  code=$?
  [ "$code" = 1 ] && grep -q '^bad\.ir: error: .* cannot be a name in the C header; .* \[E_NAME\]$' .err ||
    fail "$names: exit code $code: $(cat .err)"
done
expect 1 "a.ir: error: prune works on models that name a Hugging Face folder, such as model: {huggingface: ./minilm} [E_CONFIG]" "$SPCC" prune a.ir --sparsity=0.5 -o pruned

# Weights that are there and cannot be used are one error.
cp a.ir nan.ir
{
  head -c -4 a.safetensors
  printf '\0\0\300\177'
} >nan.safetensors
expect 1 "nan.safetensors: error: tensor 'w': element 127 is NaN; weights must be finite [E_NONFINITE]" "$SPCC" nan.ir --emit=ir

rm a.safetensors
expect 1 "$("$SPCC" a.ir --emit=ir 2>&1)" "$SPCC" a.ir --emit=ir
grep -q '^a\.ir:[0-9]*:[0-9]*: error: ' .err || fail "missing constants: $(cat .err)"
printf 'spcc-ir 1\nnonsense\n' >c.ir
"$SPCC" c.ir --emit=ir >.out 2>.err && fail 'nonsense is accepted as IR'
grep -q '^c\.ir:2:1: error: .*\[E_IR\]$' .err || fail "nonsense: $(cat .err)"

# What is said about a dense layer is why.
remark() {
  "$SPCC" in.yaml -o out.o --remarks "--sparse=$1" 2>.err
  [ "$(cat .err)" = "in.yaml:9:5: remark: w [16, 8]: 25.0 % zeros, $2" ] || fail "--remarks --sparse=$1: $(cat .err)"
}
remark off '16x1: compiled dense, as asked for'
remark 3x3 '16x1: compiled dense, no kernel runs 3x3 on this shape'

"$SPCC" in.yaml -o out.o -ftime-report 2>.err || fail '-ftime-report'
for stage in stage read fold dead first fuse partition schedule plan code write total; do
  grep -q "^$stage  *" .err || fail "-ftime-report lacks $stage"
done
finish
