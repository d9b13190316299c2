#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Tracking can be switched off and on again at any time.
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

# grouped: the grouped report, without ages, and without the scan in the first line
grouped()
{
	sed 's/^  first .*comm/  comm/
s/; scan .*//
s/; off$//' "$REPORT"
}

# logged <on|off>: the log says since the last dmesg -c that tracking was switched
logged()
{
	dmesg | grep -E "kmemtrack: tracking switched $1 by \".+\", pid [0-9]+"
}

kept()
{
	cat "$LEAKS" | cmp - "$T/kept" && grouped | cmp - "$T/kept.grouped" &&
		head -n 1 "$REPORT" | grep '; off$'
}

all_refused()
{
	for cmd in scan scan=on scan=off scan=5 stack=on pages=off pages=track \
		   confirm=wait confirm=snapshot min_age=5 max_pause=5 verbose=on \
		   rules_off=1 panic_on_leak=1 suppress=task:x unsuppress=all sites=5 \
		   "dump=0x$1" "refs=0x$1"; do
		for file in "$LEAKS" "$REPORT"; do
			put "$file" "$cmd" && { echo "$cmd: taken"; return 1; }
			case $ERR in
			*"not permitted"*) ;;
			*) echo "$cmd: $ERR"; return 1 ;;
			esac
		done
	done
}

unscanned()
{
	head -n 1 "$REPORT"
	[ "$(wc -l <"$REPORT")" = 1 ] && [ -z "$(total)" ] &&
		grep -qE '^kmemtrack 1: no scan yet; [1-9][0-9]* objects, untracked memory$' "$REPORT" &&
		! grep . "$LEAKS"
}

before=$(overlaps)
inject "leak kmalloc-64 20"
scan
cat "$LEAKS" >"$T/kept"
grouped >"$T/kept.grouped"
check "there are leaks to keep" grep -q ^unref "$T/kept"
# The log takes ten lines about switches in five seconds: a test before this one may
# have used them up.
usleep 5500000
dmesg -c >/dev/null
# A reader that has read a part before "off" gets the rest of the same report after it.
exec 3<"$LEAKS"
dd bs=700 count=1 <&3 2>/dev/null >"$T/part"
check "off" put "$REPORT" off
cat <&3 >>"$T/part"
exec 3<&-
check "\"off\" between two reads: the reader gets the whole report" cmp "$T/part" "$T/kept"
check "the log says who switched off" logged off
check "while off: the report stays readable" kept
dmesg -c >/dev/null
check "off once more" put "$REPORT" off
check "\"off\" once more is not logged" eval '! logged off'
check "\"off\" once more keeps the report" kept
addr=$(sed -n '1s/^unref.* 0x\([0-9a-f]*\) .*/\1/p' "$T/kept")
check "while off: all commands but off, on, clear and log are refused" \
	all_refused "$addr"

# "log" prints the report that was kept, and parameters are for later scans.
allowed()
{
	dmesg -c >/dev/null
	put "$REPORT" log || { echo "$ERR"; return 1; }
	dmesg
	dmesg | grep -q 'kmemtrack: leak site 1 of 1: .*, leak_kmalloc+' || return
	param=/sys/module/kmemtrack/parameters/max_pause
	old_value=$(cat $param)
	put $param 77777 || { echo "$ERR"; return 1; }
	set=$(stat_of max_pause_us)
	put $param "$old_value" && [ "$set" = 77777 ]
}
check "while off: log is allowed, and parameters can be set" allowed
check "\"on\" starts with an empty report" put "$REPORT" on
check "the log says who switched on" logged on
check "before the first scan the report says that there was none" unscanned
check "a scan finds no leak" eval 'scan && [ "$(total)" = 0 ]'
inject "leak kmalloc-64 20"
scan
check "off once more" put "$REPORT" off
check "while off: statistics say so" eval '[ "$(stat_of tracking)" = 0 ]'
check "while off: kmemleak refuses a scan" refused "$LEAKS"
check "while off: kmemtrack refuses a scan" refused "$REPORT"
check "while off: reports can be read" cat "$REPORT" "$LEAKS"
check "while off: clear is allowed" put "$LEAKS" clear
check "... and empties kmemleak's file" eval '! grep . "$LEAKS"'
check "... and the grouped report" \
	eval '[ "$(cat "$REPORT")" = "kmemtrack 1: 0 leaks, 0 bytes, 0 sites; off" ]'
