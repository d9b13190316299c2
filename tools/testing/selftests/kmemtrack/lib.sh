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

# The value at boot, to restore it: kernels with debugging options get a larger one.
MAX_PAUSE=$(cat /sys/module/kmemtrack/parameters/max_pause)

tests=0
failed=0
comparisons=0
old=0
round=0

# Kernels that are processes have addresses of 32 significant bits.
UM=
! grep -q "User Mode Linux" /proc/cpuinfo || UM=1
BITS=64
case $(uname -m) in
arm|armv*|i?86)	BITS=32 ;;
esac

# In 6.1 the hash of a kernfs_node's name is a number in a word of its own.
HASHES=
case $(uname -r) in
6.1.*)	HASHES=1 ;;
esac

# With KASAN, frames have words that are not written.
KASAN=
! zcat /proc/config.gz 2>/dev/null | grep -q '^CONFIG_KASAN=y' || KASAN=1

# A kernel for one CPU: per-CPU memory is ordinary memory.
ONE_CPU=
uname -v | grep -qw SMP || ONE_CPU=1

# Kernels with debugging options keep many freed blocks and the words in them. How often
# these hide a block was not measured: scans must find half of the blocks there.
CHECKED=
[ ! -e /proc/lockdep ] || CHECKED=1

# Chance
#
# A scan takes every word that looks like an address in a block for a reference. So a
# stale word in memory that was not cleared, or a number, may hide a lost block. The
# tests lose many blocks, count those that a scan missed, and compare the count with a
# bound. In fewer than one of 10,000 runs of all tests a good detector exceeds the bound
# by chance:
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
# A test must be able to fail: few_missed() refuses to judge if k is n. rate.sh computes
# how many more misses are certain to be noticed.
#
# p was measured on User-mode Linux with 1 GiB, 8 boots for each size, which
# differed in what had run before (files, processes, reads of sysfs). There an
# address is a number of 32 bits that begins with the code of a letter, as do
# many pieces of text, so that p grows with the size:
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
# In 6.1 each kernfs_node has one such number more, the hash of its name, which hides
# one block of 1,000 of 4 KiB and more of the larger ones. In 6.12 flags and mode
# share its word. User-mode Linux 6.1, 6 boots; with 3,000 files in tmpfs, whose
# names are text, twice as many are missed:
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
# Of a thread that was just made the last request is left over: one block of 12
# is missed on arm64 (8 of 96).
#
# rate() rounds up. Where there are few misses they are not independent: live
# blocks next to those that were lost may have a pointer of the slab allocator to
# them, in a part that was not written since. That is why rate() is larger for
# small blocks, and for those of vmalloc(), than the mean was. The blocks that are
# lost are cleared, so that none leads to another. After tracking was off, memory
# that is not tracked is read, too. On User-mode Linux and arm64, after one, two and
# twelve switches, beside 5,000 blocks that were allocated meanwhile, no more than
# these were missed that had not been before: of 8,000 blocks of up to 1,024 bytes 3,
# of 2,000 of 2,048 bytes 7, of 1,200 of 4,096 bytes 4, of 400 of 8,192 bytes 4. Of 32
# bits it was not measured.
#
# On other machines no text and no time looks like an address, which has 64
# bits. There p was not measured with so many blocks: one of some 50 rounds of 26
# blocks was not complete (0.0008), 7 of 96 blocks of 16 KiB were missed on
# arm64, and pointers to per-CPU memory are small numbers on x86-64 (13 of 128
# were allowed).
#
# In 32 bits every number is an address. What hides a large block are the numbers
# of inodes and the hashes of dentries; a small one, bytes beside each other that
# make the address of its first byte. On ARM with 1 GiB, 2 CPUs:
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
# Pages that are tracked may be hidden by their number, or by a physical address, as
# well. On User-mode Linux, where the first page has number 0, of 320 blocks:
#
#	order		0	1	2	3	4	5	exact	bulk
#	missed		18	8	13	12	10	28	8	1
#
# On arm64, where it has number 0x40000, 15 of 1,536 in all.
#
# A false alarm is never chance: none is allowed anywhere.
COMPARISONS=250

