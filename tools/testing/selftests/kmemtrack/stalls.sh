#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A scan stops all CPUs only for a short time, and only if it has to: not for objects in
# motion, and not while one CPU does not respond.
cd "$(dirname "$0")" && . ./lib.sh
begin module

STALL=$D/test_kmemtrack_stall
CPUS=$(grep -c '^processor' /proc/cpuinfo)

# gap: sets us to the longest time in which no task ran on CPU 0 since "watch"
gap()
{
	put "$STALL" end
	cat "$STALL"
	us=$(sed -n 's/^0 //p' "$STALL")
}

# Threads move references all the time. The search acquits most of the objects, while all
# CPUs run; without it, each scan that has suspects would stop all CPUs.
MOVING=$(sed -n 's/^hold moving-/moving-/p' "$KINDS")
moves()
{
	stops=0
	scans=0
	suspects=0
	acquitted=0
	for kind in $MOVING; do
		inject "hold $kind" || return
	done
	scan || return
	for i in $(seq 20); do
		scan || return
		[ "$(stat_of new_leaks)" = 0 ] || continue
		[ "$(stat_of scan_suspects)" -gt 0 ] || continue
		scans=$((scans + 1))
		suspects=$((suspects + $(stat_of scan_suspects)))
		acquitted=$((acquitted + $(stat_of scan_acquitted_by_search)))
		[ "$(stat_of pause_ns)" = 0 ] || stops=$((stops + 1))
	done
	for kind in $MOVING; do
		inject "drop $kind" || return
	done
	echo "$stops stops in $scans scans with suspects," \
		"$acquitted of $suspects acquitted before" | tee -a "$T/chance"
	[ $scans -gt 0 ] && [ $((acquitted * 2)) -gt $suspects ]
}
check "the search acquits most objects that move" moves

# A kernel thread keeps CPU 1 busy until the scan has ended, so that it does not stop. CPU
# 0 waits for it a quarter of max_pause, not longer, and the leaks are confirmed by waiting.
# The thread gives up before watchdogs warn.
hog()
{
	start && put "$REPORT" max_pause=5000000 && inject "leak cache 50" &&
		put "$STALL" watch && put "$STALL" "hog 1 10000" && scan
	put "$REPORT" max_pause=$MAX_PAUSE
	gap
	truth && judge && few_missed blocks &&
		head_says 'confirm wait \(CPU 1 busy, pause [0-9]+\.[0-9] ms\)$' &&
		[ "$us" -gt 0 ] && [ "$us" -lt 4000000 ]
}

after_hog()
{
	start && inject "leak cache 50" && scan && truth && judge &&
		few_missed blocks && head_says 'confirm snapshot, pause'
}
for name in "a scan gives up the snapshot if a CPU does not stop/hog" \
	    "the next scan takes a snapshot again/after_hog"; do
	if [ "$CPUS" = 1 ]; then
		skip "${name%/*}" "one CPU"
	else
		check "${name%/*}" "${name#*/}"
	fi
done
end