# Blocks that are allocated while tracking is off
inject "leak kmalloc-128 3"
inject "hold list 10"
inject "hold xarray 50"
check "on" put "$REPORT" on
check "on once more" put "$REPORT" on
check "while on: statistics say so" eval '[ "$(stat_of tracking)" = 1 ]'

# After "on", older blocks have no records: the detector cannot tell which of them are
# free, and reads all of them as roots, so stale words in them may hide a leak. There are
# no false alarms, though, and scans find most blocks that are lost from now on.

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
check "most blocks that are lost after \"on\" are found, and nothing else" fresh

# Per-CPU memory without records is a root now, except what is free in it.
freed_percpu()
{
	start || return
	for i in 1 2 3 4 5 6; do
		next_round && inject "leak freed-percpu 8" && scan && truth &&
			judge && strays || return
	done
	few_missed blocks
}
check "an address in freed per-CPU memory hides no leak" freed_percpu

# After many switches, and with many blocks without records, the next scan finds lost
# blocks of each kind.
KINDS_THEN="kmalloc-8 kmalloc-1024 kmalloc-8192 kmalloc-128k kzalloc cache
	cache-ctor cache-bulk kmemdup krealloc vmalloc vmalloc-100k percpu rbtree
	cycle"
beside_unknown()
{
	start && put "$REPORT" off && inject "leak kmalloc-128 20000" || return
	for i in $(rounds 20); do
		put "$REPORT" on && put "$REPORT" off || return
	done
	put "$REPORT" on || return
	for i in 1 2 3 4; do
		next_round || return
		(
			for kind in $KINDS_THEN; do
				inject "leak $kind" || exit
			done
		) && scan && truth && judge && strays || return
	done
	few_missed batches
}
check "leaks of each kind are found beside 20000 blocks without records" beside_unknown

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

# Tables and slabs of the kernel have no records any more. Some hold numbers that are no
# page's, and most pointers to a page are to an object of a slab that begins there.
pages_after()
{
	put "$REPORT" pages=track || return
	start && inject "leak pages-order-0 128" && scan && truth && judge && strays &&
		few_missed blocks
	rc=$?
	inject reap
	put "$REPORT" pages=on && return $rc
}
check "ten times off and on: lost pages are found" pages_after

# Suppressions are kept.
suppressed()
{
	put "$REPORT" suppress=function:leak_kmemdup && put "$REPORT" off &&
		put "$REPORT" on && start && inject "leak kmemdup 50" && scan
	rc=$?
	cat "$D/kmemtrack_info/suppressions" | tee "$T/suppressed"
	n=$(total)
	put "$REPORT" unsuppress=all && [ $rc = 0 ] && [ "$n" = 0 ] && [ "$(total)" -ge 25 ] &&
		grep -q '^[1-9][0-9]* function:leak_kmemdup$' "$T/suppressed"
}
check "suppressions stay while tracking is switched off and on" suppressed

# "off" and "clear" while other tasks scan
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
check "after that, leaks are found" fresh

# "off" forgets all sites, and frees their memory.
sites()
{
	cat $D/kmemtrack_info/sites >"$T/sites"
	head -n 1 "$T/sites"
	[ "$(stat_of sites)" -gt 0 ] && put "$REPORT" off || return
	n=$(stat_of sites) bytes=$(stat_of sites_bytes)
	(cd $D/kmemtrack_info && cat sites growth objects) >"$T/sites"
	put "$REPORT" on || return
	echo "$n sites, $bytes bytes"
	cat "$T/sites"
	[ "$n" = 0 ] && [ "$bytes" = 0 ] &&
		[ "$(cat "$T/sites")" = "kmemtrack-sites 1: off
kmemtrack-growth 1: off
kmemtrack-objects 1: off" ]
}
check "\"off\" frees the memory of sites, and the files say so" sites

via_kmemleak()
{
	put "$LEAKS" off && refused "$LEAKS" && put "$REPORT" on
}
check "off through kmemleak" via_kmemleak
check_overlaps "$before"
end
