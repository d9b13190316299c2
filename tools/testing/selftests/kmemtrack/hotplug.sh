#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# CPUs and memory go online and offline while scans run: scans report the lost blocks and
# nothing else. Only memory that is offline at first is used, for example that of a
# virtio-mem device.
cd "$(dirname "$0")" && . ./lib.sh
begin module

ROUNDS=20
CPUS=$(ls /sys/devices/system/cpu/cpu[1-9]*/online 2>/dev/null)
BLOCKS=$(grep -lx offline /sys/devices/system/memory/memory*/state 2>/dev/null)
[ "$CPUS$BLOCKS" ] || skip_all "no CPU and no memory that can go"

# All CPUs are online again at the end.
cycle_cpus()
{
	while [ -e "$T/busy" ]; do
		for cpu in $CPUS; do
			put "$cpu" 0
			put "$cpu" 1 && echo cpu >>"$T/cycles"
		done
	done
}

# Movable memory and kernel memory in turn; memory that is in use cannot go offline
cycle_memory()
{
	while [ -e "$T/busy" ]; do
		for block in $BLOCKS; do
			for kind in online_movable online_kernel; do
				put "$block" $kind
				put "$block" offline && echo memory >>"$T/cycles"
			done
		done
	done
}

cycles()
{
	wc -l <"$T/cycles"
}

# scans_while <cycle_cpus|cycle_memory>: runs the function beside scans until there were
# ROUNDS cycles and ROUNDS scans
scans_while()
{
	: >"$T/cycles"
	touch "$T/busy"
	"$1" &
	rc=0
	for i in $(seq 200); do
		next_round && inject "leak kmalloc-256 20" &&
			inject "leak vmalloc-100k 2" && inject "leak percpu 2" &&
			inject "hold rbtree 20" && scan && truth && strays &&
			judge || { rc=1; break; }
		[ $i -lt $ROUNDS ] || [ "$(cycles)" -lt $ROUNDS ] || break
	done
	rm "$T/busy"
	wait
	echo "$(cycles) times, $i scans" | tee -a "$T/chance"
	[ $rc = 0 ] && [ "$(cycles)" -ge $ROUNDS ] && few_missed blocks kmalloc-256 &&
		few_missed blocks vmalloc-100k
}

# One CPU creates files. When it is offline, with free cells in its cache, others remove
# the files, and so free blocks that the CPU allocated.
on_gone_cpu()
{
	cpu=$(echo "$CPUS" | head -n 1)
	nr=${cpu%/online}
	nr=${nr##*cpu}
	unknown=$(stat_of frees_of_unknown)
	old_overlaps=$(overlaps)
	start && mkdir "$T/files" && seq 1000 |
		(cd "$T/files" && taskset -c "$nr" xargs touch) &&
		put "$cpu" 0 || return
	scan && truth && strays && rm -r "$T/files" && scan && truth && strays &&
		inject "leak kmalloc-64 50" && scan && truth && strays && judge &&
		few_missed blocks kmalloc-64
	rc=$?
	put "$cpu" 1 || return
	echo "frees of unknown: $unknown, $(stat_of frees_of_unknown)"
	[ $rc = 0 ] && as_many_overlaps "$old_overlaps" || return
	# vfree_atomic() reports the free of a vmapped stack, and the vfree() that follows
	# does so again.
	[ "$VMAP_STACK" ] || [ "$(stat_of frees_of_unknown)" = "$unknown" ]
}

# After memory went online, scans read it, and blocks in it are tracked.
after_memory()
{
	for block in $BLOCKS; do
		put "$block" online_kernel || grep -qx online "$block" ||
			{ echo "$block: $ERR"; return 1; }
	done
	start && inject "leak kmalloc-256 50" && inject "hold rbtree 20" && scan &&
		truth && strays && judge && few_missed blocks kmalloc-256
}

if [ "$CPUS" ]; then
	check "scans while CPUs go online and offline" eval 'start && scans_while cycle_cpus'
	check "frees of blocks that an offline CPU allocated" on_gone_cpu
else
	skip "scans while CPUs go online and offline" "no CPU can go offline"
	skip "frees of blocks that an offline CPU allocated" "no CPU can go offline"
fi
if [ "$BLOCKS" ]; then
	check "scans while memory goes online and offline" \
		eval 'start && scans_while cycle_memory'
	check "scans with memory that went online" after_memory
else
	skip "scans while memory goes online and offline" "no memory is offline"
	skip "scans with memory that went online" "no memory is offline"
fi
check "no block lacks a record for lack of memory" \
	eval '[ "$(stat_of lost_no_memory)" = 0 ]'
end
