# What is wrong on the command line itself: exit code 2, one line, what to do.
. "${0%/*}/lib.sh"
make_model
help='(see spcc --help)'

expect 2 "spcc: error: no model is given; usage: spcc model.yaml -o model.o $help" "$SPCC"
expect 2 "spcc: error: unknown flag '--emti'; did you mean '--emit'? $help" "$SPCC" in.yaml --emti=ir
expect 2 "spcc: error: unknown flag '--zzzzz' $help" "$SPCC" --zzzzz in.yaml
expect 2 "spcc: error: unknown flag '--march'; did you mean '-march'? $help" "$SPCC" --march=native
expect 2 "spcc: error: '9' is no value for -O: an integer from 0 to 3 is expected $help" "$SPCC" -O9 in.yaml
expect 2 "spcc: error: 'fast' is no value for -O: an integer from 0 to 3 is expected $help" "$SPCC" -Ofast in.yaml
expect 2 "spcc: error: 'more.yaml' is one operand too many; spcc compile takes 1 $help" "$SPCC" in.yaml more.yaml
expect 2 "spcc: error: -o needs a value: FILE $help" "$SPCC" in.yaml -o
expect 2 "spcc: error: -o needs a value: FILE $help" "$SPCC" in.yaml -o ''
expect 2 "spcc: error: 'exe' is no value for --emit=obj|asm|llvm|ir|shared $help" "$SPCC" in.yaml --emit=exe
expect 2 "spcc: error: '0' is no value for --max-batch: an integer from 1 to 65536 is expected $help" "$SPCC" in.yaml --max-batch=0
expect 2 "spcc: error: '-1' is no value for --max-batch: an integer from 1 to 65536 is expected $help" "$SPCC" in.yaml --max-batch=-1
expect 2 "spcc: error: '0x10' is no value for --max-seq: an integer from 1 to 1048576 is expected $help" "$SPCC" in.yaml --max-seq 0x10
expect 2 "spcc: error: '99999999999999999999' is no value for --max-seq: an integer from 1 to 1048576 is expected $help" "$SPCC" in.yaml --max-seq=99999999999999999999
expect 2 "spcc: error: '1T' is no value for --max-mem: bytes such as 512M or 4G are expected $help" "$SPCC" in.yaml --max-mem=1T
expect 2 "spcc: error: --json is a flag of 'spcc inspect', not of 'spcc compile' $help" "$SPCC" in.yaml --json
expect 2 "spcc: error: 'bnech' is neither a command nor a file; did you mean 'bench'? $help" "$SPCC" bnech
expect 2 "spcc: error: 'verfy' is neither a command nor a file; did you mean 'verify'? $help" "$SPCC" verfy in.yaml
expect 2 "spcc: error: --passes needs --emit=ir $help" "$SPCC" in.yaml --passes=fold
expect 2 "spcc: error: --dump-after: there is no pass 'fodl'; did you mean 'fold'? $help" "$SPCC" in.yaml --dump-after=fodl
expect 2 "spcc: error: -o x.so: add --emit=shared for a shared object, or end the name in .o $help" "$SPCC" in.yaml -o x.so
expect 2 "spcc: error: --emit=obj does not go to standard output $help" "$SPCC" in.yaml -o -
expect 2 "spcc: error: no model is given; usage: spcc bench model.yaml|model.so (see spcc bench --help)" "$SPCC" bench
expect 2 "spcc: error: there is no engine 'tocrh'; did you mean 'torch'? (see spcc bench --help)" "$SPCC" bench in.yaml --engine=tocrh
expect 2 "spcc: error: there is no engine 'x'; there are spcc, dense, generic and torch (see spcc bench --help)" "$SPCC" bench in.yaml --engine=x
expect 2 "spcc: error: --sparse has no effect on a shared object, which is compiled already (see spcc bench --help)" "$SPCC" bench in.so --sparse=off
expect 2 "spcc: error: --weights-file belongs to a shared object; in.yaml names its weights (see spcc bench --help)" "$SPCC" bench in.yaml --weights-file=w
expect 2 "spcc: error: --weights-file belongs to a shared object; name that too (see spcc verify --help)" "$SPCC" verify in.yaml --weights-file=w
expect 2 "spcc: error: engine 'torch' needs model.yaml; a shared object holds compiled code alone (see spcc bench --help)" "$SPCC" bench in.so --engine=torch
expect 2 "spcc: error: 'x' is no value for -t: a number from 0.01 to 86400 is expected (see spcc bench --help)" "$SPCC" bench in.yaml -t x
expect 2 "spcc: error: 'in.yaml' is one operand too many; spcc cpu takes 0 (see spcc cpu --help)" "$SPCC" cpu in.yaml

# Values that are well-formed but name nothing that spcc has.
expect 1 "spcc: error: 'foo' is no ISA level that spcc compiles for; the levels are x86-64-v3 and x86-64-v4 [E_TARGET]" "$SPCC" in.yaml --isa=x86-64-v3,foo
expect 1 "spcc: error: 'skylake' is no ISA level that spcc compiles for; the levels are x86-64-v3 and x86-64-v4 [E_TARGET]" "$SPCC" in.yaml -march=skylake
expect 1 "spcc: error: 'riscv64-linux-gnu' is no target that spcc compiles for; the target is x86_64-linux-gnu [E_TARGET]" "$SPCC" in.yaml --target=riscv64-linux-gnu
expect 1 "spcc: error: --sparse=4y1: auto, off or a pattern such as 4x1, unstructured or 2:4 is expected [E_PATTERN]" "$SPCC" in.yaml --sparse=4y1
expect 1 "spcc: error: -march and --isa exclude each other; name all levels with --isa [E_TARGET]" "$SPCC" in.yaml -march=native --isa=x86-64-v3
expect 1 "spcc: error: --pipeline=generic computes every weight dense; leave --sparse=4x1 out [E_CONFIG]" "$SPCC" in.yaml --pipeline=generic --sparse=4x1
expect 1 "spcc: error: --precision=int8 is not supported yet; fp32 is [E_CONFIG]" "$SPCC" in.yaml --precision=int8
for name in int llvm class 9x a-b _x spcc_x ../x ''; do
  [ -z "$name" ] && continue
  expect 1 "spcc: error: --name=$name: a C identifier of at most 63 characters is expected that is no keyword, not 'llvm', and begins with neither 'spcc' nor '_' [E_NAME]" "$SPCC" in.yaml "--name=$name"
done
files

# What prints on standard output is asked for.
for command in '' compile inspect prune run verify bench profile estimate cpu; do
  # shellcheck disable=SC2086
  succeed "$SPCC" $command --help
  grep -q '^Usage: spcc' .out || fail "$command --help shows no usage"
done
"$SPCC" --help | grep -q -e --max-batch || fail 'the help lacks --max-batch'
"$SPCC" bench --help | grep -q -e --engine || fail 'the help of bench lacks --engine'
"$SPCC" bench --help | grep -q -e --emit && fail 'the help of bench has --emit'
succeed "$SPCC" --version
grep -Eqx 'spcc [0-9]+\.[0-9]+\.[0-9]+' .out || fail "--version prints '$(cat .out)'"
succeed "$SPCC" cpu
succeed "$SPCC" cpu --json

# Flags in any order, values joined or not; the last one counts.
succeed "$SPCC" --emit=ir in.yaml -oa.ir
succeed "$SPCC" --emit obj --emit ir -o c.ir -o b.ir -- in.yaml
cmp -s a.ir b.ir || fail 'the order of the flags matters'
files a.ir a.safetensors b.ir b.safetensors
finish
