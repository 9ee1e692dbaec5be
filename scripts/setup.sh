#!/bin/sh
# Installs what building, the demo and (with the argument `test`) the tests need, and only what is
# missing: Debian packages, and Python packages into the private environment .venv.
set -eu
cd "$(dirname "$0")/.."

say() { printf '== %s\n' "$*"; }

installed() {
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

debian_packages() {
  wanted=$(grep -v '^#' scripts/packages.txt)
  if ! command -v apt-get >/dev/null; then
    say "no apt-get here: these Debian 12 packages, or their equivalents, are taken as given:"
    echo $wanted
    return
  fi
  missing=
  for package in $wanted; do
    installed "$package" || missing="$missing $package"
  done
  [ -n "$missing" ] || return 0
  say "installing Debian packages:$missing"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    $missing </dev/null >/dev/null
}

# The files of the packages in the environment are recorded beside it, so that a second run is free.
python_packages() {
  requirements=scripts/requirements.txt
  [ "${1:-}" != test ] || requirements="$requirements scripts/requirements-test.txt"
  for file in $requirements; do
    stamp=.venv/installed-${file##*/}
    if cmp -s "$file" "$stamp"; then continue; fi
    [ -x .venv/bin/pip ] || python3 -m venv .venv
    say "installing Python packages of $file into .venv"
    .venv/bin/pip install -qq --disable-pip-version-check --no-input -r "$file" </dev/null
    cp "$file" "$stamp"
  done
}

debian_packages
python_packages "$@"
say "everything that is needed is installed"
