# A signal in the midst of a compilation: the process ends by it, and leaves nothing half-done.
. "${0%/*}/lib.sh"
make_model
succeed "$SPCC" in.yaml -o out.o
mv out.o in.first.o && mv out.h in.first.h

# interrupt SIGNAL CODE SECONDS: wherever the signal arrives, the outputs are complete or absent.
interrupt() {
  timeout --preserve-status -s "$1" "$3" "$SPCC" in.yaml -o out.o >.out 2>.err
  code=$?
  [ "$code" = 0 ] || [ "$code" = "$2" ] || fail "SIG$1 after $3 s: exit code $code: $(cat .err)"
  [ ! -e out.o ] || cmp -s out.o in.first.o || fail "SIG$1 after $3 s: the object is not complete"
  [ ! -e out.h ] || cmp -s out.h in.first.h || fail "SIG$1 after $3 s: the header is not complete"
  [ -e out.h ] || [ ! -e out.o ] || fail "SIG$1 after $3 s: an object without its header"
  rm -f out.o out.h
  files
}
for delay in 0.001 0.002 0.004 0.006 0.008 0.010 0.013 0.016 0.020 0.025 0.030 0.040 0.060 0.100; do
  interrupt INT 130 $delay
  interrupt TERM 143 $delay
  interrupt HUP 129 $delay
done

# A reader that has gone.
"$SPCC" --help | true
finish
