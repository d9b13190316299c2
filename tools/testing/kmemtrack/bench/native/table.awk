# SPDX-License-Identifier: GPL-2.0
# Reads rows.tsv and <dir>/<kernel>.fig, whose lines are: boot, figure, value.
# Prints the table and writes <tsv>. Ends with 1 if a bound is missed or a figure
# which has one was not measured.

function median(list, n,	i, j, t) {
	for (i = 2; i <= n; i++)
		for (j = i; j > 1 && list[j - 1] > list[j]; j--) {
			t = list[j]; list[j] = list[j - 1]; list[j - 1] = t
		}
	return (list[int((n + 1) / 2)] + list[int(n / 2) + 1]) / 2
}

# Of a figure that was measured several times in a boot, take the median.
function read_figures(k,	line, part, file) {
	file = dir "/" k ".fig"
	while ((getline line < file) > 0) {
		split(line, part, " ")
		value[k, part[2], part[1], ++count[k, part[2], part[1]]] = part[3] + 0
		if (part[1] > boots)
			boots = part[1]
	}
	close(file)
}

# Sets mid, low and high over the boots, and quarter: the first quartile of all
# values of the figure, each of which is the median of many rounds. Other load
# makes some of them larger. The minimum would be too small: a virtual machine
# sometimes subtracts too much stolen time.
function over_boots(k, name,	b, i, n, list, once, all, nr) {
	mid = low = high = quarter = ""
	n = nr = 0
	for (b = 1; b <= boots; b++) {
		if (!((k, name, b) in count))
			continue
		for (i = 1; i <= count[k, name, b]; i++)
			all[++nr] = once[i] = value[k, name, b, i]
		list[++n] = median(once, count[k, name, b])
	}
	if (!n)
		return
	median(all, nr)
	quarter = all[int((nr + 3) / 4)]
	mid = median(list, n)
	low = list[1]
	high = list[n]
}

# Bytes a second. For both detectors the bytes are those that kmemtrack reads, since both
# have the same objects.
function rate(k, name,	bytes, t) {
	over_boots("kmemtrack", name ".words")
	bytes = mid * 8
	over_boots(k, name ".busy")
	if (!bytes || mid == "")
		return
	t = mid; mid = bytes / t
	t = low; low = bytes / high; high = bytes / t
	quarter = bytes / quarter
}

function commas(n,	s, out) {
	s = sprintf("%.0f", n)
	while (length(s) > 3) {
		out = "," substr(s, length(s) - 2) out
		s = substr(s, 1, length(s) - 3)
	}
	return s out
}

function number(v) {
	if (v == "")
		return "-"
	v /= scale
	return v < 100 ? sprintf("%.1f", v) : commas(v)
}

function cell(k) {
	if (m[k] == "")
		return "-"
	return number(m[k]) " (" number(l[k]) "-" number(h[k]) ")"
}

# The quartile of a detector, relative to that of no detector or of kmemleak
function compared(k) {
	if (how == "none+" && b[k] != "" && b["none"] != "")
		return (b[k] - b["none"]) / scale
	if (how == "none*" && b[k] != "" && b["none"] > 0)
		return b[k] / b["none"]
	if (how == "leak*" && b[k] != "" && b["kmemleak"] > 0)
		return b[k] / b["kmemleak"]
	return ""
}

function show(v) {
	if (v == "")
		return "-"
	if (how == "none+")
		return (v < 0 ? "-" : "+") \
		       (v < 100 ? sprintf("%.1f", v < 0 ? -v : v) : commas(v))
	return "x" sprintf(v < 10 ? "%.3f" : "%.1f", v)
}

function verdict(v, bound, goal) {
	if (v == "")
		return bound == "-" || m["kmemtrack"] != "" ? "" : "not measured"
	if (goal != "-" && v <= goal + 0)
		return "goal"
	if (bound == "-")
		return ""
	if (v > bound + 0)
		return "MISSED"
	return goal == "-" ? "bound" : "above goal"
}

