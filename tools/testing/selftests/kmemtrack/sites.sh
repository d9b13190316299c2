#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Live blocks by allocation site, and growing sites: these show leaks that something still
# refers to.
cd "$(dirname "$0")" && . ./lib.sh
begin module
SITES=$D/kmemtrack_info/sites
GROWTH=$D/kmemtrack_info/growth

# records <file> <function>: "<objects> <bytes> <cache> <least> <most> <rose> <rate>
# <history>" of each record whose backtrace has that function
site_records()
{
	awk -v fn="$2" '
	/^site / {
		gsub(/[:,]/, "")
		text = $3 " " $5 " " $7
		if ($8 == "sizes")
			split($9, size, "-")
		else
			size[1] = size[2] = $9
		text = text " " size[1] " " size[2]
		next
	}
	/^  history / { history = $0; sub(/^  history/, "", history); next }
	/^  rose in / { text = text " " $3 " " $5 history; shown = 0; next }
	# A name may have a suffix of the compiler.
	!shown && /^    / && $1 ~ "^" fn "(\\.[a-z0-9.]*)?\\+" {
		print text
		shown = 1
	}' "$1"
}

# field <file> <function> <number>: this field of the only record of the function
field()
{
	site_records "$1" "$2" >"$T/field"
	[ "$(wc -l <"$T/field")" = 1 ] || { cat "$T/field"; return 1; }
	cut -d ' ' -f "$3" "$T/field"
}

# look: reads both files
look()
{
	cat "$SITES" >"$T/sites" && cat "$GROWTH" >"$T/growth"
}

# scan_and_look: scans, and reads both files
scan_and_look()
{
	put "$REPORT" scan && look
}

grammar()
{
	head -n 3 "$1"
	awk -v name="$2" '
	function fail(why) { print why ": line " NR ": " $0; bad = 1 }
	function want(s) { if (state != s) fail("not expected here") }
	# Most lines are frames. The kernel has no names for __init text that it has freed.
	/^    / {
		want("frames")
		if (!/^    ([A-Za-z0-9_.]+\+0x[0-9a-f]+\/0x[0-9a-f]+( \[[a-z0-9_]+\])?|0x[0-9a-f]+)$/)
			fail("unknown line")
		next
	}
	NR == 1 && name == "sites" &&
	/^kmemtrack-sites 1: [0-9]+ sites, [0-9]+ objects, [0-9]+ bytes; scan [0-9]+, [0-9]+\.[0-9][0-9][0-9] s ago$/ {
		sites = $3; objects = $5; bytes = $7; state = "scans"; next
	}
	NR == 1 && name == "growth" &&
	/^kmemtrack-growth 1: [0-9]+ sites grew in each of the last [0-9]+ scans, [0-9]+ bytes\/hour$/ {
		sites = $3; least = $11; sum_rate = $13; state = "scans"; next
	}
	NR == 2 && /^scans( [0-9]+\.[0-9][0-9][0-9])+$/ {
		want("scans")
		scans = NF - 1
		for (i = 3; i <= NF; i++)
			if ($i < $(i - 1))
				fail("scans are not in order")
		state = "gap"; next
	}
	/^$/ { if (state != "frames") want("gap"); state = "site"; next }
	/^site [0-9a-f]{8}: [0-9]+ objects, [0-9]+ bytes, [^ ,]+, (size [0-9]+|sizes [0-9]+-[0-9]+)$/ {
		want("site"); state = "history"; n++
		nr += $3; sum += $5; its = $5 + 0
		if (name == "sites" && n > 1 && its > before)
			fail("not sorted by bytes")
		before = its
		next
	}
	/^  history( [0-9]+)+$/ {
		want("history"); state = "rose"
		if (NF - 1 != scans)
			fail("not as many numbers as scans")
		if ($NF != its && its < 2147483648)
			fail("the newest is not the present one")
		rose = 0
		for (i = NF; i > 2 && $i > $(i - 1); i--)
			rose++
		next
	}
	/^  rose in [0-9]+ scans, [0-9]+ bytes\/hour, first seen [0-9]+\.[0-9][0-9][0-9] s ago$/ {
		want("rose"); state = "trace"
		if ($3 != rose)
			fail("the history says " rose)
		rate = $5 + 0
		if (name == "growth" && (rose < least || !least))
			fail("did not grow")
		if (name == "growth" && n > 1 && rate > rate_before)
			fail("not sorted by rate")
		rate_before = rate
		rates += rate
		next
	}
	/^  backtrace:$/ { want("trace"); state = "frames"; next }
	name == "sites" && /^other: [0-9]+ objects, [0-9]+ bytes$/ {
		want("site"); state = "end"; nr += $2; sum += $4; next
	}
	{ fail("unknown line") }
	END {
		if (n != sites)
			fail(n " records, not " sites)
		if (name == "sites" && (nr != objects || sum != bytes))
			fail("they sum up to " nr " objects, " sum " bytes")
		if (name == "growth" && rates != sum_rate)
			fail("they sum up to " rates " bytes/hour")
		exit bad
	}' "$1"
}

