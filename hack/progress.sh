#!/usr/bin/env bash
# Runs a go command that takes -v and says now and then how many packages it has
# compiled. All else that the command says is passed on, and so is its exit code.
set -euo pipefail
"$@" 2>&1 | awk '
	/^[a-zA-Z0-9._\/-]+$/ { if (++n % 100 == 0) { print "  compiled " n " packages"; fflush() } next }
	{ print; fflush() }'
