#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Objects that are handed on all the time, by several threads, are not
# reported, however often one looks, and what is lost meanwhile is, at once.
# One test per kind of motion; arguments select kinds.
cd "$(dirname "$0")" && . ./lib.sh
begin module

[ $# -gt 0 ] || set -- call-rcu \
	$(sed -n 's/^hold moving-/moving-/p' "$KINDS")

# Snapshots only, however slow the machine is with all those threads
[ "$MAX_PAUSE" -ge 1000000 ] || put "$REPORT" max_pause=1000000

for kind; do
	inject "hold $kind" >"$T/hold.$kind" 2>&1
done
for i in 1 2 3 4 5 6 7 8 9 10; do
	[ "$i" != 5 ] || inject "leak cache 3" >"$T/leak" 2>&1
	scan >>"$T/scans" || break
	sed -n 1p "$REPORT" >>"$T/heads"
	truth
	for kind; do
		judge "$kind" | sed "s/^/scan $i: /" >>"$T/moving.$kind"
	done
	[ "$i" != 5 ] || judge cache >>"$T/leak"
	strays >>"$T/strays"
done
for kind; do
	inject "drop $kind" >"$T/drop.$kind" 2>&1
done
scan >>"$T/scans"
truth
cp "$T/truth" "$T/after"
cp "$T/report" "$T/last"

snapshots()
{
	cat "$T/scans" "$T/heads"
	[ ! -s "$T/scans" ] &&
		[ "$(grep -c 'confirm snapshot, pause' "$T/heads")" = 10 ]
}
check "ten scans, each with a snapshot" snapshots

found()
{
	cat "$T/leak"
	[ ! -s "$T/leak" ] && grep -q '^leaked .* cache$' "$T/after"
}
check "a leak in the midst of it is found at once" found
check "nothing else is reported" eval 'cat "$T/strays"; [ ! -s "$T/strays" ]'

alone()
{
	start && inject "hold $1" && scan && truth && judge "$1" &&
		inject "drop $1" && scan && truth && judge "$1" &&
		grep -q "^leaked .* $1\$" "$T/truth"
}

verdict()
{
	cat "$T/hold.$1" "$T/moving.$1" "$T/drop.$1"
	for f in "hold.$1" "moving.$1" "drop.$1"; do
		[ -f "$T/$f" ] && [ ! -s "$T/$f" ] || return 1
	done
	grep -q "^leaked .* $1\$" "$T/after" || return
	cp "$T/after" "$T/truth"
	cp "$T/last" "$T/report"
	judge "$1" || thrice alone "$1"
}

for kind; do
	check "ten scans, then lost: $kind" verdict "$kind"
done
put "$REPORT" max_pause=$MAX_PAUSE
end