# reset: forgets all sites and scans, as if no file had been opened; blocks that exist stay
# tracked
MAX=$(stat_of sites_max)
reset()
{
	put "$REPORT" sites=0 && put "$REPORT" scan && put "$REPORT" "sites=$MAX"
}

# Scans on request count sites once one of the files was opened, not before.
not_before()
{
	reset && put "$REPORT" scan && put "$REPORT" scan || return
	n=$(stat_of sites)
	echo "$n sites"
	[ "$n" = 0 ] && look && [ "$(stat_of sites)" -gt 0 ] &&
		[ "$(sed -n 2p "$T/sites" | wc -w)" = 2 ]
}
check "scans on request count sites once a file was opened" not_before

# Blocks whose number and size are known
inject hold growing-list 5000
inject leak kzalloc 300
inject leak vmalloc 7
inject leak percpu 11
scan_and_look
check "sites: each line is as the manual says" grammar "$T/sites" sites
check "growth: each line is as the manual says" grammar "$T/growth" growth

planted()
{
	site_records "$T/sites" "$1" | tee "$T/planted"
	[ "$(grep -w "$3" "$T/planted" | cut -d ' ' -f 1-5)" = "$2 $3 $4 $4" ]
}
# The size of an object; kernels with debugging options add to it, which does not count.
one_size=$(awk '$4 == "growing-list" { print $3; exit }' "$INJECT")
check "sites has all blocks of a slab cache" \
	planted grow_list "5000 $((5000 * one_size))" tk_plain "$one_size"
check "sites has all blocks of kmalloc(), though they are lost" \
	planted leak_kzalloc "300 307200" kmalloc-1k 1024
check "sites has all blocks of vmalloc()" planted leak_vmalloc "7 28672" vmalloc 4096
if [ ! "$ONE_CPU" ]; then
	check "sites has all blocks of per-CPU memory" \
		planted leak_percpu "11 704" percpu 64
else
	skip "sites has all blocks of per-CPU memory" "a kernel for one CPU"
fi

# slabinfo <cache>: objects of the cache in all sites against those in use according to
# /proc/slabinfo. SLUB also counts free objects in slabs of CPUs and their partial lists.
slabinfo()
{
	sites=$(awk -v cache="$1," '/^site / && $7 == cache { n += $3 } END { print n + 0 }' "$T/sites")
	set -- $(awk -v cache="$1" '$1 == cache { print $2, $5 }' /proc/slabinfo)
	ready=$((($2 + 60) * $(grep -c ^processor /proc/cpuinfo)))
	echo "$sites blocks in sites, $1 in slabinfo, up to $ready of them ready"
	# Some objects may have been freed between both reads.
	[ "$sites" -gt 0 ] && [ "$sites" -le $(($1 + ready)) ] &&
		[ "$sites" -ge $(($1 - ready)) ]
}
check "sites and slabinfo agree: the cache of the test" slabinfo tk_plain
for cache in maple_node inode_cache; do
	if [ "$(stat_of untracked_slabs_are_roots)" = 1 ]; then
		skip "sites and slabinfo agree: $cache" "tracking was off"
	elif [ ! "$KASAN" ]; then
		check "sites and slabinfo agree: $cache" slabinfo $cache
	else
		skip "sites and slabinfo agree: $cache" \
			"KASAN keeps objects that were freed"
	fi
done

