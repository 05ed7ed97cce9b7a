#!/usr/bin/env bash
# Fails if the tests of any of the packages cover less than FLOOR percent of it.
set -euo pipefail
cd "$(dirname "$0")/.."
floor=${1:?usage: hack/cover.sh FLOOR PACKAGE...}
shift

for package; do
	line=$("${GO:-go}" test -cover "$package") || { echo "$line"; exit 1; }
	echo "$line"
	awk -v floor="$floor" '
		match($0, /coverage: [0-9.]+%/) { found = 1; if (substr($0, RSTART + 10) + 0 < floor) low = 1 }
		END { exit !found || low }' <<<"$line" || { echo "$package: under $floor %" >&2; failed=1; }
done
exit "${failed:-0}"
