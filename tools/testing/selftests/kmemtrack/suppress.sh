#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Suppressions: the report leaves out leaks that match a suppression, and counts them.
cd "$(dirname "$0")" && . ./lib.sh
begin module
SUPPRESSIONS=$D/kmemtrack_info/suppressions

NL='
'
# now: reads all files; sets shown and held to the numbers of leaks in the report and of
# suppressed ones
now()
{
	cat "$LEAKS" >"$T/report"
	cat "$REPORT" >"$T/grouped"
	cat "$SUPPRESSIONS" >"$T/suppressions"
	shown=$(sed -n '1s/^kmemtrack 1: \([0-9]*\) leaks, .*/\1/p' "$T/grouped")
	held=$(sed -n '1s/.* sites, \([0-9]*\) suppressed; .*/\1/p' "$T/grouped")
	: "${held:=0}"
}

# of <pattern>: the number of records in kmemleak's file with a line that matches
of()
{
	awk -v pattern="$1" '
	function end_record() { n += seen; seen = 0 }
	/^unreferenced/ { end_record() }
	$0 ~ pattern { seen = 1 }
	END { end_record(); print n + 0 }' "$T/report"
}

# consistent: all outputs agree, and shown and suppressed leaks add up to all leaks. The
# statistic "leaks" is that of the scan; some of these may have been freed since.
consistent()
{
	cat "$T/suppressions"
	echo "all $all, shown $shown, suppressed $held, records $(records), stats $(stat_of leaks) $(stat_of leaks_suppressed)"
	sum=$(awk 'NR > 1 { n += $1 } END { print n + 0 }' "$T/suppressions")
	[ $((shown + held)) = "$all" ] && [ "$(records)" = "$shown" ] &&
		[ "$sum" = "$held" ] && [ "$(stat_of leaks)" -ge "$all" ] &&
		[ "$(stat_of leaks_suppressed)" = "$held" ] &&
		grep -q "^kmemtrack-suppressions 1: $(($(wc -l <"$T/suppressions") - 1)) suppressions, $held leaks, [0-9]* bytes held back$" "$T/suppressions"
}

# holds_back <suppression> <pattern>: the suppression matches the records with a line that
# matches the pattern, and no others
holds_back()
{
	put "$REPORT" unsuppress=all || return
	now
	want=$(of "$2")
	cp "$T/report" "$T/before"
	put "$REPORT" "suppress=$1" || { echo "$ERR"; return 1; }
	now
	consistent || return
	echo "$held of $want held back, $(of "$2") left"
	[ "$want" -gt 0 ] && [ "$held" = "$want" ] && [ "$(of "$2")" = 0 ] &&
		grep -q "^$want " "$T/suppressions" &&
		grep -qF " $1" "$T/suppressions" || return
	put "$REPORT" "unsuppress=$1" || { echo "$ERR"; return 1; }
	now
	consistent && [ "$held" = 0 ] && cmp "$T/before" "$T/report" &&
		! grep suppressed "$T/grouped"
}

inject leak kmemdup 30
inject leak kzalloc 20
inject leak cache 10
inject leak vmalloc 5
inject leak percpu 5
scan
all=$(total)
now
check "at first nothing is suppressed" eval \
	'consistent && [ "$held" = 0 ] && [ "$shown" -ge 30 ] &&
	 [ "$(cat "$SUPPRESSIONS")" = "kmemtrack-suppressions 1: 0 suppressions, 0 leaks, 0 bytes held back" ]'
check "by function" holds_back function:leak_kmemdup ' leak_kmemdup\\+'
check "by a function further out" holds_back function:job_thread ' job_thread\\+'
check "by function, with wildcards" holds_back 'function:leak_k*' ' leak_k[a-z]*\\+'
check "by function, one of a set" holds_back 'function:leak_[kc]?*' \
	' leak_[kc][a-z]+\\+'
check "by function, all but a set" holds_back 'function:leak_[!a-j]?emdup' ' leak_kmemdup\\+'
check "by function, with a quoted character" holds_back 'function:leak\_kmemdup' \
	' leak_kmemdup\\+'
