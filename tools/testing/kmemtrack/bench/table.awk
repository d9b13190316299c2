# SPDX-License-Identifier: GPL-2.0
# Reads rows.tsv and <dir>/<kernel>.fig; prints the table, writes <json>.

function median(list, n,	i, j, t) {
	for (i = 2; i <= n; i++)
		for (j = i; j > 1 && list[j - 1] > list[j]; j--) {
			t = list[j]; list[j] = list[j - 1]; list[j - 1] = t
		}
	return list[int((n + 1) / 2)]
}

# The figure of a boot: the median of its rounds, or with @best the minimum
function rounds(k, prefix, what, best,		i, n, list, least) {
	for (i = 1; (k, prefix i "." what) in fig; i++)
		list[++n] = fig[k, prefix i "." what] + 0
	if (!n)
		return
	least = median(list, n)
	if (best)
		least = list[1]
	return least
}

function derive(k, name, value) {
	if (value != "")
		fig[k, name] = value
}

# A time in nanoseconds that was measured in several rounds
function in_us(k, name, prefix, what, best,	ns) {
	ns = rounds(k, prefix, what, best)
	if (ns != "")
		derive(k, name, ns / 1000)
}

function read_figures(k,	line, part, file, v) {
	file = dir "/" k ".fig"
	while ((getline line < file) > 0) {
		split(line, part, " ")
		fig[k, part[1]] = part[2] + 0
		have[k] = 1
	}
	close(file)
	if ((k, "boot.boot.us") in fig)
		derive(k, "boot.total", fig[k, "boot.boot.us"] * 1000 + \
		       fig[k, "boot.boot.clock"])
	# A scan of kmemtrack may have several marks; one of kmemleak is one mark
	if (fig[k, "cost.scan_stats.scan_marks"] > 0)
		derive(k, "cost.mark", fig[k, "cost.scan_stats.scan_busy_ms"] * \
		       1000000 / fig[k, "cost.scan_stats.scan_marks"])
	else if (k == "kmemleak")
		derive(k, "cost.mark", fig[k, "cost.scan.busy"])
	# A kernel without a detector is always "off"
	if (k == "none" && (k, "cost.hot.pair") in fig)
		derive(k, "cost.off.pair", fig[k, "cost.hot.pair"])
	for (v = 1; v <= 4; v *= 2) {
		in_us(k, "cpus.scan" v, "cpus" v ".scan", "wall", 1)
		in_us(k, "cpus.big" v, "cpus" v ".big", "wall", 1)
		in_us(k, "cpus.tree" v, "cpus" v ".tree", "wall", 1)
		if ((k, "cpus" v ".cpus_stats.pause_ns") in fig)
			derive(k, "cpus.pause" v,
			       fig[k, "cpus" v ".cpus_stats.pause_ns"] / 1000)
	}
	in_us(k, "par.idle_avg", "par.idle", "avg", 0)
	in_us(k, "par.busy_avg", "par.busy", "avg", 0)
	in_us(k, "par.scan_avg", "par.scan", "avg", 0)
	in_us(k, "par.scan_wall", "par.scan", "wall", 0)
	in_us(k, "par.idle_irq", "par.idle", "irq_worst", 1)
	in_us(k, "par.busy_irq", "par.busy", "irq_worst", 1)
	in_us(k, "par.scan_irq", "par.scan", "irq_worst", 1)
}

# Some awks' integers end at 2^31.
function commas(n,	s, out, sign) {
	if (n < 0) {
		sign = "-"
		n = -n
	}
	s = sprintf("%.0f", int(n))
	while (length(s) > 3) {
		out = "," substr(s, length(s) - 2) out
		s = substr(s, 1, length(s) - 3)
	}
	return sign s out
}

function number(v) {
	if (v == "")
		return "-"
	if (v < 1000 && v != int(v))
		return sprintf("%.1f", v)
	return commas(v < 0 ? v - 0.5 : v + 0.5)
}

