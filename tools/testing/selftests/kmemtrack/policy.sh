#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Rules of policy.h: with all rules a scan reports exactly the lost blocks; without one
# rule it makes the error that the rule prevents. Arguments select rules.
#
# The stale word that a rule excludes may be overwritten before a scan reads it, and
# another one may refer to a lost block by chance. So the tests lose many blocks, in
# several rounds: with the rule a scan misses no more than chance allows, and without it
# more.
cd "$(dirname "$0")" && . ./lib.sh
begin module

# In the order of their bits; kfence.sh tests the rule KFENCE
RULES="FRAMES KFENCE IRQ_STACKS FOREIGN PIPES MAPPED OWN STRUCT_PAGES INNER
	BYTES PERCPU"

# All scans take a snapshot, also on a slow machine.
put "$REPORT" max_pause=5000000

# without <rule>: switches this rule off, and all others on; without none: all rules on
without()
{
	bit=1
	for rule in $RULES; do
		if [ "$rule" = "$1" ]; then
			put "$REPORT" rules_off=$bit
			return
		fi
		bit=$((bit * 2))
	done
	put "$REPORT" rules_off=0
}

# The addresses of $T/truth, each as a word of 64 bits in either order of bytes
words()
{
	printf "$(awk '
	function digit(i) { return index("0123456789abcdef", substr(hex, i, 1)) - 1 }
	{
		hex = substr("0000000000000000" substr($2, 3), length($2) - 1)
		little = big = ""
		for (i = 1; i < 16; i += 2) {
			byte = sprintf("\\%03o", digit(i) * 16 + digit(i + 1))
			big = big byte
			little = byte little
		}
		printf "%s%s", little, big
	}' "$T/truth")"
}

into_file()
{
	words >"$T/word"
}

# Into a pipe that nobody reads from
into_pipe()
{
	{
		words
		sh -c 'echo $$ >"$0"; exec sleep 1000' "$T/writer"
	} | sh -c 'echo $$ >"$0"; exec sleep 1000' "$T/reader" &
	for i in $(seq 600); do
		[ -s "$T/writer" ] && [ -s "$T/reader" ] && return
		usleep 50000
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

# one_scan <rule> <inject...>: loses or holds blocks, and scans once without the rule
one_scan()
{
	# In a process that has exited when the scan begins
	(inject "$2") && truth && $trace && without "$1" || return
	scan
	rc=$?
	without none
	sed -n 1p "$REPORT" >"$T/head"
	[ "$rc" = 0 ] && grep -q 'confirm snapshot' "$T/head" && return
	cat "$T/head"
	return 1
}

# rounds_of <rule> <rounds> <inject...>: scans without the rule. $T/judged gets false
# alarms and misses. Fails if a block is reported that is not of the injector.
rounds_of()
{
	: >"$T/judged"
	start || return
	for i in $(seq "$2"); do
		next_round && one_scan "$1" "$3" || { forget; return 1; }
		forget
		judge >>"$T/judged"
		strays || return
	done
	cat "$T/judged"
}

# right <rounds> <leak|hold> <kind> [count]: with all rules the scans make no error
right()
{
	rounds_of none "$1" "$2 $3 $4" || return
	! grep -q '^false alarm: ' "$T/judged" || return
	[ "$2" = hold ] || few_missed $units
}

# wrong <rule> <rounds> <leak|hold> <kind> [count]: without this rule they make one
wrong()
{
	rounds_of "$1" "$2" "$3 $4 $5" || return
	case $3 in
	leak)	! few_missed $units ;;
	# A false alarm in each round
	hold)	[ "$(grep -c '^false alarm: ' "$T/judged")" -ge "$2" ] ;;
	esac && return
	echo "the rule makes no difference"
	return 1
}

# rule <rule> <what it does> <what happens without it> <rounds> <leak|hold>
#	<kind> [count]: tests right() and wrong(), if the rule is selected
rule()
{
	case " $selected " in
	*" $1 "*) ;;
	*) return ;;
	esac
	tested=$1
	does=$2
	otherwise=$3
	shift 3
	# The layout of frames, and so which words in them stay unwritten, depends on
	# how the kernel is compiled.
	if [ "$tested-$KASAN" = FRAMES-1 ]; then
		skip "$tested: $does" "frames with KASAN differ"
	else
		check "$tested: $does" right "$@"
	fi
	# There, interrupts that arrive while the CPU is idle are handled on another stack.
	if [ "$tested-$UM" = IRQ_STACKS-1 ]; then
		skip "$tested: without the rule, $otherwise" \
			"most interrupts do not use the stack of interrupts"
		return
	fi
	check "$tested: without the rule, $otherwise" wrong "$tested" "$@"
}

[ $# -gt 0 ] || set -- $RULES
selected=$*
units=blocks
trace=quiet
rule FRAMES "words in dead stack frames are no references" "one hides a leak" \
	1 leak dead-frame 20
# Count batches: the stale word refers to one block of each.
units=batches
rule IRQ_STACKS "stacks of interrupts are no roots" "a word on one hides a leak" \
	6 leak irq-stack
units=blocks
trace=into_file
rule FOREIGN "words in files are no references" "they hide leaks" 1 leak cache 50
trace=into_pipe
rule PIPES "words in pipes are no references" "they hide leaks" 1 leak cache 50
trace=quiet
# Count batches: the first block of each refers to the others.
units=batches
rule MAPPED "pages of a lost block are no roots" "they hide blocks that it refers to" \
	6 leak vmalloc-chain
units=blocks
rule OWN "the detector's own pages are no roots" "they hide leaks" \
	1 leak kmalloc-64 50
rule STRUCT_PAGES "page_private() is a reference" "there is a false alarm" \
	3 hold page-private
rule INNER "a word in any page of an allocation is one" "there is a false alarm" \
	3 hold pages-inner
rule BYTES "an unaligned word in a packed structure is one" "there is a false alarm" \
	3 hold packed

# From here on there are blocks without records, which were allocated while tracking was
# off.
put "$REPORT" off
put "$REPORT" on
rule PERCPU "per-CPU memory without a record is a root" "there is a false alarm" \
	3 hold percpu-part
case " $selected " in
*" PERCPU "*)
	check "PERCPU: the same again, after scans without the rule" \
		right 3 hold percpu-part ;;
esac
put "$REPORT" max_pause=$MAX_PAUSE
end
