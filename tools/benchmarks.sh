#!/usr/bin/env bash
# Compare what the hot paths allocate with the baseline, or write it anew:
# benchmarks.sh compare|baseline.
#
# What is counted must be the same everywhere: a fixed number of turns, one
# processor, and no garbage collector, which empties pools. Each run is a process
# of its own: what is drawn by lot at a start is the same in all that one process
# measures. Benchmarks that take long leave themselves out with -short.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
baseline=$root/tools/benchgate/baseline.txt

# The packages whose benchmarks are compared.
packages=(
	./internal/cri
	./internal/lifecycle/plan
	./internal/pleg
	./internal/podlogs
	./internal/podstatus
	./internal/probe
	./internal/probe/http
	./internal/status
)

runs=6

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

measure() { # to standard output, without what says of which machine and when
	echo "toolchain: $(go env GOVERSION)"
	go test -c -vet=off -o "$work/" "${packages[@]}"
	for ((run = 0; run < runs; run++)); do
		for package in "${packages[@]}"; do
			if ! (cd "$package" && GOGC=off GOMEMLIMIT=1GiB "$work/${package##*/}.test" -test.short -test.timeout 5m \
				-test.run '^$' -test.bench . -test.benchmem -test.benchtime 100x -test.cpu 1) >"$work/log"; then
				cat "$work/log" >&2
				return 1
			fi
			grep -E '^(goos|goarch|pkg): |^Benchmark.*/op' "$work/log"
		done
	done
}

cd "$root"
case ${1:-} in
baseline)
	measure >"$work/now"
	cp "$work/now" "$baseline"
	echo "wrote ${baseline#"$root"/}: $(grep -c ^Benchmark "$baseline") lines"
	;;
compare)
	now=$work/now
	measure >"$now"
	cd tools
	go tool benchstat -table goarch -row pkg,.fullname -ignore toolchain,goos -filter '.unit:(sec/op OR B/op OR allocs/op)' baseline="$baseline" now="$now"
	echo "(times are for information: they are of other machines and other moments)"
	go run ./benchgate "$baseline" "$now"
	;;
*)
	echo "usage: benchmarks.sh compare|baseline" >&2
	exit 2
	;;
esac
