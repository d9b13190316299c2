#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Confirmation: by a snapshot, at once and within its bounds; by waiting where
# that is asked for or a snapshot would take too long. The report says which.
cd "$(dirname "$0")" && . ./lib.sh
begin module

PARAM=/sys/module/kmemtrack/parameters

# Whether something is not tracked, since tracking was off before, is of no
# account here.
head_line()
{
	sed -n '1{s/, untracked memory$//;p}' "$REPORT"
}

head_says()
{
	head_line
	head_line | grep -qE "$1"
}

# What is lost is reported by the scan right after it, whatever its age.
at_once()
{
	start && inject "leak cache 3" && scan && truth && judge &&
		[ "$(total)" = 3 ] &&
		head_says 'confirm snapshot, pause [0-9]+\.[0-9] ms$' &&
		[ "$(stat_of scan_marks)" = 1 ] &&
		[ "$(stat_of scan_snapshot)" = 1 ]
}
check "a leak is reported at once" thrice at_once

# The guest's clock is the host's, which may let a CPU of the guest wait in the
# middle of a pause: not every time.
pause()
{
	start && inject "leak cache 3" && scan && [ "$(total)" = 3 ] || return
	ns=$(stat_of pause_ns)
	echo "pause $ns ns, expected $(stat_of pause_expected_ns) ns"
	[ "$ns" -gt 0 ] && [ "$ns" -lt $((2000 * MAX_PAUSE)) ] &&
		head_says "pause $(((ns + 50000) / 1000000))\."
}
check "the pause was measured" thrice pause

# Leaks that are known, and nothing else, are no reason to stop; what the kernel
# just moves about may be one for once.
known()
{
	scan && [ "$(total)" = 3 ] && head_says 'pause 0\.0 ms$' &&
		[ "$(stat_of pause_ns)" = 0 ]
}
check "nothing stops for known leaks" thrice known

wait_for()
{
	put "$REPORT" "$1" && start && inject "leak cache 2" && scan &&
		truth && judge && head_says "$2" &&
		[ "$(stat_of scan_marks)" = 3 ] &&
		[ "$(stat_of scan_snapshot)" = 0 ]
}
check "no snapshot if none may be taken" \
	thrice wait_for max_pause=0 'confirm wait \(max_pause is 0\)$'
check "no snapshot if it would take too long" \
	thrice wait_for max_pause=1 \
	'confirm wait \(snapshot would pause [0-9]+\.[0-9] ms\)$'
put "$REPORT" max_pause=$MAX_PAUSE
check "no snapshot if waiting is asked for" \
	thrice wait_for confirm=wait 'confirm wait$'
put "$REPORT" confirm=snapshot
check "a snapshot again after that" thrice at_once

parameters()
{
	for p in confirm:wait confirm:snapshot max_pause:0 max_pause:77777 \
		 max_pause:$MAX_PAUSE; do
		put "$PARAM/${p%:*}" "${p#*:}" || return
		[ "$(cat "$PARAM/${p%:*}")" = "${p#*:}" ] ||
			{ echo "$p has no effect"; return 1; }
	done
	for p in confirm:x confirm:on max_pause:10000001 max_pause:-1 \
		 max_pause:x; do
		! put "$PARAM/${p%:*}" "${p#*:}" ||
			{ echo "$p accepted"; return 1; }
	done
	[ "$(cat "$PARAM/confirm")" = snapshot ] &&
		[ "$(cat "$PARAM/max_pause")" = "$MAX_PAUSE" ]
}
check "both are parameters of the module, too" parameters
end
