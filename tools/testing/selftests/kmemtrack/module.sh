#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Modules that go away: what they leave behind is a leak from then on, and the
# backtrace still names them.
cd "$(dirname "$0")" && . ./lib.sh
begin module

# loaded: what the reports say while the module is there, gone: after that
scenario()
{
	load && put "$REPORT" clear && inject "hold module-list 5" &&
		inject "leak kmalloc-256 2" && scan || return
	: >"$T/old"
	truth
	cp "$T/truth" "$T/truth.loaded"
	cp "$T/report" "$T/loaded"
	rmmod test_kmemtrack && scan || return
	cp "$T/report" "$T/gone"
	cat "$REPORT" >"$T/grouped"
	sed 's/^held/leaked/' "$T/truth.loaded" >"$T/truth.gone"
	both
}

# judge_as <loaded|gone>
judge_as()
{
	cp "$T/$1" "$T/report"
	cp "$T/truth.$1" "$T/truth"
	cp "$T/truth.$1" "$T/all"
	judge && strays
}

both()
{
	judge_as loaded && judge_as gone
}
thrice scenario >"$T/attempts"

before()
{
	cat "$T/attempts"
	judge_as loaded && [ "$(count held)" = 5 ] && [ "$(count leaked)" = 2 ]
}
check "a list in the data of a module holds" before
check "the module is gone" eval '[ ! -d /sys/module/test_kmemtrack ]'

after()
{
	cat "$T/attempts"
	judge_as gone && [ "$(count leaked)" = 7 ]
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
	'grep -E "^    hold_in\+0x[0-9a-f]+/0x[0-9a-f]+ \[test_kmemtrack\]$" "$T/grouped"'

again()
{
	load || { echo "the module does not load again"; return 1; }
	inject "leak kmalloc-128 3" && scan && truth && judge || return
	cat "$T/report"
	# Both those of the module that is gone and those of this one
	[ "$(grep -c ' leak_kmalloc+.*\[test_kmemtrack\]$' "$T/report")" -ge 5 ] &&
		[ "$(records)" = 10 ]
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