check "a quoted star does not match" eval \
	'put "$REPORT" "suppress=function:leak_kmem\*" && now && consistent && [ "$held" = 0 ] &&
	 put "$REPORT" "unsuppress=function:leak_kmem\*"'
check "a part of a name does not match" eval \
	'put "$REPORT" suppress=function:leak_kmem && now && consistent && [ "$held" = 0 ] &&
	 put "$REPORT" unsuppress=function:leak_kmem'
check "by module" holds_back module:test_kmemtrack 'test_kmemtrack\\]'
check "by module, with wildcards" holds_back 'module:test*track' 'test_kmemtrack\\]'
check "by task" holds_back task:tk/kzalloc 'comm "tk/kzalloc"'
check "by task, with wildcards" holds_back 'task:tk/k*' 'comm "tk/k'
check "by cache" holds_back cache:tk_plain ' leak_cache\\+'
check "by cache: kmalloc" holds_back 'cache:kmalloc*-1k' ' leak_kzalloc\\+'
check "by allocator: vmalloc" holds_back cache:vmalloc ' leak_vmalloc\\+'
if [ ! "$ONE_CPU" ]; then
	check "by allocator: percpu" holds_back cache:percpu ' leak_percpu\\+'
else
	skip "by allocator: percpu" "a kernel for one CPU"
fi

# A leak counts for the first suppression that matches it.
several()
{
	put "$REPORT" unsuppress=all && now || return
	dup=$(of ' leak_kmemdup\\+') k=$(of 'comm "tk/k')
	put "$REPORT" "suppress=function:leak_kmemdup${NL}suppress=task:tk/k*${NL}suppress=function:leak_k*" &&
		now && consistent || return
	[ "$(awk 'NR > 1 { print $1 }' "$T/suppressions" | tr '\n' ' ')" = "$dup $((k - dup)) 0 " ] || return
	put "$REPORT" unsuppress=function:leak_kmemdup && now && consistent &&
		[ "$(awk 'NR > 1 { print $1 }' "$T/suppressions" | tr '\n' ' ')" = "$k 0 " ] || return
	put "$REPORT" "unsuppress=task:tk/k*" && now && consistent && [ "$held" = "$k" ] &&
		put "$REPORT" unsuppress=all && now && consistent && [ "$held" = 0 ]
}
check "several suppressions, each with its own count" several
check "the same suppression twice is one" eval \
	'put "$REPORT" suppress=task:a && put "$REPORT" suppress=task:a &&
	 [ "$(grep -c " task:a$" "$SUPPRESSIONS")" = 1 ] && put "$REPORT" unsuppress=task:a &&
	 ! grep -c " task:a$" "$SUPPRESSIONS"'
check "a name with blanks" eval \
	'put "$REPORT" "suppress=task:two words  " && grep "^0 task:two words$" "$SUPPRESSIONS" &&
	 put "$REPORT" "unsuppress=task:two words"'
check "through kmemleak's file" eval \
	'put "$LEAKS" suppress=task:x && grep " task:x$" "$SUPPRESSIONS" &&
	 put "$LEAKS" unsuppress=all'

put "$REPORT" suppress=function:leak_vmalloc
cat "$SUPPRESSIONS" >"$T/state"
refused()
{
	if put "$REPORT" "$1"; then
		echo "accepted"
		return 1
	fi
	echo "$ERR"
	[ "$ERR" = "Invalid argument" ] || return
	cat "$SUPPRESSIONS" | cmp - "$T/state"
}
long=$(head -c 100 /dev/zero | tr '\0' l)
for cmd in suppress suppress= suppress=function suppress=function: \
	   suppress=leak_kmemdup suppress=fn:x suppress=Function:x suppress=:x \
	   "suppress=function: x" "suppress =function:x" "suppress=function:a${NL}scanfoo" \
	   "suppress=task:$(printf 'a\033b')" "suppress=task:$(printf '\303\244')" \
	   "suppress=function:x$long" unsuppress unsuppress= unsuppress=ALL \
	   unsuppress=function:leak_kmemdup unsuppress=module:leak_vmalloc \
	   "unsuppress=function:leak_v*" unsuppress=function:leak_vmallo; do
	check "refused: '$(echo "$cmd" | tr '\n\033' '  ' | head -c 60)'" refused "$cmd"
