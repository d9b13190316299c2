#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# One scan right after the loss reports the lost blocks, and nothing else. One test per
# kind of leak; arguments select kinds.
cd "$(dirname "$0")" && . ./lib.sh
begin module

# kfence.sh tests objects of KFENCE.
[ $# -gt 0 ] || set -- $(sed -n 's/^leak //p' "$KINDS" | grep -vx kfence)
ROUNDS=8

# Kinds whose blocks refer to each other
linked()
{
	case $1 in
	percpu-pointer|vmalloc-array|vmalloc-chain|list|hlist|rbtree|chain|cycle|self|interior|\
	members|kobject|owner|owner-*|program|mixed-ring|softirq-pair|skb|\
	after-rcu|table)
		return 0 ;;
	esac
	return 1
}

# lose <round> <kind>: loses many blocks; fewer where each is large, or where only the
# last block leaves its address in memory
lose()
{
	case $2 in
	vzalloc-8m|irq-stack)
		inject "leak $2" ;;
	kmalloc-1m|kmalloc-128k|vzalloc-256k|vmalloc-100k)
		inject "leak $2 5" ;;
	new-thread)
		inject "leak $2" && inject "leak $2" && inject "leak $2" ;;
	*)
		if linked "$2"; then
			inject "leak $2" && inject "leak $2" &&
				inject "leak $2"
		else
			inject "leak $2 12"
		fi ;;
	esac
}

sums_agree()
{
	[ "$(total)" = "$(records)" ] && return
	echo "$(records) records, and the grouped report says:"
	sed -n 1p "$REPORT"
	return 1
}

start >"$T/errors"
for i in $(seq $ROUNDS); do
	next_round
	# In a process that has exited when the scan begins
	(
		for kind; do
			lose "$i" "$kind" >>"$T/lose.$kind"
		done
	)
	scan && truth && sums_agree
	judge >>"$T/judged"
	strays
done >>"$T/errors" 2>&1

check "$ROUNDS scans: nothing else is reported" only_leaks

verdict()
{
	if [ -s "$T/lose.$1" ]; then
		cat "$T/lose.$1"
		return 1
	fi
	grep "^missed: .* $1 [0-9]*\$" "$T/judged"
	if linked "$1"; then
		few_missed batches "$1"
	else
		few_missed blocks "$1"
	fi
}

for kind; do
	# Where an address has 32 significant bits, times and text look like addresses.
	# More often than not one of them is in a block of 8 MiB.
	if [ "$kind" = vzalloc-8m ] && [ "$UM" = 1 -o $BITS = 32 ]; then
		skip "leak: $kind" "32-bit numbers look like its address"
		continue
	fi
	if [ "$kind-$KASAN" = dead-frame-1 ]; then
		skip "leak: $kind" "frames with KASAN differ"
		continue
	fi
	# Per-CPU memory without a record is a root.
	if [ "$kind" = percpu-pointer ] &&
	   [ "$(stat_of untracked_slabs_are_roots)" = 1 ]; then
		skip "leak: $kind" "tracking was off before"
		continue
	fi
	check "leak: $kind" verdict "$kind"
done

# A leak that is freed leaves the report, without another scan.
gone()
{
	start && inject "leak kmalloc-64 100" && scan && truth && judge &&
		few_missed blocks && inject reap &&
		cat "$LEAKS" >"$T/report" && ! grep . "$T/report" &&
		[ "$(total)" = 0 ]
}
check "leaks that are freed leave the report" gone

# Leaks of one site are one record with a count.
grouped()
{
	start && inject "leak kzalloc 50" && scan && truth && judge &&
		few_missed blocks || return
	cat "$REPORT"
	n=$(records)
	bytes=$((n * 1024))
	grep -q "^kmemtrack 1: $n leaks, $bytes bytes, 1 sites; " "$REPORT" &&
		grep -q "^leak: $n objects, $bytes bytes ($n direct, 0 indirect)" \
			"$REPORT" &&
		[ "$(grep -c '^leak: ' "$REPORT")" = 1 ]
}
check "leaks of one site are one record" grouped

# indirect <kind> <count>: the first object of a chain is a direct leak, those behind it
# are indirect. If a scan misses one object, it misses those behind it, too.
indirect()
{
	start || return
	for i in $(seq 20); do
		inject "leak $1 $2" || return
	done
	scan && truth && judge && few_missed batches || return
	cat "$REPORT"
	awk "$REPORTED"'
	FILENAME == ARGV[2] {
		if ($2 in reported) {
			n++
			chains += !($5 in seen)
			seen[$5] = 1
		}
		next
	}
	/^leak: / {
		sub(/;.*/, "")
		gsub(/[(,]/, " ")
		for (i = 1; i < NF; i++) {
			if ($(i + 1) == "direct")
				direct += $i
			if ($(i + 1) ~ /^indirect/)
				indirect += $i
		}
	}
	END {
		print n, "blocks of", chains, "chains:", direct + 0, "direct,",
			indirect + 0, "indirect"
		exit !(chains && direct == chains && indirect == n - chains)
	}' "$T/report" "$T/truth" "$REPORT"
}
check "of a chain of four, one leak is direct" indirect chain 4
check "of a lost vmalloc block and the block it refers to, one leak is direct" \
	indirect vmalloc-chain 2
end
