# Measured constants and choices: --calibrate, --calibration, --tune.
. "${0%/*}/lib.sh"
make_model
export XDG_CACHE_HOME="$work/in.cache"

# What is wrong with a file of constants.
costs() {
  printf '%s\n' "$@" >in.costs
}
expect 3 "no.costs: error: cannot open: No such file or directory [E_OPEN]" "$SPCC" in.yaml --calibration=no.costs
costs 'spcc-costs 2'
expect 1 "in.costs:1:1: error: the first line is not 'spcc-costs 1'; 'spcc cpu --calibrate' makes such files [E_VERSION]" "$SPCC" in.yaml --calibration=in.costs
costs 'spcc-costs 1' 'x86-64-v4.speed 1'
expect 1 "in.costs:2:1: error: 'x86-64-v4.speed' is no constant of this version of spcc; measure again with 'spcc cpu --calibrate' [E_KEY]" "$SPCC" in.yaml --calibration=in.costs
costs 'spcc-costs 1' '# a comment' 'x86-64-v4.dense'
expect 1 "in.costs:3:1: error: a line 'NAME NUMBER' is expected [E_KEY]" "$SPCC" in.yaml --calibration=in.costs
for bad in fast -1 nan 1e9 1x; do
  costs 'spcc-costs 1' "x86-64-v4.dense $bad"
  expect 1 "in.costs:2:1: error: '$bad' is no value for x86-64-v4.dense: a number from 0 to 1000000 is expected [E_FLOAT]" "$SPCC" in.yaml --calibration=in.costs
done
costs 'spcc-costs 1' 'x86-64-v4.dense 1' 'x86-64-v4.dense 1'
expect 1 "in.costs:3:1: error: 'x86-64-v4.dense' stands twice [E_DUP_KEY]" "$SPCC" in.yaml --calibration=in.costs
costs 'spcc-costs 1' 'x86-64-v4.dense 1'
expect 1 "in.costs: error: x86-64-v4.dense_tile is missing; measure again with 'spcc cpu --calibrate' [E_KEY]" "$SPCC" in.yaml --calibration=in.costs
expect 3 "no/such/costs: error: cannot make a file in this folder: No such file or directory [E_OPEN]" "$SPCC" cpu --calibrate --calibration=no/such/costs
expect 3 "spcc: error: there is no place for 'costs': neither XDG_CACHE_HOME nor HOME is set [E_OPEN]" env -u XDG_CACHE_HOME -u HOME "$SPCC" in.yaml --calibration=cached

# What is measured can be used, and changes nothing where it is not asked for.
succeed "$SPCC" in.yaml -o before.o
succeed "$SPCC" cpu --calibrate -t 0.01
grep -q "^written to $XDG_CACHE_HOME/spcc/costs$" .out || fail "no file of constants is named: $(cat .out)"
cp "$XDG_CACHE_HOME/spcc/costs" in.costs
succeed "$SPCC" in.yaml -o after.o
cmp -s before.o after.o || fail 'the file in the cache was used without --calibration'
succeed "$SPCC" in.yaml --calibration=cached -o cached.o
succeed "$SPCC" in.yaml --calibration=in.costs -o named.o
cmp -s cached.o named.o || fail 'the same constants gave two objects'

# A layer without zeros says why it is dense, and how near the best other way comes.
succeed "$SPCC" in.yaml --sparse=off -o off.o
run "$SPCC" in.yaml --sparse=off --remarks -o off.o
grep -q 'compiled dense, as asked for$' .err || fail "--sparse=off: $(cat .err)"
run "$SPCC" in.yaml --sparse=8x8 --remarks -o off.o
grep -q 'compiled dense, no kernel runs 8x8 on this shape$' .err || fail "--sparse=8x8: $(cat .err)"

# A weight of zeros is not so many times faster.
{
  head -c -576 in.safetensors
  head -c 576 /dev/zero
} >zero.safetensors
sed 's/in.safetensors/zero.safetensors/' in.yaml >zero.yaml
run "$SPCC" zero.yaml --remarks -o zero.o
grep -q ': w \[16, 8\]: 100.0 % zeros, .* by gather, nothing to multiply$' .err || fail "zeros: $(cat .err)"
rm zero.*

# The constants decide: dense that costs nothing is chosen, at 100 times the cost it is not.
level=$(sed -n 's/^\(x86-64-v[0-9]\)\.dense .*/\1/p' in.costs | tail -n 1)
for factor in 0 100; do
  sed "s/\.dense .*/.dense $factor/; s/\.dense_tile .*/.dense_tile 0/" in.costs >in.other
  succeed "$SPCC" in.yaml -march="$level" --calibration=in.other --emit=ir -o -
  kernel=$(sed -n 's/.*kernel=\([a-z]*\) .*/\1/p' .out | head -n 1)
  [ $factor = 0 ] && [ "$kernel" != dense ] && fail "free dense is not chosen but $kernel"
  [ $factor = 100 ] && [ "$kernel" = dense ] && fail 'dense is chosen at 100 times its cost'
