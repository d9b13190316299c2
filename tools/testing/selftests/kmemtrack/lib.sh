# SPDX-License-Identifier: GPL-2.0
# Sourced by the tests. They need nothing but a POSIX shell and BusyBox.

D=/sys/kernel/debug
LEAKS=$D/kmemleak
REPORT=$D/kmemtrack
STATS=$D/kmemtrack_info/stats
INJECT=$D/test_kmemtrack
KINDS=$D/test_kmemtrack_kinds
T=${TMPDIR:-/tmp}/kmemtrack.$$

# What it is, to be set again: kernels that check themselves are given more.
MAX_PAUSE=$(cat /sys/module/kmemtrack/parameters/max_pause)

tests=0
failed=0
attempt=1

diag()
{
	echo "# $*"
}

# result <status> <name>: one test
result()
{
	tests=$((tests + 1))
	if [ "$1" = 0 ]; then
		echo "ok $tests - $2"
	else
		failed=$((failed + 1))
		echo "not ok $tests - $2"
	fi
}

# check <name> <command...>: one test, passed if the command succeeds; what it
# prints tells why it did not
check()
{
	check_name=$1
	attempt=1
	shift
	if "$@" >"$T/why" 2>&1; then
		# Success at last is luck, too: tell what went before.
		if [ "$attempt" -gt 1 ]; then
			head -n 40 "$T/why" | sed 's/^/# /'
			diag "attempts: $attempt"
		fi
		result 0 "$check_name"
	else
		head -n 40 "$T/why" | sed 's/^/# /'
		result 1 "$check_name"
	fi
}

# Whether the machine may go on with code that was patched since: an emulator
# before QEMU 8.1 with a thread for each CPU. Who starts it says so. A hook may
# then stay off until the next time that it is switched on.
stale_code()
{
	grep -qw kmt_stale_code /proc/cmdline
}

# rounds <number>: as many, or a quarter where each takes long, in a kernel that
# checks its locks
rounds()
{
	if [ -e /proc/lockdep ]; then
		seq $((($1 + 3) / 4))
	else
		seq "$1"
	fi
}

# Switched while others ran; there, once more while nobody does.
quiet_code()
{
	! stale_code || { put "$REPORT" off && put "$REPORT" on; }
}

# overlaps: how many allocations came upon a record of a block that was gone
overlaps()
{
	stat_of overlapping_allocations
}

as_many_overlaps()
{
	echo "$(overlaps), before $1"
	[ "$(overlaps)" = "$1" ]
}

# check_overlaps <before>: what was told of after "off", or before all frees
# were told of, would be such a record
check_overlaps()
{
	if stale_code; then
		tests=$((tests + 1))
		echo "ok $tests - no record outlived its block # SKIP stale code"
		return
	fi
	check "no record outlived its block" as_many_overlaps "$1"
}

skip_all()
{
	echo "1..0 # SKIP $*"
	exit 4
}

# put <file> <text>: writes the text in one go; $ERR says what went wrong
put()
{
	ERR=
	echo -n "$2" 2>"$T/err" >"$1" && return 0
	ERR=$(sed 's/.*: //' "$T/err")
	return 1
}

# A scan that is to succeed, and the report after it in $T/report
scan()
{
	put "$REPORT" scan || { echo "scan: $ERR"; return 1; }
	cat "$LEAKS" >"$T/report"
}

inject()
{
	put "$INJECT" "$*" || { echo "inject $*: $ERR"; return 1; }
}

# What is true of all objects in $T/all, and in $T/truth without those that an
# earlier attempt left behind
truth()
{
	cat "$INJECT" >"$T/all"
	if [ -s "$T/old" ]; then
		grep -vxFf "$T/old" "$T/all" >"$T/truth"
	else
		cp "$T/all" "$T/truth"
	fi
	:
}

# thrice <command...>: memory is read conservatively: a stale word that looks
# like an address, on some stack, can hide a leak. That is luck; three times
# in a row, each time with other memory, is not. What RCU is about to free is
# full of such words: on a busy host that takes longer, and is gone by the next.
thrice()
{
	for attempt in 1 2 3; do
		"$@" && return
		echo "attempt $attempt failed"
		sleep 1
	done
	return 1
}

# At the beginning of what is attempted thrice: no leaks, and memory that was
# not used before
start()
{
	: >"$T/old"
	if [ "$attempt" = 1 ]; then
		inject reap || return
	else
		inject free || return
		cat "$INJECT" >"$T/old"
	fi
	put "$REPORT" clear
}

# judge [kind]: compares $T/report with $T/truth; prints what is wrong
judge()
{
	awk -v kind="$1" '
	FILENAME == ARGV[1] {
		if ($1 == "unreferenced") {
			addr = $3
			sub(/:$/, "", addr)
			reported[addr] = 1
		}
		next
	}
	kind != "" && $4 != kind { next }
	$1 == "leaked" && !($2 in reported) { print "missed:", $0; bad = 1 }
	$1 != "leaked" && $2 in reported { print "false alarm:", $0; bad = 1 }
	END { exit bad }' "$T/report" "$T/truth"
}

# What $T/report has and the injector knows nothing of
strays()
{
	awk '
	FILENAME == ARGV[1] { known[$2] = 1; next }
	$1 == "unreferenced" {
		addr = $3
		sub(/:$/, "", addr)
		stray = !(addr in known)
		bad += stray
	}
	stray { print "not ours:", $0 }
	END { exit !!bad }' "$T/all" "$T/report"
}

# count <state>: objects in $T/truth of which this is true
count()
{
	awk -v state="$1" '$1 == state { n++ } END { print n + 0 }' "$T/truth"
}

records()
{
	grep -c '^unreferenced object 0x' "$T/report"
}

# The number of leaks in the first line of the grouped report
total()
{
	sed -n '1s/^kmemtrack 1: \([0-9]*\) leaks, .*/\1/p' "$REPORT"
}

# stat <name>: a value of the statistics
stat_of()
{
	awk -v name="$1" '$1 == name { print $2 }' "$STATS"
}

clean_up()
{
	[ ! -e "$INJECT" ] || echo reap >"$INJECT"
	[ ! -e "$REPORT" ] || echo clear >"$REPORT"
	rmmod test_kmemtrack 2>/dev/null
	rm -rf "$T"
}

load()
{
	[ -e "$INJECT" ] || insmod ./test_kmemtrack.ko 2>/dev/null ||
		modprobe test_kmemtrack 2>/dev/null
	[ -e "$INJECT" ]
}

# begin [module]: before the first test
begin()
{
	[ -w "$REPORT" ] || skip_all "no $REPORT: not root, or no kmemtrack"
	mkdir -p "$T"
	: >"$T/all"
	trap clean_up EXIT
	echo "KTAP version 1"
	# The scans are ours alone.
	put "$REPORT" scan=off
	[ "$1" != module ] || load || skip_all "no module test_kmemtrack"
	put "$REPORT" clear
}

# end: after the last test
end()
{
	echo "1..$tests"
	[ "$failed" = 0 ]
	exit
}
