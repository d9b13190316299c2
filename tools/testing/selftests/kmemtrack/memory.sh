#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The detector gives back its own memory after a peak and when it is switched off.
cd "$(dirname "$0")" && . ./lib.sh
begin module

# Each file has at least two blocks, and as many records. Without the files there are some
# 15,000 records.
FILES=6000
# Processes for load; one is enough for a single CPU.
BUSY="1 2"
[ "$(grep -c ^processor /proc/cpuinfo)" != 1 ] || BUSY=1
overlaps_before=$(overlaps)

# Allocates and frees many blocks. Their cells stay in the pool until memory is short.
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

# at_most <bytes>: within 30 s the pool is no larger than this
at_most()
{
	for i in $(seq 300); do
		[ "$(stat_of pool_bytes)" -gt "$1" ] || return 0
		usleep 100000
	done
	echo "pool_bytes $(stat_of pool_bytes), not $1"
	return 1
}

# The pool gives back four of five pages that it took for a peak, though some blocks of
# the peak remain. As in a shortage of memory, its shrinker is called again and again.
short_of_memory()
{
	echo 2 >/proc/sys/vm/drop_caches
	before=$(stat_of pool_bytes)
	peak || return
	for i in $(seq 300); do
		echo 2 >/proc/sys/vm/drop_caches
		after=$(stat_of pool_bytes)
		[ "$after" -gt $((before + (high - before) / 5)) ] || break
		usleep 100000
	done
	echo "pool_bytes: $before, at its peak $high, then $after"
	[ "$after" -le $((before + (high - before) / 5)) ] || return
	# Pages are free, and no longer counted here, after an RCU grace period.
	for i in $(seq 300); do
		[ "$(stat_of pool_given_back_bytes)" = 0 ] || return 0
		usleep 100000
	done
	return 1
}

# If the pool has nothing to give back, the shrinker does not search it each time.
backs_off()
{
	passes=$(stat_of pool_passes)
	for i in $(seq 100); do
		echo 2 >/proc/sys/vm/drop_caches
	done
	now=$(stat_of pool_passes)
	echo "pool_passes: $passes, and $now after shrinking 100 times"
	[ $((now - passes)) -le 20 ]
}

found()
{
	start && inject "leak kmalloc-256 50" && inject "leak vmalloc 20" &&
		inject "hold rbtree 20" || return
	scan && truth && strays && judge && few_missed blocks kmalloc-256 &&
		few_missed blocks vmalloc
}

# Load: forks and writes until $T/busy is gone, at a lower priority than the test.
busy()
{
	read -r self rest </proc/self/stat
	renice -n 10 -p "$self"
	while [ -e "$T/busy" ]; do
		ls -lR /sys/kernel/mm >"$T/busy.$1" 2>/dev/null
	done
}

trimmed_under_load()
{
	touch "$T/busy"
	first=
	for i in $BUSY; do
		busy "$i" &
	done
	rc=0
	for round in $(rounds 4); do
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
	for round in $(rounds 3); do
		peak && put "$REPORT" off && at_most 131072 &&
			put "$REPORT" on || return
	done
}

# The rule VMAP_AREAS of policy.h. Allocates vmalloc blocks while tracking is off, so that
# their vmap_areas have no records. The blocks are too large for the gaps between others,
# so the next block begins where one of them ends.
behind_old_areas()
{
	start || return
	for i in $(seq 10); do
		put "$REPORT" off && inject "leak vzalloc-256k 16" &&
			put "$REPORT" on && next_round &&
			inject "leak vzalloc-256k" && truth || return
		# Scan without the rules in $1
		put "$REPORT" "rules_off=$1" && scan
		rc=$?
		put "$REPORT" rules_off=0
		[ $rc = 0 ] && judge && strays && inject reap || return
	done
}

hidden()
{
	behind_old_areas 2048 && ! few_missed blocks vzalloc-256k
}

found_behind()
{
	behind_old_areas 0 && few_missed blocks vzalloc-256k
}

# Off and on a hundred times under load; then a scan reports nothing.
hundred_times()
{
	touch "$T/busy"
	for i in $BUSY; do
		busy "$i" &
	done
	times=0
	while [ $times -lt 100 ] && put "$REPORT" off && put "$REPORT" on; do
		times=$((times + 1))
	done
	rm "$T/busy"
	wait
	[ $times = 100 ] && quiet_code && scan && ! grep . "$T/report"
}

check "the pool gives back memory after a peak when memory is short" short_of_memory
check "with nothing to give back the shrinker does not search each time" backs_off
check "after that, leaks are found" found
check "the pool gives back memory under load" trimmed_under_load
check "after load, leaks are found" found
check "\"off\" gives back memory, several times" off_and_on
check "a hundred times off and on under load: no false alarm" hundred_times
check "after off and on, leaks are found" found
check "on again: no block lacks a record for lack of memory" \
	eval '[ "$(stat_of lost_no_memory)" = 0 ]'
# The pool's reserve, which is for allocations that cannot sleep, never ran out.
reserve()
{
	low=$(stat_of pool_reserve_low)
	least=$(stat_of pool_reserve_least)
	echo "reserve: $least of $low at least"
	[ "$low" -gt 0 ] && [ "$least" -gt 0 ] && [ "$least" -lt 1000000 ]
}
check "on again: the reserve was not used up" reserve
check "no free looks like a double free" \
	eval '[ "$(stat_of double_frees)$(stat_of frees_inside_block)" = 00 ]'
check_overlaps "$overlaps_before"
# Kernels with debugging options leave gaps between areas, and vmapped stacks may come to
# lie between them. There, bounds of old areas hide only 2 to 7 of 10 blocks.
if [ -z "$CHECKED$VMAP_STACK" ]; then
	check "VMAP_AREAS: without the rule, bounds of old areas hide leaks" hidden
else
	skip "VMAP_AREAS: without the rule, bounds of old areas hide leaks" \
		"gaps or stacks are between areas"
fi
check "VMAP_AREAS: bounds of areas are no references" found_behind
end
