#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Unloaded modules: the blocks that a module does not free are leaks, and their backtraces
# still name its functions.
cd "$(dirname "$0")" && . ./lib.sh
begin module

ROUNDS=5

# One round. $T/loaded is the report while the module is loaded, $T/gone the report after
# that. Blocks that the module did not free in earlier rounds stay leaks.
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

# judge_as <loaded|gone>: judges this report
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
check "a list in the data of a module is a reference" before
check "the module is unloaded" eval '[ ! -d /sys/module/test_kmemtrack ]'

after()
{
	cat "$T/scenario"
	[ -f "$T/tally.$ROUNDS.gone" ] || return
	cat "$T/tally."*.gone >"$T/tally"
	few_missed batches module-list && few_missed blocks kmalloc-256
}
check "after that, all objects of the list are leaks" after

named()
{
	cat "$T/gone"
	n=$(grep -c ^unref "$T/gone")
	of_list=$(grep -cE '^    hold_in\+0x[0-9a-f]+/0x[0-9a-f]+ \[test_kmemtrack\]$' "$T/gone")
	others=$(grep -cE '^    leak_kmalloc\+0x[0-9a-f]+/0x[0-9a-f]+ \[test_kmemtrack\]$' "$T/gone")
	[ "$n" -gt 0 ] && [ "$n" = $((of_list + others)) ]
}
check "frames of an unloaded module have names" named

# Of the blocks that both scans found, which are more than half
same_frames()
{
	for f in loaded gone; do
		awk '/^unref/ { addr = $3 } / leak_kmalloc\+/ { print addr, $0 }' \
			"$T/$f" >"$T/$f.frames"
	done
	awk '
	FILENAME == ARGV[1] { loaded[$1] = $0; n++; next }
	$1 in loaded {
		both++
		if (loaded[$1] != $0) {
			print loaded[$1]
			print
			bad = 1
		}
	}
	END {
		print both + 0 " of " n + 0 " blocks"
		exit bad || both * 2 <= n
	}' "$T/loaded.frames" "$T/gone.frames"
}
check "... the same as before" same_frames
check "... in the grouped report, too" eval \
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
	# The report has leaks of the unloaded module and leaks of the present one.
	grep '^unref' "$T/report" >"$T/again"
	grep -qvxFf "$T/gone.records" "$T/again" &&
		grep -qxFf "$T/gone.records" "$T/again" &&
		[ "$(grep -cE ' (leak_kmalloc|hold_in)\+.*\[test_kmemtrack\]$' "$T/report")" = \
			"$(records)" ]
}
check "leaks of both instances after the module was loaded again" again

many()
{
	put "$REPORT" clear
	for i in 1 2 3 4 5 6 7 8 9 10; do
		inject "leak kmalloc-32" && inject reap && rmmod test_kmemtrack &&
			load || return
	done
	# This scan may find blocks of earlier rounds that all scans had missed.
	scan && cp "$T/all.left" "$T/all" && strays
}
check "ten times loaded and unloaded: no leak" many

# Frees the blocks of the unloaded modules, so that no later scan finds one that was missed.
reclaim()
{
	[ -s "$T/all.left" ] || return
	while read -r state addr rest; do
		inject "reclaim $addr" || return
	done <"$T/all.left"
	put "$REPORT" scan && ! grep . "$LEAKS"
}
check "leaks of unloaded modules are freed" reclaim

# lose_there: loses blocks of vmalloc() until one begins where the module had the
# first of its __init sections
lose_there()
{
	places=$(cat /sys/module/test_kmemtrack/sections/.init.* | sort | head -n 1)
	for i in $(seq 20); do
		inject "leak vmalloc 30" && truth || return
		! grep -q " $(printf '0x%x' "$places") " "$T/truth" || return 0
		sleep 1
	done
	echo "no block at $places"
	return 1
}

# A block in the place of __init sections may be hidden by chance, but not by an address
# that the module loader has kept.
init_places()
{
	rmmod test_kmemtrack && load && start && lose_there && scan && truth &&
		strays && judge "" "$T/judged" || return
	awk "$REPORTED"'!($2 in reported) { print $2 }' "$T/report" "$T/truth" \
		>"$T/missed"
	while read -r addr; do
		put "$REPORT" "refs=$addr" || return
		cat "$REFS"
	done <"$T/missed" >"$T/refs"
	cat "$T/refs"
	[ "$(wc -l <"$T/missed")" -lt 10 ] &&
		! grep -E 'mod_tree|load_module|execmem_alloc|module_alloc|mod_sysfs_setup|add_sect_attrs' "$T/refs"
}
if [ "$UM" ]; then
	check "a block in the place of __init sections is a leak" init_places
else
	skip "a block in the place of __init sections is a leak" \
		"blocks of vmalloc() do not get the addresses of modules"
fi

# Twins are two modules with the same code at the same offsets. Each loses 8 blocks in
# its init function, 8 in other __init text when the module is already live, and 8 when
# its parameter "leak" is written.
twin()
{
	insmod "./test_kmemtrack_twin_$1.ko" 2>/dev/null ||
		modprobe "test_kmemtrack_twin_$1" 2>/dev/null ||
		{ echo "twin $1 does not load"; return 1; }
	cat "/sys/module/test_kmemtrack_twin_$1/sections/.text" >>"$T/places.$1"
}

