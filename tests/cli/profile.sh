# spcc profile and spcc cpu --peak: what they print. How long anything takes is not tested.
. "${0%/*}/lib.sh"
make_model
help='(see spcc profile --help)'
number='[0-9][0-9.e+-]*'
quick='-t 0.01 -w 0'
two=$(two_threads)

succeed "$SPCC" in.yaml --emit=shared -o tiny.so

# The work of steps: w has 96 non-zeros of 128; 3 tokens of 2 sequences, 6 rows.
for of in in.yaml tiny.so; do
  # shellcheck disable=SC2086
  succeed "$SPCC" profile $of $quick -b 2 -l 3
  head -1 .out | grep -Eqx "$of: batch 2, sequence 3, 1 thread, x86-64-v[34]; $number ms, median of $number calls; FMA peak $number GFLOP/s" ||
    fail "profile's first line is $(head -1 .out)"
  for row in 'w +linear .*' 'y\.unpacked +border' 'linear .*' border 'between the steps' linears 'everything else' call; do
    grep -Eqx "$row +$number +$number%( +$number +$number% +$number)?" .out || fail "profile prints no row '$row': $(cat .out)"
  done
  # shellcheck disable=SC2086
  succeed "$SPCC" profile $of $quick -b 2 -l 3 -j 2 --json
  row='"ms":[0-9.e-]+,"share":[0-9.e-]+,"gflops":[0-9.e-]+,"peak_share":[0-9.e-]+,"dense_gflops":[0-9.e-]+'
  grep -Eqx "\{\"model\":\"tiny\",\"threads\":$two,\"batch\":2,\"sequence\":3,\"isa\":\"x86-64-v[34]\",\"calls\":[0-9]+,\"median_ms\":[0-9.e-]+,\"peak_gflops\":[0-9.e-]+,\"steps\":\[.*\],\"kinds\":\[.*\],\"sums\":\[(\{\"name\":\"[a-z ]+\",$row\},?){3}\]\}" .out ||
    fail "profile --json prints $(cat .out)"
  grep -Eq "\{\"name\":\"w\",\"kind\":\"linear\",$row,\"patterns\":\[\"[a-z0-9x:]+\"\]\}" .out || fail "--json has no w: $(cat .out)"
done
# Executed and dense-equivalent work are as 96 to 128, in every measurement.
sed 's/.*"name":"w",[^}]*"gflops":\([0-9.e-]*\),[^}]*"dense_gflops":\([0-9.e-]*\).*/\1 \2/' .out |
  awk '{ exit !($2 / $1 > 1.3333 && $2 / $1 < 1.3334) }' || fail "the work of w: $(cat .out)"

# The trace: one lane for the steps, and one per thread when there are several.
# shellcheck disable=SC2086
succeed "$SPCC" profile tiny.so $quick --trace=trace.json
files tiny.h tiny.so trace.json
event='\{"name":"w","cat":"linear","ph":"X","ts":[0-9.e-]+,"dur":[0-9.e-]+,"pid":1,"tid":0\}'
grep -Eq "^\{\"traceEvents\":\[.*$event.*\],\"displayTimeUnit\":\"ms\"\}\$" trace.json || fail "the trace is $(cat trace.json)"
grep -q '"thread 0"' trace.json && fail 'a lane per thread on one thread'
# shellcheck disable=SC2086
succeed "$SPCC" profile tiny.so $quick -b 4 -l 64 -j 2 --pin --trace=trace.json
[ "$two" = 1 ] || grep -Eq '"name":"w","cat":"linear","ph":"X",[^}]*"tid":1\}' trace.json || fail "no lane for a thread: $(cat trace.json)"
rm trace.json

# Wrong arguments.
expect 2 "spcc: error: no model is given; usage: spcc profile model.yaml|model.so $help" "$SPCC" profile
expect 2 "spcc: error: --sparse has no effect on a shared object, which is compiled already $help" "$SPCC" profile tiny.so --sparse=off
expect 2 "spcc: error: --weights-file belongs to a shared object; in.yaml names its weights $help" "$SPCC" profile in.yaml --weights-file=w
expect 2 "spcc: error: --engine is a flag of 'spcc bench', not of 'spcc profile' $help" "$SPCC" profile in.yaml --engine=torch
expect 2 "spcc: error: '0' is no value for -j: an integer from 1 to 1024 is expected $help" "$SPCC" profile in.yaml -j 0
expect 2 "spcc: error: --trace needs a value: FILE.json $help" "$SPCC" profile in.yaml --trace=
expect 1 "in.yaml: error: this output is also the input 'in.yaml'; choose another name [E_SAME]" "$SPCC" profile in.yaml --trace=in.yaml
expect 1 "in.safetensors: error: this output is also the input 'in.safetensors'; choose another name [E_SAME]" "$SPCC" profile in.yaml --trace=in.safetensors
expect 1 "tiny.so: error: this output is also the input 'tiny.so'; choose another name [E_SAME]" "$SPCC" profile tiny.so --trace=tiny.so
expect 3 "missing/t.json: error: cannot make a file in this folder: No such file or directory [E_OPEN]" "$SPCC" profile in.yaml --trace=missing/t.json
expect 1 "spcc: error: batch 65536 and sequence 65 are over the model's limits, 4 and 64; compile with other --max-batch and --max-seq [E_DIM]" "$SPCC" profile in.yaml -b 65536 -l 65
files tiny.h tiny.so

# What the machine reaches.
succeed "$SPCC" cpu --peak
grep -Eqx "FMA peak ( x86-64-v[34] $number)+ GFLOP/s on 1 thread" .out || fail "cpu --peak prints $(cat .out)"
succeed "$SPCC" cpu --peak -j 2 --json
grep -Eq '"peak_gflops":\{"threads":'"$two"'(,"x86-64-v[34]":[0-9.e+-]+)+\}\}$' .out || fail "cpu --peak --json prints $(cat .out)"
# -j counts up to the CPUs that the process may use, whatever is asked for.
cpu=$(taskset -cp $$ 2>/dev/null | sed 's/.*: *\([0-9]*\).*/\1/')
if [ -n "$cpu" ]; then
  succeed taskset -c "$cpu" "$SPCC" cpu --peak -j 8
  grep -q ' on 1 thread$' .out || fail "-j 8 on one CPU: $(cat .out)"
  # shellcheck disable=SC2086
  succeed taskset -c "$cpu" "$SPCC" profile in.yaml $quick -j 8
  head -1 .out | grep -q ', 1 thread, ' || fail "profile -j 8 on one CPU: $(head -1 .out)"
  succeed taskset -c "$cpu" "$SPCC" estimate in.yaml -j 8
  grep -q '; 1 thread; ' .out || fail "estimate -j 8 on one CPU: $(cat .out)"
fi
succeed "$SPCC" cpu --json
grep -q peak .out && fail 'cpu measures unasked'
expect 2 "spcc: error: -j needs --peak (see spcc cpu --help)" "$SPCC" cpu -j 2
finish
