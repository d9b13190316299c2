#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Tracepoints: a scan has one event at its start, one at its end, and one for each new
# leak.
cd "$(dirname "$0")" && . ./lib.sh
begin module

TRACING=/sys/kernel/tracing
[ -e $TRACING/trace ] || mount -t tracefs none $TRACING
[ -d $TRACING/events/kmemtrack ] || skip_all "no tracepoints"

traced()
{
	put $TRACING/trace "" && put $TRACING/events/kmemtrack/enable 1 || return
	scan
	rc=$?
	put $TRACING/events/kmemtrack/enable 0 || return
	grep -v '^#' $TRACING/trace >"$T/trace"
	return $rc
}

# events <text>: how many there are
events()
{
	grep -c ": kmemtrack_$1" "$T/trace"
}

leaks_are_told()
{
	start && inject "leak kmalloc-256 50" && inject "hold rbtree 5" &&
		traced && truth && judge && few_missed blocks || return
	cat "$T/trace"
	n=$(new_records)
	[ "$(events 'leak: .* size=256 site=[a-z_].* caller=[a-z_].* comm=tk/kmalloc-256 pid=[0-9]* indirect=[0-9]*')" = "$n" ] &&
		[ "$(events "scan_end: ret=0 leaks=$n new=$n duration_ns=[1-9]")" = 1 ] &&
		[ "$(events 'scan_start: scans=[0-9]')" = 1 ] &&
		[ "$(wc -l <"$T/trace")" = $((n + 2)) ]
}

# A leak that was reported before has no second event; one that the scans before have
# missed has its first.
only_once()
{
	traced || return
	cat "$T/trace"
	new=$(new_records)
	[ "$(events leak:)" = "$new" ] &&
		[ "$(events "scan_end: ret=0 leaks=$(records) new=$new ")" = 1 ]
}

check "events of a scan and of its leaks" leaks_are_told
check "a known leak has no second event" only_once

# A module that loses 16 blocks in its init function, and is unloaded before the scan.
gone_code_is_named()
{
	start || return
	insmod ./test_kmemtrack_twin_a.ko 2>/dev/null ||
		modprobe test_kmemtrack_twin_a || return
	rmmod test_kmemtrack_twin_a && traced || return
	cat "$T/trace"
	[ "$(events 'leak: .* caller=twin_a_leak_init+0x[0-9a-fx/]* \[test_kmemtrack_twin_a\] ')" -ge 8 ]
}
check "the event names code of an unloaded module" gone_code_is_named
end