# A target as a plain number, or nothing if there is none (yet)
function target(word, none) {
	if (word == "-")
		return ""
	if (word !~ /^\+/)
		return word + 0
	return none == "" ? "" : none + substr(word, 2)
}

function verdict(v, min, goal) {
	if (v == "" || min == "")
		return ""
	if (unit == "kinds")
		return v >= goal ? "goal" : "MISSED"
	return v <= goal ? "goal" : v <= min ? "minimum" : "MISSED"
}

function ratio(how, none, leak, track) {
	if (how == "cost") {
		if (none == "" || leak == "" || track == "" || leak <= none)
			return ""
		return (track - none) / (leak - none)
	}
	return leak == "" || track == "" || leak == 0 ? "" : track / leak
}

function fmt(v, format) { return v == "" ? "-" : sprintf(format, v) }
function js(v) { return v == "" ? "null" : sprintf("%.10g", v) }

function put_row(key, label, how, mintext, goaltext, name,
		 none, leak, track, min, goal, r, v) {
	none = fig["none", name]
	leak = fig["kmemleak", name]
	track = fig["kmemtrack", name]
	if (none == "" && leak == "" && track == "")
		return
	if (heading != "")
		print "\n" heading
	heading = ""
	min = target(mintext, none)
	goal = target(goaltext, none)
	r = ratio(how, none, leak, track)
	v = verdict(track, min, goal)
	printf "%-50s %13s %13s %13s %7s %12s %12s %s\n", label, number(none),
		number(leak), number(track), fmt(r, "%.3f"), number(min),
		number(goal), v
	printf "%s\n    {\"key\": \"%s\", \"unit\": \"%s\", \"label\": \"%s\", " \
		"\"none\": %s, \"kmemleak\": %s, \"kmemtrack\": %s, " \
		"\"ratio\": %s, \"ratio_of\": \"%s\", \"minimum\": %s, " \
		"\"goal\": %s, \"verdict\": \"%s\"}", comma, key, unit, label,
		js(none), js(leak), js(track), js(r), how, js(min), js(goal),
		v >json
	comma = ","
}

function put_figures(	i, k, key, part, sep) {
	printf "\n  ],\n  \"figures\": {" >json
	for (i = 1; i <= 3; i++) {
		k = kernel[i]
		printf "%s\n    \"%s\": {", (i > 1) ? "," : "", k >json
		sep = ""
		for (key in fig) {
			split(key, part, SUBSEP)
			if (part[1] != k || fig[key] == "")
				continue
			printf "%s\n      \"%s\": %.10g", sep, part[2], fig[key] >json
			sep = ","
		}
		printf "\n    }" >json
	}
	printf "\n  }\n}\n" >json
}

BEGIN {
	FS = "\t"
	split("none kmemleak kmemtrack", kernel, " ")
	for (i = 1; i <= 3; i++)
		read_figures(kernel[i])
	for (i = 1; i <= 3; i++) {
		k = kernel[i]
		if (k != "none" && (k, "cost.live.bytes") in fig &&
		    ("none", "cost.live.bytes") in fig)
			derive(k, "metadata", fig[k, "cost.live.bytes"] - \
			       fig["none", "cost.live.bytes"])
		if (k != "none" && (k, "off.bootoff.free") in fig &&
		    ("none", "off.bootoff.free") in fig)
			derive(k, "kept", fig["none", "off.bootoff.free"] - \
			       fig[k, "off.bootoff.free"])
	}
	printf "{\n  \"format\": 1,\n  \"mode\": \"%s\",\n  \"qemu\": \"%s\"," \
		"\n  \"rows\": [", mode, qemu >json
	printf "%-50s %13s %13s %13s %7s %12s %12s\n", "", "none", "kmemleak",
		"kmemtrack", "ratio", "minimum", "goal"
}

/^#/ || /^$/ { next }
/^=/ { heading = substr($0, 3); next }
{
	unit = $2
	put_row($1, $4, $3, $5, $6, $7)
}

END {
	put_figures()
	print "\nratio: what kmemtrack adds to the kernel without a tracker, over"
	print "what kmemleak adds (scan, delays and static memory: one over the other)"
}
