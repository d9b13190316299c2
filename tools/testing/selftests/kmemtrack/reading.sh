#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A report has the same contents whatever the size of the reads, with several readers, and
# while scans run.
cd "$(dirname "$0")" && . ./lib.sh
begin module

inject "leak cache 20"
inject "leak vmalloc 10"
inject "leak chain 10"
# A stale word may hide a block from one scan. The tests below compare reads of one report,
# so scan until two scans in a row have found as many leaks.
for i in $(seq 10); do
	scan
	grep -c '^unref' "$T/report" >"$T/found"
	! cmp -s "$T/found" "$T/found_before" || break
	cp "$T/found" "$T/found_before"
done
truth
cat "$LEAKS" >"$T/whole"
# Ages change from read to read.
grouped()
{
	sed 's/^  first .*comm/  comm/' "$@"
}
grouped "$REPORT" >"$T/whole.grouped"

check "there are leaks to read" eval '[ "$(grep -c ^unref "$T/whole")" -ge 5 ]'
for size in 1 7 4096; do
	check "kmemleak, read in pieces of $size bytes" \
		eval 'dd if="$LEAKS" bs=$size 2>/dev/null | cmp - "$T/whole"'
	check "kmemtrack, read in pieces of $size bytes" \
		eval 'dd if="$REPORT" bs=$size 2>/dev/null | grouped | cmp - "$T/whole.grouped"'
done
check "seek: the end of kmemleak" \
	eval 'dd if="$LEAKS" bs=1 skip=333 2>/dev/null >"$T/a"; tail -c +334 "$T/whole" | cmp - "$T/a"'
check "seek: beyond the end" \
	eval '[ -z "$(dd if="$LEAKS" bs=1 skip=99999999 2>/dev/null)" ]'

# A client that writes and reads on the same file descriptor gets the report of its scan,
# which a later read repeats. An earlier scan may have missed other leaks.
same_fd()
{
	before=$(stat_of scans)
	exec 3<>"$1"
	echo -n scan >&3 && cat <&3 >"$T/a"
	rc=$?
	exec 3>&-
	cat "$1" >"$T/b"
	grouped "$T/a" >"$T/a.grouped"
	[ $rc = 0 ] && [ "$(stat_of scans)" = $((before + 1)) ] &&
		grep -q leak_cache "$T/a" && grouped "$T/b" | cmp - "$T/a.grouped"
}
check "write, then read, without a seek: kmemleak" same_fd "$LEAKS"
check "write, then read, without a seek: kmemtrack" same_fd "$REPORT"
cat "$LEAKS" >"$T/whole"

two_readers()
{
	pids=
	for i in 1 2; do
		(
			for j in 1 2 3 4 5 6 7 8 9 10; do
				cat "$LEAKS" | diff "$T/whole" - || exit 1
				dd if="$LEAKS" bs=50 2>/dev/null |
					diff "$T/whole" - || exit 1
			done
		) &
		pids="$pids $!"
	done
	rc=0
	for pid in $pids; do
		wait "$pid" || rc=1
	done
	return $rc
}
check "two readers at a time" two_readers

# flat: one line per record
flat()
{
	awk '/^unref/ && NR > 1 { print "" } { printf "%s|", $0 }
	     END { if (NR) print "" }' "$@" | sort
}

# While scans run, each read returns all leaks, and nothing else: neither the buffer of a
# reader nor its copy of the report is a reference to a leak. There are at least 60 reads
# and 30 scans.
readers_and_scans()
{
	start && inject "leak kmalloc-64 50" && scan && truth && judge && strays ||
		return
	flat "$T/report" >"$T/flat"
	: >"$T/short"
	rm -f "$T/stop" "$T/scans"
	(
		while [ ! -e "$T/stop" ]; do
			echo scan >"$REPORT" || exit 1
			echo >>"$T/scans"
			# The readers need the CPU, too.
			usleep 50000
		done
	) &
	pid=$!
	# Slow readers: each keeps its copy of the report for a while.
	for i in 1 2 3; do
		while [ ! -e "$T/stop" ]; do
			{
				dd bs=1 count=1 of=/dev/null 2>/dev/null
				usleep 15000
			} <"$LEAKS"
		done &
	done
	rc=0
	reads=0
	while [ $reads -lt 60 ] || [ "$(cat "$T/scans" | wc -l)" -lt 30 ]; do
		kill -0 $pid || { rc=1; break; }
		cat "$LEAKS" >"$T/report" || rc=1
		strays || rc=1
		flat "$T/report" >"$T/now"
		grep -vxFf "$T/now" "$T/flat" >>"$T/short"
		reads=$((reads + 1))
		cat "$REPORT" "$STATS" >/dev/null || rc=1
	done
	: >"$T/stop"
	wait $pid || rc=1
	wait
	echo "$reads reads, $(wc -l <"$T/scans") scans"
	# All records that were missing in at least one read
	sort -u "$T/short" | cut -c1-70 | tee "$T/short.once"
	: >"$T/tally"
	awk -v short="$(wc -l <"$T/short.once")" 'END {
		for (i = 0; i < NR; i++)
			print "kmalloc-64", 0, 0, 64, (i < short ? 1 : 0)
	}' "$T/flat" >"$T/tally"
	few_missed blocks kmalloc-64 || rc=1
	return $rc
}
check "readers while scans run" readers_and_scans

eight_scans()
{
	start && inject "leak cache 100" || return
	pids=
	for i in 1 2 3 4 5 6 7 8; do
		echo scan >"$LEAKS" &
		pids="$pids $!"
	done
	rc=0
	for pid in $pids; do
		wait "$pid" || { echo "a scan failed"; rc=1; }
	done
	cat "$LEAKS" >"$T/report"
	truth
	judge && strays && few_missed blocks && return $rc
}
check "eight scans at a time" eight_scans