CHANCE='
# rate(size, kind): p of a block
function rate(size, kind,   p) {
	if (kind == "new-thread" && !um) {
		p = 0.12
	} else if (kind ~ /^pages-/) {
		# Numbers count, too, see page_blocks.c: below
		p = um ? 0.08 : 0.05
	} else if (bits == 32 && kind ~ /^percpu/) {
		p = 0.005
	} else if (bits == 32) {
		p = size <= 64 ? 0.008 : size <= 2048 ? 0.015 : \
		    size <= 8192 ? 0.008 : size <= 16384 ? 0.02 : \
		    size <= 102400 ? 0.05 : size <= 131072 ? 0.08 : \
		    size <= 262144 ? 0.12 : size <= 1048576 ? 0.35 : 0.95
	} else if (!um) {
		# Of percpu-ref one block of three is per-CPU memory.
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

# allowed(n, p): k
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

# skip <name> <reason>: one test that cannot be made here
skip()
{
	tests=$((tests + 1))
	echo "ok $tests - $1 # SKIP $2"
}

# check <name> <command...>: one test, passed if the command succeeds; what it
# prints tells why it did not. What was left to chance is always shown.
check()
{
	check_name=$1
	: >"$T/chance"
	shift
	"$@" >"$T/why" 2>&1
	check_rc=$?
	[ $check_rc = 0 ] || head -n 40 "$T/why" | sed 's/^/# /'
	while read -r check_line; do
		diag "$check_line"
	done <"$T/chance"
	result $check_rc "$check_name"
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

# What is true of all objects in $T/all, and in $T/truth of those of this round
truth()
{
	: >"$T/all"
	: >"$T/truth"
	awk -v old="$old" -v all="$T/all" -v truth="$T/truth" '
	{ print >all }
	$5 > old { print >truth }' "$INJECT"
}

# next_round: other memory from here on: what was made until now is not judged
# again, and what is held is freed, but not what is lost
next_round()
{
	inject free || return
	old=$(awk '$5 > n { n = $5 } END { print n + 0 }' "$INJECT")
	round=$((round + 1))
}

# start: no leaks, and nothing tallied
start()
{
	: >"$T/tally"
	rm -f "$T/known"
	old=0
	round=0
	inject reap && put "$REPORT" clear
}

# The blocks that the first file, $T/report, has
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
		# What is held until RCU frees it may be given out again, and
		# be lost then.
		for (addr in alarm)
			if (!(addr in lost)) {
				print "false alarm:", alarm[addr]
				bad = 1
			}
		exit bad
	}' "$T/report" "$T/truth"
}

# only_leaks: what several rounds have left in $T/errors and $T/judged is good
only_leaks()
{
	cat "$T/errors"
	[ ! -s "$T/errors" ] && ! grep 'false alarm' "$T/judged"
}

# false_alarms: the same without the tally: what was lost is judged later
false_alarms()
{
	judge "" /dev/null >"$T/alarms" && return
	grep '^false alarm' "$T/alarms"
	return 1
}

# few_missed <blocks|batches> [kind]: whether so many misses in the tally can be
# chance. Blocks that lead to each other are missed together: then what one
# command made, a batch, counts as one.
few_missed()
{
	comparisons=$((comparisons + 1))
	awk -v by="$1" -v kind="$2" -v um="$UM" -v bits="$BITS" -v comparisons=$COMPARISONS \
		-v hashes="$HASHES" -v checked="$CHECKED" \
		"$CHANCE"'
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
	}
	END {
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
			print "too few to tell"
		exit !(m <= k && k < n)
	}' "$STATS" "$T/tally" >>"$T/chance"
}

# What $T/report has and the injector knows nothing of, but for what the twins of
# module.sh lost, which nobody can free.
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

# count <state>: objects in $T/truth of which this is true
count()
{
	awk -v state="$1" '$1 == state { n++ } END { print n + 0 }' "$T/truth"
}

# new_records: how many $T/report has since the last call
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

# The number of leaks in the first line of the grouped report; nothing if there
# was no scan
total()
{
	sed -n '1s/^kmemtrack 1: \([0-9]*\) leaks, .*/\1/p' "$REPORT"
}

# First line of the report; whether something is not tracked, since tracking was
# off before, is of no account.
head_line()
{
	sed -n '1{s/, untracked memory$//;p}' "$REPORT"
}

head_says()
{
	head_line
	head_line | grep -qE "$1"
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
	# The scans are ours alone.
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
