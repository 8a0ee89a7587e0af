#!/usr/bin/env bash
# Install what the Makefile needs beside Go and what a fresh Debian or Ubuntu
# lacks. Says nothing when there is nothing to do. What beds need, they install
# themselves.
set -euo pipefail

missing=()
for pair in git:git mount:mount gcc:gcc; do
	command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
# The race detector links against the C library.
[[ -e /usr/include/stdlib.h ]] || missing+=(libc6-dev)
[[ ${#missing[@]} -eq 0 ]] && exit 0

if ! command -v apt-get >/dev/null; then
	echo "missing on this system: ${missing[*]}; install them (these are the names of Debian's packages), there is no apt-get here" >&2
	exit 1
fi
if [[ $(id -u) -ne 0 ]]; then
	echo "missing on this system: ${missing[*]}; run as root: apt-get install -y ${missing[*]}" >&2
	exit 1
fi
echo "installing Debian packages: ${missing[*]} ..."
export DEBIAN_FRONTEND=noninteractive
install=(apt-get -qq -o DPkg::Lock::Timeout=120 install -y --no-install-recommends "${missing[@]}")
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! "${install[@]}" >"$log" 2>&1; then
	echo "package lists are old or absent: apt-get update ..."
	apt-get -qq -o DPkg::Lock::Timeout=120 update
	"${install[@]}" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
fi
