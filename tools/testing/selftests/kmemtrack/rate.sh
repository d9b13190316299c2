#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Scans miss blocks at most as often as the comment in lib.sh says. The test loses tens of
# thousands of blocks at once, so that it fails if the detector misses twice as many, or
# where scans miss hardly any, if it misses a few more.
cd "$(dirname "$0")" && . ./lib.sh
begin module

# How many blocks of 4096 and of 64 bytes
large=30000 small=30000
[ ! "$UM" ] || large=50000
if [ "$(uname -m)" = aarch64 ]; then
	MANY=1
	small=20000
fi

# few <bytes> <number>: a scan misses few of that many blocks of that size
few()
{
	start && (inject "leak kmalloc-$1 $2") && put "$REPORT" scan && truth ||
		return
	# A line for each leak is enough. It is made in a fifth of the time of a record.
	sed -n 's/^object \(0x[0-9a-f]*\), \([0-9]*\) bytes, [^,]*, \(indirect \)*leak, .*/unreferenced object \1 (size \2):/p' \
		"$D/kmemtrack_info/objects" >"$T/report"
	judge >"$T/missed"
	rc=$?
	head "$T/missed"
	[ $rc = 0 ] && strays && few_missed blocks "kmalloc-$1" &&
		[ "$(total)" = "$(records)" ]
}

# power <bytes> <number> <condition>: the statistical power of few(): the probability that
# it fails if scans miss twice as many blocks ("twice"), or one more of 500 or, where they
# miss fewer, of 1000 blocks ("more"); passes if the condition is true
power()
{
	awk -v size="$1" -v n="$2" -v kind="kmalloc-$1" -v um="$UM" \
		-v bits="$BITS" -v hashes="$HASHES" -v comparisons=$COMPARISONS \
		-v many="$MANY" "$CHANCE"'
	BEGIN {
		p = rate(size, kind)
		k = allowed(n, p)
		twice = 1 - at_most(k, n, 2 * p)
		of = many ? 1000 : 500
		more = 1 - at_most(k, n, p + 1 / of)
		printf "%s: p %.5f: %.0f of %d expected, %d allowed; ",
			kind, p, n * p, n, k
		printf "noticed: twice as many with probability %.4f, ", twice
		printf "1 of %d more with %.4f\n", of, more
		exit !('"$3"')
	}' >"$T/power"
	rc=$?
	cat "$T/power" >>"$T/chance"
	return $rc
}

# Scans miss blocks of this size mostly by chance.
check "few of $large blocks of 4096 bytes are missed" few 4096 $large
# With 64-bit addresses scans miss so few that a small increase fails the test.
check "more misses would fail that test" power 4096 $large \
	'um || bits == 32 ? twice > 0.99 : more > 0.99'
check "few of $small blocks of 64 bytes are missed" few 64 $small
check "more misses of these would fail that test, too" power 64 $small \
	'bits == 32 ? twice > 0.99 : more > 0.99'
end
