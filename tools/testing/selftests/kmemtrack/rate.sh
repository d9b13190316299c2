#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Scans miss blocks at most as often as the comment in lib.sh says. The test loses tens of
# thousands of blocks at once, so that it fails if the detector misses twice as many.
cd "$(dirname "$0")" && . ./lib.sh
begin module

# few <bytes> <number>: a scan misses few of that many blocks of that size
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

# power <bytes> <number> <condition>: the statistical power of few(): the probability that
# it fails if scans miss twice as many blocks ("twice"), or one more of 500 blocks
# ("more"); passes if the condition is true
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

# Scans miss blocks of this size mostly by chance.
check "few of 50000 blocks of 4096 bytes are missed" few 4096 50000
# The rate was measured on User-mode Linux only; for other machines it is assumed.
check "twice as many misses would fail that test" power 4096 50000 '!um || twice > 0.99'
# Scans miss so few blocks of this size that a small increase fails the test.
check "few of 30000 blocks of 64 bytes are missed" few 64 30000
# With 32-bit addresses scans miss more.
check "a miss more of each 500 blocks would fail that test" \
	power 64 30000 'bits == 32 ? twice > 0.99 : more > 0.99'
end
