#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Records of leaks: format, backtrace, task and contents
cd "$(dirname "$0")" && . ./lib.sh
begin module

# Leaks of every kind; of the kinds that are tested below so many that not all are missed
lose_all()
{
	for kind in $(sed -n "s/^leak //p" "$KINDS" | grep -vx kfence); do
		inject "leak $kind" || return
	done
	for kind in kmalloc-8 kmalloc-64 kmemdup cache-bulk vmalloc vmalloc-100k percpu \
		    hardirq thread updated; do
		inject "leak $kind 20" || return
	done
	scan && truth
}
check "a scan after leaks of every kind" lose_all
cat "$REPORT" >"$T/grouped"
lost=$(records)

grammar()
{
	awk '
	function want(what) { if (state != what) fail("not expected here") }
	function fail(why) { print why ": " $0; bad = 1 }
	/^unreferenced object 0x[0-9a-f]+ \(size [0-9]+\):$/ {
		if (NR > 1 && state != "frames")
			fail("the last record is cut short")
		if (length($3) < 10)
			fail("fewer than 8 digits")
		state = "comm"; n++; next
	}
	/^  comm ".*", pid -?[0-9]+, jiffies [0-9]+$/ {
		want("comm"); state = "dump"; next
	}
	/^  hex dump \(first [0-9]+ bytes( on cpu [0-9]+)?\):$/ {
		want("dump"); state = "rows"; rows = 0; next
	}
	/^    [0-9a-f][0-9a-f]( [0-9a-f][0-9a-f])* +[^ ].*$/ &&
	state == "rows" {
		if (++rows > 2)
			fail("more than two rows")
		next
	}
	/^  backtrace \(crc [0-9a-f]+\):$/ {
		want("rows"); state = "frames"; frames = 0; next
	}
	/^    [A-Za-z0-9_.]+\+0x[0-9a-f]+\/0x[0-9a-f]+( \[[a-z0-9_]+\])?$/ {
		want("frames"); frames++; next
	}
	{ fail("unknown line") }
	END { if (!n) { print "no record"; bad = 1 } exit bad }' "$T/report"
}
check "each record has the format that programs expect of kmemleak" grammar

