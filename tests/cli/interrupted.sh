# A compilation is stopped at sixty instants, by signals that it can and cannot see: each output is
# then what it was before, or complete. Weights of 4 MB make the writing take its time.
. "${0%/*}/lib.sh"
size=1024
bytes=$((size * size * 4))
header="{\"w\":{\"dtype\":\"F32\",\"shape\":[$size,$size],\"data_offsets\":[0,$bytes]}}"
{
  printf "\\$(printf %o ${#header})\0\0\0\0\0\0\0%s" "$header"
  yes | head -c $bytes # small finite numbers
} >in.safetensors
cat >in.yaml <<END
spcc: 1
name: big
weights: in.safetensors
inputs: [{name: x, type: "f32[B,S,$size]"}]
graph: [{name: y, op: linear, in: x, weight: w}]
outputs: [y]
END

start=$(date +%s%N)
succeed "$SPCC" in.yaml -o out.o
micros=$((($(date +%s%N) - start) / 1000))
mv out.o in.new.o && mv out.h in.new.h
echo 'an old object' >in.old.o && echo 'an old header' >in.old.h

# The outputs are there already, or not, as $state says.
prepare() {
  rm -f out.o out.h
  [ $state = absent ] || { cp in.old.o out.o && cp in.old.h out.h; }
}

# complete FILE: it is as it was in state $state, or as a whole compilation makes it.
complete() {
  if [ -e "out.$1" ]; then
    cmp -s "out.$1" "in.new.$1" || { [ "$state" = old ] && cmp -s "out.$1" "in.old.$1"; }
  else
    [ "$state" = absent ]
  fi || fail "SIG$signal after $delay s, outputs $state before: out.$1 is $(wc -c <"out.$1") bytes"
}

# interrupt SIGNAL CODE
interrupt() {
  signal=$1
  prepare
  timeout --preserve-status -s "$signal" "$delay" "$SPCC" in.yaml -o out.o >.out 2>.err
  code=$?
  [ $code = 0 ] || [ $code = "$2" ] || fail "SIG$signal after $delay s: exit code $code: $(cat .err)"
  complete o
  complete h
  if [ $code = 0 ]; then
    cmp -s out.o in.new.o && cmp -s out.h in.new.h || fail "exit code 0 without new outputs"
  fi
  rm -f out.o out.h
  if [ "$signal" = KILL ]; then rm -f .spcc*; else files; fi
}

# Instants from 0 to a little after the end, from a generator of random numbers; two in three of them
# in the last third, where the outputs are written.
random=1
for i in $(seq 20); do
  for signal in INT TERM KILL; do
    random=$(((random * 1103515245 + 12345) % 2147483648))
    part=$((random / 65536 % 1000))
    [ $((random / 1024 % 3)) = 0 ] || part=$((700 + part * 2 / 5))
    instant=$((micros * part / 1000))
    delay=$(printf '%d.%06d' $((instant / 1000000)) $((instant % 1000000)))
    state=absent
    [ $((i % 2)) = 0 ] || state=old
    case $signal in
    INT) interrupt INT 130 ;;
    TERM) interrupt TERM 143 ;;
    KILL) interrupt KILL 137 ;;
    esac
  done
done
finish
