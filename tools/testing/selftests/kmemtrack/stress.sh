#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Reads all report files, scans, moves objects, starts and ends processes, all at the
# same time, and loses more and more memory. A leak in one report must be in each later
# one, except for what chance allows, and nothing else may be. It takes ten seconds, or as
# many as KMT_STRESS or kmt_stress= on the kernel's command line says.
cd "$(dirname "$0")" && . ./lib.sh
begin module

SECONDS_ALL=${KMT_STRESS:-$(sed -n 's/.*\bkmt_stress=\([0-9]*\).*/\1/p' /proc/cmdline)}
: "${SECONDS_ALL:=10}"
LOSE="kmalloc-64 kmalloc-512 cache cache-ctor cache-typesafe vmalloc"
ROUNDS=20
until=$(($(date +%s) + SECONDS_ALL))

# However slow the machine is with all that
put "$REPORT" max_pause=10000000

# beside <name> <command...>: again and again until the end; counts how often, and
# how often it failed
beside()
{
	name=$1
	shift
	(
		n=0 bad=0
		while [ ! -e "$T/stop" ]; do
			"$@" >/dev/null 2>&1 || bad=$((bad + 1))
			n=$((n + 1))
		done
		echo "$name $n $bad" >"$T/beside.$name"
	) &
}

read_all()
{
	cat "$LEAKS" "$REPORT" "$D"/kmemtrack_info/*
}

# With a copy of the report that was made long ago
read_slowly()
{
	{
		dd bs=1 count=1
		usleep 50000
		cat
	} <"$LEAKS"
}

scan_alone()
{
	echo scan >"$REPORT"
}

churn()
{
	(exec true)
	echo x | cat | cat
	for f in 1 2 3 4 5 6 7 8; do
		mkdir "$T/churn.$f" && echo x >"$T/churn.$f/file"
	done
	find /proc/self /sys/module -maxdepth 2 -type f -size -8k | xargs cat
	rm -r "$T"/churn.*
}

# What $T/report has, and whether it has all that the one before had
compare()
{
	grep '^unref' "$T/report" | sort >"$T/now"
	grep -vxFf "$T/now" "$T/found" >>"$T/gone"
	mv "$T/now" "$T/found"
	looks=$((looks + 1))
}

look()
{
	scan && truth && strays && compare && judge "" "$1"
}

# What is lost stays lost until the next turn.
turn()
{
	next_round && put "$REPORT" clear && scan || return
	: >"$T/found"
	for kind in $(sed -n 's/^hold moving-/moving-/p' "$KINDS"); do
		inject "hold $kind" || return
	done
	for i in $(seq $ROUNDS); do
		for kind in $LOSE; do
			inject "leak $kind 5" || return
		done
		look /dev/null >"$T/looked" || grep -v '^missed' "$T/looked"
		[ $looks -lt 5 ] || [ "$(date +%s)" -lt $until ] || break
	done
	look "$T/tally" >"$T/looked" || grep -v '^missed' "$T/looked"
	inject reap
}

looks=0
turns=0
: >"$T/gone"
start >"$T/errors" 2>&1
beside reads read_all
beside more-reads read_all
beside slow-reads read_slowly
beside scans scan_alone
beside churn churn
while [ $turns = 0 ] || [ "$(date +%s)" -lt $until ]; do
	turn
	turns=$((turns + 1))
done >>"$T/errors" 2>&1
: >"$T/stop"
wait
put "$REPORT" max_pause=$MAX_PAUSE
diag "$turns turns, $looks looks, $(wc -l <"$T/tally") blocks lost," \
	"$(awk '$5 { n++ } END { print n + 0 }' "$T/tally") of them missed at the end of their turn"
diag "$(cat "$T"/beside.* | sed 's/ 0$//' | tr '\n' ',')"

nothing_else()
{
	cat "$T/errors"
	[ ! -s "$T/errors" ]
}

# A stale word that comes later takes a block out of the report for as long as it
# is there: with so many scans that is to happen to no more blocks than are missed by
# chance.
few_gone()
{
	sort "$T/gone" | uniq -c | tee -a "$T/chance"
	gone=$(sort -u "$T/gone" | wc -l)
	awk -v gone="$gone" '{ print $1, $2, $3, $4, NR <= gone }' "$T/tally" \
		>"$T/tally.gone"
	mv "$T/tally.gone" "$T/tally"
	few_missed blocks && [ $looks -gt 5 ]
}

none_failed()
{
	cat "$T"/beside.*
	[ "$(cat "$T"/beside.* | awk '$2 > 0 && $3 == 0' | wc -l)" = 5 ]
}

check "nothing but what was lost is reported" nothing_else
check "what is lost meanwhile is found" few_missed blocks
check "what was found stays in the report" few_gone
check "all that went on beside it worked" none_failed
end
