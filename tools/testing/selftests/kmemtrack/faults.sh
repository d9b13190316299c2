#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Fault injection makes the detector's own allocations fail: blocks get no record, but
# tracking stays on. After that, scans find blocks that are lost, and report nothing else.
cd "$(dirname "$0")" && . ./lib.sh
[ -d /sys/kernel/debug/fail_kmemtrack ] ||
	skip_all "no fault injection in this kernel"
begin module

FILES=4000
# More often than a test can reach
TIMES=1000000000

# fail <attribute> <percent> <interval>: starts fault injection
fail()
{
	F=$D/$1
	[ ! -e "$F/ignore-gfp-wait" ] || put "$F/ignore-gfp-wait" N || return
	put "$F/verbose" 0 && put "$F/space" 0 && put "$F/times" $TIMES &&
		put "$F/interval" "$3" && put "$F/probability" "$2"
}

no_fail()
{
	put "$D/$1/probability" 0
}

# refused <attribute>: the number of injected faults since fail()
refused()
{
	echo $((TIMES - $(cat "$D/$1/times")))
}

# Allocates more blocks than the pool has free cells, and frees them.
peak()
{
	mkdir -p "$T/many" &&
		seq $FILES | (cd "$T/many" && xargs touch) 2>/dev/null
	rm -rf "$T/many"
	echo 2 >/proc/sys/vm/drop_caches
}

# Blocks that were lost while the detector could not allocate records are never found.
# Blocks that are lost from here on are.
found()
{
	start && inject "leak kmalloc-256 50" && inject "leak vmalloc 20" &&
		inject "leak percpu 20" && inject "hold rbtree 20" || return
	scan && truth && strays && judge && few_missed blocks kmalloc-256 &&
		few_missed blocks vmalloc && few_missed blocks percpu
}

lost()
{
	stat_of lost_no_memory
}

# The scan itself may fail for lack of memory, but with no other error.
scans_meanwhile()
{
	put "$REPORT" scan || [ "$ERR" = "Out of memory" ] ||
		[ "$ERR" = "Cannot allocate memory" ] ||
		{ echo "scan: $ERR"; return 1; }
}

some_fail()
{
	fail fail_kmemtrack "$1" "$2" || return
	peak
	scans_meanwhile
	rc=$?
	no_fail fail_kmemtrack
	echo "refused: $(refused fail_kmemtrack), lost: $(lost) blocks"
	[ $rc = 0 ] && [ "$(refused fail_kmemtrack)" -gt 0 ] &&
		[ "$(stat_of tracking)" = 1 ]
}

all_fail()
{
	before=$(lost)
	atomic=$(stat_of lost_atomic)
	# The detector gives back its free cells, so that it needs new pages at once.
	echo 2 >/proc/sys/vm/drop_caches
	fail fail_kmemtrack 100 1 || return
	until=$(($(date +%s) + 10)) rc=0
	while [ $rc = 0 ] && [ "$(date +%s)" -lt $until ]; do
		peak
		scans_meanwhile && inject "leak kmalloc-64 5" || rc=1
	done
	no_fail fail_kmemtrack
	after=$(lost)
	echo "refused: $(refused fail_kmemtrack)"
	echo "lost: $before, then $after blocks"
	[ $rc = 0 ] && [ "$after" -gt "$before" ] &&
		[ "$(stat_of lost_atomic)" -le $((atomic + after - before)) ] &&
		[ "$(stat_of tracking)" = 1 ]
}

# Tracking is switched on while the detector can allocate nothing: that may fail.
on_meanwhile()
{
	put "$REPORT" off && fail fail_kmemtrack 100 1 || return
	put "$REPORT" on
	refused=$(refused fail_kmemtrack)
	echo "on: ${ERR:-done}, refused: $refused"
	no_fail fail_kmemtrack
	put "$REPORT" on && [ "$(stat_of tracking)" = 1 ] && [ "$refused" -gt 0 ]
}

# no_memory <command...>: the command fails with ENOMEM, and prints nothing
no_memory()
{
	"$@" 2>"$T/err" >"$T/out" && return 1
	cat "$T/err"
	[ ! -s "$T/out" ] &&
		grep -q "Out of memory\|Cannot allocate memory" "$T/err"
}

# If there is no memory to make a report, reading it is an error, since an empty report
# would say that there are no leaks. If "off" has no memory to keep kmemleak's file,
# reading that stays an error.
no_report()
{
	start && inject "leak kmalloc-256 20" && scan && n=$(total) &&
		[ "$n" -gt 10 ] || return
	fail fail_kmemtrack 100 1
	! put "$REPORT" scan && no_memory cat "$REPORT" &&
		no_memory cat "$LEAKS"
	rc=$?
	no_fail fail_kmemtrack
	[ $rc = 0 ] && [ "$(total)" = "$n" ] &&
		fail fail_kmemtrack 100 1 && put "$REPORT" off
	rc=$?
	no_fail fail_kmemtrack
	[ $rc = 0 ] && [ "$(total)" = "$n" ] && no_memory cat "$LEAKS"
	rc=$?
	put "$REPORT" on && return $rc
}

