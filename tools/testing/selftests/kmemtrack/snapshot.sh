#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Confirmation of suspects: by a snapshot, at once and within max_pause; by waiting, if
# confirm=wait is set or a snapshot would take too long. The report says which.
cd "$(dirname "$0")" && . ./lib.sh
begin module

PARAM=/sys/module/kmemtrack/parameters

# The scan right after a loss reports the blocks, whatever their age.
at_once()
{
	start && inject "leak cache 50" && scan && truth && judge &&
		few_missed blocks && [ "$(total)" = "$(records)" ] &&
		head_says 'confirm snapshot, pause [0-9]+\.[0-9] ms$' &&
		[ "$(stat_of scan_marks)" = 1 ] &&
		[ "$(stat_of scan_snapshot)" = 1 ]
}
check "a leak is reported at once" at_once

# The length of a pause depends on the load of the guest's host, so only check that the
# figures agree: a pause is a part of its scan.
pause()
{
	start && inject "leak cache 50" && scan || return
	ns=$(stat_of pause_ns)
	ms=$(stat_of scan_ms)
	echo "pause $ns ns, expected $(stat_of pause_expected_ns) ns, in $ms ms"
	tenths=$(((ns + 50000) / 100000))
	[ "$ns" -gt 0 ] && [ "$(stat_of pause_expected_ns)" -gt 0 ] &&
		[ "$(stat_of pause_expected_ns)" -le $((1000 * MAX_PAUSE)) ] &&
		[ $((ns / 1000000)) -le "$ms" ] &&
		head_says ": $ms ms, .* pause $((tenths / 10))\.$((tenths % 10)) ms\$"
}
check "the figures of the pause agree" pause

# A scan does not stop the CPUs for known leaks, nor for suspects that a search acquits.
known()
{
	for i in 1 2 3 4 5 6 7 8 9 10; do
		before=$(total)
		scan || return
		suspects=$(stat_of scan_suspects)
		left=$((suspects - $(stat_of scan_acquitted_by_search)))
		ns=$(stat_of pause_ns)
		echo "$suspects suspects, $left left after a search;" \
			"$before, then $(total) leaks, pause $ns ns"
		# Known leaks, of which there are many, are no suspects. Objects in
		# motion are, but these are few.
		[ "$suspects" -lt $((before / 2)) ] || return
		if [ "$left" = 0 ]; then
			[ "$ns" = 0 ] && [ "$(total)" -le "$before" ] &&
				head_says 'pause 0\.0 ms$' || return
		else
			[ "$ns" -gt 0 ] || return
		fi
	done
}
check "no CPU stops for known leaks" known

# wait_for <command> <pattern>: a scan after the command confirms suspects by waiting.
# References to a vm_struct count for its vmalloc block, too. Further marks must reset the
# counts of both, or they report the vm_struct.
wait_for()
{
	put "$REPORT" "$1" && start && inject "leak cache 50" &&
		inject "leak vmalloc 5" && scan &&
		truth && judge && few_missed blocks && head_says "$2" &&
		[ "$(total)" -le 55 ] &&
		[ "$(stat_of scan_marks)" = 3 ] &&
		[ "$(stat_of scan_snapshot)" = 0 ]
}
# Makes scans that wait for suspects to be old enough short
put "$REPORT" min_age=200
check "no snapshot with max_pause=0" \
	wait_for max_pause=0 'confirm wait \(max_pause is 0\)$'
check "no snapshot if it would take too long" \
	wait_for max_pause=1 \
	'confirm wait \(snapshot would pause [0-9]+\.[0-9] ms\)$'
put "$REPORT" max_pause=$MAX_PAUSE
check "no snapshot with confirm=wait" \
	wait_for confirm=wait 'confirm wait$'
put "$REPORT" confirm=snapshot
put "$REPORT" min_age=1000
check "a snapshot again with confirm=snapshot" at_once

parameters()
{
	for p in max_pause:0 max_pause:77777 max_pause:$MAX_PAUSE; do
		put "$PARAM/${p%:*}" "${p#*:}" || return
		[ "$(cat "$PARAM/${p%:*}")" = "${p#*:}" ] ||
			{ echo "$p has no effect"; return 1; }
	done
	for p in max_pause:5000001 max_pause:-1 max_pause:x; do
		! put "$PARAM/${p%:*}" "${p#*:}" ||
			{ echo "$p accepted"; return 1; }
	done
	[ "$(cat "$PARAM/max_pause")" = "$MAX_PAUSE" ]
}
check "max_pause is a parameter of the module, too" parameters
end
