#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Tracking is switched on after boot, or again after "off": scans find blocks that are lost
# from then on, though most blocks in memory have no record. Data that has an entry for
# each object, such as KASAN's, does not hide them. Can also run after a boot with
# kmemtrack=off.
cd "$(dirname "$0")" && . ./lib.sh
begin module

switched_on()
{
	[ "$(stat_of tracking)" = 0 ] || put "$REPORT" off || return
	put "$REPORT" on && put "$REPORT" scan=off && quiet_code &&
		[ "$(stat_of tracking)" = 1 ] &&
		[ "$(stat_of untracked_slabs_are_roots)" = 1 ]
}
check "tracking is switched on" switched_on

# lost <kind>: 1,000 blocks, the last that were allocated before the scan
lost()
{
	start && inject "leak $1 1000" && put "$REPORT" scan && truth || return
	grep '^unref' "$LEAKS" >"$T/report"
	judge >"$T/missed"
	rc=$?
	head "$T/missed"
	[ $rc = 0 ] && strays && few_missed blocks
}
check "1000 blocks of kmalloc() that are lost after that" lost kmalloc-256
check "1000 blocks of a slab cache" lost cache
check "1000 blocks of kmemdup()" lost kmemdup
end
