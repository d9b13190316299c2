#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What is a reference, and what only looks like one: with each rule of policy.h
# a scan says what is true, and without it what the rule is there to prevent.
# Arguments select rules.
#
# What a trace leads to may be overwritten before a scan gets there, and some
# other trace may lead to what is lost: so each scenario is attempted up to
# three times, and must succeed once.
cd "$(dirname "$0")" && . ./lib.sh
begin module

PARAM=/sys/module/kmemtrack/parameters
# In the order of their bits
RULES="FRAMES NAPS KTHREADD IRQ_STACKS FOREIGN PIPES MAPPED OWN STRUCT_PAGES
	INNER BYTES PERCPU"

# Snapshots only, however slow the machine
put "$REPORT" max_pause=1000000

# without <rule>: all apply but this one; without none: all apply
without()
{
	bit=1
	for rule in $RULES; do
		if [ "$rule" = "$1" ]; then
			put "$PARAM/rules_off" $bit
			return
		fi
		bit=$((bit * 2))
	done
	put "$PARAM/rules_off" 0
}

# word <address>: its bytes, in either order
word()
{
	hex=${1#0x}
	big=
	little=
	while [ "$hex" ]; do
		rest=${hex#??}
		byte=\\$(printf %03o "0x${hex%"$rest"}")
		big=$big$byte
		little=$byte$little
		hex=$rest
	done
	printf "$little$big"
}

address()
{
	awk '{ print $2; exit }' "$T/truth"
}

into_file()
{
	word "$(address)" >"$T/word"
}

# Into a pipe that nobody reads from
into_pipe()
{
	{
		word "$(address)"
		sh -c 'echo $$ >"$0"; exec sleep 1000' "$T/writer"
	} | sh -c 'echo $$ >"$0"; exec sleep 1000' "$T/reader" &
	for i in 1 2 3 4 5; do
		[ -s "$T/writer" ] && [ -s "$T/reader" ] && return
		sleep 1
	done
	return 1
}

quiet()
{
	:
}

forget()
{
	[ ! -e "$T/writer" ] || kill $(cat "$T/writer" "$T/reader") 2>/dev/null
	rm -f "$T/word" "$T/writer" "$T/reader"
}

# one_scan <rule> <inject...>: the next scan has to do without the rule
one_scan()
{
	# A process that is gone when memory is looked at
	(inject "$2") && truth && $trace && without "$1" || return
	scan
	rc=$?
	without none
	sed -n 1p "$REPORT"
	[ "$rc" = 0 ] && sed -n 1p "$REPORT" | grep -q 'confirm snapshot'
}

# right <leak|hold> <kind>: with all rules
right()
{
	start && one_scan none "$1 $2" && judge "$2" && strays
	rc=$?
	forget
	return $rc
}

# wrong <leak|hold> <kind> <rule>: without this one
wrong()
{
	start && one_scan "$3" "$1 $2" || { forget; return 1; }
	judge "$2" >"$T/judged"
	cat "$T/judged"
	case $1 in
	leak)	grep -q '^missed: ' "$T/judged" ;;
	hold)	grep -q '^false alarm: ' "$T/judged" ;;
	esac || { echo "the rule makes no difference"; forget; return 1; }
	# A leak is found then with the rule: nothing else has changed.
	[ "$1" = hold ] || { scan && judge "$2"; }
	rc=$?
	forget
	return $rc
}

# rule <rule> <leak|hold> <kind> <what it does> <what happens without it>
rule()
{
	case " $selected " in
	*" $1 "*) ;;
	*) return ;;
	esac
	check "$1: $4" thrice right "$2" "$3"
	# What is left on its stack depends on how the kernel is compiled.
	if [ "$1" = KTHREADD ] && zcat /proc/config.gz 2>/dev/null |
	   grep -q '^CONFIG_KASAN=y'; then
		result 0 "$1: without it, $5 # SKIP frames with KASAN differ"
		return
	fi
	check "$1: without it, $5" thrice wrong "$2" "$3" "$1"
}

[ $# -gt 0 ] || set -- $RULES
selected=$*
trace=quiet
rule FRAMES leak dead-frame "a dead frame is no reference" \
	"one hides a leak"
rule NAPS leak stale-frame "nor is a word older than the block" \
	"one hides a leak"
rule KTHREADD leak new-thread "kthreadd refers to nothing" \
	"what it forgot hides a leak"
rule IRQ_STACKS leak irq-stack "nor do the stacks of interrupts" \
	"one hides a leak"
trace=into_file
rule FOREIGN leak cache "a file may hold any address" \
	"it hides a leak"
trace=into_pipe
rule PIPES leak cache "so may a pipe" "it hides a leak"
trace=quiet
rule MAPPED leak vmalloc-chain "pages of a lost block are lost" \
	"they hide what it leads to"
rule OWN leak kmalloc-64 "the tracker itself refers to nothing" \
	"it hides leaks"
rule STRUCT_PAGES hold page-private "page_private() is a reference" \
	"there is a false alarm"
rule INNER hold pages-inner "so is a word in any of several pages" \
	"there is a false alarm"
rule BYTES hold packed "so is one in a packed structure" \
	"there is a false alarm"

# Some blocks live untracked from here on.
put "$REPORT" off
put "$REPORT" on
rule PERCPU hold percpu-part "untracked per-CPU memory has references" \
	"there is a false alarm"
put "$REPORT" max_pause=$MAX_PAUSE
end