# With the regular expression of the network stack's continuous integration
frames()
{
	total=$(awk '/^  backtrace/ { f = 1; next }
		     /^unref/ { f = 0 } f { n++ } END { print n }' "$T/report")
	known=$(awk '/^  backtrace/ { f = 1; next }
		     /^unref/ { f = 0 } f' "$T/report" |
		grep -cE '.*(  |0:|>\] )([A-Za-z0-9_.]+)\+0x[0-9a-f]+/0x[0-9a-f]+.*')
	echo "$known of $total frames"
	[ "$total" -gt 0 ] && [ "$total" = "$known" ]
}
check "each frame is a name, an offset and a size" frames

# Backtraces begin with the allocator, and have no functions of the detector.
no_detector()
{
	! awk '/backtrace/ { f = 1; next } /^unref|^leak/ { f = 0 } f' \
		"$T/report" "$T/grouped" |
		grep -E ' +(_*kmemleak|_*kmemtrack|kmt_|_*stack_trace|arch_stack_walk|stack_depot|_*save_stack)[a-z_]*\+'
}
check "no frame of the detector in a backtrace" no_detector

# of <kind>: prints the records of a kind
of()
{
	awk -v kind="$1" '
	FILENAME == ARGV[1] { if ($4 == kind) want[$2] = 1; next }
	/^unref/ { addr = $3; show = addr in want }
	show' "$T/truth" "$T/report"
}

# has <kind> <pattern>: each record of the kind has a line that matches the pattern
has()
{
	of "$1" | tee "$T/of"
	n=$(grep -c ^unref "$T/of")
	[ "$n" -gt 0 ] && [ "$n" = "$(grep -cE "$2" "$T/of")" ]
}
check "the backtrace begins with the allocator: kmalloc" \
	eval 'of kmalloc-64 | grep -A1 backtrace | grep -E "kmalloc|__kmem_cache_alloc_node"'
check "the function that leaks: kmalloc" \
	has kmalloc-64 '^    leak_kmalloc\+.* \[test_kmemtrack\]$'
check "the function that leaks: percpu" \
	has percpu '^    leak_percpu\+.* \[test_kmemtrack\]$'
check "the function that leaks: vmalloc" \
	has vmalloc '^    leak_vmalloc\+.* \[test_kmemtrack\]$'
check "the function that leaks: bulk" \
	has cache-bulk '^    leak_bulk\+.* \[test_kmemtrack\]$'
check "the function that leaks: hardirq" \
	has hardirq '^    leak_atomic_objects\+.* \[test_kmemtrack\]$'
check "the function that an object was handed to" \
	has updated '^    tk_handed_over\+.* \[test_kmemtrack\]$'
check "the name of a kernel thread" has thread '^  comm "tk_leaver", pid '
check "leaks of interrupts have \"hardirq\" or \"softirq\" for a task" \
	has hardirq '^  comm "(hardirq|softirq)", pid 0,'
check "contents are shown" \
	eval 'of kmemdup | grep -E "^    .*  duplicated by km$"'
# If ARCH_KMALLOC_MINALIGN is larger, for DMA, the smallest object has 64 bytes.
bytes=$(of kmalloc-8 | sed -n 's/^unref.* (size \([0-9]*\)):$/\1/p' | head -n 1)
[ "${bytes:-0}" -le 32 ] || bytes=32
check "not more bytes than the block has" \
	has kmalloc-8 "^  hex dump \(first $bytes bytes\):\$"
# In a kernel for one CPU a per-CPU block is an ordinary one.
if [ ! "$ONE_CPU" ]; then
	check "per-CPU contents are of a CPU" \
		has percpu '^  hex dump \(first 32 bytes on cpu [0-9]+\):$'
else
	skip "per-CPU contents are of a CPU" "a kernel for one CPU"
fi
# In whole pages
check "sizes are those asked for, or of the slab object" has vmalloc-100k \
	"^unreferenced object 0x[0-9a-f]+ \(size $(((102400 + PAGE - 1) / PAGE * PAGE))\):\$"

# Per-CPU pointers are small numbers on x86-64: some numbers look like one and hide a
# block, but unaligned words, made of the halves of two numbers, must not.
numbers()
{
	start && inject leak percpu 128 && scan && truth && judge &&
		few_missed blocks
}
check "numbers that look like pointers hide few per-CPU leaks" numbers

# A process with a name of its own
task()
{
	cp /bin/busybox "$T/busybox_kmt" && start || return
	"$T/busybox_kmt" sh -c \
		"echo \$\$ >$T/pid; echo leak caller 20 >$INJECT" || return
	scan && truth || return
	has caller "^  comm \"busybox_kmt\", pid $(cat "$T/pid"), jiffies" &&
		grep -E "comm \"busybox_kmt\" pid $(cat "$T/pid")\$" "$REPORT"
}
check "name and PID of a process that has exited" task

# A process may have any name: all outputs escape newlines, quotes and control characters
# in it.
hostile()
{
	start && put "$REPORT" verbose=on || return
	dmesg -c >/dev/null
	sh -c "printf 'a\\nunref\"b\\\\\033c' >/proc/\$\$/comm
		echo leak caller 20 >$INJECT"
	scan && truth
	rc=$?
	put "$REPORT" "dump=$(awk '{ print $2; exit }' "$T/truth")" || rc=1
	put "$REPORT" verbose=off
	dmesg >"$T/log"
	cat "$T/report" "$REPORT" "$T/log" >"$T/all.shown"
	grep comm "$T/all.shown"
	name='a\\012unref\\042b\\134\\033c'
	[ $rc = 0 ] && judge && ! grep -a "^unref\"b" "$T/all.shown" &&
		has caller "^  comm \"$name\", pid [0-9]*, jiffies" &&
		grep -q "comm \"$name\" pid [0-9]*\$" "$REPORT" &&
		grep -q "tasks \"$name\" [0-9]*\$" "$REPORT" &&
		grep -q "kmemleak:   comm \"$name\", pid" "$T/log" &&
		grep -q "kmemtrack:   comm \"$name\", pid" "$T/log" &&
		grep -q "kmemtrack: leak site .*, task \"$name\"\$" "$T/log"
}
check "the name of a process is escaped" hostile

# after <pattern>: prints the frames after the one that matches
after()
{
	awk -v name="$1" '
	/^    [A-Za-z0-9_.]+\+0x/ { if (show) print; show = show || $1 ~ name; next }
	{ show = 0 }'
}

# A backtrace down to the system call is unwound the first time, and recognised from then
# on. Both must equal what the kernel's unwinder returns. Of a long backtrace the record
# has the innermost 16 frames.
system_call()
{
	start || return
	for nr in 1 2; do
		inject leak caller && inject leak caller 3 || return
	done
	scan && truth && judge && few_missed blocks || return
	after '^leak_caller[.+]' <"$INJECT"_unwound >"$T/unwound"
	for nr in $(seq "$(records)"); do
		of caller | awk -v nr=$nr '/^unref/ { n++ } n == nr' |
			after '^leak_caller[.+]' >"$T/walked"
		lines=$(wc -l <"$T/walked")
		echo "$nr: $lines frames of $(wc -l <"$T/unwound")"
		[ "$lines" -gt 4 ] || return
		[ "$(of caller | awk -v nr=$nr '/^unref/ { n++ }
			n == nr && /^    [A-Za-z_].*\+0x/' | wc -l)" = 16 ] ||
			[ "$lines" = "$(wc -l <"$T/unwound")" ] || return
		head -n "$lines" "$T/unwound" | diff "$T/walked" - || return
	done
}
check "the backtrace of a system call is the unwinder's" system_call

grouped()
{
	cat "$T/grouped"
	awk -v RS= '
	NR == 1 && /^kmemtrack 1: [0-9]+ leaks, [0-9]+ bytes, [0-9]+ sites; / {
		leaks = $3; bytes = $5; sites = $7; next
	}
	/^leak: [0-9]+ objects, [0-9]+ bytes \([0-9]+ direct, [0-9]+ indirect\), / &&
	/\n  first [0-9.]+ s ago, last [0-9.]+ s ago, comm ".*" pid [0-9]+\n/ &&
	/\n  tasks ".*" [0-9]+( and [0-9]+ more)?\n/ &&
	/\n  object 0x[0-9a-f]+\n/ && /\n  hex dump \(first [0-9]+ bytes/ &&
	/\n  backtrace:\n    [a-zA-Z_]/ {
		n++; l += $2; b += $4; next
	}
	{ print "not a record: " $0; bad = 1 }
	END {
		print n, l, b
		exit bad || !n || n != sites || l != leaks || b != bytes
	}' "$T/grouped"
}
check "records of the grouped report are complete and add up" grouped

# Each record of direct leaks is followed by the records of their indirect leaks, and has
# the sums of these; such groups are sorted by their bytes.
ordered()
{
	cat "$T/grouped"
	awk '
	function fail(why) { print why; bad = 1 }
	function end_group() {
		if (!leader)
			return
		if (told != "" && told != direct " " indirect " " bytes)
			fail(leader ": " told ", not " direct " " indirect " " bytes)
		if ((told != "") != (records > 1))
			fail(leader ": " records " records")
		if (groups++ && bytes > last)
			fail(leader ": more bytes than the one before")
		last = bytes
	}
	/^leak: / {
		gsub(/[(,);]/, " ")
		if ($6) {
			end_group()
			leader = $0
			told = ""
			direct = indirect = bytes = records = 0
			for (i = 11; i + 6 < NF; i++)
				if ($i == "in" && $(i + 1) == "all")
					told = $(i + 2) " " $(i + 4) " " $(i + 6)
			if (told != "")
				many++
		} else if (!leader) {
			fail("begins with what hangs on something")
		}
		direct += $6
		indirect += $8
		bytes += $4
		records++
	}
	END {
		end_group()
		print groups, "groups,", many + 0, "of several records"
		exit bad || !groups || !many
	}' "$T/grouped"
}
check "direct leaks are followed by their indirect leaks" ordered

# Processes with six names lose blocks at one site: the report has four of the names.
tasks()
{
	start || return
	n=2
	for name in a f c b e d; do
		cp /bin/busybox "$T/busybox_kmt_$name" &&
			"$T/busybox_kmt_$name" sh -c "echo leak caller $n >$INJECT" || return
		n=$((n + 4))
	done
	scan && truth && judge && few_missed blocks || return
	of caller | sed -n 's/^  comm \("busybox_kmt_.*"\), pid .*/\1/p' |
		sort | uniq -c |
		sort -rn | awk '
		NR <= 4 { printf("%s%s %d", (NR > 1) ? ", " : "  tasks ", $2, $1) }
		END { print " and " NR - 4 " more" }' >"$T/tasks"
	cat "$T/tasks" "$REPORT"
	grep -q '^  tasks "busybox_kmt_d" .* and 2 more$' "$T/tasks" &&
		grep -qxFf "$T/tasks" "$REPORT"
}
check "the tasks of a site are counted" tasks

# Blocks of different sizes from one site are one record, which has the range of sizes.
sizes()
{
	start || return
	for size in 64 1024 256 512; do
		inject "leak kmalloc-$size 20" || return
	done
	scan && truth && judge || return
	cat "$REPORT"
	bytes=$(sed -n 's/^unref.*(size \([0-9]*\)):$/\1/p' "$T/report" |
		awk '{ n += $1 } END { print NR " objects, " n " bytes" }')
	[ "$(grep -c '^leak: ' "$REPORT")" = 1 ] &&
		grep -q "^leak: $bytes .*, size [0-9]* (64 to 1024)\$" "$REPORT"
}
check "blocks of all sizes are of one site" sizes

# requested <kind> <sizes>: loses 20 blocks of the kind; the record ends in these sizes
requested()
{
	start && inject "leak $1 20" && scan && truth && judge || return
	cat "$REPORT"
	grep -qE "^leak: .*, size $2\$" "$REPORT"
}
check "what was asked for is shown, if blocks are larger" \
	requested kmalloc-710 "1024, requested 710"
check "... and not, if they are not" requested kmalloc-1024 1024

# The same of one site, whose oldest blocks are 710 of 1024 bytes
several_requested()
{
	start || return
	for size in 710 64 1024; do
		inject "leak kmalloc-$size 20" && sleep 1 || return
	done
	scan && truth && judge || return
	cat "$REPORT"
	grep -q '^leak: .*, size 1024 (\(64\|128\) to 1024), requested 710 (64 to 1024)$' "$REPORT"
}
check "... of blocks of several sizes" several_requested

# A newline in the name of a task is escaped: the name cannot forge a record.
forged()
{
	name=$(printf 'busybox\nunref')
	cp /bin/busybox "$T/$name" && start &&
		"$T/$name" sh -c "echo leak caller 5 >$INJECT" && scan &&
		truth && judge && grammar &&
		has caller '^  comm "busybox.012unref", pid '
}
check "a process name with a newline" forged

same_leaks()
{
	leaks=$(sed -n '1s/.*: \([0-9]*\) leaks.*/\1/p' "$T/grouped")
	echo "$leaks leaks in one, $lost in the other"
	[ "$leaks" -gt 50 ] && [ "$leaks" = "$lost" ]
}
check "both reports have the same leaks" same_leaks
end
