#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A block is not reported while something refers to it, wherever the reference is, and
# is reported when the reference is gone. All kinds are held at the same time, in
# several rounds. One test per kind; arguments select kinds.
cd "$(dirname "$0")" && . ./lib.sh
begin module

ROUNDS=5
# Linked blocks are missed together, and more often if memory without records is read.
[ "$(stat_of untracked_slabs_are_roots)" != 1 ] || ROUNDS=8

# Kinds that have tests of their own, below and in other files
apart='^(pages-1m|transient-leak|module-list|percpu-part|call-srcu-wait|argument|moving-.*|kfence.*)$'
[ $# -gt 0 ] ||
	set -- $(sed -n 's/^hold //p' "$KINDS" | grep -vE "$apart")

# all <hold|drop> <kind>...
all()
{
	verb=$1
	shift
	for kind; do
		inject "$verb $kind" >>"$T/$verb.$kind"
	done
}

# rounds_of <kind>...: in each round, objects of each kind are held during two scans, and
# then lost. $T/judged gets all false alarms and misses.
rounds_of()
{
	rm -f "$T/held" "$T/hold."* "$T/drop."*
	rm -f "$T/judged" "$T/errors"
	start >"$T/errors" 2>&1
	for i in $(seq $ROUNDS); do
		next_round
		all hold "$@"
		truth
		cat "$T/truth" >>"$T/held"
		scan
		false_alarms >>"$T/judged"
		scan
		false_alarms >>"$T/judged"
		all drop "$@"
		scan && truth
		judge >>"$T/judged"
		strays
	done >>"$T/errors" 2>&1
}

verdict()
{
	if [ -s "$T/errors" ] || [ -s "$T/hold.$1" ] || [ -s "$T/drop.$1" ]; then
		cat "$T/errors" "$T/hold.$1" "$T/drop.$1"
		return 1
	fi
	# The kind was held in each round, and there was no false alarm.
	awk -v kind="$1" -v rounds=$ROUNDS '
	FILENAME == ARGV[1] {
		if ($4 == kind && !($5 in seen)) {
			seen[$5] = 1
			n++
		}
		next
	}
	$(NF - 1) == kind {
		print
		bad = bad || /^false alarm/
	}
	END {
		if (n != rounds)
			print "held in", n + 0, "rounds"
		exit bad || n != rounds
	}' "$T/held" "$T/judged" || return
	# So that the test can fail: the same objects must be reported when they are lost,
	# except those of kinds that RCU frees or that are not tracked at all.
	case $1 in
	kfree-rcu|kvfree-rcu|notrace) return 0 ;;
	esac
	case $1 in
	list|hlist|rbtree|cache|cache-*|mempool|packed-chain|call-*|krealloc-large|\
	percpu-ref|two-lists|stack-list)
		# Their blocks refer to each other.
		few_missed batches "$1" ;;
	*)	few_missed blocks "$1" ;;
	esac
}

rounds_of "$@"
check "nothing else is reported" eval 'cat "$T/errors"; [ ! -s "$T/errors" ]'
for kind; do
	check "held, then lost: $kind" verdict "$kind"
done

alone()
{
	rounds_of "$1"
	verdict "$1"
}

# Tasks of these kinds wait uninterruptibly. Hold them for a short time only, since the
# kernel warns of hung tasks.
for kind in call-srcu-wait argument; do
	check "held, then lost: $kind" alone $kind
done

transient()
{
	start || return
	for i in $(seq $ROUNDS); do
		next_round && inject "hold transient-leak" && scan && truth &&
			false_alarms && inject "drop transient-leak" && scan &&
			truth && judge || return
	done
	few_missed blocks
}
check "one scan does not report an object with kmemleak_transient_leak()" transient
end