done

# --tune: what cannot be, and files that are no cache.
expect 1 "spcc: error: --tune has nothing to choose from with --sparse; leave one of them out [E_CONFIG]" "$SPCC" in.yaml --tune --sparse=off
expect 1 "spcc: error: --tune has nothing to choose from with --pipeline=generic; leave one of them out [E_CONFIG]" "$SPCC" in.yaml --tune --pipeline=generic
expect 2 "spcc: error: 'long' is no value for --tune: a number from 0 to 86400 is expected (see spcc --help)" "$SPCC" in.yaml --tune=long
not_cache='this is no file of results of --tune; remove it, or name another with --tune-cache=FILE [E_VERSION]'
costs 'spcc-tune 2'
expect 1 "in.costs:1:1: error: $not_cache" "$SPCC" in.yaml --tune=0 --tune-cache=in.costs
for bad in 'a b c d e' 'a b c d e 0' 'a b c d e 1x' 'a b c d e 1 f'; do
  costs 'spcc-tune 1' 'a b c d e 1' "$bad"
  expect 1 "in.costs:3:1: error: $not_cache" "$SPCC" in.yaml --tune=0 --tune-cache=in.costs
done

# No time and no cache: the cost model chooses, and nothing is written.
succeed "$SPCC" in.yaml --tune=0 -o none.o
cmp -s before.o none.o || fail 'an empty cache changes the object'
[ -e "$XDG_CACHE_HOME/spcc/tune" ] && fail 'an empty cache was written'

# What is measured is kept, beside the records of others, and gives the same bytes again.
other='0.0.0 x86-64-v4 other-cpu 16x8:dense:0 dense 1'
costs 'spcc-tune 1' "$other"
mv in.costs in.tune
march=-march=native
succeed "$SPCC" in.yaml $march --tune --tune-cache=in.tune -o tuned.o
grep -q "^$other\$" in.tune || fail 'records of other machines are gone'
[ "$(grep -c ' dense [0-9.e+]*$' in.tune)" = 2 ] || fail "dense was not measured: $(cat in.tune)"
cp in.tune in.before
succeed "$SPCC" in.yaml $march --tune=0 --tune-cache=in.tune -o again.o
succeed "$SPCC" in.yaml $march --tune --tune-cache=in.tune -o third.o
cmp -s tuned.o again.o && cmp -s tuned.o third.o || fail 'the same cache gave other objects'
cmp -s in.tune in.before || fail 'a complete cache was written again'

# Times of other kernels do not count.
sed "s/^[0-9a-f]\{12\} /000000000000 /; s/ dense [0-9.e+]*\$/ dense 1e-3/" in.tune >in.other
grep -q '^000000000000 x86.* dense 1e-3$' in.other || fail "records have no digest of the kernels: $(cat in.tune)"
succeed "$SPCC" in.yaml --tune=0 --tune-cache=in.other -o other.o
cmp -s before.o other.o || fail 'times of other kernels decided'

# A long cache of others is read and written in little memory.
{
  echo 'spcc-tune 1'
  seq -f '0.0.0 x86-64-v4 other-cpu 16x8:dense:%.0f dense 1' 100000
} >in.other
cp in.other in.before
succeed "$SPCC" in.yaml --max-mem=256M --tune=0 --tune-cache=in.other -o other.o
cmp -s before.o other.o || fail 'records of other machines decided'
succeed "$SPCC" in.yaml --max-mem=256M --tune=0.1 --tune-cache=in.other -o other.o
head -n 100001 in.other | cmp -s - in.before || fail 'records of other machines are not as they were'
[ "$(wc -l <in.other)" -gt 100001 ] || fail 'nothing was added to a long cache'

# Its times decide.
for wanted in dense block; do
  sed "s/ dense [0-9.e+]*\$/ dense $([ $wanted = dense ] && echo 1e-3 || echo 1e9)/; s/ 16x1 [0-9.e+]*\$/ 16x1 1/" in.tune >in.other
  run "$SPCC" in.yaml $march --tune=0 --tune-cache=in.other --emit=ir --remarks -o -
  kernel=$(sed -n 's/.*kernel=\([a-z]*\) .*/\1/p' .out | head -n 1)
  [ "$kernel" = $wanted ] || fail "$wanted was fastest but $kernel is chosen"
  grep -q measured .err || fail "the remark does not tell what was measured: $(cat .err)"
done
rm -f ./*.o ./*.h
files
finish
