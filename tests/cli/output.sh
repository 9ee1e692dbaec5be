# Outputs: whole or not at all, never over an input, and never in the way of one another.
. "${0%/*}/lib.sh"
make_model

succeed "$SPCC" in.yaml -o out.o
files out.h out.o
cp out.o in.first.o && cp out.h in.first.h
succeed "$SPCC" in.yaml -o out.o
cmp -s out.o in.first.o || fail 'a second compilation gives another object'
cmp -s out.h in.first.h || fail 'a second compilation gives another header'
rm out.o out.h

mkdir in.folder
(cd in.folder && "$SPCC" ../in.yaml) || fail 'compiling without -o'
cmp -s in.folder/in.o in.first.o && cmp -s in.folder/in.h in.first.h ||
  fail "without -o, from another folder: $(ls -A in.folder)"

# Places that cannot be written.
expect 3 "missing/out.h: error: cannot make a file in this folder: No such file or directory [E_OPEN]" "$SPCC" in.yaml -o missing/out.o
expect 3 "in.folder: error: this is a folder; name the file to write in it [E_OPEN]" "$SPCC" in.yaml --emit=ir -o in.folder
expect 3 "/proc/out.safetensors: error: cannot make a file in this folder: No such file or directory [E_OPEN]" "$SPCC" in.yaml --emit=ir -o /proc/out.ir
if [ "$(id -u)" != 0 ]; then
  mkdir in.readonly && chmod 555 in.readonly
  expect 3 "in.readonly/out.h: error: cannot make a file in this folder: Permission denied [E_OPEN]" "$SPCC" in.yaml -o in.readonly/out.o
fi
files

# Inputs as outputs, through links too.
same() {
  expect 1 "$1: error: this output is also the input '$2'; choose another name [E_SAME]" "$SPCC" in.yaml --emit=ir -o "$1"
}
ln -s in.yaml in.link && ln in.safetensors in.hardlink
cp in.yaml in.copy.yaml && cp in.safetensors in.copy
same in.yaml in.yaml
same ./in.yaml in.yaml
same in.link in.yaml
same in.safetensors in.safetensors
same in.hardlink in.safetensors
# The constants of IR text go into a file beside it, which may be an input too.
expect 1 "in.safetensors: error: this output is also the input 'in.safetensors'; choose another name [E_SAME]" "$SPCC" in.yaml --emit=ir -o in.ir
cmp -s in.yaml in.copy.yaml && cmp -s in.safetensors in.copy || fail 'an input was overwritten'
files

# A limit on file sizes stands for a full disk. The old files stay.
echo old >out.o
(ulimit -f 1 && "$SPCC" in.yaml -o out.o) >.out 2>.err
code=$?
[ "$code" = 3 ] || fail "file size limit: exit code $code"
grep -q '^out\.[oh]: error: cannot write: File too large \[E_WRITE\]$' .err || fail "file size limit: $(cat .err)"
[ "$(cat out.o)" = old ] || fail 'file size limit: the old object is gone'
files out.o
rm out.o

# A full disk, where this machine lets us make a small one.
mkdir in.disk
if unshare -rm true 2>/dev/null; then
  unshare -rm sh -c '
    mount -t tmpfs -o size=4k tmpfs in.disk || exit 99
    "$SPCC" in.yaml -o in.disk/out.o 2>.err
    echo $? >.out
    ls -A in.disk >>.out' && {
    [ "$(cat .out)" = 3 ] || fail "full disk: exit code and files are $(cat .out)"
    grep -q 'No space left on device \[E_WRITE\]$' .err || fail "full disk: $(cat .err)"
  }
fi

# Standard output.
for sink in "in.yaml --emit=ir" "inspect in.yaml" "cpu" "--help" "--version"; do
  # shellcheck disable=SC2086
  "$SPCC" $sink >/dev/full 2>.err
  code=$?
  [ "$code" = 3 ] || fail "$sink >/dev/full: exit code $code"
  [ "$(cat .err)" = 'spcc: error: cannot write standard output: No space left on device [E_WRITE]' ] ||
    fail "$sink >/dev/full: $(cat .err)"
done

# Devices take what is written, and no header goes beside them.
succeed "$SPCC" in.yaml -o /dev/null
[ ! -e /dev/null.h ] || fail 'a header appeared beside /dev/null'
succeed "$SPCC" in.yaml --emit=ir -o /dev/null
[ ! -e /dev/null.safetensors ] || fail 'constants appeared beside /dev/null'
expect 3 "/dev/full: error: cannot write: No space left on device [E_WRITE]" "$SPCC" in.yaml -o /dev/full

# A FIFO is opened once, for all that is written; without a reader, a signal ends the wait.
mkfifo in.fifo
succeed "$SPCC" in.yaml --emit=ir -o in.printed.ir
cat in.fifo >in.got &
reader=$!
succeed timeout -k 1 60 "$SPCC" in.yaml --emit=ir -o in.fifo
[ "$code" = 0 ] || kill $reader
wait $reader
cmp -s in.got in.printed.ir || fail "a reader of the FIFO got $(wc -c <in.got) bytes"
timeout --preserve-status -k 60 -s INT 1 "$SPCC" in.yaml --emit=ir -o in.fifo >.out 2>.err
code=$?
[ $code = 130 ] || fail "SIGINT at a FIFO without a reader: exit code $code: $(cat .err)"
files

# Standard streams that are closed from the start do not become files.
for closed in '<&-' '>&-' '2>&-' '<&- >&- 2>&-'; do
  eval "\"\$SPCC\" in.yaml -o out.o $closed"
  code=$?
  [ "$code" = 0 ] || fail "with $closed: exit code $code"
  cmp -s out.o in.first.o && cmp -s out.h in.first.h || fail "with $closed: other outputs"
done
files out.h out.o
"$SPCC" --version >&- 2>.err
[ $? = 0 ] || fail 'closed standard output counts as /dev/null'

# Too little memory, and too small a stack.
(ulimit -s 64 && "$SPCC" in.yaml -o out.o) || fail 'a stack of 64 KiB is too small'
cmp -s out.o in.first.o || fail 'a small stack gives another object'
expect 3 "spcc: error: out of memory: $(
  "$SPCC" in.yaml --max-mem=1K 2>&1 | grep -o '[0-9]* bytes more'
) are needed than the system or --max-mem=1024 allows; try --max-mem=SIZE [E_MEMORY]" "$SPCC" in.yaml --max-mem=1K
# The system's own limit: whatever runs out of memory, jansson, LLVM or we, says so. (127: the loader;
# 134: LLVM while it is loaded. Sanitizers need address space of their own.)
if ! grep -q __asan_init "$SPCC"; then
  v=160000
  while [ $v -le 320000 ]; do
    sh -c "ulimit -v $v && exec \"\$SPCC\" in.yaml -o out.o" >.out 2>.err
    code=$?
    case $code in
      0 | 127) ;;
      3) grep -q 'memory.* \[E_MEMORY\]$' .err || fail "ulimit -v $v: $(cat .err)" ;;
      134) grep -q '^LLVM ERROR: out of memory' .err || fail "ulimit -v $v: $(cat .err)" ;;
      *) fail "ulimit -v $v: exit code $code: $(cat .err)" ;;
    esac
    v=$((v + 12000))
  done
  files out.h out.o
fi
finish