# part <number>: reads that many bytes of kmemleak's file, from descriptor 3, into $T/part
part()
{
	dd bs="$1" count=1 <&3 2>/dev/null >"$T/part"
}

# $T/part is the beginning of $T/whole, and ends where a record ends.
whole_records()
{
	ends=$(wc -c <"$T/part")
	echo "$ends bytes"
	head -c "$ends" "$T/whole" | cmp - "$T/part" || return
	rest=$(tail -c +$((ends + 1)) "$T/whole" | head -n 1)
	[ -z "$rest" ] || [ "${rest#unreferenced object}" != "$rest" ]
}

# A slow reader: between its reads there are new leaks and scans. A scan may miss a block
# that an earlier one found; what the report has before and after is in the reader's part.
slow_reader()
{
	start && inject "leak cache 60" && inject "leak vmalloc 10" && scan &&
		cp "$T/report" "$T/whole" || return
	for size in 1 700 5000; do
		exec 3<"$LEAKS"
		part $size && put "$REPORT" scan &&
			inject "leak kmalloc-64 300" && put "$REPORT" scan
		cat <&3 >>"$T/part"
		exec 3<&-
		cat "$LEAKS" >"$T/later"
		# New leaks may be printed between the others: the report is in the
		# order of the pool.
		flat "$T/whole" >"$T/flat"
		flat "$T/later" | grep -xFf "$T/flat" >"$T/stay"
		echo "$(wc -l <"$T/stay") of $(wc -l <"$T/flat") stay"
		[ "$(wc -l <"$T/stay")" -ge 35 ] || return
		flat "$T/part" >"$T/now"
		grep -vxFf "$T/now" "$T/stay" && return 1
		put "$REPORT" scan
	done
	return 0
}
check "a slow reader sees each leak that stays" slow_reader

# After "clear" a reader gets the rest of the record that it has begun, and no more.
clear_between()
{
	start && inject "leak cache 60" && scan && cp "$T/report" "$T/whole" ||
		return
	exec 3<"$LEAKS"
	part 700 && put "$REPORT" clear
	cat <&3 >>"$T/part"
	exec 3<&-
	echo "$(grep -c ^unref "$T/part") of $(grep -c ^unref "$T/whole")"
	whole_records && [ "$(grep -c ^unref "$T/part")" -le 10 ] &&
		[ -z "$(cat "$LEAKS")" ]
}
check "clear between two reads" clear_between

# Leaks that are freed are not printed any more, even without a scan.
freed_between()
{
	start && inject "leak cache 60" && scan && cp "$T/report" "$T/whole" ||
		return
	[ "$(total)" -gt 50 ] || return
	exec 3<"$LEAKS"
	part 700 && inject reap
	cat <&3 >>"$T/part"
	exec 3<&-
	whole_records && [ "$(grep -c ^unref "$T/part")" -le 10 ] &&
		[ "$(total)" = 0 ] && [ -z "$(cat "$LEAKS")" ]
}
check "leaks are freed between two reads" freed_between

# The pool gives back the page that a reader has got to. The reader reads to the end, and
# once more. KASAN reports an error if the reader uses the page.
page_gone()
{
	for i in 1 2 3; do
		start && inject "leak cache 300" && scan || return
		exec 3<"$LEAKS"
		part 700 && inject reap && put "$REPORT" off &&
			put "$REPORT" on || return
		cat <&3 >/dev/null && [ -z "$(cat <&3)" ] || return
		# Other blocks get the memory of the page.
		inject "leak kmalloc-1024 300" && inject reap || return
		[ -z "$(cat <&3)" ] || return
		exec 3<&-
	done
}
check "memory of the detector is given back between two reads" page_gone

# used: kilobytes of vmalloc memory, where the detector would keep a copy of all leaks
used()
{
	awk '/^VmallocUsed/ { print $2 }' /proc/meminfo
}

now()
{
	awk '{ print int($1 * 100) }' /proc/uptime
}

# A report takes no memory per leak: with 64 bytes for each it would take 3 MB, or 2 MB in
# a kernel with debugging options. Nor does each open file count all leaks again: reading
# the first byte ten times takes less time than printing all leaks once.
many()
{
	start || return
	before=$(used)
	half=25000
	[ ! -e /proc/lockdep ] || half=15000
	inject "leak kmalloc-64 $half" && inject "leak kmalloc-64 $half" &&
		put "$REPORT" scan || return
	exec 3<"$REPORT" 4<"$LEAKS"
	dd bs=1 count=1 <&3 >/dev/null 2>&1
	dd bs=1 count=1 <&4 >/dev/null 2>&1
	after=$(used)
	exec 3<&- 4<&-
	begin=$(now)
	for i in 1 2 3 4 5 6 7 8 9 10; do
		dd if="$REPORT" bs=1 count=1 >/dev/null 2>&1
	done
	middle=$(now)
	listed=$(grep -c ^unref "$LEAKS")
	end=$(now)
	echo "$(total) leaks, $listed records; $((after - before)) kB;" \
		"the first byte ten times $((middle - begin))0 ms," \
		"all records $((end - middle))0 ms" | tee -a "$T/chance"
	[ "$(total)" -gt $((half + half / 2)) ] && [ "$listed" = "$(total)" ] &&
		[ $((after - before)) -lt 1024 ] &&
		[ $((middle - begin)) -lt $((end - middle)) ]
}
check "a report of very many leaks is small" many

# A reader that closes the file in the middle of the report
start && inject "leak cache 20" && scan
check "a reader that stops early" \
	eval 'for i in 1 2 3 4 5; do dd if="$REPORT" bs=100 count=1; done 2>/dev/null | grep -q "^kmemtrack 1: [1-9]"'
end
