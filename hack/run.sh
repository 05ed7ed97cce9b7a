#!/usr/bin/env bash
# A first session: build ringfence, check the bundled export, say what to type next.
# Exit code 0 means that ringfence found what is wrong with the bundled group.
set -euo pipefail
cd "$(dirname "$0")/.."
demo=examples/demo

make --no-print-directory build
echo
echo "$demo is an export of one cluster and its security group, as the aliyun CLI prints it."
echo "The group lacks flows that the cluster needs. Ringfence should find them."
echo
echo "\$ bin/ringfence check -f $demo"
code=0
bin/ringfence check -f "$demo" || code=$?
if [ "$code" -ne 1 ]; then
	echo "expected exit code 1 (something is missing), got $code: this is a bug, please report it" >&2
	exit 1
fi

echo
echo "That was exit code 1: something the cluster needs is missing. Now try:"
echo "  bin/ringfence needs -f $demo                 # every flow the cluster needs, and why"
echo "  bin/ringfence rules -f $demo -o aliyun       # the rules of the profile, as commands"
echo "  bin/ringfence explain -f $demo --from IP --to IP --port N"
echo "  bin/ringfence check -f YOUR-EXPORT           # and now your own cluster"
