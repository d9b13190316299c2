#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# pages=track: the detector shows blocks of the page allocator by site, and reports lost
# ones.
cd "$(dirname "$0")" && . ./lib.sh
begin module
SITES=$D/kmemtrack_info/sites
LOST=$(sed -n 's/^tracked leak //p' "$KINDS" | grep -vx pages-list)
HELD=$(sed -n 's/^tracked hold //p' "$KINDS")
ROUNDS=4
OVERLAPS=$(overlaps)

# Without pages=track, pages are not reported, and the table of pages takes no memory.
untracked()
{
	start && inject "leak pages-order-2 8" && scan && truth && judge || return
	[ "$(count leaked)" = 8 ] && inject reap || return
	[ "$(stat_of pages_tracked)" = 0 ] && [ "$(stat_of page_entry_bytes)" = 0 ] &&
		[ "$(stat_of page_block_records)" = 0 ] &&
		! grep '^unref' "$T/report"
}
check "pages are not tracked without pages=track" untracked

tracked()
{
	put "$REPORT" pages=track || { echo "$ERR"; return 1; }
	pages=$(awk '/^kmemtrack-memory/ { print $5 }' "$MEMORY")
	bytes=$(stat_of page_entry_bytes)
	echo "$bytes bytes for $pages pages"
	# 16 bytes a page; the table is made for 8,192 pages at a time.
	[ "$(stat_of pages_tracked)" = 1 ] && [ "$(stat_of pages_are_roots)" = 1 ] &&
		[ "$bytes" -ge $((16 * pages)) ] &&
		[ "$bytes" -le $((16 * (pages + pages / 4) + 4 * 131072 + 65536)) ]
}
check "pages=track" tracked

# Loses blocks of each kind
lose_all()
{
	for kind in $LOST; do
		inject "leak $kind 32" || return
	done
	for i in $(seq 8); do
		inject "leak pages-list 4" || return
	done
}

start >"$T/errors"
for i in $(seq $ROUNDS); do
	next_round
	( lose_all ) && scan && truth || echo "round $i failed"
	judge >>"$T/judged"
	strays
	[ $i != 1 ] || cat "$REPORT" >"$T/first"
done >>"$T/errors" 2>&1

check "$ROUNDS scans: nothing else is reported" only_leaks

# Any word with the number of a page counts as a reference to it, and may hide it by
# chance: of each kind, more than half are found.
most_found()
{
	awk -v kind="$1" '$1 == kind { n++; m += $5 } END {
		print m + 0 " of " n + 0 " missed"
		exit !(n && m * 2 < n)
	}' "$T/tally"
}
for kind in $LOST; do
	check "lost: $kind" most_found "$kind"
done
few()
{
	grep -v '^pages-list ' "$T/tally" >"$T/tally.all"
	grep '^pages-list ' "$T/tally" >"$T/tally.list"
	cp "$T/tally.all" "$T/tally" && few_missed blocks || return
	cp "$T/tally.list" "$T/tally" && few_missed batches
}
check "few are missed" few

# record_of <function>: the first line of the records of its leaks
record_of()
{
	awk -v fn="$1" 'BEGIN { RS = ""; FS = "\n" }
	$0 ~ "\n    " fn "[.+]" { print $1 }' "$T/first"
}
record()
{
	record_of "$1"
	record_of "$1" | grep -qE "$2"
}
check "the report has the function that allocated them" record leak_bulk \
	'objects, .* bytes .*, alloc_pages-order-0, size '
check "... and pages that were split" record leak_exact ', alloc_pages-split, size '
check "blocks that only lost pages refer to are indirect leaks" eval \
	'grep -qE "^leak: .*\(0 direct, [1-9][0-9]* indirect\), " "$T/first"'
inject reap

# However pages are held, neither the pages nor blocks that they refer to are reported.
holds()
{
	start && for kind in $HELD; do
		inject "hold $kind" || return
	done
	for confirm in snapshot wait; do
		put "$REPORT" "confirm=$confirm" && scan && truth || return
		judge && strays || return
		[ "$(count held)" -ge 250 ] || { count held; return 1; }
	done
}
check "pages that are held in many ways, and blocks that they refer to" holds
put "$REPORT" confirm=snapshot
# 48 blocks are held by page numbers and page tables alone, which a scan searches only for
# suspects. Fewer than half of these are no suspects since some word refers to them by
# chance (see "few are missed").
looked_at()
{
	records=$(stat_of page_block_records) by_number=$(stat_of page_blocks_pfn_refs)
	echo "$records records, $by_number held by numbers"
	[ "$records" -ge 100 ] && [ "$by_number" -ge 24 ] || return
	# A reader has the use of pages checked again, but not the numbers. Some blocks may
	# have been freed meanwhile.
	cat "$D/kmemtrack_info/sites" >/dev/null && now=$(stat_of page_blocks_pfn_refs)
	echo "$now of them after a read of sites"
	[ "$now" -ge $((by_number / 2)) ] && [ "$now" -le "$by_number" ]
}
check "the scan searched for their page numbers" looked_at
released()
{
	inject free && scan && truth && judge && strays || return
	n=$(stat_of page_block_records)
	echo "$n records"
	[ "$n" -lt 100 ]
}
check "their records are freed with them" released

