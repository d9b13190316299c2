#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Runs all tests, or the named ones, or with "but" as the first name all others, and
# numbers their results in one list. Tests of features that this kernel does not have are
# skipped.
cd "$(dirname "$0")" || exit 2
left_out=
if [ "${1:-}" = but ]; then
	shift
	left_out=" $* "
	set --
fi
all=
if [ $# = 0 ]; then
	all=1
	set -- boot rate leaks snapshot stalls holds moving waiting records reports clients sites suppress pages \
		commands module policy reading switch late memory meminfo refs stress
	set -- "$@" events faults kfence freeze hotplug tool
fi

# missing <test>: what the test needs and this machine does not have; prints nothing if it
# has it all
missing()
{
	case $1 in
	events)	[ -d /sys/kernel/tracing ] || echo "no tracefs" ;;
	faults)	[ -d /sys/kernel/debug/fail_kmemtrack ] || echo "no fault injection" ;;
	kfence)	[ -d /sys/module/kfence ] || echo "no KFENCE" ;;
	freeze)	grep -qw freezer /sys/power/pm_test 2>/dev/null ||
			echo "no test of the freezer" ;;
	hotplug)
		ls /sys/devices/system/cpu/cpu[1-9]*/online >/dev/null 2>&1 ||
			echo "no CPU that can go offline" ;;
	tool)	command -v kmemtrack >/dev/null || echo "no program kmemtrack" ;;
	esac
}

for test; do
	test=${test%.sh}
	case $left_out in
	*" $test "*) continue ;;
	esac
	why=${all:+$(missing "$test")}
	if [ "$why" ]; then
		echo "missing $test $why"
		continue
	fi
	start=$(date +%s)
	echo "begin $test"
	# What a test says is on its way at once: the guest may be ended soon.
	sh "./$test.sh" 2>&1 | awk '{ print "| " $0; fflush() }'
	echo "end $test $(($(date +%s) - start))"
done | awk '
BEGIN { print "KTAP version 1" }
function result(verdict, what) {
	if (verdict != "ok")
		bad = 1
	print verdict " " ++n " - " test ": " what
}
/^missing / {
	test = $2
	sub(/^missing [^ ]* /, "")
	result("ok", "all # SKIP " $0)
	next
}
/^begin / { test = $2; planned = -1; seen = 0; next }
/^end / {
	if (planned != seen)
		result("not ok", "did not run all its tests")
	print "# " test ": " $3 " s"
	fflush()
	next
}
{ sub(/^\| /, "") }
/^KTAP / { next }
/^1\.\.0 / { sub(/^1..0 #? */, ""); result("not ok", $0); planned = seen; next }
/^1\.\.[0-9]+$/ { planned = substr($0, 4); next }
/^(not )?ok [0-9]+ / {
	verdict = $1 == "ok" ? "ok" : "not ok"
	seen++
	sub(/^(not )?ok [0-9]+ (- )?/, "")
	result(verdict, $0)
	fflush()
	next
}
/^# comparisons: / { comparisons += $3; most = $5; next }
/^# / { print "# " test ": " substr($0, 3); fflush(); next }
{ print "# " test ": " $0; fflush() }
END {
	# Each comparison allows what is likely in a run of at most this many.
	print "# " comparisons + 0 " comparisons of misses with what chance allows"
	test = "run"
	if (comparisons > most + 0)
		result("not ok", "more than " most " comparisons")
	print "1.." n
	exit bad
}'
