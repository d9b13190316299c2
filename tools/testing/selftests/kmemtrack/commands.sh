#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Commands: all commands work, with any blanks around them. Any other input is refused
# and has no effect.
cd "$(dirname "$0")" && . ./lib.sh
begin module

NL='
'
taken()
{
	put "$1" "$2" && return
	echo "'$2' to $1: $ERR"
	return 1
}

for cmd in scan scan=off scan=on scan=600 scan=0x20 scan=0 stack=off stack=on \
	   clear; do
	check "kmemleak takes $cmd" taken "$LEAKS" "$cmd"
	check "kmemleak takes $cmd and a newline" taken "$LEAKS" "$cmd$NL"
	check "kmemleak takes $cmd and a blank" taken "$LEAKS" "$cmd $NL"
done
for cmd in on scan scan=off scan=on scan=100 scan=0 stack=off stack=on \
	   pages=off pages=track pages=on clear confirm=wait confirm=snapshot \
	   max_pause=0 "max_pause=$MAX_PAUSE" min_age=1500 min_age=1000 \
	   verbose=on verbose=off log; do
	check "kmemtrack takes $cmd" taken "$REPORT" "$cmd"
	check "kmemtrack takes $cmd and a newline" taken "$REPORT" "$cmd$NL"
done

# padded <file> <command> <n> <byte>: writes the command, followed by n copies of the
# byte, which is an octal number, in one write()
padded()
{
	{
		printf %s "$2"
		head -c "$3" /dev/zero | tr '\0' "\\$4"
	} >"$T/padded"
	dd if="$T/padded" of="$1" bs=1M 2>"$T/err" && return
	cat "$T/err"
	return 1
}

for file in "$LEAKS" "$REPORT"; do
	name=${file##*/}
	check "$name takes scan=+5" taken "$file" scan=+5
	check "... and sets a period of five seconds" eval '[ "$(stat_of scan_period_s)" = 5 ]'
	put "$file" scan=off
	check "$name takes empty lines" taken "$file" "$NL${NL}scan$NL$NL"
	for n in 1 59 4092 100000; do
		check "$name takes a scan and $n NUL bytes" \
			padded "$file" scan $n 000
		check "$name takes a scan and $n blanks" \
			padded "$file" scan $n 040
		check "$name takes a scan and $n newlines" \
			padded "$file" scan $n 012
	done
done
check "kmemtrack takes several commands, one per line" \
	taken "$REPORT" "scan=on${NL}stack=on${NL}scan=off$NL"
put "$REPORT" scan=off

PARAMS=/sys/module/kmemtrack/parameters

# State that a command could change
state()
{
	cat "$LEAKS" /sys/module/kmemleak/parameters/verbose \
		$D/kmemtrack_info/suppressions
	awk -v stats="$STATS" '
	FILENAME != stats { print FILENAME ": " $0; next }
	$1 == "scan_period_s" ||
	($1 !~ /^scan_/ && $1 ~ /^(scans|tracking|[a-z_]*_(s|ms|us|roots|off|snapshot|max|tracked))$/)
	' $PARAMS/* "$STATS"
}

# A scan runs in the task that writes the command, whose stack it does not read.
own_text()
{
	for i in $(seq 20); do
		scan || return
		! grep -B9 kmt_file_write "$T/report" || return
	done
}
check "the buffer of a command is not reported" own_text

inject "leak cache-ctor 20"
scan
state >"$T/state"

# refused <file> <text> <errors>: writing the text fails with one of the errors, and
# changes no state
refused()
{
	if put "$1" "$2"; then
		echo "accepted"
		return 1
	fi
	echo "$ERR"
	case ",$3," in
	*",$ERR,"*) ;;
	*) return 1 ;;
	esac
	state >"$T/now"
	cmp "$T/state" "$T/now" || diff "$T/state" "$T/now"
}