# Allocates and frees memory of many kinds: each report is a false alarm.
churn()
{
	mkdir -p "$T/files" && mount -t tmpfs none "$T/files"
	for i in $(seq 8); do
		dd if=/dev/zero of="$T/files/$i" bs=64k count=10 2>/dev/null
		ls -lR /proc/self /sys/kernel | sort | wc -l
		mount -t proc none "$T/files" && umount "$T/files"
		( exec 3>"$T/fifo"; cat /proc/meminfo >&3 )
		! unshare -n true 2>/dev/null || unshare -n ls /sys/class/net
		rm -f "$T/files/$((i - 5))"
	done >/dev/null
	umount "$T/files"
	rmmod test_kmemtrack && load
}
quiet()
{
	start
	for i in $(rounds 8); do
		churn &
		scan || return
		grep '^unref' "$T/report" && return 1
		wait
		scan || return
		grep '^unref' "$T/report" && return 1
	done
	return 0
}
check "nothing is reported while memory is allocated and freed" quiet

# Pages in kmemtrack_info/sites and kmemtrack_info/memory
in_sites()
{
	scan >/dev/null && cat "$SITES" >/dev/null && inject reap &&
		inject "leak pages-compound 50" && put "$REPORT" scan || return
	cat "$SITES" >"$T/sites"
	awk 'BEGIN { RS = ""; FS = "\n" }
	/\n    leak_compound[.+]/ { print $1 }' "$T/sites" | tee "$T/site"
	size=$((4 * $(awk '/^kmemtrack-memory/ { print $8 + 0 }' "$MEMORY")))
	grep -q ": 50 objects, $((50 * size)) bytes, alloc_pages, size $size\$" "$T/site"
}
check "sites: as many blocks as were allocated" in_sites
no_double()
{
	# Pages that SLUB, vmalloc() and the per-CPU allocator take are not counted twice.
	awk 'BEGIN { RS = ""; FS = "\n" }
	/, alloc_pages, / && /\n    (allocate_slab|__vmalloc_area_node|vm_area_alloc_pages|pcpu_populate_chunk)[.+]/' \
		"$T/sites" | grep . && return 1
	[ -s "$T/sites" ]
}
check "sites: slabs, vmalloc() and per-CPU memory are not among pages" no_double
in_memory()
{
	cat "$MEMORY" | tail -n 3
	kb=$(sed -n 's/^  in sites *\([0-9]*\) kB$/\1/p' "$MEMORY")
	all=$(sed -n 's/^no known owner *\([0-9]*\) kB.*/\1/p' "$MEMORY")
	kb_size=$((50 * size / 1024))
	[ "$kb" -ge $kb_size ] && [ "$kb" -le "$all" ]
}
check "memory: how much of \"no known owner\" is in sites" in_memory

# pages=on ends tracking of pages, and removes all their records and leaks.
ended()
{
	put "$REPORT" scan && n=$(total) && put "$REPORT" pages=on || return
	echo "$n leaks, then $(total)"
	scan || return
	[ "$n" -gt 20 ] && ! grep '^unref' "$T/report" &&
		[ "$(stat_of pages_tracked)" = 0 ] &&
		[ "$(stat_of page_entry_bytes)" = 0 ] &&
		! grep -q '^  in sites' "$MEMORY"
}
check "pages=on ends tracking of pages" ended
again()
{
	put "$REPORT" pages=track && inject "leak pages-order-3 32" && scan && truth
	n=$(grep -c '^unref' "$T/report")
	echo "$n reported"
	put "$REPORT" off && put "$REPORT" on && [ "$(stat_of pages_tracked)" = 0 ] &&
		[ "$n" -gt 16 ]
}
check "\"off\" ends tracking of pages" again
inject reap
check_overlaps "$OVERLAPS"
end
