#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The program tools/mm/kmemtrack, as a user runs it. KMEMTRACK is its path if it is not
# in PATH.
cd "$(dirname "$0")" && . ./lib.sh
KMEMTRACK=${KMEMTRACK:-$(command -v kmemtrack)}
[ -x "$KMEMTRACK" ] || skip_all "no program kmemtrack: make -C tools/mm/kmemtrack"
begin module

# status <wanted> <argument...>: runs the program; it must exit with this status. $T/out
# has its output.
status()
{
	wanted=$1
	shift
	"$KMEMTRACK" "$@" >"$T/out" 2>"$T/complaint" </dev/null
	got=$?
	cat "$T/out" "$T/complaint"
	echo "$1: exit status $got"
	[ $got = "$wanted" ]
}

says()
{
	grep -qE "$1" "$T/out"
}

scan_clean()
{
	start && status 0 scan && says '^0 leaks, 0 B, 0 sites$' && says '^scan [0-9]+: '
}
check "scan of a system without leaks: exit status 0" scan_clean

scan_leaks()
{
	start && inject "leak kmalloc-64 40" && truth || return
	status 1 scan && says 'kmalloc-64 +leak_kmalloc \[test_kmemtrack\]' || return
	# The number of leaks is that of the kernel.
	says "^$(total) leaks, "
}
check "scan of leaks: exit status 1, and the function" scan_leaks

quiet()
{
	status 1 scan --quiet && [ ! -s "$T/out" ] && [ ! -s "$T/complaint" ]
}
check "scan --quiet prints nothing" quiet

as_json()
{
	status 1 report --json && says '"format": "kmemtrack-report"' &&
		says "\"leaks\": $(total)," && says '"complete": true' &&
		says '"function": "leak_kmalloc"' && says '"comm": "tk/kmalloc-64"'
}
check "report --json" as_json

as_ktap()
{
	status 1 report --ktap && says '^KTAP version 1$' &&
		says '^not ok 1 - kmalloc-64: leak_kmalloc \[test_kmemtrack\]'
}
check "report --ktap" as_ktap

as_kmemleak()
{
	[ -e "$LEAKS" ] || { echo "no $LEAKS"; return 1; }
	cat "$LEAKS" >"$T/wanted"
	status 1 report --kmemleak && cmp "$T/out" "$T/wanted"
}
check "report --kmemleak is the kernel's file" as_kmemleak

saved()
{
	status 0 save "$T/state" && put "$REPORT" clear &&
		status 0 report && status 1 -r "$T/state" report &&
		says 'leak_kmalloc\+' && status 2 -r "$T/state" scan &&
		[ "$(total)" = 0 ]
}
check "a saved state can be read, and takes no commands" saved

old_leaks()
{
	start && inject "leak kmalloc-64 20" && put "$REPORT" scan || return
	status 0 watch true && says '^true leaked nothing$'
}
check "watch: a command that loses nothing, beside old leaks" old_leaks

leaking()
{
	start && inject "leak kzalloc 20" && put "$REPORT" scan || return
	status 1 watch sh -c "echo leak kmalloc-64 30 >$INJECT; exit 3" &&
		says '^sh leaked [0-9]+ objects' && says 'leak_kmalloc\+' &&
		! says 'leak_kzalloc'
}
check "watch: a command that loses memory" leaking

leak_status()
{
	status 42 watch -q --status 42 sh -c "echo leak kmalloc-64 30 >$INJECT"
}
check "watch: an exit status that the user sets" leak_status

failing()
{
	status 3 watch sh -c 'exit 3'
}
check "watch: the exit status of a command that fails" failing

as_prometheus()
{
	start && inject "leak kmalloc-64 20" && put "$REPORT" scan || return
	status 0 export --prometheus -o "$T/x.prom" && cp "$T/x.prom" "$T/out" &&
		says "^kmemtrack_leaks $(total)\$" && says '^kmemtrack_export_complete 1$' &&
		says '^kmemtrack_site_leaks\{site="[0-9a-f]{8}",function="leak_kmalloc",module="test_kmemtrack",cache="kmalloc-64"\} [0-9]+$'
}
check "export --prometheus" as_prometheus

folded()
{
	status 0 flame --folded && says ';leak_kmalloc_\[test_kmemtrack\];.* [0-9]+$' &&
		status 0 flame -o "$T/x.svg" && grep -q '</svg>' "$T/x.svg"
}
check "flame" folded

# have <file>: whether this kernel has the file in kmemtrack_info
have()
{
	[ -e "$D/kmemtrack_info/$1" ]
}

# If the kernel does not have the file, the program says so.
missing()
{
	status 2 "$@" && grep -q "does not have the file kmemtrack_info/" "$T/complaint"
}

memory()
{
	status 0 memory && says '^free ' && ! says 'the machine has' &&
		status 0 memory --json && says '"name": "no known owner"'
}

sites()
{
	status 0 top --once && says '^ +BYTES +OBJECTS' && status 0 top --json &&
		says '"format": "kmemtrack-sites"' && says '"complete": true' &&
		status 0 flame --live --folded && says ' [0-9]+$'
}

growth()
{
	status 0 growth && status 0 growth --json && says '"complete": true'
}

plot()
{
	put "$REPORT" scan && status 0 plot && says '</svg>'
}

references()
{
	start && inject "hold not-leak 1" && truth || return
	addr=$(awk '$1 != "leaked" { print $2; exit }' "$T/truth")
	status 0 refs "$addr" && says '^block 0x' && status 0 refs --json "$addr" &&
		says '"format": "kmemtrack-refs"' && status 2 refs 0x1
}

if have memory; then
	check "memory" memory
else
	check "a kernel without kmemtrack_info/memory" missing memory
fi
if have sites; then
	check "top and flame --live" sites
	check "plot" plot
else
	check "a kernel without kmemtrack_info/sites" missing top --once
fi
if have growth; then
	check "growth" growth
else
	check "a kernel without kmemtrack_info/growth" missing growth
fi
if have refs; then
	check "refs" references
else
	check "a kernel without kmemtrack_info/refs" missing refs 0x1
fi

doctor()
{
	"$KMEMTRACK" doctor >"$T/out" 2>&1
	got=$?
	cat "$T/out"
	[ $got -le 1 ] && says '^ok +tracking [0-9]+ blocks' && says 'early pool [0-9]+ of ' &&
		says '^ok +all rules' || return
	put "$REPORT" rules_off=4 && status 1 doctor
	got=$?
	put "$REPORT" rules_off=0
	[ $got = 0 ] && says '^CHECK +the rule IRQ_STACKS is off'
}
check "doctor" doctor

switched_off()
{
	put "$REPORT" off || return
	status 2 scan && grep -q "tracking is off" "$T/complaint" && status 1 doctor
	got=$?
	put "$REPORT" on
	return $got
}
check "while tracking is off: scan has exit status 2" switched_off
end
