#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Threads move references to objects from place to place all the time. No scan reports
# these objects, and the next scan reports blocks that are lost meanwhile. One test per
# kind; arguments select kinds.
cd "$(dirname "$0")" && . ./lib.sh
begin module

# With confirm=wait a scan may miss an unaligned reference that moves all the time: marks
# read aligned words only, and the reference may evade the few searches.
CONFIRM=${CONFIRM:-snapshot}
[ $CONFIRM = wait ] && escapes=moving-packed || escapes=none
[ $# -gt 0 ] || set -- call-rcu $(sed -n 's/^hold moving-/moving-/p' "$KINDS" |
	grep -vx "$escapes")

ROUNDS=5
SCANS=2
# As in holds.sh
[ "$(stat_of untracked_slabs_are_roots)" != 1 ] || ROUNDS=8

# All scans use the confirmation that is tested: a slow machine must not exceed max_pause.
put "$REPORT" max_pause=5000000
put "$REPORT" confirm=$CONFIRM

# look <number>: scans, and keeps the report and the true state. judge_look() compares
# them when the threads have stopped.
look()
{
	scan
	truth
	mv "$T/report" "$T/report.$1"
	mv "$T/truth" "$T/truth.$1"
	mv "$T/all" "$T/all.$1"
	sed -n 1p "$REPORT" >>"$T/heads"
}

# judge_look <number> [kind]
judge_look()
{
	cp "$T/report.$1" "$T/report"
	cp "$T/all.$1" "$T/all"
	# Count the blocks of the kind "cache" once, in the first report that has them.
	case $1 in
	2)	cp "$T/truth.$1" "$T/truth" ;;
	*)	grep -v '^leaked .* cache [0-9]*$' "$T/truth.$1" >"$T/truth" ;;
	esac
	judge | sed "s/^/scan $i.$1: /" >>"$T/judged"
	strays
}

start >"$T/errors" 2>&1
for i in $(seq $ROUNDS); do
	next_round
	for kind; do
		inject "hold $kind" >>"$T/hold.$kind"
	done
	look 1
	inject "leak cache 20"
	for j in $(seq 2 $SCANS); do
		look "$j"
	done
	for kind; do
		inject "drop $kind" >>"$T/drop.$kind"
	done
	look last
	for j in $(seq $SCANS) last; do
		judge_look "$j"
	done
done >>"$T/errors" 2>&1

confirmed()
{
	cat "$T/errors" "$T/heads"
	[ ! -s "$T/errors" ] &&
		[ "$(grep -c "confirm $CONFIRM" "$T/heads")" = \
			$((ROUNDS * (SCANS + 1))) ]
}
check "$((ROUNDS * SCANS)) scans, confirmed by $CONFIRM; nothing else is reported" \
	confirmed

found()
{
	grep ' cache [0-9]*$' "$T/judged"
	few_missed blocks cache
}
check "leaks are found by the next scan, while others move" found

verdict()
{
	cat "$T/hold.$1" "$T/drop.$1"
	grep " $1 [0-9]*\$" "$T/judged"
	[ ! -s "$T/hold.$1" ] && [ ! -s "$T/drop.$1" ] || return
	grep -q "^held .* $1 [0-9]*\$" "$T/truth.$SCANS" ||
		{ echo "nothing was held"; return 1; }
	! grep "false alarm: .* $1 [0-9]*\$" "$T/judged" || return
	case $1 in
	moving-list|call-rcu)
		# Their blocks refer to each other.
		few_missed batches "$1" ;;
	*)	few_missed blocks "$1" ;;
	esac
}

for kind; do
	check "$((ROUNDS * SCANS)) scans, then lost: $kind" verdict "$kind"
done
put "$REPORT" max_pause=$MAX_PAUSE
put "$REPORT" confirm=snapshot
end
