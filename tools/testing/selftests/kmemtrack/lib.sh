# SPDX-License-Identifier: GPL-2.0
# Sourced by the tests, which need only a POSIX shell and BusyBox.

D=/sys/kernel/debug
LEAKS=$D/kmemleak
REPORT=$D/kmemtrack
STATS=$D/kmemtrack_info/stats
MEMORY=$D/kmemtrack_info/memory
REFS=$D/kmemtrack_info/refs
INJECT=$D/test_kmemtrack
KINDS=$D/test_kmemtrack_kinds
T=${TMPDIR:-/tmp}/kmemtrack.$$

# The value at boot, to restore it. The guests of the tests get 1 s, and 5 s with debugging
# options, since the host may take a CPU away from them at any time.
MAX_PAUSE=$(cat /sys/module/kmemtrack/parameters/max_pause)

tests=0
failed=0
comparisons=0
old=0
round=0

# On User-mode Linux, addresses have 32 significant bits.
UM=
! grep -q "User Mode Linux" /proc/cpuinfo || UM=1
BITS=64
case $(uname -m) in
arm|armv*|i?86)	BITS=32 ;;
esac

# Page numbers are as small as many other numbers.
LOW_PFNS=$(awk '/start_pfn:/ { print ($2 < 4096 ? 1 : ""); exit }' /proc/zoneinfo)

# In 6.1, the hash of a kernfs_node's name has a word of its own.
HASHES=
case $(uname -r) in
6.1.*)	HASHES=1 ;;
esac

has_config()
{
	zcat /proc/config.gz 2>/dev/null | grep -q "^CONFIG_$1=y"
}

# With KASAN, stack frames have redzones, which are not written.
KASAN=
! has_config KASAN || KASAN=1

# Stacks of tasks are blocks of vmalloc space.
VMAP_STACK=
! has_config VMAP_STACK || VMAP_STACK=1

# Bytes of a page; kernels before 6.9 do not have CONFIG_PAGE_SHIFT.
PAGE=$((1 << $(zcat /proc/config.gz 2>/dev/null | sed -n 's/^CONFIG_PAGE_SHIFT=//p' |
	grep . || echo 12)))

# A kernel for one CPU: per-CPU memory is ordinary memory.
ONE_CPU=
uname -v | grep -qw SMP || ONE_CPU=1

# Kernels with debugging options keep many freed blocks and the words in them. How often
# these hide a lost block was not measured: there, scans must find half of the blocks.
CHECKED=
[ ! -e /proc/lockdep ] || CHECKED=1

