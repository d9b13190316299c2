#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The command refs= finds and names each reference to a block, the references to the
# block that has it, and so on up to a root, and hints why a leak may not be one.
cd "$(dirname "$0")" && . ./lib.sh
begin module

# address_of <kind> [number]: the address of one of its objects
address_of()
{
	awk -v kind="$1" '$4 == kind { print $2 }' "$T/truth" | sed -n "${2:-1}p"
}

# ask <kind> [levels [number]]: writes the command; the answer is in $T/refs
ask()
{
	addr=$(address_of "$1" "$3")
	[ "$addr" ] || { echo "no object of kind $1"; return 1; }
	put "$REPORT" "refs=$addr${2:+,$2}" || { echo "refs=$addr: $ERR"; return 1; }
	cat "$REFS" | tee "$T/refs"
	grep -qE "^kmemtrack-refs 1: block $addr, [0-9]+ bytes, [^,]+, [a-z ]+: [0-9]+ references, [0-9]+ hints$" \
		"$T/refs"
}

# holder <kind> <pattern> [levels]: a line of the answer matches the pattern
holder()
{
	ask "$1" "$3" >"$T/answer" && grep -qE "^$2" "$T/refs" && return
	cat "$T/answer"
	return 1
}

# hold <kind> <pattern> [levels]: holds objects of the kind before that
hold()
{
	inject "hold $1" && truth && holder "$@"
}

MODULE='\[test_kmemtrack\]'
OBJECT='object 0x[0-9a-f]+, [0-9]+ bytes, [^,]+, \+0x[0-9a-f]+'

start
check "a global of the kernel" \
	hold notifier "ref 1: global reboot_notifier_list\+0x[0-9a-f]+/0x[0-9a-f]+$"
check "a static variable of a module" \
	hold global "ref 1: global slots\+0x0/0x[0-9a-f]+ $MODULE$"
check "a pointer to the middle of a block" \
	hold interior "ref 1: global slots\+0x[0-9a-f]+/0x[0-9a-f]+ $MODULE$"
# In a kernel for one CPU it is an ordinary variable.
check "a per-CPU variable of a module" hold static-percpu \
	"ref 1: (global static_percpu\+0x0/0x[0-9a-f]+ $MODULE|percpu object .* of CPU 0.*)$"
if [ "$ONE_CPU" ]; then
	check "per-CPU memory" hold dynamic-percpu "ref 1: $OBJECT"
else
	check "per-CPU memory" hold dynamic-percpu \
		"ref 1: percpu object 0x[0-9a-f]+, [0-9]+ bytes, percpu, \+0x0 of CPU 0, allocated by .*$MODULE$"
fi
check "a block from kmalloc()" hold kmalloc-array \
	"ref 1: object 0x[0-9a-f]+, [0-9]+ bytes, kmalloc-[0-9a-z-]+, \+0x0, allocated by .*\+0x.* $MODULE$"
check "a block from vmalloc()" hold vmalloc-array \
	"ref 1: object 0x[0-9a-f]+, [0-9]+ bytes, vmalloc, \+0x0, allocated by .*\+0x.* $MODULE$"
check "an address that is not aligned" \
	hold packed-root "ref 1: global packed_root\+0x1/0x[0-9a-f]+ $MODULE$"
check "a list" hold list "ref 1: (global list\+0x0/0x[0-9a-f]+ $MODULE|$OBJECT)"
check "a page" hold page "ref 1: page 0x[0-9a-f]+000, \+0x0, no known owner$"
check "a struct page" hold page-private "ref 1: page struct"
check "a stack" hold stack 'ref 1: stack of task "tk-stack" pid [0-9]+'
# Where the unwinder knows the frames of a task that sleeps
frame='hold_on_stack[a-z0-9.]*\+0x[0-9a-f]+/0x[0-9a-f]+ '$MODULE
if [ "$UM" ] || [ "$(uname -m)" = aarch64 ]; then
	check "... with the function of the frame" holder stack \
		"ref 1: stack of task \"tk-stack\" pid [0-9]+, in $frame, 0x[0-9a-f]+ below its top$"
else
	skip "... with the function of the frame" "the frames of a task that sleeps are not known"
fi

# If a stale word in a root refers to a block, the search ends there instead of going on
# to the next level. By chance (see lib.sh) that happens to some blocks, but not to half.

two_levels()
{
	right=0
	for i in $(seq 8); do
		ask kmalloc-array 2 $i || return
		middle=$(sed -n 's/^ref 1: object \(0x[0-9a-f]*\), .*/\1/p' "$T/refs")
		echo "in the middle: $middle"
		! grep -qE "^ref 2: global memory\+0x[0-9a-f]+/0x[0-9a-f]+ $MODULE, to object $middle$" \
			"$T/refs" || right=$((right + 1))
	done
	[ $right -ge 4 ]
}
check "the second level is named, too" two_levels

