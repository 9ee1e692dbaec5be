#!/bin/sh
# One model compiled in many surroundings: surroundings.sh SPCC MAKE_BERT
# Folder, spelling of paths, environment, locale, time zone, umask, contents of fresh memory and
# addresses must not show in what is written.
set -eu
spcc=$1
make_bert=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

fail() {
  echo "FAILED: $*" >&2
  failures=$((failures + 1))
}

#                         layers hidden heads ffn vocab positions block% seed
"$make_bert" "$work/model" 1      24     2     56  97    80        4 70   1
mkdir "$work/first" "$work/out" "$work/elsewhere"
cp -R "$work/model" "$work/elsewhere/a copy"

# compile FOLDER MODEL [COMMAND...]: an object, its header and its weights in a file of their own
# into FOLDER, spcc being run by COMMAND.
compile() {
  folder=$1
  model=$2
  shift 2
  "$@" "$spcc" "$model" --name=same --weights=file -o "$folder/out.o"
}

# compile_all FOLDER MODEL: besides, everything else that spcc can make of a model.
compile_all() {
  for kind in obj asm llvm ir; do
    "$spcc" "$2" --name=same --emit=$kind -o "$1/all.$kind"
  done
  "$spcc" "$2" --name=same --pipeline=generic -o "$1/generic.o"
}

# compare WHAT [FILES]: out/ holds as many files (3) as are wanted, the same as in first/. It becomes
# empty.
compare() {
  for file in "$work"/out/*; do
    cmp -s "$file" "$work/first/${file##*/}" || fail "$1: another ${file##*/}"
  done
  [ "$(ls -A "$work/out" | wc -l)" = "${2-3}" ] || fail "$1: wrote $(ls -A "$work/out")"
  rm -rf "$work/out"
  mkdir "$work/out"
}

# same WHAT COMMAND...: the model compiled by way of COMMAND is the first one.
same() {
  what=$1
  shift
  compile "$work/out" "$work/model/model.yaml" "$@"
  compare "$what"
}

compile "$work/first" "$work/model/model.yaml"
compile_all "$work/first" "$work/model/model.yaml"

same 'again'
(cd "$work/elsewhere" && compile_all "$work/out" 'a copy/model.yaml')
compare 'everything from another folder' 8
(cd "$work/model" && compile ../out model.yaml)
compare 'from the folder of the model'
(cd "$work/elsewhere" && compile "$work/out" 'a copy/model.yaml')
compare 'a copy in another folder'
(cd "$work/elsewhere" && compile ../out './../elsewhere/a copy/../../model//model.yaml')
compare 'another spelling of the path'
# Debug information names the model as the command line does, and nothing around it.
(cd "$work/model" && "$spcc" model.yaml --name=same -g -o "$work/first/debug.o")
(cd "$work/elsewhere/a copy" && "$spcc" model.yaml --name=same -g -o "$work/out/debug.o")
compare 'debug information from another folder' 2
same 'time zone' env TZ=Pacific/Chatham
same 'an empty environment' env -i
same 'another user and home' env USER=somebody HOME=/nonexistent HOSTNAME=elsewhere TMPDIR=/tmp
same 'a date in the environment' env SOURCE_DATE_EPOCH=1
same 'memory that is not zero' env MALLOC_PERTURB_=165
same 'memory from mmap' env MALLOC_MMAP_THRESHOLD_=4096 MALLOC_ARENA_MAX=1
same 'C.UTF-8' env LC_ALL=C.UTF-8
same 'a locale that may be missing' env LC_ALL=de_DE.UTF-8 LANG=de_DE.UTF-8
(umask 077 && compile "$work/out" "$work/model/model.yaml")
compare 'umask 077'
find "$work/model" -type f -exec touch -d '2001-02-03 04:05:06' {} +
same 'older inputs'
if setarch -R true 2>/dev/null; then same 'fixed addresses' setarch -R; fi

# A locale whose decimal separator is a comma, made here where the system has its sources.
if localedef -i de_DE -f UTF-8 "$work/de_DE.UTF-8" >/dev/null 2>&1 &&
  [ "$(LOCPATH=$work LC_ALL=de_DE.UTF-8 locale decimal_point)" = , ]; then
  same 'a locale with decimal commas' env LOCPATH="$work" LC_ALL=de_DE.UTF-8
else
  echo 'no locale with decimal commas here: not tried'
fi

# Nothing of this machine, this user or this hour stands in the outputs.
for text in "$work" "${work##*/}" "$(dirname "$spcc")" /tmp /home /usr /root "$(uname -r)"; do
  ! grep -aqF -e "$text" "$work"/first/* || fail "the outputs name '$text'"
done
for text in "$(uname -n)" "$(id -un)"; do # a short name may occur by chance
  [ ${#text} -lt 6 ] || ! grep -aqF -e "$text" "$work"/first/* || fail "the outputs name '$text'"
done
times='(19|20)[0-9][0-9]-[01][0-9]-[0-3][0-9]|[0-2][0-9]:[0-5][0-9]:[0-5][0-9]'
! grep -aqE -e "$times" "$work"/first/* || fail 'the outputs hold a time'
[ $failures = 0 ]