# Chance
#
# A scan takes every word that looks like an address in a block for a reference. So a
# stale word in memory that was not cleared, or a number, may hide a lost block. The
# tests lose many blocks, count those that a scan missed, and compare the count with a
# bound. A correct detector exceeds the bound by chance in fewer than one of 10,000 runs
# of all tests:
#
#   X, the number of misses among n blocks, each of which is missed with
#   probability p, has a binomial distribution. k is the smallest number with
#
#	P(X > k) = sum of C(n, i) p^i (1 - p)^(n - i) for i > k
#		 <= 1e-4 / COMPARISONS
#
#   A run makes COMPARISONS comparisons at most (run.sh counts them), so that
#   the probability of any of them failing is 1e-4 at most. If blocks have
#   different p, the mean of all p is taken: the sum varies less than X then.
#
# A test must be able to fail: few_missed() fails if k is n, since no number of misses
# would exceed it. rate.sh computes P(X > k) for detectors that miss more: with n so large
# that a good one fails in fewer than one of 10,000 runs of all tests, and one that misses
# twice as many blocks in 99 of 100. That takes some 80 misses that a good one makes, 50,000
# blocks of 4,096 bytes on User-mode Linux. On arm64, whose rate is 10 times lower (see
# below), it would take 400,000. There one that misses one more of 1,000 fails.
#
# p was measured on User-mode Linux with 1 GiB, in 8 boots for each size. The boots
# differed in what had run before the test (files, processes, reads of sysfs). There
# the first byte of an address is the code of a letter, so that many pieces of text
# look like addresses, and p grows with the size:
#
#	bytes		missed	of	p
#	64		3	210000	0.00001		0 or 1 of 30000
#	256		7	140000	0.00005
#	512		0	160000	0
#	1024		88	140000	0.0006		11 to 15 of 20000
#	2048		106	160000	0.0007		12 to 15 of 20000
#	4096		457	280000	0.0016		60 to 74 of 40000
#	8192		249	40000	0.0062		29 to 33 of 5000
#	16 KiB		41	8000	0.005
#	128 KiB		64	2400	0.027
#	1 MiB		138	480	0.29
#	vmalloc, 4 KiB	26	24000	0.0011		4 of the first 20
#	vmalloc, 100 KiB 1	1600	0.0006
#	vmalloc, 256 KiB 1	800	0.001
#	per-CPU, 64	32	16000	0.002		the first 4 of 2000
#
# In 6.1 each kernfs_node has one more word that may look like an address: the hash of
# its name, which hides one of 1,000 blocks of 4 KiB, and more of larger ones. In 6.12
# the word also has flags and the mode. User-mode Linux 6.1, 6 boots; with 3,000 files
# in tmpfs, whose names are text, scans miss twice as many:
#
#	bytes		missed	of	p
#	64		3	180000	0.00002
#	256		20	120000	0.00017
#	512		45	120000	0.0004
#	1024		102	120000	0.0009		14 to 21 of 20000
#	2048		242	120000	0.002		36 to 47 of 20000
#	4096		867	300000	0.0029		125 to 167 of 50000
#	8192		339	60000	0.0057		47 to 64 of 10000
#	16 KiB		69	6000	0.012
#	128 KiB		129	1800	0.072
#	1 MiB		135	360	0.38
#	vmalloc, 4 KiB	11	18000	0.0006
#	vmalloc, 100 KiB 2	1200	0.0017
#	vmalloc, 256 KiB 16	600	0.027
#	per-CPU, 64	24	12000	0.002
#
# rate() rounds up. Where there are few misses they are not independent: a live block
# next to a lost one may have an old freelist pointer to it, in a part of the block that
# was not written since. That is why rate() is larger than the measured mean for small
# blocks and for vmalloc() blocks. The tests clear the blocks that they lose, so that
# none refers to another. After tracking was off, scans also read memory without
# records. On User-mode Linux and arm64, after one, two and twelve switches, with 5,000
# blocks that were allocated while tracking was off, scans missed in addition: of 8,000
# blocks of up to 1,024 bytes 3, of 2,000 of 2,048 bytes 7, of 1,200 of 4,096 bytes 4,
# of 400 of 8,192 bytes 4. With 32-bit addresses this was not measured.
#
# On other machines addresses have 64 bits, and neither text nor times look like them.
# There p was not measured with so many blocks: in one of some 50 rounds of 26 blocks a
# block was missed (0.0008), 7 of 96 blocks of 16 KiB were missed on arm64, and pointers
# to per-CPU memory are small numbers on x86-64 (13 of 128 were allowed).
#
# What loses blocks leaves the address of the last one in memory more often than others. On
# arm64, in four runs of leaks.sh, where a scan follows each command of a kind, which loses
# twelve, scans missed of 384 blocks of each kind 2 of 2,048 bytes, 6 of 8,192 bytes and 7
# pages, that is, a block in one of five commands, and 6 pairs of 384 "table"s, whose two
# blocks refer to each other. Of 150,000 blocks of 4,096 bytes that few commands lost they
# missed 3, and none of 15 "table"s that one command each lost before a scan. In a guest with
# two CPUs they once missed five of the twelve pairs that one command had lost, so that each
# command of leaks.sh loses one pair.
#
# Where one or two commands lose 20,000 blocks on arm64, scans missed 2 of 4,096 bytes in
# each of five rounds, with few and with many files, and 4 in each of two after tracking was
# off; of 64 bytes none in four rounds. The rates for "many" are for these commands.
#
# With 32-bit addresses every word may be one. Large blocks are hidden by inode numbers
# and by the hashes of dentries; small ones by adjacent bytes that happen to be the
# address of the first byte. On ARM with 1 GiB, 2 CPUs:
#
#	bytes		missed	of	p
#	64		17	3000	0.006
#	1024		23	2000	0.012
#	4096		9	3000	0.003
#	8192		4	1000	0.004
#	16 KiB		3	200	0.015
#	128 KiB		18	260	0.07
#	1 MiB		39	140	0.28
#	vmalloc, 100 KiB 4	120	0.033
#	vmalloc, 256 KiB 29	260	0.11
#	vmalloc, 8 MiB	11	12
#	per-CPU, 64	0	1000
#
# Since then, in three boots with 3,000 files, 1 of 6,000 blocks of 64 bytes, 7 of 256, 17
# of 1,024 and 38 of 4,096.
#
# Tracked pages may also be hidden by words that look like their page numbers or physical
# addresses. On User-mode Linux, where page numbers begin at 0, of 320 blocks of each kind:
#
#	order		0	1	2	3	4	5	exact	bulk
#	missed		18	8	13	12	10	28	8	1
#
# On x86-64, where they begin at 1, three runs missed 99, 114 and 139 of 1,536 in all (0.076),
# before numbers of kernfs nodes were recognised; on User-mode Linux a run missed 47 of 1,536
# since. On arm64, where they begin at 0x40000, two runs missed 8 and 10 of 1,536.
#
# False alarms do not depend on chance: a single one fails a test.
COMPARISONS=250