# The search ends at a root, and after the number of levels that the command has.
ends()
{
	ask kmalloc-array 8 && ! grep '^ref 3' "$T/refs" &&
		ask kmalloc-array 1 && ! grep '^ref 2' "$T/refs" &&
		ask kmalloc-array && ! grep '^ref 2' "$T/refs"
}
check "the search ends at a root" ends

# chain_of <number>: the answer for the last object of a chain of four has the other three
chain_of()
{
	ask chain 8 $((4 * $1)) || return 2
	for level in 1 2 3; do
		grep -qE "^ref $level: object $(address_of chain $((4 * $1 - level))), .*, (indirect )?leak, allocated by .*$MODULE" \
			"$T/refs" || return 1
	done
	! grep -q "^ref 4" "$T/refs"
}

# Each object of a chain refers to the next one; nothing refers to the first.
chains()
{
	for i in $(seq 20); do
		inject "leak chain 4" || return
	done
	scan && truth || return
	right=0
	for i in $(seq 20); do
		chain_of $i
		case $? in
		0)	right=$((right + 1)) ;;
		2)	return 1 ;;
		esac
	done
	echo "$right of 20 chains"
	[ $right -ge 10 ]
}
check "a chain of leaks is followed to its first object" chains

many()
{
	inject "hold popular" && truth && ask popular || return
	shown=$(grep -c '^ref 1: global popular+' "$T/refs")
	# The answer may have other references before them, by chance.
	[ $(grep -c '^ref 1: ' "$T/refs") = 32 ] && [ $shown -ge 24 ] &&
		grep -qE ': 4[0-9] references,' "$T/refs" &&
		grep -qE '^left out 1: ([89]|1[0-9]) references$' "$T/refs"
}
check "references that are left out are counted" many

lost()
{
	inject "drop popular" && truth && ask popular &&
		! grep 'global popular' "$T/refs"
}
check "a reference that was overwritten is not found" lost

# hint <what>: the answer has this hint, which the injector has planted
hint()
{
	grep -E "^hint: $1 at global hints\+0x[0-9a-f]+/0x[0-9a-f]+ $MODULE$" \
		"$T/refs" || { echo "no hint: $1"; return 1; }
}

# All blocks that are leaks have the hints; of 8 blocks not all are missed by chance.
hints()
{
	inject "leak hinted" && scan && truth || return
	leaks=0
	for i in $(seq 8); do
		ask hinted 1 $i || return
		grep -q ', vmalloc, leak: ' "$T/refs" || continue
		leaks=$((leaks + 1))
		grep -qE ' references, [3-9][0-9]* hints$' "$T/refs" &&
			hint "physical address" && hint "struct page" &&
			hint "one past the end" &&
			! grep '^ref.*global hints+' "$T/refs" || return
	done
	[ $leaks -gt 0 ]
}
check "hints: physical address, struct page, one past the end" hints

no_hints()
{
	ask global && grep -q ' 0 hints$' "$T/refs" && ! grep '^hint' "$T/refs"
}
check "no hints where there are references" no_hints

# nothing_happens <command> <error>: the command fails, and the last answer stays
nothing_happens()
{
	cp "$REFS" "$T/refs"
	if put "$REPORT" "$1"; then
		echo "accepted"
		return 1
	fi
	echo "$ERR"
	case ",$2," in
	*",$ERR,"*) cmp "$REFS" "$T/refs" ;;
	*) return 1 ;;
	esac
}
invalid="Invalid argument"
range="Numerical result out of range,Math result not representable,Result not representable"
for addr in 0 1 0x10 4711 0xffffffff "$(address_of global),0" \
	    "$(address_of global)," "$(address_of global),x" "$(address_of global),1,1" \
	    ",1" "$(address_of global) 1"; do
	check "refs=$addr is refused" nothing_happens "refs=$addr" "$invalid"
done
check "more than 8 levels are refused" nothing_happens \
	"refs=$(address_of global),9" "$range"

no_record()
{
	inject "hold pages-1m 1" && truth || return
	addr=$(address_of pages-1m)
	nothing_happens "refs=$addr" "$invalid"
}
check "a page without a record is refused" no_record

off()
{
	put "$REPORT" off && nothing_happens "refs=$addr" "Operation not permitted"
	rc=$?
	put "$REPORT" on && return $rc
}
check "refs= is refused while tracking is off" off
inject reap
end
