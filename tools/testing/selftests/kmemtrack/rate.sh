#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# How often scans miss a block: at most as often as the head of lib.sh says. Tens of
# thousands of blocks are lost at once, so that the test tells a detector that misses
# twice as many from a good one.
cd "$(dirname "$0")" && . ./lib.sh
begin module

# few <bytes> <number>: scans miss few of that many blocks of that size
few()
{
	start && (inject "leak kmalloc-$1 $2") && put "$REPORT" scan && truth ||
		return
	# The first line of each record is enough.
	grep '^unref' "$LEAKS" >"$T/report"
	judge >"$T/missed"
	rc=$?
	head "$T/missed"
	[ $rc = 0 ] && strays && few_missed blocks "kmalloc-$1" &&
		[ "$(total)" = "$(records)" ]
}

# power <bytes> <number> <condition>: what that comparison tells apart: with
# which probability it fails if twice as many blocks are missed, or one of 500
# more than usual
power()
{
	awk -v size="$1" -v n="$2" -v kind="kmalloc-$1" -v um="$UM" \
		-v bits="$BITS" -v hashes="$HASHES" -v comparisons=$COMPARISONS \
		"$CHANCE"'
	BEGIN {
		p = rate(size, kind)
		k = allowed(n, p)
		twice = 1 - at_most(k, n, 2 * p)
		more = 1 - at_most(k, n, p + 0.002)
		printf "%s: p %.4f: %.0f of %d expected, %d allowed; ",
			kind, p, n * p, n, k
		printf "noticed: twice as many with probability %.4f, ", twice
		printf "1 of 500 more with %.4f\n", more
		exit !('"$3"')
	}' >"$T/power"
	rc=$?
	cat "$T/power" >>"$T/chance"
	return $rc
}

# Where a block of this size is hidden that is chance mostly.
check "few of 50000 blocks of 4096 bytes are missed" few 4096 50000
# The rate of other machines is assumed, not measured.
check "twice as many would be too many" power 4096 50000 '!um || twice > 0.99'
# So few of these are missed that any others are noticed.
check "few of 30000 blocks of 64 bytes are missed" few 64 30000
# Of 32 bits more are missed.
check "1 of 500 more would be too many" \
	power 64 30000 'bits == 32 ? twice > 0.99 : more > 0.99'
end
