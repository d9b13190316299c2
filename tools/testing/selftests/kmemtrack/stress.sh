#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Reads all report files, scans, moves objects, starts and ends processes, all at the
# same time, and loses more and more memory. A leak in one report must be in each later
# one, except for as many as chance allows, and nothing else may be reported. KMT_STRESS or
# kmt_stress= on the kernel's command line set the duration in seconds (10).
cd "$(dirname "$0")" && . ./lib.sh
begin module

SECONDS_ALL=${KMT_STRESS:-$(sed -n 's/.*\bkmt_stress=\([0-9]*\).*/\1/p' /proc/cmdline)}
: "${SECONDS_ALL:=10}"
LOSE="kmalloc-64 kmalloc-512 cache cache-ctor cache-typesafe vmalloc"
ROUNDS=20
until=$(($(date +%s) + SECONDS_ALL))

# All scans take a snapshot, also on a slow machine.
check "a stop of 5 s is allowed" put "$REPORT" max_pause=5000000

# beside <name> <command...>: repeats the command in the background until the end; counts
# runs and failures
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

# Reads the report after a pause, from the copy that its first read made
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

# Adds the leaks that have left the report since the last call to $T/gone
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

# One turn: loses blocks in several rounds, and frees them at the end.
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

# A stale word that refers to a leak removes it from the report while the word is there.
# In all scans together this may happen to no more blocks than one scan misses by chance.
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
check "blocks that are lost meanwhile are found" few_missed blocks
check "leaks stay in the report" few_gone
check "none of the background commands failed" none_failed
end
