#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# However the reports are read, they are the same; also by several readers,
# and while scans run.
cd "$(dirname "$0")" && . ./lib.sh
begin module

inject "leak cache 20"
inject "leak vmalloc 10"
inject "leak chain 10"
scan
truth
cat "$LEAKS" >"$T/whole"
# Ages change from read to read.
grouped()
{
	sed 's/^  first .*comm/  comm/' "$@"
}
grouped "$REPORT" >"$T/whole.grouped"

check "leaks to read" eval '[ "$(grep -c ^unref "$T/whole")" -ge 5 ]'
for size in 1 7 4096; do
	check "kmemleak in pieces of $size" \
		eval 'dd if="$LEAKS" bs=$size 2>/dev/null | cmp - "$T/whole"'
	check "kmemtrack in pieces of $size" \
		eval 'dd if="$REPORT" bs=$size 2>/dev/null | grouped | cmp - "$T/whole.grouped"'
done
check "seek: the end of kmemleak" \
	eval 'dd if="$LEAKS" bs=1 skip=333 2>/dev/null >"$T/a"; tail -c +334 "$T/whole" | cmp - "$T/a"'
check "seek: beyond the end" \
	eval '[ -z "$(dd if="$LEAKS" bs=1 skip=99999999 2>/dev/null)" ]'

# A client that writes and reads on the same file descriptor
same_fd()
{
	exec 3<>"$1"
	echo -n scan >&3 && cat <&3 >"$T/a"
	rc=$?
	exec 3>&-
	[ $rc = 0 ] && sed 's/^  first .*comm/  comm/
s/; scan .*//' "$T/a" >"$T/b" && sed 's/; scan .*//' "$2" | cmp - "$T/b"
}
check "write, then read, without a seek: kmemleak" same_fd "$LEAKS" "$T/whole"
check "write, then read, without a seek: kmemtrack" \
	same_fd "$REPORT" "$T/whole.grouped"

two_readers()
{
	pids=
	for i in 1 2; do
		(
			for j in 1 2 3 4 5 6 7 8 9 10; do
				cat "$LEAKS" | cmp - "$T/whole" || exit 1
				dd if="$LEAKS" bs=50 2>/dev/null |
					cmp - "$T/whole" || exit 1
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

# One line per record, without what changes
flat()
{
	awk '/^unref/ && NR > 1 { print "" } { printf "%s|", $0 }
	     END { if (NR) print "" }' "$@" | sort
}

# While scans run, readers see whole records of what was lost, and nothing
# else. A reader may hold an address just when the scan comes by, so that a leak
# is acquitted for once, but not by the scan after that. There are at least ten
# reads and at least three scans.
readers_and_scans()
{
	flat "$T/whole" >"$T/flat"
	rm -f "$T/stop" "$T/scans"
	(
		while [ ! -e "$T/stop" ]; do
			echo scan >"$REPORT" || exit 1
			echo >>"$T/scans"
		done
	) &
	pid=$!
	rc=0
	reads=0
	while [ $reads -lt 10 ] || [ "$(cat "$T/scans" | wc -l)" -lt 3 ]; do
		kill -0 $pid || { rc=1; break; }
		cat "$LEAKS" >"$T/a" || rc=1
		flat "$T/a" | grep -vxFf "$T/flat" && rc=1
		reads=$((reads + 1))
		cat "$REPORT" "$STATS" >/dev/null || rc=1
	done
	: >"$T/stop"
	wait $pid || rc=1
	echo "$reads reads, $(wc -l <"$T/scans") scans"
	scan && : >"$T/tally" && judge && strays || rc=1
	flat "$T/report" | grep -vxFf "$T/flat" && rc=1
	few_missed blocks cache || rc=1
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

# A reader that goes away in the middle
check "a reader that stops early" \
	eval 'for i in 1 2 3 4 5; do dd if="$REPORT" bs=100 count=1; done 2>/dev/null | grep -q "^kmemtrack 1: [1-9]"'
end
