#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# kmemtrack_info/memory: all pages by class. The classes add up to MemTotal, an
# allocation appears in the line of its class, and lines agree with /proc/meminfo.
cd "$(dirname "$0")" && . ./lib.sh
begin module

# Allowance for other activity of the machine, in KiB
NOISE=512

# MB of each test; less where there is little memory
MB=8
[ "$(awk '/^MemTotal:/ { print $2 }' /proc/meminfo)" -gt 200000 ] || MB=2

# look: reads the file into $T/memory
look()
{
	cat "$MEMORY" >"$T/memory" || return
}

# kb_in <column> <class>: KiB of the class: 1 now, 2 since the last scan, 3 since boot
kb_in()
{
	awk -v column="$1" -v class="$2" 'NR > 1 {
		line = $0
		# The name is what comes before two numbers or dashes
		name = line
		sub(/ +-?[0-9]+ kB .*/, "", name)
		if (name != class)
			next
		sub(/^[^0-9]* /, "", line)
		gsub(/ kB/, "", line)
		n = split(line, f, " ")
		print f[column]
		found = 1
	}
	END { exit !found }' "$T/memory"
}

now()
{
	kb_in 1 "$1"
}

# adds_up: the lines of $T/memory add up to its MemTotal, which is that of /proc/meminfo
adds_up()
{
	awk '
	FILENAME == ARGV[1] { if ($1 == "MemTotal:") total = $2; next }
	FNR == 1 {
		if ($1 != "kmemtrack-memory" || $2 != "1:")
			bad = 1
		head = $3
		pages = $5
		size = $8 + 0
		next
	}
	{
		for (i = 1; i <= NF; i++)
			if ($i == "kB") {
				sum += $(i - 1)
				break
			}
	}
	END {
		print "head", head, "sum", sum, "MemTotal", total
		exit bad || head != sum || head != total ||
			pages * (size / 1024) != head || FNR < 19
	}' /proc/meminfo "$T/memory"
}

# grows <class> <KiB> <more> <command...>: the command makes the class larger by at least
# that many KiB, and by at most so many more
grows()
{
	grows_class=$1
	grows_kb=$2
	grows_more=$3
	shift 3
	look && adds_up || return
	cp "$T/memory" "$T/before"
	grows_from=$(now "$grows_class")
	"$@" || return
	look && adds_up || return
	grows_to=$(now "$grows_class")
	echo "$grows_class: $grows_from, then $grows_to, expected $grows_kb more"
	[ $((grows_to - grows_from)) -ge $((grows_kb - NOISE)) ] &&
		[ $((grows_to - grows_from)) -le \
			$((grows_kb + grows_more + NOISE)) ] && return
	diff "$T/before" "$T/memory"
	return 1
}

# Starts a process that has written to MB of its memory, and lives until something is
# written to $T/anon
hold_anon()
{
	mkfifo "$T/anon"
	# dd reads its block of MB into memory, and then waits since the pipe is full.
	{ dd if=/dev/zero bs=${MB}M count=1 2>/dev/null; echo; } |
		{ cat "$T/anon" >/dev/null; cat >/dev/null; } &
	before=$(now anonymous)
	for i in $(seq 300); do
		look
		[ $(($(now anonymous) - before)) -lt $((MB * 1024 - NOISE)) ] ||
			return 0
		usleep 100000
	done
	return 1
}

write_file()
{
	dd if=/dev/zero of="$1" bs=1M count=$MB 2>/dev/null
}

drop_file()
{
	rm "$1" && look
}

ramfs()
{
	mkdir -p "$T/ramfs" && mount -t ramfs none "$T/ramfs"
}