# All objects are in sites, except sections of the kernel, which no allocator handed out.
all_counted()
{
	set -- $(sed -n '1s/.*: \([0-9]*\) sites, \([0-9]*\) objects.*/\1 \2/p' \
		"$T/sites") "$(stat_of objects)"
	echo "$2 in sites, $3 in stats"
	[ "$2" -gt 1000 ] && [ $(($3 - $2)) -lt 500 ] && [ $(($2 - $3)) -lt 500 ]
}
check "sites and stats agree: all blocks" all_counted

# From a site to the addresses of its blocks
OBJECTS=$D/kmemtrack_info/objects

# Each line is as the manual says, no block is listed twice, and hardly any is left out.
objects_grammar()
{
	head -n 3 "$1"
	awk -v blocks="$(stat_of objects)" '
	NR == 1 && /^kmemtrack-objects 1: [0-9]+ objects$/ { head = $3; next }
	NR > 1 && /^(percpu )?object 0x[0-9a-f]+, [0-9]+ bytes, [^ ,]+, (live|suspect|leak|indirect leak|cleared|root|ignored), site [0-9a-f]{8}, [0-9]+\.[0-9][0-9][0-9] s ago, comm "[^"]*" pid -?[0-9]+(, allocated by [^ ]+( \[[a-z0-9_]+\])?)?$/ {
		n++
		# On one CPU, the first per-CPU block is where a block of memblock begins.
		block = $0
		sub(/, (live|suspect|leak|indirect|cleared|root|ignored).*/, "", block)
		if (block in seen) {
			print "twice: " $0
			bad = 1
		}
		seen[block]
		next
	}
	{ print "unknown line " NR ": " $0; bad = 1 }
	END {
		print n " lines, " head " objects, " blocks " in stats"
		# Sections of the kernel have no lines.
		exit bad || n < 1000 || n > head + 500 || n < head - 500 || \
			n > blocks + 500 || n < blocks - 500
	}' "$1"
}

# members <function> <cache>: the site of the function's blocks from that cache has as many
# blocks, and bytes, in objects as in sites
members()
{
	set -- $(awk -v fn="$1" -v cache="$2" '
		/^site / { gsub(/[:,]/, ""); text = $2 " " $3 " " $5; of = $7 }
		of == cache && $1 ~ "^" fn "(\\.[a-z0-9.]*)?\\+" { print text }' "$T/sites")
	awk -v id="$1" -v nr="$2" -v bytes="$3" '
	index($0, ", site " id ",") {
		n++
		sub(/^percpu /, "")
		sum += $3
	}
	END {
		print "site " id ": " n " blocks, " sum " bytes, not " nr ", " bytes
		exit !n || n != nr || sum != bytes
	}' "$T/objects"
}

# listed <file>: each block that the injector has is there once, with its size
listed()
{
	truth
	awk 'FILENAME == ARGV[1] {
		sub(/^percpu /, "")
		if (!/^object/)
			next
		sub(/,/, "", $2)
		lines[$2]++
		size[$2] = $3
		next
	}
	{
		n++
		if (lines[$2] != 1 || size[$2] < $3) {
			print $0 ": " lines[$2] + 0 " lines, " size[$2] " bytes"
			bad = 1
		}
	}
	END { print n " blocks"; exit bad || n < 5000 }' "$1" "$T/all"
}

# read_objects <file> <command>...: has the command read objects, and again if records
# were moved meanwhile, since the pool gave memory back: then a block may be met twice
read_objects()
{
	to=$1
	shift
	for round in 1 2 3 4 5; do
		moves=$(stat_of pool_moves)
		"$@" >"$to" || return
		[ "$(stat_of pool_moves)" != "$moves" ] || return 0
	done
	echo "records were moved during each read"
	return 1
}

check "objects can be read" read_objects "$T/objects" cat "$OBJECTS"
check "objects: each line is as the manual says" objects_grammar "$T/objects"
for site in "grow_list tk_plain" "leak_kzalloc kmalloc-1k" "leak_vmalloc vmalloc" \
	    "leak_percpu percpu"; do
	if [ "$ONE_CPU" ] && [ "${site#* }" = percpu ]; then
		skip "objects has the blocks of a site: $site" "a kernel for one CPU"
	else
		check "objects has the blocks of a site: $site" members $site
	fi
done
check "objects has all blocks of the test module" listed "$T/objects"