done
check "a name of 100 bytes" eval 'put "$REPORT" "suppress=function:$long" &&
	grep " function:$long\$" "$SUPPRESSIONS" && put "$REPORT" "unsuppress=function:$long"'

full()
{
	put "$REPORT" unsuppress=all || return
	for i in $(seq 32); do
		put "$REPORT" "suppress=function:none_$i" || { echo "$i: $ERR"; return 1; }
	done
	cat "$SUPPRESSIONS" >"$T/state"
	put "$REPORT" suppress=function:more && return 1
	echo "$ERR"
	[ "$ERR" = "No space left on device" ] && cat "$SUPPRESSIONS" | cmp - "$T/state" &&
		put "$REPORT" suppress=function:none_32 &&
		put "$REPORT" unsuppress=function:none_7 &&
		put "$REPORT" suppress=function:leak_kmemdup && now && consistent &&
		[ "$held" -gt 0 ] && put "$REPORT" unsuppress=all
}
check "32 suppressions at most" full

# The log has the number of new leaks that are suppressed, in a line of their own.
news()
{
	# So that no leak that all earlier scans missed counts as new
	inject reap && put "$REPORT" scan && put "$REPORT" clear &&
		put "$REPORT" suppress=function:leak_kzalloc || return
	dmesg -c >/dev/null
	inject leak kzalloc 50 && put "$REPORT" scan && dmesg >"$T/log" || return
	grep kmemtrack: "$T/log"
	grep -q "kmemtrack: [1-9][0-9]* new leaks are suppressed" "$T/log" &&
		! grep "new suspected memory leaks" "$T/log" || return
	dmesg -c >/dev/null
	put "$REPORT" verbose=on && inject leak kzalloc 50 && inject leak kmemdup 40 &&
		put "$REPORT" scan
	put "$REPORT" verbose=off
	dmesg >"$T/log"
	n=$(sed -n 's/.*kmemleak: \([0-9]*\) new suspected memory leaks.*/\1/p' "$T/log")
	echo "$n of 40 new"
	[ "$n" -ge 10 ] && [ "$n" -le 40 ] && ! grep leak_kzalloc "$T/log" &&
		grep -q leak_kmemdup "$T/log" || return
	all=$(($(total) + $(stat_of leaks_suppressed)))
	now
	consistent && put "$REPORT" unsuppress=all
}
check "new leaks that are suppressed have their own line in the log" news

# The indirect leaks that only a suppressed leak refers to are suppressed, too.
indirect()
{
	inject reap && put "$REPORT" clear && inject leak vmalloc-chain 40 && scan || return
	all=$(total)
	now
	grep ' indirect)' "$T/grouped"
	children=$(sed -n 's/^leak: \([0-9]*\) objects, .*(0 direct.*/\1/p' "$T/grouped")
	put "$REPORT" suppress=cache:vmalloc && now && consistent || return
	[ "$children" -gt 0 ] && [ "$held" -gt "$children" ] && [ "$shown" = 0 ] &&
		put "$REPORT" unsuppress=all
}
check "indirect leaks of a suppressed leak" indirect

# A suppression of a module still matches when the module is unloaded.
gone()
{
	inject reap && put "$REPORT" clear && inject leak kmemdup 30 &&
		put "$REPORT" suppress=module:test_kmemtrack && scan || return
	all=$(($(total) + $(stat_of leaks_suppressed)))
	now
	consistent && [ "$shown" = 0 ] && [ "$held" -gt 0 ] || return
	truth
	cp "$T/truth" "$T/left"
	rmmod test_kmemtrack || return
	now
	consistent
	rc=$?
	[ "$shown" = 0 ] || rc=1
	put "$REPORT" scan || rc=1
	all=$(($(total) + $(stat_of leaks_suppressed)))
	now
	consistent && [ "$shown" = 0 ] || rc=1
	put "$REPORT" unsuppress=all
	load || return
	awk '$1 == "leaked" { print $2 }' "$T/left" | while read -r addr; do
		inject reclaim "$addr" || exit
	done || return
	return $rc
}
check "by module, when it is unloaded" gone
end
