#!/usr/bin/env bash
# Many random histories: PLAN of the planner alone, SIM of the whole core, from
# SEED (random when empty). Each failure says how to repeat it.
set -euo pipefail
cd "$(dirname "$0")/.."

plan=${PLAN:?histories of the planner} sim=${SIM:?histories of the core}
seed=${SEED:-$((RANDOM * 32768 + RANDOM + 1))}
workers=${WORKERS:-$(nproc)}
chunk=250
began=$(date +%s)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "torture: $plan histories of the planner and $sim of the core, seed $seed (repeat with: make torture SEED=$seed)"
go test -c -o "$work/plan.test" ./internal/lifecycle/plan
go test -c -o "$work/sim.test" ./test/sim

# The planner: one process per block, each with a seed of its own.
blocks=10
for ((i = 0; i < blocks; i++)); do
	(cd internal/lifecycle/plan && "$work/plan.test" -test.run Random -test.timeout 60m \
		-rapid.checks=$((plan / blocks)) -rapid.seed=$((seed + i)))
	echo "planner: $((plan / blocks * (i + 1))) of $plan histories, $(($(date +%s) - began)) s"
done

# The core: blocks of seeds, as many at once as there are processors.
run_chunk() {
	local log=$work/sim-$1.log
	if ! "$work/sim.test" -test.run TestRandomHistories -test.timeout 60m -seed="$1" -histories="$2" >"$log" 2>&1; then
		cat "$log"
		return 255 # xargs stops at 255
	fi
	echo "$2" >>"$work/done"
	echo "core: $(awk '{n += $1} END {print n}' "$work/done") of $sim histories, $(($(date +%s) - began)) s"
}
export -f run_chunk
export work sim began
for ((first = 0; first < sim; first += chunk)); do
	echo "$((seed + first)) $((sim - first < chunk ? sim - first : chunk))"
done | (cd test/sim && xargs -P "$workers" -L 1 bash -c 'run_chunk "$@"' run_chunk)

echo "torture: $((plan / blocks * blocks + sim)) histories passed in $(($(date +%s) - began)) s, seed $seed"