# Reads of any size, and one that begins behind the start
pieces()
{
	for size in 97 4096 100000; do
		read_objects "$T/pieces" dd if="$OBJECTS" bs=$size && listed "$T/pieces" ||
			return
	done
	read_objects "$T/pieces" dd if="$OBJECTS" bs=50 skip=1000 count=1 &&
		[ "$(wc -c <"$T/pieces")" = 50 ]
}
check "... read in pieces" pieces

# Other blocks come and go, and a scan runs, while the file is read in pieces.
slowly()
{
	(
		while [ ! -e "$T/stop" ]; do
			echo >"$T/comes" && rm "$T/comes"
		done
	) &
	(usleep 20000; put "$REPORT" scan) &
	read_objects "$T/slowly" dd if="$OBJECTS" bs=3000
	rc=$?
	: >"$T/stop"
	wait
	rm -f "$T/stop"
	listed "$T/slowly" && return $rc
}
check "... also while others come and go during slow reads" slowly

# From a site that grows to what keeps its blocks
holder()
{
	id=$(sed -n 's/^site \([0-9a-f]*\): 5000 objects.*, tk_plain.*/\1/p' "$T/sites")
	addr=$(sed -n "s/^object \(0x[0-9a-f]*\), .* site $id, .*/\1/p" "$T/objects" | sed -n 2500p)
	echo "site $id, block $addr"
	put "$REPORT" "refs=$addr" || return
	cat "$D/kmemtrack_info/refs"
	grep -q "^ref 1: object .*, tk_plain, .* allocated by grow_list[+.]" \
		"$D/kmemtrack_info/refs"
}
check "refs= takes an address from objects" holder

# In each step a list grows, a tree stays, files become fewer, and there are more leaks.
steps()
{
	inject reap && reset && look || return
	inject hold growing-list 100 && inject hold rbtree 100 || return
	inject leak kzalloc 100
	mkdir "$T/files" || return
	for i in $(seq 300); do echo >"$T/files/$i"; done
	scan_and_look || return
	for i in 1 2 3 4; do
		inject hold growing-list 50
		inject leak kzalloc 20
		for f in $(seq $((i * 40)) $((i * 40 + 39))); do
			rm "$T/files/$f"
		done
		scan_and_look || return
		cp "$T/growth" "$T/growth.$i"
		cp "$T/sites" "$T/sites.$i"
	done
	head -n 2 "$T"/growth.*
}
check "lists, files and leaks, five scans" steps

# least <n>: after n steps, the number of scans in which a site must have grown to be listed
least()
{
	sed -n '1s/.*each of the last \([0-9]*\) scans.*/\1/p' "$T/growth.$1"
}
check "growth lists sites that grew in two scans at first" eval \
	'[ "$(least 1)" = 2 ]'
check "... in three scans later, however many are kept" eval \
	'[ "$(least 2)" = 3 ] && [ "$(least 4)" = 3 ]'
grown()
{
	site_records "$T/growth.4" "$1"
	set -- "$1" $(field "$T/growth.4" "$1" 1-7)
	shift
	echo "$*"
	[ "$1" = "$N" ] && [ "$6" -ge 4 ] && [ "$7" -gt 0 ]
}
check "growth has the list that grows" eval 'N=300 && grown grow_list'
check "growth has the leak that grows" eval 'N=180 && grown leak_kzalloc'
history()
{
	set -- $(site_records "$T/sites.4" "$1" | cut -d ' ' -f 8-) end $2
	echo "$*"
	while [ $# -gt 1 ] && [ "$1" != end ]; do shift; done
	shift
	want="$*"
	have=$(site_records "$T/sites.4" "$FN" | cut -d ' ' -f 8-)
	# Scans before the steps come first.
	case " $have" in
	*" $want")	return 0 ;;
	esac
	echo "$have is not $want"
	return 1
}
FN=grow_list
check "the history of the list" history grow_list \
	"$((100 * one_size)) $((150 * one_size)) $((200 * one_size)) $((250 * one_size)) $((300 * one_size))"
FN=leak_kzalloc
check "the history of the leak" history leak_kzalloc \
	"102400 122880 143360 163840 184320"
check "growth has nothing of the detector" eval \
	'[ -s "$T/growth.4" ] && ! grep " kmt_" "$T/growth.4"'
check "growth has no tree that does not change" eval \
	'[ -s "$T/growth.4" ] && [ -n "$(site_records "$T/sites.4" hold_in)" ] &&
	 [ -z "$(site_records "$T/growth.4" hold_in)" ]'
