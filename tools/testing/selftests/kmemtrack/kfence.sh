#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Objects from the pool of KFENCE: KFENCE's records of them are no references, and scans
# read the objects like any others.
cd "$(dirname "$0")" && . ./lib.sh
begin module

INTERVAL=/sys/module/kfence/parameters/sample_interval
ROUNDS=3

# If the interval was 0 at boot, KFENCE allocates its pool from the page allocator now.
was=$(cat $INTERVAL)
put $INTERVAL 1

# lose <rules_off>: loses objects in ROUNDS rounds, scans without these rules, and judges
# each report
lose()
{
	start || return
	for i in $(seq $ROUNDS); do
		next_round && (inject "leak kfence") && truth &&
			put "$REPORT" "rules_off=$1" || return
		scan
		rc=$?
		put "$REPORT" rules_off=0
		[ $rc = 0 ] && judge && strays || return
	done
	[ "$(count leaked)" = 40 ]
}

found()
{
	lose 0 && few_missed blocks
}

# 2 is the bit of the rule KFENCE: without it, KFENCE's records are roots.
hidden()
{
	lose 2 && ! few_missed blocks
}

# Blocks that only objects in KFENCE's pool refer to are not reported while the objects
# are held, and are reported when they are lost.
held()
{
	start || return
	for i in $(seq $ROUNDS); do
		next_round && (inject "hold kfence") && truth || return
		[ "$(count held)" = 20 ] && scan && false_alarms && strays &&
			(inject "drop kfence") && scan && truth && judge &&
			strays || return
	done
	few_missed blocks
}

# Allocates objects in KFENCE's pool while tracking is off: they have no records.
off_and_on()
{
	put "$REPORT" off && (inject "hold kfence-untracked") &&
		put "$REPORT" on && quiet_code
}

held_untracked()
{
	start && (inject "hold kfence-untracked") && truth || return
	[ "$(count held)" = 20 ] && scan && false_alarms && strays &&
		(inject "drop kfence-untracked") && scan && truth && judge &&
		strays && few_missed blocks
}

check "KFENCE: leaks in KFENCE's pool are found" found
check "KFENCE: without the rule, KFENCE's records hide them" hidden
check "scans read objects in KFENCE's pool" held
check "tracking is switched off and on again" off_and_on
check "after that, leaks in KFENCE's pool are found" found
check "after that, scans read objects in KFENCE's pool" held
check "after that, scans read objects without records, too" held_untracked
put $INTERVAL "$was"
end
