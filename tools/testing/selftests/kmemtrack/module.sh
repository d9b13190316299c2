#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Modules that go away: what they leave behind is a leak from then on, and the
# backtrace still names them.
cd "$(dirname "$0")" && . ./lib.sh
begin module

ROUNDS=5

# loaded: what the reports say while the module is there, gone: after that. What
# the module left behind in earlier rounds stays a leak.
scenario()
{
	load && inject "hold module-list 5" &&
		inject "leak kmalloc-256 10" && scan || return
	old=0
	truth
	cp "$T/truth" "$T/truth.loaded"
	cp "$T/report" "$T/loaded"
	rmmod test_kmemtrack && scan || return
	cp "$T/report" "$T/gone"
	cat "$REPORT" >"$T/grouped"
	sed 's/^held/leaked/' "$T/truth.loaded" >"$T/truth.gone"
	cat "$T/truth.gone" >>"$T/all.left"
	judge_as loaded && cp "$T/tally.new" "$T/tally.$round.loaded" &&
		judge_as gone && cp "$T/tally.new" "$T/tally.$round.gone"
}

# judge_as <loaded|gone>
judge_as()
{
	cp "$T/$1" "$T/report"
	cp "$T/truth.$1" "$T/truth"
	cp "$T/all.left" "$T/all"
	: >"$T/tally"
	judge && strays
	rc=$?
	mv "$T/tally" "$T/tally.new"
	return $rc
}

for round in $(seq $ROUNDS); do
	scenario || break
done >"$T/scenario" 2>&1

before()
{
	cat "$T/scenario"
	[ -f "$T/tally.$ROUNDS.loaded" ] || return
	cat "$T/tally."*.loaded >"$T/tally"
	[ "$(grep -c '^held .* module-list ' "$T/truth.loaded")" = 5 ] &&
		few_missed blocks kmalloc-256
}
check "a list in the data of a module holds" before
check "the module is gone" eval '[ ! -d /sys/module/test_kmemtrack ]'

after()
{
	cat "$T/scenario"
	[ -f "$T/tally.$ROUNDS.gone" ] || return
	cat "$T/tally."*.gone >"$T/tally"
	few_missed batches module-list && few_missed blocks kmalloc-256
}
check "without the module, all of the list is a leak" after

named()
{
	cat "$T/gone"
	n=$(grep -c ^unref "$T/gone")
	of_list=$(grep -cE '^    hold_in\+0x[0-9a-f]+/0x[0-9a-f]+ \[test_kmemtrack\]$' "$T/gone")
	others=$(grep -cE '^    leak_kmalloc\+0x[0-9a-f]+/0x[0-9a-f]+ \[test_kmemtrack\]$' "$T/gone")
	[ "$n" -gt 0 ] && [ "$n" = $((of_list + others)) ]
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
	grep '^unref' "$T/gone" >"$T/gone.records"
	: >"$T/tally"
	round=0
	inject "leak kmalloc-128 50" && scan && truth && judge &&
		few_missed blocks kmalloc-128 || return
	cat "$T/report"
	# Both those of the module that is gone and those of this one
	grep '^unref' "$T/report" >"$T/again"
	grep -qvxFf "$T/gone.records" "$T/again" &&
		grep -qxFf "$T/gone.records" "$T/again" &&
		[ "$(grep -cE ' (leak_kmalloc|hold_in)\+.*\[test_kmemtrack\]$' "$T/report")" = \
			"$(records)" ]
}
check "the module, loaded again, leaks again" again

many()
{
	put "$REPORT" clear
	for i in 1 2 3 4 5 6 7 8 9 10; do
		inject "leak kmalloc-32" && inject reap && rmmod test_kmemtrack &&
			load || return
	done
	# What was missed before may be found now.
	scan && cp "$T/all.left" "$T/all" && strays
}
check "ten times loaded and removed: no leak" many

# A block that was missed is not to be found in the midst of another test.
reclaim()
{
	[ -s "$T/all.left" ] || return
	while read -r state addr rest; do
		inject "reclaim $addr" || return
	done <"$T/all.left"
	put "$REPORT" scan && ! grep . "$LEAKS"
}
check "what was left behind is freed" reclaim
end
