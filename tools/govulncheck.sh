#!/usr/bin/env bash
# Look for known vulnerabilities in what the product calls (govulncheck, pinned
# in tools/go.mod). Arguments are those of govulncheck; without any, all
# packages are checked, tests left out.
#
# Exit codes: 0 nothing known; 3 vulnerabilities (govulncheck's own code); 4 the
# vulnerability database cannot be reached, so nothing was checked; else an
# error. GOVULNDB names another database, as in "file:///srv/vulndb".
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/nodeagent-bed/tools
db=${GOVULNDB:-https://vuln.go.dev}

key=$( (cat "$here/go.mod" "$here/go.sum"; cd "$root" && go env GOVERSION) | sha256sum | cut -c1-16)
bin=$cache/govulncheck-$key

if [[ ! -x $bin ]]; then
	mkdir -p "$cache"
	echo "govulncheck: building it once into $bin" >&2
	tmp=$(mktemp -d "$cache/build.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	(cd "$here" && go build -o "$tmp/govulncheck" golang.org/x/vuln/cmd/govulncheck)
	mv "$tmp/govulncheck" "$bin"
fi

# What is missing is told apart before the minutes of analysis: a check that
# could not check must not look like one that found nothing.
index=${db%/}/index/db.json
reachable() {
	case $db in
	file://*) [[ -r ${index#file://} ]] ;;
	*) curl --silent --fail --location --max-time 20 --output /dev/null "$index" ;;
	esac
}
if ! reachable; then
	echo "govulncheck: NOT CHECKED: the vulnerability database $db cannot be reached (asked for $index)." >&2
	echo "govulncheck: run this where it can be, or name a copy: GOVULNDB=file:///path tools/govulncheck.sh" >&2
	exit 4
fi

cd "$root"
if [[ $# -eq 0 ]]; then
	set -- ./cmd/... ./internal/...
fi
exec "$bin" -db "$db" "$@"
