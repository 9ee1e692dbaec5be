#!/bin/sh
# The arrows between the folders: support <- ir <- {frontend, passes} <- driver, passes <- codegen <- driver, and
# runtime, text and optimizer stand alone; frontend fills the recipes of optimizer's public headers.
# Each row names a folder, the project's headers that its files may include, and those of the
# libraries below that they may use.
set -eu
cd "$(dirname "$0")/.."

libraries='cblas|check|jansson|lapacke|llvm-c|pcre2|sha2|utf8proc|yaml'
table='support    support                                   sha2
ir         support|ir                                -
frontend   support|ir|frontend|optimizer/spo[a-z_]*  yaml|jansson|pcre2
passes     support|ir|passes                         -
codegen    support|ir|passes|codegen|runtime/spcc_rt llvm-c
runtime    runtime                                   -
text       text                                      utf8proc
optimizer  optimizer|spo[a-z_]*                      cblas|lapacke
driver     [a-z]+                                    jansson'

failed=0

# check FOLDER WHAT INCLUDES ALLOWED: of the lines that match INCLUDES, those that do not match
# ALLOWED are errors.
check() {
  bad=$(find "$1" \( -name '*.[ch]' -o -name '*.def' \) -exec grep -nHE "$3" {} + |
    grep -vE "$4" || true)
  [ -n "$bad" ] || return 0
  printf '%s\n' "$bad" | sed "s|^|error: $1/ may not include this $2: |"
  failed=1
}

while read -r folder headers uses; do
  check "$folder" header '^ *# *include *"' "include *\"($headers)[/.]"
  check "$folder" library "^ *# *include *<($libraries)[/.]" "include *<($uses)[/.]"
done <<EOF
$table
EOF
[ "$failed" = 0 ] && echo "the folders include only what they may"
exit "$failed"
