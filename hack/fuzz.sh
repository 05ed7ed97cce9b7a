#!/usr/bin/env bash
# Runs every fuzz target of the module, each for so many runs (50000x) or so long
# (1m). Runs are what CI counts: `go test` now and then calls it a failure,
# "context deadline exceeded", when a duration ends in the middle of a run.
set -euo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go}
fuzztime=${1:?usage: hack/fuzz.sh DURATION}

# Only where there are any: to ask every package is to build every test.
packages=$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u)
# `go test -list` prints a package's targets, then the package.
list=$("$go" test -list '^Fuzz' $packages)
targets=$(awk '/^Fuzz/ { names[++n] = $1 } /^ok/ { for (i = 1; i <= n; i++) print $2, names[i]; n = 0 }' <<<"$list")
if [ -z "$targets" ]; then
	echo "no fuzz target found: nothing was fuzzed" >&2
	exit 1
fi
echo "fuzzing $(wc -l <<<"$targets") targets, $fuzztime each"
while read -r package target; do
	echo "== $target ($package)"
	"$go" test "$package" -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" -fuzzminimizetime 1x </dev/null
done <<<"$targets"