# Set if a few commands lose all the blocks, where these have rates of their own
MANY=

CHANCE='
# rate(size, kind): p of a block, the probability that a scan misses it
function rate(size, kind,   p) {
	if (many && kind ~ /^kmalloc/ && size <= 4096) {
		p = size <= 64 ? 0.00005 : 0.0002
	} else if (kind ~ /^pages-/) {
		# Page numbers are references, too, see page_blocks.c
		p = low_pfns ? 0.08 : 0.02
	} else if (bits == 32 && kind ~ /^percpu/) {
		p = 0.005
	} else if (bits == 32) {
		p = size <= 64 ? 0.008 : size <= 2048 ? 0.015 : \
		    size <= 8192 ? 0.008 : size <= 16384 ? 0.02 : \
		    size <= 102400 ? 0.05 : size <= 131072 ? 0.08 : \
		    size <= 262144 ? 0.12 : size <= 1048576 ? 0.35 : 0.95
	} else if (!um) {
		# One of three blocks of percpu-ref is per-CPU memory.
		p = kind == "percpu-ref" ? 0.0074 : kind ~ /^percpu/ ? 0.02 : \
		    kind ~ /^kmalloc/ && size > 8192 ? 0.1 : 0.001
	} else if (kind == "vmalloc" && size <= 4096) {
		p = 0.03
	} else if (hashes) {
		p = size <= 64 ? 0.0005 : size <= 1024 ? 0.001 : \
		    size <= 2048 ? 0.0022 : size <= 4096 ? 0.003 : \
		    size <= 8192 ? 0.0065 : size <= 102400 ? 0.013 : \
		    size <= 131072 ? 0.08 : size <= 262144 ? 0.03 : \
		    size <= 1048576 ? 0.4 : 0.6
	} else {
		p = size <= 64 ? 0.0005 : size <= 2048 ? 0.001 : \
		    size <= 4096 ? 0.0017 : size <= 8192 ? 0.0065 : \
		    size <= 102400 ? 0.01 : size <= 131072 ? 0.04 : \
		    size <= 262144 ? 0.03 : size <= 1048576 ? 0.35 : 0.6
	}
	if (untracked)
		p += bits == 32 ? 0.03 : size <= 1024 ? 0.002 : 0.008
	return p
}