# Each process adds a stack of 8 KiB or more to its class, and nothing to that of marked
# pages, as which the walk over all pages meets it if it is in vmalloc space.
stacks()
{
	cat /proc/sys/vm/stat_refresh 2>/dev/null
	look && adds_up || return
	stacks=$(now "kernel stacks")
	marked=$(now "pipes and traces")
	unknown=$(now "no known owner")
	mkfifo "$T/stacks" && exec 9<>"$T/stacks" || return
	for i in $(seq 128); do
		read -r line <&9 &
	done
	cat /proc/sys/vm/stat_refresh 2>/dev/null
	look && adds_up
	rc=$?
	# One empty line for each of them
	seq 128 | tr -d 0-9 >&9
	wait
	exec 9>&-
	stacks=$(($(now "kernel stacks") - stacks))
	marked=$(($(now "pipes and traces") - marked))
	unknown=$(($(now "no known owner") - unknown))
	echo "more: stacks $stacks, pipes and traces $marked, no known owner $unknown"
	[ $rc = 0 ] && [ $stacks -ge $((1024 - NOISE)) ] &&
		[ ${marked#-} -le $NOISE ] && [ $unknown -ge -$NOISE ]
}

# agrees <lines of /proc/meminfo> <classes, separated by commas> <KiB>: both sums differ by
# at most that much, and 2 %
agrees()
{
	# Makes CPUs add their differences to the kernel's counters
	cat /proc/sys/vm/stat_refresh 2>/dev/null
	look
	awk -v words="$1" -v classes="$2" -v apart="$3" '
	BEGIN {
		n = split(words, w, " ")
		for (i = 1; i <= n; i++)
			sign[w[i] ":"] = 1
		n = split(classes, c, ",")
		for (i = 1; i <= n; i++)
			wanted[c[i]] = 1
	}
	FILENAME == ARGV[1] { if ($1 in sign) kernel += $2; next }
	{
		kb = name = $0
		sub(/ +-?[0-9]+ kB .*/, "", name)
		if (!(name in wanted))
			next
		sub(/^[^0-9]* /, "", kb)
		ours += kb + 0
		found++
	}
	END {
		print words " of /proc/meminfo:", kernel, "kB;", classes ":", ours, "kB"
		far = kernel > ours ? kernel - ours : ours - kernel
		exit found != n || far > apart + kernel / 50
	}' /proc/meminfo "$T/memory"
}

# Tries again if the counters changed between both reads
agrees_soon()
{
	for i in $(seq 20); do
		! agrees "$@" || return 0
		usleep 100000
	done
	return 1
}

busy()
{
	while [ -e "$T/busy" ]; do
		ls -lR /sys/kernel/mm >"$T/busy.out" 2>/dev/null
	done
}

# Each read adds up while others allocate and free.
adds_up_under_load()
{
	touch "$T/busy"
	busy &
	rc=0
	most=0
	for i in $(rounds 100); do
		look && adds_up || { rc=1; break; }
		changed=$(now "changed meanwhile") || changed=0
		[ ${changed#-} -le $most ] || most=${changed#-}
	done
	rm "$T/busy"
	wait
	echo "changed meanwhile: $most kB at most, $NOISE allowed" | tee -a "$T/chance"
	[ $rc = 0 ] && [ $most -le $NOISE ]
}

# The columns with changes since the last scan and since boot
changes()
{
	inject reap && scan && look || return
	# scan() reads the report after the scan, which takes some memory.
	for class in "no known owner" vmalloc "large kmalloc"; do
		since=$(kb_in 2 "$class")
		echo "$class since the scan: $since"
		[ ${since#[-+]} -le $NOISE ] || return
	done
	boot=$(kb_in 3 "no known owner")
	inject "hold pages-1m $MB" && look || return
	since=$(kb_in 2 "no known owner")
	echo "no known owner: $since since the scan; $boot since boot, then" \
		"$(kb_in 3 "no known owner")"
	[ "$since" -ge $((MB * 1024 - NOISE)) ] &&
		[ "$since" -le $((MB * 1024 + NOISE)) ] &&
		[ $(($(kb_in 3 "no known owner") - boot)) -ge \
			$((MB * 1024 - NOISE)) ] || return
	scan && look || return
	since=$(kb_in 2 "no known owner")
	echo "no known owner since the next scan: $since"
	inject free
	[ ${since#[-+]} -le $NOISE ]
}

head_of_memory()
{
	sed -n 1p "$MEMORY"
	sed -n 1p "$MEMORY" | grep -qE \
		'^kmemtrack-memory 1: [0-9]+ kB, [0-9]+ pages of [0-9]+; since scan: (none|[0-9]+\.[0-9]{3} s), since boot: [0-9]+\.[0-9]{3} s$'
}

# While tracking is off, large blocks have no record, but the file counts them in the same
# class.
untracked()
{
	put "$REPORT" off && grows "large kmalloc" $((MB * 1024)) 0 \
		inject "leak kmalloc-1m $MB" &&
		grows vmalloc $((MB * 1024)) 64 inject "leak vzalloc-256k $((MB * 4))"
	rc=$?
	put "$REPORT" on && look && adds_up && return $rc
}

check "the first line" head_of_memory
check "all pages add up to MemTotal" eval 'look && adds_up'
# Kernels with debugging options add redzones and tracks to each object.
check "kmalloc() of small blocks" grows "slab tracked" $((MB * 1024)) \
	$((MB * 1024)) \
	inject "leak kmalloc-1024 $((MB * 1024))"
check "kmalloc() of large blocks" grows "large kmalloc" $((MB * 1024)) 0 \
	inject "leak kmalloc-1m $MB"
check "vmalloc()" grows vmalloc $((MB * 1024)) 64 \
	inject "leak vzalloc-256k $((MB * 4))"
cpus=$(sed -n 's/.*-//;$p' /sys/devices/system/cpu/possible)
check "per-CPU memory" grows per-CPU $((1024 * (cpus + 1))) $((512 * (cpus + 1))) \
	inject "leak percpu 16384"
check "pages of unknown owners" grows "no known owner" $((MB * 1024)) 0 \
	inject "hold pages-1m $MB"
check "... that are freed" grows "no known owner" $((-MB * 1024)) 0 inject free
check "a file in shmem" grows shmem $((MB * 1024)) 64 write_file "$T/file"
check "... that is removed" grows shmem $((-MB * 1024)) 64 drop_file "$T/file"
if ramfs; then
	check "a file in the page cache" grows "page cache" $((MB * 1024)) 64 \
		write_file "$T/ramfs/file"
	umount "$T/ramfs"
else
	skip "a file in the page cache" "no ramfs"
fi
check "memory of a process" grows anonymous $((MB * 1024)) 1024 hold_anon
echo >"$T/anon"
wait
check "stacks of processes" stacks
check "changes since the last scan and since boot" changes
check "agrees with /proc/meminfo: Slab" agrees_soon "Slab" \
	"slab tracked,slab untracked,large kmalloc" 512
check "agrees with /proc/meminfo: AnonPages" agrees_soon AnonPages anonymous 512
check "agrees with /proc/meminfo: Cached, Buffers" agrees_soon "Cached Buffers" \
	"page cache,shmem" 512
check "agrees with /proc/meminfo: Shmem" agrees_soon Shmem shmem 256
check "agrees with /proc/meminfo: PageTables" agrees_soon PageTables "page tables" 128
check "agrees with /proc/meminfo: KernelStack" agrees_soon KernelStack "kernel stacks" 128
check "agrees with /proc/meminfo: MemFree" agrees_soon MemFree free 8192
if grep -q '^VmallocUsed: *[1-9]' /proc/meminfo; then
	# Stacks in vmalloc space are in a class of their own.
	check "agrees with /proc/meminfo: VmallocUsed" agrees_soon VmallocUsed \
		"vmalloc$(zcat /proc/config.gz | sed -n \
			's/^CONFIG_VMAP_STACK=y/,kernel stacks/p')" 1024
else
	skip "agrees with /proc/meminfo: VmallocUsed" "VmallocUsed is 0"
fi
check "large blocks while tracking is off" untracked
check "all pages add up under load" adds_up_under_load
inject reap
end
