#!/usr/bin/env bash
# A first look: build ringfence, check a bundled export, and then see a cluster of
# three nodes get its security group and enforce it, in a small network that is
# made on this machine. On a terminal that stays until Ctrl-C. Exit code 0 means
# that each step ended as it should, and each packet where it was predicted to.
set -euo pipefail
cd "$(dirname "$0")/.."
demo=examples/ack-terway-advanced

make --no-print-directory build
echo
echo "$demo is an export of one ACK cluster and its security group, as the aliyun CLI prints it."
echo "Somebody forgot two ports, and somebody opened SSH to the world. The port of Gatekeeper's"
echo "webhook is in no export, so it is told by a flag."

# expect CODE COMMAND... shows a command, runs it, and insists on its exit code.
expect() {
	local want=$1 code=0
	shift
	printf '\n$ %s\n' "$*"
	"$@" || code=$?
	[ "$code" -eq "$want" ] && return
	echo "expected exit code $want, got $code: this is a bug, please report it" >&2
	exit 1
}

expect 1 bin/ringfence check -f $demo --webhook-ports 8443 | awk '/^    fix/ { skip = 1 } /^$/ { skip = 0 } !skip'
echo "That was exit code 1; the commands that fix it are left out here. May the API server reach a webhook's pod on another node?"
expect 0 bin/ringfence explain -f $demo --from 192.168.0.10 --to 192.168.0.21 --port 8443

cat <<END

That was the command alone. On files of your own:
  bin/ringfence check -f YOUR-EXPORT --webhook-ports 8443
  bin/ringfence rules -f $demo --profile least-privilege --webhook-ports 8443 -o terraform

Now all of it: the control plane, an agent on each of three nodes, and real packets.
END
make --no-print-directory build-server build-agent
"${GO:-go}" build -trimpath -o bin/demo ./hack/demo
echo
exec bin/demo