# The initial file system is ramfs, or tmpfs, where the compiler may inline
# shmem_get_inode().
shrunk()
{
	for fn in ramfs_get_inode shmem_get_inode shmem_mknod; do
		if [ -n "$(site_records "$T/sites.4" $fn)" ]; then
			site_records "$T/growth.4" $fn
			[ -z "$(site_records "$T/growth.4" $fn)" ]
			return
		fi
	done
	echo "no site creates files"
	return 1
}
if grep -q "^rootfs / rootfs" /proc/mounts; then
	check "growth has no files that become fewer" shrunk
else
	skip "growth has no files that become fewer" "no ramfs"
fi

# The rate is that of the bytes and the times that are shown.
rate()
{
	set -- $(sed -n 2p "$T/sites.4")
	shift $(($# - 5))
	first=$1 last=$5
	rate=$(field "$T/sites.4" grow_list 7)
	rose=$(field "$T/sites.4" grow_list 6)
	echo "$first $last $rate $rose"
	awk -v a="$first" -v b="$last" -v rate="$rate" -v rose="$rose" \
		-v bytes=$((200 * one_size)) 'BEGIN {
		# The site also grew before the first of these five scans, from nothing.
		if (rose > 4)
			exit 0
		want = bytes * 3600 / (b - a)
		exit !(rate >= want * 0.99 && rate <= want * 1.01)
	}'
}
check "the rate in bytes an hour" rate

twenty()
{
	inject reap && reset || return
	want=
	for i in $(seq 20); do
		inject hold growing-list $i
		[ $i != 1 ] || look
		scan_and_look || return
		total=$((i * (i + 1) / 2 * one_size))
		[ $i -le 4 ] || want="$want $total"
	done
	have=$(site_records "$T/sites" grow_list | cut -d ' ' -f 8-)
	echo "$have, not$want"
	[ "$have" = "${want# }" ] &&
		[ "$(sed -n 2p "$T/sites" | wc -w)" = 17 ] &&
		[ "$(field "$T/growth" grow_list 6)" = 15 ] &&
		grammar "$T/sites" sites && grammar "$T/growth" growth
}
check "the last 16 of 20 scans are kept" twenty

# The identifier of a site depends on its backtrace only, and is the same after a reset.
ids()
{
	awk '/^site / { id = $2 } /^    (grow_list|kthread)\+/ { print id, $1 }' "$1" |
		sort -u
}
check "a site keeps its identifier" eval \
	'ids "$T/sites" | grep grow_list >"$T/ids" && [ "$(wc -l <"$T/ids")" = 1 ] &&
	 inject free && reset && inject hold growing-list 3 && look && ids "$T/sites" | grep grow_list | cmp - "$T/ids"'

# Readers while scans run: each reads one complete state, however slowly it reads.
reading()
{
	: >"$T/slow"
	rm -f "$T/stop"
	for file in sites growth; do
		while [ ! -e "$T/stop" ]; do
			dd if="$D/kmemtrack_info/$file" of="$T/slow.$file" bs=97 2>/dev/null
			grammar "$T/slow.$file" $file >"$T/slow.out" ||
				{ cat "$T/slow.out" >>"$T/slow"; break; }
			echo $file >>"$T/slow.done"
		done &
	done
	for i in $(rounds 20); do
		inject hold growing-list 10 && put "$REPORT" scan ||
			{ echo "scan: $ERR" >>"$T/slow"; break; }
	done
	# Both have read something.
	while ! { grep -q sites "$T/slow.done" && grep -q growth "$T/slow.done"; }; do
		[ ! -s "$T/slow" ] || break
		usleep 10000
	done
	: >"$T/stop"
	wait
	sort "$T/slow.done" | uniq -c
	cat "$T/slow"
	[ ! -s "$T/slow" ]
}
check "readers while scans run" reading

# An open file keeps its contents while there are scans, and after sites=0.
held()
{
	look || return
	{
		head -c 500
		inject hold growing-list 10 >&2 && put "$REPORT" scan
		put "$REPORT" sites=0 && put "$REPORT" scan
		cat
		put "$REPORT" "sites=$MAX"
	} <"$SITES" >"$T/held"
	grammar "$T/held" sites
}
check "an open file keeps its contents during scans and after sites=0" held

# The kernel has more sites than sites=64 allows.
few()
{
	put "$REPORT" sites=64 || return
	for i in $(seq 10); do
		put "$REPORT" scan && look && grammar "$T/sites" sites || return
		[ "$(stat_of sites)" -le 64 ] || return
	done
	bytes=$(stat_of sites_bytes)
	head -n 1 "$T/sites"
	tail -n 1 "$T/sites"
	echo "$bytes bytes"
	# At most 216 bytes a site, and two pages that are not full
	[ "$bytes" -le $((64 * 256 + 2 * PAGE)) ] &&
		tail -n 1 "$T/sites" | grep "^other: [1-9]" || return
	# The largest site is not among the "other" ones.
	few=$(sed -n '/^site/{s/.*objects, \([0-9]*\) bytes.*/\1/p;q}' "$T/sites")
	put "$REPORT" "sites=$MAX" && put "$REPORT" scan && look &&
		grammar "$T/sites" sites || return
	most=$(sed -n '/^site/{s/.*objects, \([0-9]*\) bytes.*/\1/p;q}' "$T/sites")
	echo "the largest one: $few bytes, $most bytes"
	[ "$few" = "$most" ] && ! grep "^other:" "$T/sites"
}
check "no more sites than sites= allows, and the others in one line" few

none()
{
	put "$REPORT" sites=0 && put "$REPORT" scan && look || return
	n=$(stat_of sites) bytes=$(stat_of sites_bytes)
	put "$REPORT" "sites=$MAX"
	head -n 1 "$T/sites"
	[ "$(cat "$T/sites")" = "kmemtrack-sites 1: off" ] &&
		[ "$n" = 0 ] && [ "$bytes" = 0 ]
}
check "no sites with sites=0" none

# The number of a site does not depend on the table.
without_table()
{
	put "$REPORT" sites=0 && inject hold growing-list 5 || return
	cat "$OBJECTS" >"$T/objects"
	put "$REPORT" "sites=$MAX" && look || return
	id=$(awk '/^site / { id = $2 } $1 ~ /^grow_list[+.]/ { print substr(id, 1, 8) }' "$T/sites")
	echo "site $id: $(grep -c ", site $id," "$T/objects")"
	[ "$(grep -c ", site $id, .* allocated by grow_list" "$T/objects")" -ge 5 ]
}
check "objects has the same numbers with sites=0" without_table
# The table of sites is neither a root nor a block.
hidden()
{
	inject reap && put "$REPORT" scan && look || return
	start && inject leak kmemdup 200 && look && scan && truth && judge &&
		strays && few_missed blocks &&
		! site_records "$T/sites" 'kmt_sites_[a-z]*' | grep .
}
check "the table hides no leak" hidden

# Sites of a module that is unloaded keep their names and their history.
gone()
{
	inject reap && reset && look || return
	inject leak kmemdup 30 && scan_and_look || return
	site_records "$T/sites" leak_kmemdup
	[ "$(field "$T/sites" leak_kmemdup 1)" = 30 ] || return
	truth
	cp "$T/truth" "$T/left"
	exec 7<"$SITES"
	head -c 200 <&7 >"$T/open"
	rmmod test_kmemtrack || return
	cat <&7 >>"$T/open"
	exec 7<&-
	scan_and_look
	load || return
	# The second instance of the module frees what the first one lost.
	awk '$1 == "leaked" { print $2 }' "$T/left" | while read -r addr; do
		inject reclaim "$addr" || exit
	done || return
	grep -c "leak_kmemdup+.* \[test_kmemtrack\]" "$T/open" "$T/sites"
	site_records "$T/sites" leak_kmemdup
	[ "$(field "$T/sites" leak_kmemdup 1)" = 30 ] &&
		[ "$(site_records "$T/open" leak_kmemdup | wc -l)" = 1 ] &&
		site_records "$T/sites" leak_kmemdup |
			grep -q " $((30 * 64)) $((30 * 64))$"
}
check "sites of an unloaded module keep their names" gone

# Periodic scans count sites even if no file was opened.
regular()
{
	reset && put "$REPORT" scan=1 || return
	for i in $(seq 300); do
		[ "$(stat_of sites)" = 0 ] || break
		usleep 100000
	done
	put "$REPORT" scan=off
	n=$(stat_of sites)
	echo "$n sites"
	[ "$n" -gt 0 ]
}
check "periodic scans count sites" regular
end
