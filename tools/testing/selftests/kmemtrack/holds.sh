#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Whatever something refers to is not reported, wherever the reference is,
# and is reported once the reference is gone. All kinds are held at the same
# time. One test per kind; arguments select kinds.
cd "$(dirname "$0")" && . ./lib.sh
begin module

# Those have tests of their own, below and in other files.
apart='^(transient-leak|module-list|percpu-part|call-srcu-wait|moving-.*)$'
[ $# -gt 0 ] ||
	set -- $(sed -n 's/^hold //p' "$KINDS" | grep -vE "$apart")

# held <stage>: what is wrong with each kind, in $T/<stage>.<kind>
stage()
{
	stage=$1
	shift
	truth
	for kind; do
		judge "$kind" >>"$T/$stage.$kind"
	done
}

for kind; do
	inject "hold $kind" >"$T/hold.$kind" 2>&1
done
truth
cp "$T/truth" "$T/before"
scan >"$T/scans" && stage first "$@"
scan >>"$T/scans" && stage second "$@"
for kind; do
	inject "drop $kind" >"$T/drop.$kind" 2>&1
done
scan >>"$T/scans" && stage dropped "$@"
cp "$T/truth" "$T/after"
strays >"$T/strays"

# A kind for itself; what was missed above may have been hidden by luck
alone()
{
	start && inject "hold $1" && scan && truth && judge "$1" &&
		scan && judge "$1" && inject "drop $1" && scan && truth &&
		judge "$1" && grep -q "^leaked .* $1\$" "$T/truth"
}

verdict()
{
	cat "$T/scans" "$T/hold.$1" "$T/first.$1" "$T/second.$1" "$T/drop.$1" \
		"$T/dropped.$1"
	grep -q " $1\$" "$T/before" || { echo "nothing was held"; return 1; }
	for f in scans "hold.$1" "drop.$1"; do
		[ -f "$T/$f" ] && [ ! -s "$T/$f" ] || return 1
	done
	grep 'false alarm' "$T/first.$1" "$T/second.$1" "$T/dropped.$1" &&
		return 1
	cat "$T/first.$1" "$T/second.$1" "$T/dropped.$1" >"$T/missed" || return
	if [ -s "$T/missed" ]; then
		thrice alone "$1"
		return
	fi
	# No test that cannot fail: what was held must now be seen.
	case $1 in
	kfree-rcu|notrace) return 0 ;;
	esac
	grep -q "^leaked .* $1\$" "$T/after" || { echo "not lost"; return 1; }
}

check "nothing else is reported" eval 'cat "$T/strays"; [ ! -s "$T/strays" ]'
for kind; do
	check "held, then lost: $kind" verdict "$kind"
done

transient()
{
	start && inject "hold transient-leak" && scan && truth &&
		judge transient-leak || return
	inject "drop transient-leak" && scan && truth && judge transient-leak
}
# Whoever waits in it does so uninterruptibly, and is taken for hung in the end.
check "held, then lost: call-srcu-wait" thrice alone call-srcu-wait
check "a transient leak is spared by one scan" thrice transient
end
