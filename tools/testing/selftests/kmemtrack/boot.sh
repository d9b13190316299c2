#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Scans after boot report no leak, and the log has the size of the early pool.
cd "$(dirname "$0")" && . ./lib.sh
begin

boot_line()
{
	dmesg | grep -E 'kmemtrack: early pool [0-9]+ of [0-9]+ used, grew [0-9]+ times'
}
check "the log says how much of the early pool was used" boot_line

# Without a table there are no backtraces. It is large where there is much memory.
check "the stack depot has a table" eval '! dmesg | grep "stackdepot.*failed"'

unscanned()
{
	head -n 1 "$REPORT"
	[ -z "$(total)" ] &&
		grep -qE '^kmemtrack 1: no scan yet; [1-9][0-9]* objects$' "$REPORT"
}
# A periodic scan may have run already.
if [ "$(stat_of scans)" = 0 ]; then
	check "before the first scan the report says that there was none" unscanned
else
	skip "before the first scan the report says that there was none" "there was one"
fi

: >"$T/truth"
for i in 1 2 3 4 5 6 7 8 9 10; do
	check "scan $i finds no leak" eval 'scan && strays && [ "$(total)" = 0 ]'
done

clean()
{
	cat "$REPORT"
	[ "$(wc -l <"$REPORT")" = 1 ] &&
		grep -qE '^kmemtrack 1: 0 leaks, 0 bytes, 0 sites; scan [0-9]+: [0-9]+ ms, [0-9]+ objects, ([0-9]+ untracked, )?confirm snapshot, pause [0-9]+\.[0-9] ms$' "$REPORT"
}
check "a report without leaks has only its first line" clean
check "without leaks kmemleak's file is empty" eval '! grep . "$LEAKS"'

stats()
{
	cat "$STATS"
	! grep -vE '^[a-z0-9_]+ [0-9]+$' "$STATS" &&
		[ "$(stat_of objects)" -gt 1000 ] &&
		[ "$(stat_of scans)" -ge 10 ] &&
		[ "$(stat_of object_bytes)" -le 64 ]
}
check "each line of the statistics is a name and a value" stats
check "the parameter kmemleak.verbose exists" \
	test -f /sys/module/kmemleak/parameters/verbose
check "only root can read and write the report" \
	eval 'ls -l $REPORT | grep -q "^-rw-------"'
# In protected mode the kernel's hypervisor owns memory that the kernel must not read;
# the scans above ran in this mode.
if grep -q 'kvm-arm.mode=protected' /proc/cmdline; then
	check "the kernel's hypervisor runs in protected mode" \
		eval 'dmesg | grep -q "Protected nVHE mode initialized"'
fi
end
