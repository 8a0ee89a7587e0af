#!/usr/bin/env bash
# Run make targets one after the other, each under its name, and end with what
# each of them took. A failed stage does not keep the later ones from running:
# the summary names it, and the result is a failure. "STAGE@root" is left out,
# visibly, when the user is not root.
set -uo pipefail

make=${MAKE:-make}
began=$SECONDS
failed=0
summary=()

for stage in "$@"; do
	name=${stage%@root}
	if [[ $name != "$stage" && $(id -u) -ne 0 ]]; then
		echo "== $name: NOT RUN, it needs root"
		summary+=("$(printf '%-12s %s' "$name" "NOT RUN (needs root)")")
		continue
	fi
	echo "== $name"
	start=$SECONDS
	result=ok
	if ! $make "$name"; then
		result=FAIL
		failed=1
	fi
	took=$((SECONDS - start))
	echo "== $name: $result after $took s"
	summary+=("$(printf '%-12s %-8s %4d s' "$name" "$result" "$took")")
done

echo
echo "== summary"
printf '%s\n' "${summary[@]}"
printf '%-12s %-8s %4d s\n' total "$([[ $failed -eq 0 ]] && echo ok || echo FAIL)" "$((SECONDS - began))"
exit $failed
