#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What the programs that use kmemleak do, step by step, but with shorter sleeps: each must
# find nothing while nothing is lost, and then the blocks that are lost. None of their
# steps may fail.
cd "$(dirname "$0")" && . ./lib.sh
begin module
if [ ! -e "$LEAKS" ]; then
	skip "programs that use kmemleak" "no kmemleak file"
	end
	exit
fi
PARAMETERS=/sys/module/kmemleak/parameters

# Each of these leaves what the program would show in $T/seen.

# fstests, common/rc: two scans after each test, everything that they show, and clear
fstests()
{
	echo "scan=off" >"$LEAKS" &&
		echo scan >"$LEAKS" && cat "$LEAKS" >"$T/seen" &&
		echo scan >"$LEAKS" && cat "$LEAKS" >>"$T/seen" &&
		echo clear >"$LEAKS"
}

# blktests: one scan after each test; the kernel's configuration must have the symbol.
# $1 is what the test does.
blktests()
{
	[ ! -e /proc/config.gz ] || has_config DEBUG_KMEMLEAK || return
	echo clear >"$LEAKS" && "$@" && echo scan >"$LEAKS" && usleep 100000 &&
		cat "$LEAKS" >"$T/seen"
}

# syzkaller: one file for all writes, and a single read without a seek. It divides what it
# has read at each "unreferenced object".
syzkaller()
{
	echo "scan=off" >"$LEAKS" && echo scan >"$LEAKS" && usleep 100000 &&
		echo scan >"$LEAKS" && echo clear >"$LEAKS" && "$@" || return
	exec 3<>"$LEAKS"
	printf scan >&3 && usleep 100000 && printf scan >&3 &&
		dd bs=1M count=1 <&3 >"$T/seen" 2>/dev/null &&
		usleep 100000 && printf scan >&3 &&
		dd bs=1M count=1 <&3 >"$T/again" 2>/dev/null && printf clear >&3
	rc=$?
	exec 3>&-
	[ $rc = 0 ] || return
	grep -c "^unreferenced object" "$T/seen" "$T/again"
	# After a write, a read begins at the start again. One read has a few records.
	[ "$(head -n 1 "$T/seen")" = "$(head -n 1 "$T/again")" ] || return
	awk '
	/^unreferenced object/ { n++; title = "" }
	/backtrace( \(crc [0-9a-f]+\))?:$/ { traces++; inside = 1; next }
	/^unreferenced/ { inside = 0 }
	inside && title == "" {
		name = $1
		sub(/\+.*/, "", name)
		if (name !~ /kmem|slab|alloc/) {
			title = name
			titles[title]++
		}
	}
	END {
		for (title in titles)
			print titles[title] " leaks in " title
		exit n != traces || (n && !titles["leak_cache"])
	}' "$T/seen"
}

# NIPA, which tests patches for the network: looks for the name of the file, and takes
# lines that begin a record and frames by regular expressions
nipa()
{
	ls "$D" | grep -qx kmemleak && echo scan >"$LEAKS" && usleep 100000 &&
		echo scan >"$LEAKS" && cat "$LEAKS" >"$T/nipa" || return
	grep -E '^unreferenced object 0x' "$T/nipa" >"$T/seen"
	sed -nE 's/.*(  |0:|>\] )([a-z0-9_]+)\+0x[0-9a-f]+\/0x[0-9a-f]+.*/\2/p' \
		"$T/nipa" >>"$T/seen"
	:
}

# The CI of multipath TCP: one scan, and how much there is to read
mptcp()
{
	echo scan >"$LEAKS" && cat "$LEAKS" >"$T/seen"
}

# igt, tests of graphics: the first byte tells whether there is anything, and then a file
# that was opened once for both directions
igt()
{
	echo scan >"$LEAKS" && dd if="$LEAKS" bs=1 count=1 >"$T/byte" 2>/dev/null || return
	: >"$T/seen"
	[ -s "$T/byte" ] || return 0
	exec 3<>"$LEAKS"
	printf scan >&3 && cat <&3 >"$T/seen"
	rc=$?
	exec 3>&-
	return $rc
}

# The test runner of ZFS, for which each error is fatal
zfs()
{
	echo clear >"$LEAKS" && "$@" && echo scan >"$LEAKS" && cat "$LEAKS" >"$T/seen"
}

# The tests of nftables: a scan, and the number of records
nftables()
{
	echo scan >"$LEAKS" || return
	nr=$(grep -c "unreferenced object" "$LEAKS")
	[ $? -le 1 ] || return
	: >"$T/seen"
	[ "$nr" = 0 ] || cat "$LEAKS" >"$T/seen"
}

# libsan, which Red Hat uses: all of these must succeed
libsan()
{
	for command in scan=on stack=on clear; do
		echo $command >"$LEAKS" || return
	done
	"$@" && echo scan >"$LEAKS" && cat "$LEAKS" >"$T/seen" || return
	for command in scan=off stack=off; do
		echo $command >"$LEAKS" || return
	done
	echo stack=on >"$LEAKS"
}

# CKI: the line of the log
cki()
{
	dmesg -c >/dev/null
	echo scan >"$LEAKS" || return
	dmesg | grep -q "kmemleak.*new suspected memory leaks" && cat "$LEAKS" >"$T/seen" ||
		: >"$T/seen"
}

# The kernel's own tests of kmemleak: records in the log, each backtrace once
verbose_log()
{
	[ -w "$PARAMETERS/verbose" ] && echo 1 >"$PARAMETERS/verbose" || return
	dmesg -c >/dev/null
	echo scan >"$LEAKS"
	rc=$?
	echo 0 >"$PARAMETERS/verbose"
	dmesg >"$T/log"
	grep -E "kmemleak: (unreferenced object| +backtrace \(crc|   .*leak_cache)" "$T/log" \
		>"$T/seen"
	[ ! -s "$T/seen" ] || grep -qE \
		"\.\.\. and [0-9]+ more object\(s\) with the same backtrace" "$T/log" || return
	return $rc
}

# stress-ng: many scans at a time
stress_ng()
{
	pids=
	for i in 1 2 3 4 5 6 7 8; do
		echo scan >"$LEAKS" &
		pids="$pids $!"
	done
	rc=0
	for pid in $pids; do
		wait "$pid" || rc=1
	done
	cat "$LEAKS" >"$T/seen" && return $rc
}

lose()
{
	inject leak cache 20
}

clean()
{
	start && : >"$T/seen" && "$1" true || return
	cat "$T/seen"
	[ ! -s "$T/seen" ]
}

# Blocks are lost while the program runs its test, if it says when that is, or before.
finds()
{
	start && : >"$T/seen" || return
	case $1 in
	blktests|syzkaller|zfs|libsan)
		"$1" lose || return ;;
	*)	lose && "$1" true || return ;;
	esac
	head -n 20 "$T/seen"
	seen=$(grep -c leak_cache "$T/seen")
	[ "$seen" -ge $least ]
}

for client in fstests blktests syzkaller nipa mptcp igt zfs nftables libsan cki verbose_log \
	      stress_ng; do
	# Stale words may hide some of the 20 blocks.
	case $client in
	syzkaller)	least=3 ;;
	verbose_log)	least=1 ;;
	*)		least=15 ;;
	esac
	check "$client: nothing is lost" clean $client
	check "$client: blocks are lost" finds $client
done
inject reap
end
