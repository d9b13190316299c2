#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A task that scans can be frozen at any time during a long scan, and continues when it
# is thawed.
cd "$(dirname "$0")" && . ./lib.sh
begin module

POWER=/sys/power
DELAY=/sys/module/suspend/parameters/pm_test_delay
grep -qw freezer $POWER/pm_test 2>/dev/null || skip_all "no test of the freezer"
put $POWER/pm_test "freezer"
# Seconds for which all tasks are frozen
[ ! -e $DELAY ] || put $DELAY 0

# Freezes and thaws all tasks. Fails if one cannot be frozen.
freeze()
{
	put $POWER/state freeze || { echo "freeze: $ERR"; return 1; }
}

# Makes the next scan wait for min_age, some 36 minutes
endless()
{
	inject "leak kmalloc-256 20" && put "$REPORT" confirm=wait &&
		put "$REPORT" min_age=2147483
}

# Waits until a scan waits for min_age, up to a minute.
scan_waits()
{
	for i in $(seq 600); do
		[ "$(stat_of running_phase)" != 4 ] || return 0
		usleep 100000
	done
	echo "no scan waits"
	return 1
}

# ends_well: restores the settings, and scans
ends_well()
{
	put "$REPORT" min_age=0 && put "$REPORT" confirm=snapshot && scan
}

start_scan()
{
	sh -c 'echo scan >"$0"; echo $? >"$1"' "$REPORT" "$1" &
}

# Two tasks ask for a scan: the second one waits for the first.
on_request()
{
	rm -f "$T/rc1" "$T/rc2"
	endless || return
	start_scan "$T/rc1"
	one=$!
	start_scan "$T/rc2"
	two=$!
	scan_waits && sleep 1 && freeze && sleep 1 && freeze
	rc=$?
	# Both tasks are still there, without an error: they continue to scan.
	kill -0 $one && kill -0 $two && [ ! -e "$T/rc1" ] && [ ! -e "$T/rc2" ] ||
		rc=1
	kill -9 $one $two
	wait
	ends_well && return $rc
}

# Freezing ends a periodic scan. The periodic scan is off by then, so it does not start
# again. Tasks that read or write meanwhile wait for the scan; user tasks are frozen
# before the thread that scans.
regular()
{
	endless && put "$REPORT" scan=1 || return
	scan_waits
	rc=$?
	put "$REPORT" scan=off
	[ $rc = 0 ] || { ends_well; return $rc; }
	: >"$T/waits"
	waits=
	for f in kmemleak kmemtrack_info/sites kmemtrack_info/suppressions; do
		cat "$D/$f" >/dev/null 2>>"$T/waits" &
		waits="$waits $!"
	done
	(echo clear >"$REPORT") 2>>"$T/waits" &
	waits="$waits $!"
	sleep 1
	freeze
	rc=$?
	# If the scan was not frozen, they wait for its end.
	[ $rc = 0 ] || kill -9 $waits
	wait
	cat "$T/waits"
	[ ! -s "$T/waits" ] || rc=1
	ends_well && return $rc
}

check "tasks are frozen while no scan runs" freeze
check "tasks are frozen during a scan on request, while a second one waits" on_request
check "tasks are frozen during a periodic scan, while others wait for it" regular
put $POWER/pm_test none
end
