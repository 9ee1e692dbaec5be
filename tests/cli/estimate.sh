# spcc estimate: what cannot be imposed, and what is printed for what can.
. "${0%/*}/lib.sh"
make_model
see="'re:intermediate=4x1@0.9' and 'pooler.dense=2:4' are examples (see spcc estimate --help)"

bad() {
  expect 2 "spcc: error: --impose=$1: $2; $see" "$SPCC" estimate in.yaml "--impose=$1"
}
bad w 'TARGET=PATTERN@SPARSITY is expected'
bad =4x1@0.9 'TARGET=PATTERN@SPARSITY is expected'
for pattern in 4y1 '' 2:0 0x1 x; do
  bad "w=$pattern@0.5" 'the pattern is none of dense, unstructured, RxC such as 4x1 and N:M such as 2:4'
done
bad w=4x1 'this pattern needs a sparsity, such as @0.9'
bad w=unstructured 'this pattern needs a sparsity, such as @0.9'
for sparsity in '' x -1 nan 1e-1; do
  bad "w=4x1@$sparsity" 'the sparsity is no number'
done
for sparsity in 1.5 100 0..5; do
  bad "w=4x1@$sparsity" 'the sparsity is not from 0 to 1'
done
bad w=2:4@0.9 'this pattern fixes the sparsity; leave it out'
expect 2 "spcc: error: 're:(' is no regular expression that can be used: missing closing parenthesis, at byte 1 (see spcc estimate --help)" "$SPCC" estimate in.yaml '--impose=re:(=4x1@0.9'
expect 1 "in.yaml: error: 'v' of --impose matches none of the 1 weights that can be pruned; spcc inspect lists them [E_NAME]" "$SPCC" estimate in.yaml --impose=v=4x1@0.9
expect 1 "in.yaml:8:42: error: tensor 'w': pattern 3x1 does not divide its shape [16, 8]; choose another pattern or leave the tensor out [E_PATTERN]" "$SPCC" estimate in.yaml --impose=w=3x1@0.5
expect 1 "spcc: error: batch 5 and sequence 64 are over the model's limits, 4 and 64; compile with other --max-batch and --max-seq [E_DIM]" "$SPCC" estimate in.yaml -b 5

# What is printed: a row per op, zeros as asked for, a total that is their sum, what is assumed.
succeed "$SPCC" estimate in.yaml
grep -q '^Assumed: .* batch 1, sequence 64; 1 thread; costs as spcc comes with them; the model.s own weights\.$' .out || fail "the assumptions are missing: $(cat .out)"
grep -q '^w  *linear  *16x8  *25\.0% ' .out || fail "no row for w: $(cat .out)"
succeed "$SPCC" estimate in.yaml --impose=w=4x1@0.5
grep -q '^w  *linear  *16x8  *50\.0% 4x1 ' .out || fail "4x1@0.5: $(cat .out)"
succeed "$SPCC" estimate in.yaml --impose=re:^w=4x1@0.5 --impose=w=2:4x4 --json -b 2
grep -q '"layer": *"w".*"zeros": *0.5,' .out || fail "the last match does not count: $(cat .out)"
awk -F'"ms": *' '{ split($2, n, ","); if (/"total"/) total = n[1]; else sum += n[1] }
  END { exit !(sum > 0 && (sum - total) ^ 2 < 1e-9 * total ^ 2) }' .out || fail "the total is not the sum: $(cat .out)"

# The same input gives the same choices; twice the batch takes twice the time.
ms() {
  sed -n 's/.*"total".*"ms": *\([0-9.e-]*\),.*"peak_gflops": *\([0-9.e+]*\),.*/\1 \2/p' .out
}
succeed "$SPCC" estimate in.yaml --json -b 1
one=$(ms)
succeed "$SPCC" estimate in.yaml --json -b 2
echo "$one $(ms)" | awk '{ r = $3 * $4 / ($1 * $2); exit !(r > 1.99 && r < 2.01) }' || fail "one: $one, two: $(ms)"

# What only the first token is used of is predicted for it alone: 16 rows, not 64.
sed 's/outputs: .*/  - {name: z, op: first, in: y}\noutputs: [z]/' in.yaml >pooled.yaml
succeed "$SPCC" estimate in.yaml --json
all=$(ms)
succeed "$SPCC" estimate pooled.yaml --json
echo "$all $(ms)" | awk '{ exit !($3 * $4 < 0.5 * $1 * $2) }' || fail "all: $all, first: $(ms)"
rm pooled.yaml

# Nothing to multiply is free.
sed 's/outputs: .*/outputs: [h]/' in.yaml >linear.yaml
succeed "$SPCC" estimate linear.yaml --impose=w=unstructured@1
grep -q '^w  *linear .* 0\.0000  *0\.0% *free$' .out || fail "no zero is free: $(cat .out)"
rm linear.yaml

# --tune compiles and measures.
succeed "$SPCC" estimate in.yaml --impose=w=4x1@0.5 --tune --tune-cache=in.tune -t 0.01
grep -q 'measured ms$' .out || fail "nothing is measured: $(cat .out)"
[ -s in.tune ] || fail '--tune kept nothing'
succeed "$SPCC" estimate in.yaml --tune=0 --tune-cache=in.tune -t 0.01 --json -j 2
grep -q '"layer": *"w".*"measured_ms": *[0-9]' .out || fail "nothing is measured: $(cat .out)"
files
finish
