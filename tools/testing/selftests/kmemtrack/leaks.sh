#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Whatever is lost is in the report after one scan, made at once; and nothing
# else is. One test per kind of leak; arguments select kinds.
cd "$(dirname "$0")" && . ./lib.sh
begin module

found()
{
	# By a process that is gone when memory is looked at
	start && (inject "leak $1") && scan && truth || return
	leaked=$(count leaked)
	[ "$leaked" -gt 0 ] || { echo "nothing was leaked"; return 1; }
	judge "$1" && strays || return
	[ "$(total)" = "$(records)" ] && return
	echo "$(records) records, and the grouped report says:"
	cat "$REPORT"
	return 1
}

[ $# -gt 0 ] || set -- $(sed -n 's/^leak //p' "$KINDS")
for kind; do
	check "leak: $kind" thrice found "$kind"
done

# What is freed after all is a leak no more.
gone()
{
	start && inject "leak kmalloc-64 5" && scan && truth && judge || return
	[ "$(records)" -ge 5 ] && inject reap && cat "$LEAKS" >"$T/report" &&
		! grep . "$T/report" && [ "$(total)" = 0 ]
}
check "freed leaks leave the report" thrice gone

# Objects lost at one place are one record with a count.
grouped()
{
	start && inject "leak kzalloc 7" && scan || return
	cat "$REPORT"
	grep -q '^kmemtrack 1: 7 leaks, 7168 bytes, 1 sites; ' "$REPORT" &&
		grep -q '^leak: 7 objects, 7168 bytes (7 direct, 0 indirect)' \
			"$REPORT" &&
		[ "$(grep -c '^leak: ' "$REPORT")" = 1 ]
}
check "leaks of one site are one record" thrice grouped

# indirect <kind> <count> <direct> <indirect>: of a chain, one object is to blame
indirect()
{
	start && inject "leak $1 $2" && scan || return
	cat "$REPORT"
	awk -v direct="$3" -v indirect="$4" '
	/^leak: / { gsub(/[(,]/, " "); for (i = 1; i < NF; i++) {
			if ($(i + 1) == "direct") d += $i
			if ($(i + 1) ~ /^indirect/) n += $i } }
	     END { exit !(d == direct && n == indirect) }' "$REPORT"
}
check "of a chain of four, one leak is direct" thrice indirect chain 4 1 3
check "of a lost vmalloc block and what it leads to, one is direct" \
	thrice indirect vmalloc-chain 2 1 2
end
