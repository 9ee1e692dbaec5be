#!/bin/sh
# The arrows between the folders: support <- ir <- {frontend, passes, codegen} <- driver, and
# runtime, text and optimizer stand alone. Each row names a folder, the project's headers that its
# files may include, and the libraries that it alone may use.
set -eu
cd "$(dirname "$0")/.."

table='support    support                                   sha2
ir         support|ir
frontend   support|ir|frontend                       yaml|jansson
passes     support|ir|passes
codegen    support|ir|passes|codegen|runtime/spcc_rt llvm-c
runtime    runtime
text       text                                      utf8proc
optimizer  optimizer
driver     .*'

failed=0
report() {
  printf '%s\n' "$1" | sed "s/^/error: $2: /"
  failed=1
}

sources() {
  find "$1" -name '*.[ch]' -o -name '*.def' | sort
}

# Files of a folder include only what its row allows.
check_own() {
  bad=$(sources "$1" | xargs -r grep -nH '^ *# *include *"' /dev/null |
    grep -Ev "#[ ]*include[ ]*\"($2)[/.]" || true)
  [ -z "$bad" ] || report "$bad" "$1/ may not include"
}

# No other folder of the compiler includes the libraries of a row.
check_others() {
  for other in support ir frontend passes codegen runtime text optimizer driver; do
    [ "$other" != "$1" ] || continue
    bad=$(sources "$other" | xargs -r grep -nHE "^ *# *include *<($2)[/.]" /dev/null || true)
    [ -z "$bad" ] || report "$bad" "only $1/ may include"
  done
}

while read -r folder allowed libraries; do
  check_own "$folder" "$allowed"
  [ -z "$libraries" ] || check_others "$folder" "$libraries"
done <<EOF
$table
EOF
[ "$failed" = 0 ] && echo "the folders include only what they may"
exit "$failed"
