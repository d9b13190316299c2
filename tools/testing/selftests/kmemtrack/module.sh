#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Modules that go away: what they leave behind is a leak from then on, and the
# backtrace still names them.
cd "$(dirname "$0")" && . ./lib.sh
begin module

inject "hold module-list 5" >"$T/setup" 2>&1
inject "leak kmalloc-256 2" >>"$T/setup" 2>&1
scan >>"$T/setup" 2>&1
truth
cp "$T/report" "$T/loaded"

before()
{
	cat "$T/setup"
	[ ! -s "$T/setup" ] && [ "$(count held)" = 5 ] && judge && strays
}
check "a list in the data of a module holds" before

rmmod test_kmemtrack
check "the module is gone" eval '[ ! -d /sys/module/test_kmemtrack ]'
scan >"$T/setup" 2>&1
cp "$T/report" "$T/gone"

after()
{
	cat "$T/setup"
	sed -i 's/^held/leaked/' "$T/truth"
	[ ! -s "$T/setup" ] && [ "$(count leaked)" = 7 ] && judge && strays
}
check "without the module, all of the list is a leak" after

named()
{
	cat "$T/gone"
	[ "$(grep -cE '^    hold_in\+0x[0-9a-f]+/0x[0-9a-f]+ \[test_kmemtrack\]$' "$T/gone")" = 5 ] &&
		[ "$(grep -cE '^    leak_kmalloc\+0x[0-9a-f]+/0x[0-9a-f]+ \[test_kmemtrack\]$' "$T/gone")" = 2 ]
}
check "frames of a module that is gone are readable" named

same_frames()
{
	for f in loaded gone; do
		awk '/^unref/ { addr = $3 } / leak_kmalloc\+/ { print addr, $0 }' \
			"$T/$f" | sort >"$T/$f.frames"
	done
	[ -s "$T/gone.frames" ] && diff "$T/loaded.frames" "$T/gone.frames"
}
check "and the same as before" same_frames
check "in the grouped report, too" eval \
	'grep -E "^    hold_in\+0x[0-9a-f]+/0x[0-9a-f]+ \[test_kmemtrack\]$" "$REPORT"'

again()
{
	load || { echo "the module does not load again"; return 1; }
	inject "leak kmalloc-128 3" && scan && truth && judge || return
	[ "$(records)" = 10 ] || { echo "$(records) records"; return 1; }
	[ "$(grep -c ' leak_kmalloc+.*\[test_kmemtrack\]$' "$T/report")" = 5 ]
}
check "the module, loaded again, leaks again" again

many()
{
	put "$REPORT" clear
	for i in 1 2 3 4 5 6 7 8 9 10; do
		inject "leak kmalloc-32" && inject reap && rmmod test_kmemtrack &&
			load || return
	done
	scan && ! grep . "$T/report"
}
check "ten times loaded and removed: no leak" many
end
