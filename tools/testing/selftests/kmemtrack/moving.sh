#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Objects that are handed on all the time are not reported, however often one
# looks. One test per kind of motion.
cd "$(dirname "$0")" && . ./lib.sh
begin module

kinds=$(sed -n 's/^hold moving-/moving-/p' "$KINDS")
for kind in $kinds call-rcu; do
	inject "hold $kind" >"$T/hold.$kind" 2>&1
done
for i in 1 2 3 4 5 6 7 8; do
	scan >>"$T/scans" || break
	truth
	for kind in $kinds call-rcu; do
		judge "$kind" | sed "s/^/scan $i: /" >>"$T/moving.$kind"
	done
done
for kind in $kinds call-rcu; do
	inject "drop $kind" >"$T/drop.$kind" 2>&1
done
scan >>"$T/scans"
truth
cp "$T/truth" "$T/after"
cp "$T/report" "$T/last"

alone()
{
	start && inject "hold $1" && scan && truth && judge "$1" &&
		inject "drop $1" && scan && truth && judge "$1" &&
		grep -q "^leaked .* $1\$" "$T/truth"
}

verdict()
{
	cat "$T/scans" "$T/hold.$1" "$T/moving.$1" "$T/drop.$1"
	for f in scans "hold.$1" "moving.$1" "drop.$1"; do
		[ -f "$T/$f" ] && [ ! -s "$T/$f" ] || return 1
	done
	grep -q "^leaked .* $1\$" "$T/after" || return
	cp "$T/after" "$T/truth"
	cp "$T/last" "$T/report"
	judge "$1" || thrice alone "$1"
}

for kind in $kinds call-rcu; do
	check "eight scans, then lost: $kind" verdict "$kind"
done
end