# news <space>: fault injection leaves the detector this many bytes, which may be enough for
# a scan, but not for a report. If the scan succeeds, its new leaks are logged: all of them
# are suppressed, or none.
news()
{
	for by in task:none 'task:*'; do
		start && put "$REPORT" "suppress=$by" &&
			inject "leak kmalloc-256 20" || return
		dmesg -c >/dev/null
		fail fail_kmemtrack 100 1 && put "$D/fail_kmemtrack/space" "$1" &&
			scans_meanwhile
		rc=$? scan_failed=$ERR
		no_fail fail_kmemtrack
		[ $rc = 0 ] || return
		dmesg >"$T/log"
		put "$REPORT" unsuppress=all || return
		grep -q "no memory for a report" "$T/log" && short=$((short + 1))
		[ -z "$scan_failed" ] || continue
		succeeded=$((succeeded + 1))
		if [ "$by" = task:none ]; then
			grep -q "[0-9] new suspected memory leaks" "$T/log" &&
				grep -q "unreferenced object" "$T/log"
		else
			grep -q "[0-9] new leaks are suppressed" "$T/log" &&
				! grep "[0-9] new suspected memory leaks" "$T/log"
		fi || { echo "with $1 bytes:"; cat "$T/log"; return 1; }
	done
}

# A scan for which there is memory tells of new leaks even if there is none for a report.
short_of_report()
{
	succeeded=0 short=0
	put "$REPORT" verbose=on || return
	for kib in $(seq 64 192 1024); do
		news $((kib * 1024))
		rc=$?
		[ $rc = 0 ] || break
	done
	put "$REPORT" verbose=off
	echo "$succeeded scans, $short reports without memory"
	[ $rc = 0 ] && [ $succeeded -gt $short ] && [ $short -gt 0 ]
}

# A fifth of the page allocations of one process fail, for whatever they are. The process
# must not fork, which would fail, too.
pages_fail()
{
	nr=$(seq 2000)
	put "$D/fail_page_alloc/task-filter" Y &&
		fail fail_page_alloc 20 1 || return
	(
		echo 1 >/proc/self/make-it-fail
		for i in $nr; do
			echo >"$T/page.$i"
		done
		echo scan >"$REPORT"
	) 2>/dev/null
	no_fail fail_page_alloc
	for i in $nr; do
		echo "$T/page.$i"
	done | xargs rm -f
	[ "$(refused fail_page_alloc)" -gt 0 ] &&
		[ "$(stat_of tracking)" = 1 ]
}

# One process allocates memory until the OOM killer ends it.
out_of_memory()
{
	put /proc/sys/vm/overcommit_memory 1 && dmesg -c >/dev/null
	echo -1000 >/proc/self/oom_score_adj
	(echo 1000 >/proc/self/oom_score_adj; exec tail /dev/zero) &
	hog=$!
	rc=0
	while kill -0 $hog 2>/dev/null; do
		ls -lR /sys/kernel/mm >/dev/null
		[ "$1" != scan ] || scans_meanwhile || rc=1
	done
	wait $hog
	put /proc/sys/vm/overcommit_memory 0
	[ $rc = 0 ] && dmesg | grep 'Out of memory: Killed process' &&
		[ "$(stat_of tracking)" = 1 ]
}

check "without faults: leaks are found, and nothing else" found
check "every third allocation of the pool fails: tracking stays on" some_fail 100 3
check "after every third: leaks are found, and nothing else" found
check "half of them fail: tracking stays on" some_fail 50 1
check "after half of them: leaks are found, and nothing else" found
check "all fail for ten seconds: blocks without records are counted" all_fail
check "after ten seconds: leaks are found, and nothing else" found
check "tracking is switched on while all allocations fail" on_meanwhile
check "after that: leaks are found, and nothing else" found
check "a report for which there is no memory is an error" no_report
check "new leaks are logged without memory for a report" short_of_report
check "after the report: leaks are found, and nothing else" found
check "a fifth of the page allocations of a process fail" pages_fail
check "after page allocations: leaks are found, and nothing else" found
check "out of memory: tracking stays on" out_of_memory
check "after out of memory: leaks are found, and nothing else" found
check "out of memory during scans: tracking stays on" out_of_memory scan
check "at the end: leaks are found, and nothing else" found
end
