#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What the detector takes for itself comes back: after a peak, and when off.
cd "$(dirname "$0")" && . ./lib.sh
begin module

# Each is two records at least; without them there are some 15,000.
FILES=6000
before=$(overlaps)

# Blocks that come and go: their records stay, until somebody wants the memory.
peak()
{
	mkdir -p "$T/many" &&
		seq $FILES | (cd "$T/many" && xargs touch) || return
	high=$(stat_of pool_bytes)
	if [ "$(stat_of objects)" -lt $FILES ]; then
		echo "objects: $(stat_of objects)"
		return 1
	fi
	rm -r "$T/many"
}

# at_most <bytes>: the pool is no larger, soon
at_most()
{
	for i in 1 2 3 4 5 6 7 8 9 10; do
		[ "$(stat_of pool_bytes)" -gt "$1" ] || return 0
		sleep 1
	done
	echo "pool_bytes $(stat_of pool_bytes), not $1"
	return 1
}

short_of_memory()
{
	peak || return
	echo 2 >/proc/sys/vm/drop_caches
	at_most $((high / 4 * 3)) || return
	# It is counted when it is free, after a grace period.
	for i in 1 2 3 4 5; do
		[ "$(stat_of pool_given_back_bytes)" = 0 ] || return 0
		sleep 1
	done
	return 1
}

found()
{
	start && inject "leak kmalloc-256 10" && inject "leak vmalloc 2" &&
		inject "hold rbtree 20" || return
	scan && truth && strays && judge
}

# While others allocate: two that fork and write, all the time. What is tested
# has more of the CPUs than they have: it is not they who are to come far.
busy()
{
	read -r self rest </proc/self/stat
	renice -n 5 -p "$self"
	while [ -e "$T/busy" ]; do
		ls -lR /sys/kernel/mm >"$T/busy.$1" 2>/dev/null
	done
}

trimmed_under_load()
{
	touch "$T/busy"
	first=
	busy 1 &
	busy 2 &
	rc=0
	for round in $(rounds 8); do
		peak && echo 2 >/proc/sys/vm/drop_caches || { rc=1; break; }
		first=${first:-$high}
	done
	rm "$T/busy"
	wait
	echo "pool_bytes $(stat_of pool_bytes), at its highest $first, then $high"
	[ $rc = 0 ] && at_most $first && [ "$high" -le $((first * 2)) ]
}

off_and_on()
{
	for round in $(rounds 5); do
		peak && put "$REPORT" off && at_most 131072 &&
			put "$REPORT" on || return
	done
}

# The rule VMAP_AREAS of policy.h. Areas that nobody tracks, of blocks that are
# larger than what lies between others: the next block begins where one ends.
hidden()
{
	put "$REPORT" off && inject "leak vzalloc-8m 4" || return
	cat "$INJECT" >"$T/old"
	put "$REPORT" on && inject "leak vzalloc-8m" &&
		put /sys/module/kmemtrack/parameters/rules_off 4096 || return
	scan
	rc=$?
	put /sys/module/kmemtrack/parameters/rules_off 0 || return
	[ "$rc" = 0 ] && truth || return 1
	judge >"$T/found"
	grep "missed: .* vzalloc-8m" "$T/found" || return
	# Nothing else has changed.
	scan && judge && strays
}

# A hundred times, and what is lost after the last one is found.
hundred_times()
{
	touch "$T/busy"
	busy 1 &
	busy 2 &
	for round in $(seq 100); do
		put "$REPORT" off && put "$REPORT" on || break
	done
	rm "$T/busy"
	wait
	[ $round = 100 ] && quiet_code && scan && ! grep . "$T/report"
}

check "after a peak: when memory is short" short_of_memory
check "then leaks are found" thrice found
check "under load" trimmed_under_load
check "then leaks are found as well" thrice found
check "off, several times" off_and_on
check "a hundred times off and on under load: no false alarm" hundred_times
check "then leaks are found, too" thrice found
check "on again: nothing was lost track of" eval '[ "$(stat_of lost_no_memory)" = 0 ]'
# From the first allocation on there are records for those that cannot wait.
reserve()
{
	low=$(stat_of pool_reserve_low)
	least=$(stat_of pool_reserve_least)
	echo "reserve: $least of $low at least"
	[ "$low" -gt 0 ] && [ "$least" -gt 0 ] && [ "$least" -lt 1000000 ]
}
check "on again: the reserve was not used up" reserve
check "nothing seems to have been freed twice" \
	eval '[ "$(stat_of double_frees)$(stat_of frees_inside_block)" = 00 ]'
check_overlaps "$before"
check "VMAP_AREAS: without it, bounds of old areas hide leaks" thrice hidden
check "VMAP_AREAS: they are no references" thrice found
end