# last(size, kind): the probability that a scan misses, in addition, one of the blocks of a
# kind that a round has lost: that which was allocated last
function last(size, kind) {
	if (um || bits == 32)
		return 0
	if (kind == "table")
		return 0.5
	return kind == "page" || kind ~ /^kmalloc/ && size > 1024 && size <= 8192 ? 0.25 : 0
}

# power(x, n): x^n; awk of BusyBox may have no exp()
function power(x, n,   y) {
	for (y = 1; n > 0; n = int(n / 2)) {
		if (n % 2)
			y *= x
		x *= x
	}
	return y
}

# binomial(n, p, q): q[i] is the probability of i misses; q[0..last] are set,
# and all others are less than 1e-30
function binomial(n, p, q,   i) {
	q[0] = power(1 - p, n)
	for (i = 1; i <= n && (i <= n * p || q[i - 1] > 1e-30); i++)
		q[i] = q[i - 1] * (n - i + 1) / i * p / (1 - p)
	return i - 1
}

# allowed(n, p): k, the largest number of misses among n blocks that is still chance
function allowed(n, p,   q, i, tail) {
	tail = 0
	for (i = binomial(n, p, q); i > 0; i--) {
		tail += q[i]
		if (tail > 1e-4 / comparisons)
			break
	}
	return i
}

# at_most(k, n, p): P(X <= k)
function at_most(k, n, p,   q, i, sum) {
	sum = 0
	for (i = binomial(n, p, q); i >= 0; i--)
		if (i <= k)
			sum += q[i]
	return sum
}
'

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

# skip <name> <reason>: one test that cannot run in this kernel
skip()
{
	tests=$((tests + 1))
	echo "ok $tests - $1 # SKIP $2"
}

# cannot <reason>: a test of check() that has found out that it shows nothing here, though
# nothing is wrong
cannot()
{
	echo "$*" >"$T/cannot"
}

# check <name> <command...>: one test, which passes if the command succeeds. If it fails,
# the log gets its output. The numbers of blocks missed and allowed are always logged.
check()
{
	check_name=$1
	: >"$T/chance"
	rm -f "$T/cannot"
	shift
	"$@" >"$T/why" 2>&1
	check_rc=$?
	[ $check_rc = 0 ] || head -n 40 "$T/why" | sed 's/^/# /'
	while read -r check_line; do
		diag "$check_line"
	done <"$T/chance"
	if [ $check_rc = 0 ] && [ -e "$T/cannot" ]; then
		skip "$check_name" "$(cat "$T/cannot")"
	else
		result $check_rc "$check_name"
	fi
}

# stale_code: whether CPUs may run code that was already patched, as in QEMU before 8.1
# with a thread per CPU. The command line says so. On such a machine a hook may stay off
# after "on", until it is switched on again.
stale_code()
{
	grep -qw kmt_stale_code /proc/cmdline
}

# rounds <number>: the numbers of that many rounds; of a quarter with lockdep, which is
# slow
rounds()
{
	if [ -e /proc/lockdep ]; then
		seq $((($1 + 3) / 4))
	else
		seq "$1"
	fi
}

# quiet_code: switches off and on once more, while no load runs, if CPUs may have run
# stale code
quiet_code()
{
	! stale_code || { put "$REPORT" off && put "$REPORT" on; }
}

# overlaps: the number of allocations in a place that already had a record, whose free
# the detector has missed
overlaps()
{
	stat_of overlapping_allocations
}

as_many_overlaps()
{
	echo "$(overlaps), before $1"
	[ "$(overlaps)" = "$1" ]
}