function put_row(key, label, bound, goal, name,	i, k, v, said, leak) {
	for (i = 1; i <= 3; i++) {
		k = kernel[i]
		if (name ~ /\.rate$/)
			rate(k, substr(name, 1, length(name) - 5))
		else
			over_boots(k, name)
		m[k] = mid; l[k] = low; h[k] = high; b[k] = quarter
	}
	if (m["none"] m["kmemleak"] m["kmemtrack"] == "" && bound == "-")
		return
	if (heading != "")
		print "\n" heading
	heading = ""
	v = compared("kmemtrack")
	leak = how == "leak*" ? "" : compared("kmemleak")
	said = verdict(v, bound, goal)
	missed += said ~ /MISSED|not measured/
	printf "%-46s %-4s %-22s %-29s %-22s %9s %9s %7s %7s %s\n", label, unit,
	       cell("none"), cell("kmemleak"), cell("kmemtrack"), show(leak),
	       show(v), show(goal == "-" ? "" : goal + 0),
	       show(bound == "-" ? "" : bound + 0), said
	printf "%s\t%s\t%s", key, unit, how >tsv
	for (i = 1; i <= 3; i++) {
		k = kernel[i]
		printf "\t%s\t%s\t%s\t%s", tsv_of(m[k]), tsv_of(l[k]),
		       tsv_of(h[k]), tsv_of(b[k]) >tsv
	}
	printf "\t%s\t%s\t%s\t%s\t%s\n", leak == "" ? "-" : sprintf("%.4g", leak),
	       v == "" ? "-" : sprintf("%.4g", v), goal, bound,
	       said == "" ? "-" : said >tsv
}

function tsv_of(v) { return v == "" ? "-" : sprintf("%.6g", v / scale) }

BEGIN {
	FS = "\t"
	split("none kmemleak kmemtrack", kernel, " ")
	for (i = 1; i <= 3; i++)
		read_figures(kernel[i])
	printf "key\tunit\thow" >tsv
	for (i = 1; i <= 3; i++)
		printf "\t%s\t%s_low\t%s_high\t%s_q1", kernel[i], kernel[i],
		       kernel[i], kernel[i] >tsv
	print "\tkmemleak_is\tkmemtrack_is\tgoal\tbound\tverdict" >tsv
	printf "%-46s %-4s %-22s %-29s %-22s %9s %9s %7s %7s\n", "", "unit",
	       "none", "kmemleak", "kmemtrack", "kmemleak", "kmemtrack", "goal",
	       "bound"
}

/^#/ || /^$/ { next }
/^=/ { heading = substr($0, 3); next }
{
	unit = $2
	how = $3
	scale = unit == "us" ? 1000 : unit == "ms" ? 1000000 : 1
	put_row($1, $4, $5, $6, $7)
}

END {
	print ""
	print "The guest is User-mode Linux on this machine, with one CPU. Each column shows the"
	print "median of the boots and in brackets the least and the largest. The comparison after"
	print "it (+ above none, x times none or for a scan times kmemleak) uses the first quartile"
	print "of all passes, because other load of the machine makes some passes slower. Times are"
	print "CPU time of the guest unless the label says real time."
	print "A system call costs " syscall() " here: User-mode Linux stops and starts a process of the"
	print "machine by ptrace. This hides most of a detector's cost in programs, so the same kinds"
	print "of operation are also measured inside the kernel, without system calls."
	print "User-mode Linux maps memory in 4 KiB pages, so rows with cold caches also pay for TLB"
	print "misses. kmemleak's backtrace reads each word of the stack on User-mode Linux; on arm64"
	print "and x86 it reads frame records and is cheaper: see the instruction counts."
	scale = 1
	disturbed()
	exit missed > 0
}

# The loop of rows.tsv must be equally fast in all kernels.
function disturbed(	i, least, most) {
	for (i = 1; i <= 3; i++) {
		over_boots(kernel[i], "loop.ns")
		if (quarter == "")
			continue
		least = least == "" || quarter < least ? quarter : least
		most = most == "" || quarter > most ? quarter : most
	}
	if (most > 1.05 * least)
		print "DISTURBED: the same loop took " number(least) " ns in one " \
		      "kernel and " number(most) " ns in another: measure again."
}

function syscall() {
	over_boots("none", "user_syscall.cpu")
	return sprintf("%.0f us", quarter / 1000)
}
