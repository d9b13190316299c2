#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Off and on again, at any time.
cd "$(dirname "$0")" && . ./lib.sh
begin module

refused()
{
	put "$1" scan && { echo "accepted"; return 1; }
	echo "$ERR"
	case $ERR in
	*"not permitted"*) ;;
	*) return 1 ;;
	esac
}

before=$(overlaps)
inject "leak kmalloc-64 2"
scan
check "off" put "$REPORT" off
check "off once more" put "$REPORT" off
check "while off: statistics say so" eval '[ "$(stat_of tracking)" = 0 ]'
check "while off: no scan through kmemleak" refused "$LEAKS"
check "while off: no scan through kmemtrack" refused "$REPORT"
check "while off: reports can be read" cat "$REPORT" "$LEAKS"
check "while off: clear is allowed" put "$LEAKS" clear
# Held, lost and freed while nobody looks
inject "leak kmalloc-128 3"
inject "hold list 10"
inject "hold xarray 50"
check "on" put "$REPORT" on
check "on once more" put "$REPORT" on
check "statistics say so" eval '[ "$(stat_of tracking)" = 1 ]'

# After "on", what came before is not known: memory that is free may look as if
# it were in use, and may hide a leak. There is no false alarm, though, and
# most of what is lost from now on is found.

fresh()
{
	start && inject "leak cache 50" && inject "leak kmalloc-256 50" &&
		inject "leak vmalloc 20" && inject "leak percpu 20" &&
		inject "hold rbtree 20" || return
	for i in 1 2 3; do
		scan && truth && judge && strays || return
	done
	few_missed blocks
}
check "most of what is lost then is found, and nothing else" fresh

# Per-CPU memory is read now, but what is free in it is not.
freed_percpu()
{
	start || return
	for i in 1 2 3 4 5 6; do
		next_round && inject "leak freed-percpu 8" && scan && truth &&
			judge && strays || return
	done
	few_missed blocks
}
check "an address in freed per-CPU memory hides nothing" freed_percpu

ten_times()
{
	inject reap
	for i in 1 2 3 4 5 6 7 8 9 10; do
		put "$REPORT" off && inject "hold list 10" &&
			put "$REPORT" on && inject free || return
	done
	scan && ! grep . "$T/report" || return
	start && inject "leak cache 50" && scan && truth && judge && strays &&
		few_missed blocks
}
check "ten times off and on: no false alarm" ten_times

# Off and clear at once while others scan
storm()
{
	put "$REPORT" min_age=0
	(
		while [ ! -e "$T/stop" ]; do
			echo scan >"$REPORT"
			echo scan >"$LEAKS"
			cat "$LEAKS" "$REPORT" >/dev/null
		done 2>/dev/null
	) &
	pid=$!
	rc=0
	for i in $(rounds 200); do
		put "$REPORT" off || rc=1
		put "$LEAKS" clear || rc=1
		put "$REPORT" on || rc=1
	done
	: >"$T/stop"
	wait $pid
	put "$REPORT" min_age=1000 && quiet_code || rc=1
	return $rc
}
check "off and clear, again and again, while others scan" storm
check "and it still finds leaks" fresh

via_kmemleak()
{
	put "$LEAKS" off && refused "$LEAKS" && put "$REPORT" on
}
check "off through kmemleak" via_kmemleak
check_overlaps "$before"
end