# check_overlaps <before>: no overlap since. There would be one if the detector had recorded
# an allocation while not all frees were reported to it.
check_overlaps()
{
	if stale_code; then
		skip "no record outlived its block" \
			"stale code: a CPU may run a hook that was patched out"
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
	read -r ERR <"$T/err"
	ERR=${ERR##*: }
	return 1
}

# scan: a scan, which must succeed; $T/report is kmemleak's file after it
scan()
{
	put "$REPORT" scan || { echo "scan: $ERR"; return 1; }
	cat "$LEAKS" >"$T/report"
}

inject()
{
	put "$INJECT" "$*" || { echo "inject $*: $ERR"; return 1; }
}

# truth: gets the state of objects from the injector: of all in $T/all, of those of this
# round in $T/truth
truth()
{
	: >"$T/all"
	: >"$T/truth"
	awk -v old="$old" -v all="$T/all" -v truth="$T/truth" '
	{ print >all }
	$5 > old { print >truth }' "$INJECT"
}

# next_round: frees all objects that are held, but not those that are lost. Later calls of
# judge() ignore the objects of earlier rounds.
next_round()
{
	inject free || return
	old=$(awk '$5 > n { n = $5 } END { print n + 0 }' "$INJECT")
	round=$((round + 1))
}

# start: frees all objects, clears the report, and empties the tally
start()
{
	: >"$T/tally"
	rm -f "$T/known"
	old=0
	round=0
	inject reap && put "$REPORT" clear
}

# Reads the addresses in the first file, $T/report
REPORTED='
FILENAME == ARGV[1] {
	if ($1 == "unreferenced") {
		sub(/:$/, "", $3)
		reported[$3] = 1
	}
	next
}
'

# judge [kind [file]]: compares $T/report with $T/truth. Prints each false alarm
# and each miss. A false alarm is an error; misses go to the tally, or to the
# file.
judge()
{
	awk -v kind="$1" -v round="$round" -v tally="${2:-$T/tally}" "$REPORTED"'
	$1 == "leaked" { lost[$2] = 1 }
	kind != "" && $4 != kind { next }
	$1 == "leaked" {
		missed = !($2 in reported)
		if (missed)
			print "missed:", $0
		print $4, round, $5, $3, missed >>tally
		next
	}
	$2 in reported { alarm[$2] = $0 }
	END {
		# RCU may free a held object, whose memory another object gets
		# that is lost.
		for (addr in alarm)
			if (!(addr in lost)) {
				print "false alarm:", alarm[addr]
				bad = 1
			}
		exit bad
	}' "$T/report" "$T/truth"
}

# only_leaks: several rounds left no errors in $T/errors and no false alarm in $T/judged
only_leaks()
{
	cat "$T/errors"
	[ ! -s "$T/errors" ] && ! grep 'false alarm' "$T/judged"
}

# false_alarms: judges without the tally: misses are counted later
false_alarms()
{
	judge "" /dev/null >"$T/alarms" && return
	grep '^false alarm' "$T/alarms"
	return 1
}

# few_missed <blocks|batches> [kind]: whether the misses in the tally can be chance. Blocks
# that refer to each other are missed together: then the blocks of one command, a batch,
# count as one.
few_missed()
{
	comparisons=$((comparisons + 1))
	awk -v by="$1" -v kind="$2" -v um="$UM" -v bits="$BITS" -v comparisons=$COMPARISONS \
		-v hashes="$HASHES" -v checked="$CHECKED" -v low_pfns="$LOW_PFNS" \
		-v many="$MANY" "$CHANCE"'
	FILENAME == ARGV[1] {
		if ($1 == "untracked_slabs_are_roots")
			untracked = $2
		next
	}
	kind != "" && $1 != kind { next }
	{
		unit = by == "batches" ? $1 " " $2 " " $3 : NR
		if (!(unit in p))
			n++
		p[unit] += rate($4, $1)
		if ($5)
			missed[unit] = 1
		# The last command of a round has the largest number of a batch.
		round = $1 " " $2
		if (!(round in final) || $3 + 0 > final[round])
			final[round] = $3 + 0
		command = round " " $3
		blocks[command]++
		more = last($4, $1)
		if (more) {
			last_of[NR] = more
			command_of[NR] = command
			round_of[NR] = round
			unit_of[NR] = unit
		}
	}
	END {
		for (i in last_of)
			if (command_of[i] == round_of[i] " " final[round_of[i]])
				p[unit_of[i]] += last_of[i] / blocks[command_of[i]]
		for (unit in p)
			mean += (p[unit] < 0.95 ? p[unit] : 0.95) / n
		for (unit in missed)
			m++
		if (!n) {
			print (kind == "" ? "all" : kind) ": nothing was lost"
			exit 1
		}
		k = allowed(n, mean)
		if (checked && k < n / 2)
			k = int(n / 2)
		printf "%s: %d of %d %s missed, up to %d are chance\n",
			kind == "" ? "all" : kind, m, n, by, k
		if (k >= n)
			print "not enough blocks: all of them could be missed by chance"
		exit !(m <= k && k < n)
	}' "$STATS" "$T/tally" >>"$T/chance"
}

# strays: prints the records in $T/report of blocks that are not the injector's, and fails
# if there are any. Blocks that the twins of module.sh lost do not count: they cannot be
# freed.
strays()
{
	awk '
	function check_record() {
		if (!stray || text ~ /\[test_kmemtrack_twin_[ab]\]/)
			return
		printf "%s", text
		bad = 1
	}
	FILENAME == ARGV[1] { known[$2] = 1; next }
	$1 == "unreferenced" {
		check_record()
		text = ""
		addr = $3
		sub(/:$/, "", addr)
		stray = !(addr in known)
	}
	{ text = text "not ours: " $0 "\n" }
	END {
		check_record()
		exit !!bad
	}' "$T/all" "$T/report"
}

# count <state>: the number of objects in $T/truth with this state
count()
{
	awk -v state="$1" '$1 == state { n++ } END { print n + 0 }' "$T/truth"
}

# new_records: the number of records in $T/report that it did not have at the last call
new_records()
{
	[ -f "$T/known" ] || : >"$T/known"
	grep '^unref' "$T/report" >"$T/seen"
	awk -v seen="$T/seen" 'FILENAME != seen { known[$3] = 1; next }
		!($3 in known) { n++ }
		END { print n + 0 }' "$T/known" "$T/seen"
	mv "$T/seen" "$T/known"
}

records()
{
	grep -c '^unreferenced object 0x' "$T/report"
}

# total: the number of leaks in the first line of the grouped report; empty if there was no
# scan
total()
{
	sed -n '1s/^kmemtrack 1: \([0-9]*\) leaks, .*/\1/p' "$REPORT"
}

# head_line: the first line of the report, without "untracked memory", which is there if
# tracking was off before
head_line()
{
	sed -n '1{s/, untracked memory$//;p}' "$REPORT"
}

head_says()
{
	head_line
	head_line | grep -qE "$1"
}

# stat_of <name>: a value of the statistics
stat_of()
{
	awk -v name="$1" '$1 == name { print $2 }' "$STATS"
}

clean_up()
{
	[ ! -e "$INJECT" ] || echo reap >"$INJECT"
	[ ! -e "$REPORT" ] || echo clear >"$REPORT"
	for m in test_kmemtrack test_kmemtrack_twin_a test_kmemtrack_twin_b; do
		rmmod $m 2>/dev/null
	done
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
	: >"$T/tally"
	trap clean_up EXIT
	echo "KTAP version 1"
	# No periodic scans: the tests ask for each scan.
	put "$REPORT" scan=off
	[ "$1" != module ] || load || skip_all "no module test_kmemtrack"
	put "$REPORT" clear
}

# end: after the last test
end()
{
	diag "comparisons: $comparisons of $COMPARISONS"
	echo "1..$tests"
	[ "$failed" = 0 ]
	exit
}