# leaks_of <file> <function> <twin>: the number of frames of that function of the twin
leaks_of()
{
	grep -cE "^    $2\\+0x[0-9a-f]+/0x[0-9a-f]+ \\[test_kmemtrack_$3\\]\$" "$1"
}

# shown <function> <twin> <blocks>: the function lost that many blocks; the report has at
# least half of them, and no more
shown()
{
	n=$(leaks_of "$T/report" "$1" "$2")
	echo "$1: $n of $3 blocks"
	[ "$n" -le "$3" ] && [ $((n * 2)) -ge "$3" ]
}

no_numbers()
{
	! grep -E '^    (0x|\()' "$T/report"
}

init_text()
{
	start && twin a && scan || return
	cat "$T/report"
	shown twin_a_leak_init twin_a 16 && shown twin_a_begin twin_a 8 &&
		shown twin_a_late twin_a 8 && no_numbers || return
	# Twin b gets the memory of the __init text of twin a.
	for i in 1 2 3; do
		twin b && rmmod test_kmemtrack_twin_b || return
	done
	twin b && scan || return
	cat "$T/report"
	shown twin_a_leak_init twin_a 16 && shown twin_b_leak_init twin_b 64 &&
		shown twin_b_begin twin_b 32 && shown twin_a_late twin_a 8 &&
		shown twin_b_late twin_b 32 && no_numbers
}
check "functions of __init text keep their names" init_text
rmmod test_kmemtrack_twin_a 2>/dev/null
rmmod test_kmemtrack_twin_b 2>/dev/null

# A reader has read a part of the report when the module is unloaded. The rest still has
# the names of its functions.
slow_reader()
{
	start && twin a &&
		put /sys/module/test_kmemtrack_twin_a/parameters/leak 1 &&
		scan || return
	exec 3<"$REPORT"
	read -r head <&3
	rmmod test_kmemtrack_twin_a && twin b
	rc=$?
	cat <&3 >"$T/report"
	exec 3<&-
	echo "$head"
	cat "$T/report"
	[ $rc = 0 ] && shown twin_a_leak twin_a 1 &&
		shown twin_a_leak_init twin_a 2 && shown twin_a_begin twin_a 1 &&
		shown twin_a_late twin_a 1 && no_numbers
}
check "an open report keeps the names of functions" slow_reader
rmmod test_kmemtrack_twin_b 2>/dev/null

caches()
{
	sed -n 's/^leak: .* indirect), \([^,]*\), size .*/\1/p' "$@" | sort -u
}

# Blocks are freed and their caches destroyed while a reader is between two reads. The rest
# of the report still has the names of the caches.
gone_caches()
{
	start && inject "leak cache 20" && inject "leak cache-ctor 20" && scan || return
	caches "$REPORT" >"$T/caches"
	exec 3<"$REPORT"
	read -r head <&3
	inject reap && rmmod test_kmemtrack
	rc=$?
	caches >"$T/caches.later" <&3
	exec 3<&-
	load || return
	cat "$T/caches"
	[ $rc = 0 ] && grep -q tk_ "$T/caches" &&
		diff "$T/caches" "$T/caches.later"
}
check "an open report keeps the names of caches" gone_caches

# use_twin <twin>: loads the twin, makes it leak, and unloads it
use_twin()
{
	twin "$1" && put "/sys/module/test_kmemtrack_twin_$1/parameters/leak" 1 &&
		rmmod "test_kmemtrack_twin_$1"
}

# Vmalloc space is freed lazily: of three modules that are loaded one after another, the
# third one gets the addresses of the first.
twins()
{
	# Leaks of earlier tests are not counted.
	scan && put "$REPORT" clear || return
	rm -f "$T"/places.*
	for i in 1 2 3; do
		use_twin a && use_twin a && use_twin b || return
	done
	scan && cat "$REPORT" >"$T/grouped"
}

same_place()
{
	sort -u "$T/places.a" >"$T/places"
	sort -u "$T/places.b" | grep -qxFf "$T/places" -
}

told_apart()
{
	cat "$T/grouped"
	for f in leak begin late; do
		shown twin_a_$f twin_a 48 && shown twin_b_$f twin_b 24 || return
	done
	shown twin_a_leak_init twin_a 96 && shown twin_b_leak_init twin_b 48 &&
		no_numbers
}

# If a module was loaded several times, all leaks of a function are one site.
one_site()
{
	for twin in a b; do
		n=$(leaks_of "$T/grouped" "twin_${twin}_leak" "twin_$twin")
		[ "$n" = 1 ] || { echo "twin $twin: $n"; return 1; }
	done
}

if ! twins >"$T/why"; then
	diag "$(cat "$T/why")"
	result 1 "modules with the same code"
elif same_place; then
	check "modules at the same address have their own names" told_apart
	check "a module that is loaded again has the same site" one_site
else
	skip "modules at the same address have their own names" \
		"no two modules had the same address"
	skip "a module that is loaded again has the same site" \
		"no two modules had the same address"
fi
end