# refused_raw <file> <text>: the same for a text with escapes for printf
refused_raw()
{
	printf "$2" >"$T/raw"
	! dd if="$T/raw" of="$1" bs=1M 2>"$T/err" || return
	cat "$T/err"
	grep -q "$invalid" "$T/err" || return
	state >"$T/now"
	cmp "$T/state" "$T/now" || diff "$T/state" "$T/now"
}
invalid="Invalid argument"
range="$invalid,Numerical result out of range,Math result not representable,Result not representable"
for file in "$LEAKS" "$REPORT"; do
	name=${file##*/}
	for cmd in scanfoo clearx offf " " "$NL" x scan= scan=12x scan=-1 \
		   scan=onn "scan =5" "scan scan" stack= stack=1 stack stackoff \
		   dump= dump dump=zzz dump=0 dump=-1 \
		   refs= refs refs=zzz refs=0 refs=-1 refs=0,1 refs=1,0 refs=1,x \
		   refs=1, refs=,1 refs=1,1,1 refs=1,-1 SCAN Clear clear=1 =on \
		   "scan off"; do
		shown=$(echo "$cmd" | tr '\n' ' ')
		check "$name refuses '$shown'" refused "$file" "$cmd" "$invalid"
	done
	check "$name refuses a number of more than 64 bits" refused "$file" \
		scan=99999999999999999999 "$range"
	for cmd in confirm confirm= confirm=on confirm=snap "confirm=wait x" \
		   max_pause max_pause= max_pause=1ms max_pause=-1 \
		   sites sites= sites=many sites=-1; do
		check "$name refuses '$cmd'" refused "$file" "$cmd" "$invalid"
	done
	check "$name refuses a max_pause that is too large" refused \
		"$file" max_pause=5000001 "$range"
	check "$name refuses an overlong write" refused "$file" \
		"$(head -c 5000 /dev/zero | tr '\0' s)" "$invalid"
	for cmd in scan=+ scan=++1 scan=+-1 scan=+on; do
		check "$name refuses '$cmd'" refused "$file" "$cmd" "$invalid"
	done
	check "$name refuses a command behind blanks of 5000 bytes" refused \
		"$file" "$(head -c 5000 /dev/zero | tr '\0' ' ')scan" "$invalid"
	check "$name refuses 5000 blanks between a command and other text" refused "$file" \
		"scan=7$(head -c 5000 /dev/zero | tr '\0' ' ')x" "$invalid"
	check "$name refuses a NUL byte and a command" refused_raw "$file" \
		'\000scan=7'
	check "$name refuses a NUL byte between commands" refused_raw "$file" \
		'scan=7\000clear'
	check "$name refuses commands of which one is unknown" refused "$file" \
		"clear${NL}foo$NL" "$invalid"
done

# param_refused <name> <value> <errors>: sysfs refuses the value, and the log says which
# values are valid
param_refused()
{
	dmesg -c >/dev/null
	refused "$PARAMS/$1" "$2" "$3" || return
	dmesg | grep "kmemtrack: kmemtrack\.$1=.* valid: "
}

for param in "verbose 2" "verbose onn" "verbose maybe" "max_pause -1" \
	     "max_pause 1ms" "max_pause +-1" "panic_on_leak x" \
	     "panic_on_leak on" "scan_period 1x" "scan_period offf"; do
	set -- $param
	check "parameter $1 refuses '$2'" param_refused $1 $2 "$invalid"
done
for param in "max_pause 5000001" "max_pause 4294967295" \
	     "panic_on_leak 4294967296" "scan_period 2147484" \
	     "scan_period 4294968"; do
	set -- $param
	check "parameter $1 refuses $2: too large" param_refused $1 $2 \
		"Numerical result out of range,Math result not representable,Result not representable"
done
# The same values as commands
for cmd in panic_on_leak=x rules_off=0x1000 rules_off=NAPS early_pool=0 \
	   rules_off=99999999999999999999 stack=maybe pages=offf pages=tracked confirm=snap \
	   confirm=on min_age=-1 min_age=1ms; do
	check "kmemtrack refuses '$cmd'" refused "$REPORT" "$cmd" "$invalid"
done
for cmd in min_age=2147484 min_age=4294967295 max_pause=5000001 panic_on_leak=4294967296 \
	   scan=2147484 scan=4294968 sites=65537; do
	check "kmemtrack refuses '$cmd': too large" refused "$REPORT" "$cmd" \
		"Numerical result out of range,Math result not representable,Result not representable"
done

# param_takes <name> <value> <shown>
param_takes()
{
	old_value=$(cat $PARAMS/$1)
	put $PARAMS/$1 "$2" || { echo "$ERR"; return 1; }
	new_value=$(cat $PARAMS/$1)
	echo "$old_value -> $new_value"
	put $PARAMS/$1 "$old_value" && [ "$new_value" = "$3" ]
}

for param in "verbose on Y" "verbose 1 Y" "verbose 0 N" "verbose off N" \
	     "verbose Yes Y" "verbose n N" "max_pause +5 5" "max_pause 0 0" \
	     "panic_on_leak 4294967295 4294967295" \
	     "scan_period 2147483 2147483" "scan_period off 0"; do
	set -- $param
	check "parameter $1 takes $2" param_takes $1 $2 $3
done

# command_sets <command> <line of stats> <value> <command that restores the setting>
command_sets()
{
	put "$REPORT" "$1" || { echo "$ERR"; return 1; }
	value=$(stat_of $2)
	echo "$2 $value"
	put "$REPORT" "$4" && [ "$value" = "$3" ]
}

for cmd in "stack=off stacks_are_roots 0 stack=on" \
	   "pages=off pages_are_roots 0 pages=on" \
	   "pages=track pages_tracked 1 pages=on" \
	   "pages=on pages_tracked 0 pages=on" \
	   "confirm=wait confirm_by_snapshot 0 confirm=snapshot" \
	   "confirm=snapshot confirm_by_snapshot 1 confirm=snapshot" \
	   "min_age=+5 min_age_ms 5 min_age=1000" \
	   "min_age=2147483 min_age_ms 2147483 min_age=1000" \
	   "rules_off=0xfff rules_off 4095 rules_off=0" \
	   "sites=0 sites_max 0 sites=16384" \
	   "sites=65536 sites_max 65536 sites=16384"; do
	set -- $cmd
	check "stats show what $1 sets" command_sets $1 $2 $3 $4
done

# same <n>: that many commands, one per line
same()
{
	for i in $(seq "$1"); do
		echo sites=77
	done
}
check "16 commands in one write" taken "$REPORT" "$(same 15)${NL}sites=16384"
check "... and no more" refused "$REPORT" "$(same 17)" "$invalid"
check "a number is octal if it begins with 0" command_sets scan=010 scan_period_s 8 scan=off

# scans_within <ms>: whether a periodic scan ends within that time
scans_within()
{
	before=$(stat_of scans)
	for i in $(seq $(($1 / 100))); do
		[ "$(stat_of scans)" = "$before" ] || return 0
		usleep 100000
	done
	return 1
}

# Hundredths of a second since boot
uptime_now()
{
	awk '{ printf "%.0f\n", $1 * 100 }' /proc/uptime
}

# Fails if a scan ends in the first 1.9 s. On a slow machine a scan that ends later may
# be seen late, but none can be seen early.
two_seconds_first()
{
	since=$(uptime_now)
	before=$(stat_of scans)
	taken "$REPORT" scan=2 || return
	while :; do
		seen=$(stat_of scans)
		[ $(($(uptime_now) - since)) -lt 190 ] || return 0
		[ "$seen" = "$before" ] || return
		usleep 100000
	done
}

# The period begins with the command, whenever the machine was booted and whether or not
# a scan ran before. The scan on request at the end waits for a periodic scan that may
# still be running.
period_counts()
{
	taken "$REPORT" scan=off && ! scans_within 1500 &&
		two_seconds_first && scans_within 20000 &&
		scans_within 20000 && taken "$REPORT" scan=off &&
		taken "$REPORT" scan && ! scans_within 3000
}
check "scan=2: the next scan runs two seconds later, not at once" period_counts

same_period()
{
	taken "$REPORT" "scan=77${NL}scan=on" &&
		[ "$(stat_of scan_period_s)" = 77 ] &&
		taken "$REPORT" "scan=off${NL}scan=on" &&
		[ "$(stat_of scan_period_s)" = 77 ] &&
		taken "$REPORT" scan=off
}
check "scan=on keeps the period that was set" same_period

# first_leak <file>: the address of the first leak in the format of kmemleak
first_leak()
{
	sed -n 's/^unreferenced object \(0x[0-9a-f]*\) .*/\1/p' "$1" | head -n 1
}

dumps()
{
	addr=$(first_leak "$LEAKS")
	[ "$addr" ] || { echo "no leak to dump"; return 1; }
	dmesg | wc -l >"$T/lines"
	taken "$1" "dump=$addr$NL" || return
	dmesg | tail -n +"$(($(cat "$T/lines") + 1))" | tee "$T/log"
	grep -qi "kmemtrack: object ${addr}" "$T/log" &&
		grep -qE 'kmemtrack:   references: [0-9]+ found .*, [0-9]+ needed' "$T/log" &&
		grep -qE 'kmemtrack:   state: reported' "$T/log" &&
		grep -qE 'kmemtrack:     [a-z_]+.*\+0x' "$T/log" &&
		! grep kmemleak: "$T/log"
}
check "kmemleak dumps an address to the log" dumps "$LEAKS"
check "kmemtrack dumps an address to the log" dumps "$REPORT"

# first_of <kind> [number]: the address of one of its objects
first_of()
{
	awk -v kind="$1" '$4 == kind { print $2 }' "$T/truth" | sed -n "${2:-1}p"
}

# place <address> <pattern>: whether a reference to it is where the pattern says
place()
{
	dmesg -c >/dev/null
	taken "$REPORT" "dump=$1" || return
	dmesg | tee "$T/log"
	grep -qE "kmemtrack:   kmemtrack-refs 1: block .*: [1-9][0-9]* references" \
		"$T/log" && grep -qE "kmemtrack:   ref 1: $2" "$T/log"
}

places()
{
	start && inject "hold stack 1" && inject "hold cache 1" &&
		for i in 1 2 3 4 5 6 7 8; do
			inject "leak chain 2" || return
		done && scan && truth || return
	place "$(first_of stack)" 'stack of task "tk-stack" pid [0-9]+' &&
		place "$(first_of cache)" 'global cached\+0x[0-9a-f]+/0x[0-9a-f]+ \[test_kmemtrack\]' ||
		return
	# The scan may have missed the first block of a chain by chance.
	found=1
	for i in 1 3 5 7 9 11 13 15; do
		! place "$(first_of chain $((i + 1)))" "object $(first_of chain $i), [0-9]+ bytes, kmalloc-[0-9a-z-]+, \\+0x[0-9a-f]+, leak, allocated by (tk_make|__kmalloc)" ||
			{ found=0; break; }
	done
	inject reap && return $found
}
check "dump= says where references are" places

# no_root <stack|pages> <kind>: if these are no roots, a scan reports blocks that only they
# refer to, and if they are roots again, the next one does not
no_root()
{
	start && inject "hold $2" && scan && truth && judge || return
	[ "$(count held)" -ge 2 ] && taken "$REPORT" "$1=off" || return
	scan
	rc=$?
	taken "$REPORT" "$1=on" && [ $rc = 0 ] || return
	n=$(judge "" /dev/null | grep -c '^false alarm: ')
	echo "$n of $(count held) reported"
	[ $((n * 2)) -ge "$(count held)" ] && scan && truth && judge && inject free
}
check "stack=off: stacks are no roots, stack=on: they are" no_root stack stack
check "pages=off: pages are no roots, pages=on: they are" no_root pages page

# The address in a command is no reference to the leak that it names.
named()
{
	start && inject "leak cache 20" && scan && truth && judge || return
	addr=$(first_leak "$T/report")
	[ "$addr" ] && taken "$REPORT" "refs=$addr${NL}dump=$addr${NL}scan" || return
	cat "$LEAKS" >"$T/report"
	grep "$addr" "$T/report" && inject reap
}
check "a scan after dump= and refs= in one write reports the same leak" named

none_again()
{
	scan && ! grep -Ff "$T/cleared" "$T/report"
}

# A leak that was in the report when it was cleared is never reported again. A leak that
# all scans until then had missed may be reported later.
cleared()
{
	start && inject "leak cache-ctor 100" && scan && truth && judge &&
		few_missed blocks || return
	grep '^unref' "$T/report" >"$T/cleared"
	taken "$1" clear || return
	! grep . "$LEAKS" || return
	none_again && none_again || return
	next_round && inject "leak cache-ctor 100" && none_again && truth &&
		judge && few_missed blocks
}
check "kmemleak: clear removes the reported leaks for good, and no others" cleared "$LEAKS"
check "kmemtrack: clear removes the reported leaks for good, and no others" cleared "$REPORT"

# A leak that was cleared may have pointers to memory that is freed, where other blocks
# are allocated later. It must not hide these when they are lost.
dangling()
{
	start && inject "leak dangling 100" && scan && truth &&
		judge >"$T/missed" || return
	# If a block was missed by chance, in one of some thousand runs, the rest of
	# the test shows nothing.
	! grep . "$T/missed" || { cannot "a block was missed, which clear leaves"; return 0; }
	taken "$1" clear && next_round && inject "leak cache 100" && scan && truth && judge && strays &&
		few_missed blocks cache
}
check "leaks that were cleared do not hide later leaks" dangling "$REPORT"

log_line()
{
	start && inject "leak cache 100" || return
	for i in 1 2 3; do
		dmesg -c >/dev/null
		scan || return
		dmesg
		new=$(new_records)
		# One line says how many, not two.
		[ "$(dmesg | grep -c 'new .*leaks')" -le 1 ] || return
		# A leak that was reported before is not new; one that earlier scans
		# missed is.
		dmesg | grep 'new suspected memory leaks' >"$T/log"
		[ $new != 0 ] || [ ! -s "$T/log" ] || return
		[ $new = 0 ] ||
			grep -qE "kmemleak: $new new suspected memory leaks \(see /sys/kernel/debug/kmemleak\)\$" "$T/log" ||
			return
	done
	truth && judge && few_missed blocks
}
check "the log says how many new leaks there are, once" log_line

verbose()
{
	start && taken "$REPORT" "verbose=on" && inject "leak cache 20" ||
		return
	dmesg -c >/dev/null
	scan
	taken "$REPORT" "verbose=off" || return
	dmesg
	# One object, and the number of the others of the same site
	more=$(dmesg | sed -n 's/.* and \([0-9]*\) more object(s) with .*/\1/p')
	[ "$(records)" = $((more + 1)) ] &&
		dmesg | grep -q 'kmemleak: unreferenced object 0x' &&
		dmesg | grep -qE 'kmemleak: +backtrace \(crc [0-9a-f]+\):' &&
		dmesg | grep -q 'leak_cache.*\[test_kmemtrack\]'
}
check "verbose: leaks are in the log" verbose

# ours: the lines of the log that are the detector's
ours()
{
	dmesg | grep -E '(kmemtrack|kmemleak): '
}

# logged_sites: the lines of the log about sites, without time stamps
logged_sites()
{
	dmesg | sed -n 's/^\(\[[^]]*\] \)\{0,1\}kmemtrack: leak site //p'
}

# The lines about sites, which log collectors search for, add up to the bytes and leaks
# of the report.
sites_add_up()
{
	logged_sites >"$T/sites"
	cat "$T/sites"
	head -n 1 "$REPORT"
	[ -s "$T/sites" ] && awk '
	FNR == NR && /^kmemtrack / { leaks = $3; bytes = $5; next }
	FNR == NR { next }
	{
		sub(/^.* of [0-9]*: /, "")
		n += $3
		sum += $1
	}
	END { exit n != leaks || sum != bytes }' "$REPORT" "$T/sites"
}

log_sites()
{
	start && taken "$REPORT" "verbose=on" && inject "leak vmalloc-chain 5" &&
		inject "leak cache 20" || return
	dmesg -c >/dev/null
	scan
	taken "$REPORT" "verbose=off" || return
	sites_add_up && ours | tail -n 1 | grep -q 'kmemtrack: leak site [0-9]* ' &&
		grep -qE '^[0-9]+ of [0-9]+: [0-9]+ bytes, [0-9]+ objects, tk_plain, leak_cache\+0x[0-9a-f]+/0x[0-9a-f]+ \[test_kmemtrack\], task "tk/cache"$' "$T/sites" || return
	# The command "log" prints the same lines, and nothing else.
	cp "$T/sites" "$T/sites.verbose"
	dmesg -c >/dev/null
	taken "$REPORT" log && sites_add_up && cmp "$T/sites" "$T/sites.verbose" &&
		! ours | grep -v 'kmemtrack: leak site '
}
check "log: a line for each site, with verbose and on request" log_sites

# With more than 16 sites the log has 16 lines, and one for all others.
log_ends()
{
	start || return
	for kind in $(sed -n 's/^leak //p' "$KINDS" | head -n 40); do
		inject "leak $kind" || return
	done
	scan || return
	dmesg -c >/dev/null
	taken "$REPORT" log && sites_add_up && [ "$(wc -l <"$T/sites")" = 17 ] &&
		grep -qE '^17 to [0-9]+ of [0-9]+: [0-9]+ bytes, [0-9]+ objects$' "$T/sites"
}
check "log: no more than 17 lines" log_ends

# With verbose=on the log has 16 records, and one line that counts all others. Together
# they are all new leaks.
verbose_ends()
{
	start && taken "$REPORT" "verbose=on" || return
	for kind in $(sed -n 's/^leak //p' "$KINDS" | head -n 40); do
		inject "leak $kind" || return
	done
	dmesg -c >/dev/null
	scan
	taken "$REPORT" "verbose=off" || return
	dmesg | grep -E 'leak|more' | tee "$T/log"
	[ "$(grep -c 'kmemleak: unreferenced object 0x' "$T/log")" = 16 ] && awk '
	/ new suspected memory leaks / {
		sub(/ new suspected .*/, "")
		new = $NF
	}
	/: unreferenced object 0x/ { n++ }
	/ more object\(s\) with the same backtrace$/ {
		sub(/ more object.*/, "")
		n += $NF
	}
	/kmemleak: \.\.\. and [0-9]+ more site\(s\): [0-9]+ bytes, [0-9]+ object\(s\)$/ {
		rest++
		n += $(NF - 1)
	}
	END { exit rest != 1 || n != new }' "$T/log"
}
check "verbose: no more than 16 records" verbose_ends

# restricted <kptr_restrict>: if this setting hides addresses from users, the log has
# records of leaks, but not their addresses
restricted()
{
	start && taken "$REPORT" "verbose=on" && inject "leak cache 20" &&
		put /proc/sys/kernel/kptr_restrict "$1" || return
	dmesg -c >/dev/null
	scan && truth
	echo "dump=$(awk '{ print $2; exit }' "$T/truth")" >"$REPORT"
	rc=$?
	taken "$REPORT" "verbose=off" &&
		put /proc/sys/kernel/kptr_restrict 0 || return
	dmesg >"$T/log"
	[ $rc = 0 ] && grep -q 'unreferenced object 0x' "$T/log" &&
		grep -q 'kmemtrack: leak site 1 of ' "$T/log" &&
		grep -q 'kmemtrack: object 0x' "$T/log" || return
	awk '{ print substr($2, 3) }' "$T/truth" >"$T/addresses"
	! grep -iFf "$T/addresses" "$T/log"
}
for mode in 1 2; do
	check "verbose: no addresses where kptr_restrict is $mode" restricted $mode
done

# begin_wait <ms>: loses blocks; the next scan waits until they are this old
begin_wait()
{
	start && taken "$REPORT" "min_age=$1${NL}confirm=wait" &&
		inject "leak cache 20"
}

end_wait()
{
	taken "$REPORT" "min_age=1000${NL}confirm=snapshot"
}

# until_gone <pid> [signal]: waits up to 30 s for the process to end. Sends it the signal
# every 20 ms, so that some arrive during the scan on a slow machine, too.
until_gone()
{
	signals=0
	for i in $(seq 1500); do
		kill -${2:-0} "$1" 2>/dev/null || return 0
		signals=$((signals + 1))
		usleep 20000
	done
	return 1
}

# shown: both reports; the time since the first leak of a record goes on
shown()
{
	cat "$LEAKS" && sed 's/^  first .*comm/  comm/' "$REPORT"
}

# The report stays as it was.
scan_is_killable()
{
	start && inject "leak cache-ctor 20" && scan && shown >"$T/shown" &&
		grep -q leak_cache "$T/shown" || return
	taken "$REPORT" "min_age=60000${NL}confirm=wait" && inject "leak cache 20" || return
	echo scan >"$REPORT" 2>/dev/null &
	pid=$!
	# The task sleeps while it waits for the leak to reach min_age.
	for i in $(seq 300); do
		grep -q '^State:.[SD]' /proc/$pid/status && break
		usleep 100000
	done
	# until_gone() gives up before the leak reaches min_age.
	kill -TERM $pid && until_gone $pid && rc=0 || rc=1
	end_wait && [ $rc = 0 ] && shown | diff "$T/shown" -
}
check "a fatal signal ends a scan, and the report stays" scan_is_killable

# A signal with a handler does not make the write fail with EINTR: a shell that repeats
# the write then would never get through a scan. Nor does the scan start again.
scan_ignores_handlers()
{
	begin_wait 3000 || return
	before=$(stat_of scans)
	(
		trap : USR1
		: >"$T/trapped"
		printf scan >"$1"
	) &
	pid=$!
	while [ ! -e "$T/trapped" ]; do
		usleep 10000
	done
	rm "$T/trapped"
	until_gone $pid USR1
	rc=$?
	[ $rc = 0 ] || kill -KILL $pid
	wait $pid || rc=1
	end_wait || return
	echo "$signals signals, $(($(stat_of scans) - before)) scans"
	[ $rc = 0 ] && [ $signals -ge 3 ] &&
		[ "$(stat_of scans)" = $((before + 1)) ] || return
	cat "$LEAKS" >"$T/report"
	truth && judge && few_missed blocks
}
check "kmemleak: a signal with a handler does not end a scan" \
	scan_ignores_handlers "$LEAKS"
check "kmemtrack: a signal with a handler does not end a scan" \
	scan_ignores_handlers "$REPORT"

# running <what>: the statistic running_<what>, about the scan in progress
running()
{
	stat_of running_$1
}

# A scan that waits for a minute: the statistics show its phase and its progress, and
# are all 0 after it was killed.
seen_waiting()
{
	begin_wait 60000 || return
	before=$(stat_of scans)
	echo scan >"$REPORT" 2>/dev/null &
	pid=$!
	rc=1
	for i in $(seq 3000); do
		[ "$(running phase)" != 4 ] || [ "$(running percent)" -lt 1 ] ||
			{ rc=0; break; }
		usleep 20000
	done
	grep running "$STATS"
	left=$(running left_ms)
	# The scan waits for 30 s twice. At least one percent of the first wait is over,
	# and the second one is still to come. The marks take seconds on a slow machine.
	[ "$(running ms)" -ge 100 ] && [ "$left" -ge 30000 ] &&
		[ "$left" -lt 600000 ] || rc=1
	kill -TERM $pid && until_gone $pid || rc=1
	end_wait || return
	grep running "$STATS"
	[ $rc = 0 ] && [ "$(stat_of scans)" = "$before" ] &&
		! grep '^running_.* [^0]' "$STATS"
}
check "stats show a scan that waits" seen_waiting

# The phase number never decreases during a scan. In each phase the percentage never
# decreases, and the estimated time left never increases. Short phases may not be seen.
goes_one_way()
{
	begin_wait 2000 || return
	echo scan >"$REPORT" &
	pid=$!
	: >"$T/seen"
	while kill -0 $pid 2>/dev/null; do
		awk '/^running_/ { printf "%s ", $2 } END { print "" }' "$STATS" >>"$T/seen"
	done
	wait $pid && rc=0 || rc=1
	end_wait || return
	uniq "$T/seen"
	[ $rc = 0 ] && awk '
	$1 == 0 { over = n; next }
	over != "" && n { bad = 1 }
	{ n++ }
	$1 < phase || $2 > 99 || $3 < ms { bad = 1 }
	$1 == phase && ($2 < percent || left && $4 > left) { bad = 1 }
	{ phase = $1; percent = $2; ms = $3; left = $4 }
	END { exit bad || !n }' "$T/seen"
}
check "stats: phase and percentage never decrease while a scan runs" goes_one_way
end
