#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Leaks with the shapes of public bug reports, see reports.tsv: one scan reports which of
# them are direct, the function and the task that allocated them, and their size.
cd "$(dirname "$0")" && . ./lib.sh
begin module

UNITS=15

# Kind, function in the backtrace, direct and indirect leaks per unit, and the task if it
# is not that of the injector
TABLE="
job		leak_job		1	0
done-work	leak_job		1	0
fired-timer	leak_fired_timer	1	0
error-path	leak_error_path		1	0
deleted		leak_deleted		1	0
members		leak_members		1	3
encoded		leak_encoded		1	0
described	leak_described		1	0
name		leak_name		1	0
kobject		leak_kobject		1	1
cdev		leak_cdev		1	0
owner		leak_owner		1	1
owner-stats	leak_stats		1	1
owner-queue	leak_queue		1	6
program		leak_program		1	3
mixed-ring	leak_mixed_ring		1	2
table		leak_table		1	1
softirq-pair	leak_pair_in_softirq	1	1	softirq
skb		leak_skb		2	1
after-rcu	leak_after_rcu		1	0
"

# Loses UNITS units of a kind, each in a batch of its own
lose()
{
	start || return
	for i in $(seq $UNITS); do
		inject "leak $1 1" || return
	done
	scan && truth && strays && judge && few_missed batches
}

# records_are <function> <task>: each record of a block that was lost has a frame of
# that function, names the task, and says how large the block is
records_are()
{
	awk -v fn="$1" -v task="$2" '
	function end() {
		if (addr == "")
			return
		if (!named)
			fail("no frame of " fn)
		if (!tasked)
			fail("not of task " task)
		# Slabs and pages round sizes up.
		if (size < asked[addr] || size > 2 * asked[addr] + 4096)
			fail("size " size ", asked for " asked[addr])
		if (asked[addr] <= 2048 && size > 2 * asked[addr] + 192)
			fail("size " size ", asked for " asked[addr])
	}
	function fail(why) {
		print addr ": " why
		bad = 1
	}
	FILENAME == ARGV[1] { asked[$2] = $3; next }
	/^unref/ {
		end()
		addr = $3 in asked ? $3 : ""
		size = substr($5, 1, length($5) - 2) + 0
		named = tasked = 0
		n++
	}
	/^  comm / { tasked = index($0, "comm \"" task "\", pid ") == 3 }
	/^    / && index($0, "    " fn "+") == 1 && /\[test_kmemtrack\]$/ { named = 1 }
	END {
		end()
		if (!n)
			fail("nothing")
		exit bad
	}' "$T/truth" "$T/report" && return
	cat "$T/report"
	return 1
}

# ends <direct> <indirect>: of each unit so many leaks are direct, those that were
# allocated first, and so many are indirect. Units with a missed block do not count.
ends()
{
	awk -v direct="$1" -v indirect="$2" "$REPORTED"'
	FILENAME == ARGV[2] {
		first[$2] = made[$5]++ < direct
		if ($2 in reported)
			unit[$5]++
		next
	}
	/^leak: / {
		sub(/;.*/, "")
		gsub(/[(,]/, " ")
		alone = 0
		for (i = 1; i < NF; i++) {
			if ($(i + 1) == "direct") {
				alone = $i
				d += $i
			}
			if ($(i + 1) ~ /^indirect/) {
				if ($i > 0)
					alone = 0
				n += $i
			}
		}
	}
	/^  object / && alone && !first[$2] {
		print $2 " is direct"
		bad = 1
	}
	END {
		for (i in unit)
			if (unit[i] == direct + indirect)
				whole++
			else
				part += unit[i]
		print whole + 0, "units and", part + 0, "blocks of others:",
			d + 0, "direct,", n + 0, "indirect"
		exit bad || !(whole && d >= whole * direct && n >= whole * indirect &&
		       d + n == whole * (direct + indirect) + part)
	}' "$T/report" "$T/truth" "$REPORT" && return
	cat "$REPORT"
	return 1
}

lines=$(echo "$TABLE" | awk 'NF { print $1 "," $2 "," $3 "," $4 "," $5 }')
for line in $lines; do
	IFS=, read -r kind function direct indirect task <<-END
		$line
	END
	if ! grep -qx "leak $kind" "$KINDS"; then
		skip "$kind" "no such kind in this kernel"
		continue
	fi
	task=${task:-$(printf 'tk/%.12s' "$kind")}
	check "$kind: found" lose "$kind"
	check "$kind: $direct direct, $indirect indirect" ends "$direct" "$indirect"
	check "$kind: function, task and size" records_are "$function" "$task"
done

# The kinds and tests in reports.tsv exist.
known()
{
	awk -F '\t' -v net="$(grep -cx "leak skb" "$KINDS")" '
	FILENAME == ARGV[1] {
		sub(/ /, ":")
		known[$0] = 1
		next
	}
	/^#/ { next }
	NF != 3 { print "not three columns: " $0; bad = 1 }
	{
		lines++
		n = split($3, names, " ")
		for (i = 1; i <= n; i++) {
			sub(/\*$/, "", names[i])
			if (!(names[i] in known) && names[i] !~ /^test:/ &&
			    !(names[i] == "leak:skb" && !net)) {
				print "unknown: " names[i]
				bad = 1
			}
			if (names[i] ~ /^test:/ && (getline line <substr(names[i], 6)) <= 0) {
				print "no test: " names[i]
				bad = 1
			}
		}
	}
	END { exit bad || !lines }' "$KINDS" reports.tsv
}
check "each line of reports.tsv names existing kinds and tests" known

# The kernel refers to the value of a string parameter by an address inside the block.
parameter()
{
	start && put /sys/module/test_kmemtrack/parameters/label \
		"a text that is longer than what any cache of 64 bytes could keep of it" &&
		scan && ! grep . "$T/report"
}
check "the text of a parameter is not reported" parameter
end
