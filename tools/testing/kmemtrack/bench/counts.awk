# SPDX-License-Identifier: GPL-2.0
# Reads counts.tsv and figures. what=check: prints KTAP with a test for each count, which
# fails if the count is larger by more than MAX percent, or than the third column allows.
# what=keep: prints counts.tsv with the new counts.

BEGIN {
	MAX = 5
	FS = "[ \t]+"
}

# The lines of counts.tsv, in order, including comments
FNR == NR {
	line[++lines] = $0
	if ($0 ~ /^#/)
		next
	key[lines] = $1
	kept[lines] = $2
	most[lines] = NF > 2 ? $3 : MAX
	next
}

{
	figure[$1] = $2
}

END {
	# Until init runs: the log's time, and what passed before there was any
	if ("boot.boot.us" in figure)
		figure["boot.total"] = figure["boot.boot.us"] * 1000 + \
				       figure["boot.boot.clock"]
	if (what == "check")
		print "KTAP version 1"
	for (i = 1; i <= lines; i++) {
		if (!(i in key)) {
			if (what == "keep")
				print line[i]
			continue
		}
		now = (key[i] in figure) ? figure[key[i]] : ""
		if (what == "keep") {
			printf "%s\t%s%s\n", key[i], now == "" ? kept[i] : now, \
			       most[i] != MAX ? "\t" most[i] : ""
			continue
		}
		n++
		more = kept[i] > 0 ? (now / kept[i] - 1) * 100 : 0
		bad = now == "" || kept[i] == "" || more > most[i]
		printf "%sok %d - %s %s, kept %s (%+.1f %%)\n", \
		       bad ? "not " : "", n, key[i], \
		       now == "" ? "was not measured" : now, kept[i], more
		failed += bad
		if (more < -MAX)
			print "# better by far: bench/run --keep"
	}
	if (what == "check")
		print "1.." n
	exit failed > 0
}
