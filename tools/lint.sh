#!/usr/bin/env bash
# Run the pinned golangci-lint on the root module.
#
# A cold build of the linter takes minutes on a small machine, so the binary is
# kept outside the tree, under a name made from what pins it: go.sum and the
# toolchain. Arguments go to "golangci-lint run"; "fmt" as the first one runs the
# formatters instead, "config" checks .golangci.yml, and "in DIR" lints a module of
# its own there.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/nodeagent-bed/tools

key=$( (cat "$here/go.mod" "$here/go.sum"; cd "$root" && go env GOVERSION) | sha256sum | cut -c1-16)
bin=$cache/golangci-lint-$key

if [[ ! -x $bin ]]; then
	mkdir -p "$cache"
	echo "lint: building golangci-lint once into $bin (minutes when the build cache is cold)" >&2
	began=$SECONDS
	tmp=$(mktemp -d "$cache/build.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	(cd "$here" && go build -o "$tmp/golangci-lint" github.com/golangci/golangci-lint/v2/cmd/golangci-lint)
	mv "$tmp/golangci-lint" "$bin"
	echo "lint: built in $((SECONDS - began)) s" >&2
fi

cd "$root"
case ${1:-} in
fmt)
	shift
	exec "$bin" fmt "$@"
	;;
config)
	exec "$bin" config verify
	;;
in)
	cd "$2"
	shift 2
	;;
esac
# Several may run at once: people, hooks and CI share a machine.
exec "$bin" run --allow-parallel-runners "$@"
