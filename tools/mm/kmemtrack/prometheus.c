// SPDX-License-Identifier: GPL-2.0
/*
 * export: prints the state in the text format of Prometheus, for the textfile collector
 * of node_exporter. A metric has one value per site, only for the sites with most bytes,
 * so the number of time series is bounded.
 */
#include <stdlib.h>
#include <string.h>

#include "kmemtrack.h"

#define SITES	50

static void metric(FILE *f, const char *name, const char *type, const char *help)
{
	fprintf(f, "# HELP kmemtrack_%s %s\n# TYPE kmemtrack_%s %s\n", name, help, name, type);
}

static void value(FILE *f, const char *name, const char *type, const char *help, double v)
{
	metric(f, name, type, help);
	fprintf(f, "kmemtrack_%s %.15g\n", name, v);
}

static void label(FILE *f, const char *name, const char *text)
{
	fprintf(f, "%s=\"", name);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', f);
		fputc(*text, f);
	}
	fputc('"', f);
}

/*
 * The collector refuses a file with two equal identifiers. Ours are hashes, which may be
 * equal by chance.
 */
static void make_unique(struct site **list, size_t nr)
{
	size_t i, j;

	for (i = 1; i < nr; i++)
		for (j = 0; j < i; j++)
			if (list[j]->id == list[i]->id) {
				list[i]->id++;
				j = -1;
			}
}

static void site_labels(FILE *f, const char *name, const struct site *s)
{
	unsigned int i = first_caller(s);
	const struct frame *fr = s->nr_frames ? &s->frames[i < s->nr_frames ? i : i - 1] : NULL;

	fprintf(f, "kmemtrack_%s{site=\"%08x\",", name, s->id);
	label(f, "function", fr ? fr->name : "");
	fputc(',', f);
	label(f, "module", fr && fr->module ? fr->module : "");
	fputc(',', f);
	label(f, "cache", s->cache);
	fputs("} ", f);
}

static size_t listed(const struct info *info)
{
	size_t most = number_or(SITES);

	if (most > 1000)
		most = 1000;
	return info->nr_sites < most ? info->nr_sites : most;
}

static unsigned long long objects_of(const struct site *s)
{
	return s->objects;
}

static unsigned long long bytes_of(const struct site *s)
{
	return s->bytes;
}

static void site_values(FILE *f, const char *name, const char *help,
			struct site **list, size_t nr,
			unsigned long long (*value_of)(const struct site *s))
{
	size_t i;

	metric(f, name, "gauge", help);
	for (i = 0; i < nr; i++) {
		site_labels(f, name, list[i]);
		fprintf(f, "%llu\n", value_of(list[i]));
	}
}

static void export_report(FILE *f, struct info *r)
{
	struct site **list;
	size_t nr;

	value(f, "scanned", "gauge", "1 if there was a scan since tracking was switched on.",
	      r->scanned);
	if (!r->scanned)
		return;
	value(f, "leaks", "gauge", "Blocks that the last scan reported as leaks.", r->leaks);
	value(f, "leak_bytes", "gauge", "Memory that leaks take.", r->bytes);
	value(f, "leak_sites", "gauge", "Allocation sites that have leaks.", r->nr);
	value(f, "leaks_suppressed", "gauge", "Leaks that a suppression holds back.",
	      r->suppressed);
	merge_sites(r, true);
	nr = listed(r);
	list = by_bytes(r);
	make_unique(list, nr);
	site_values(f, "site_leaks", "Leaks of an allocation site.",
		    list, nr, objects_of);
	site_values(f, "site_leak_bytes", "Memory that leaks of an allocation site take.",
		    list, nr, bytes_of);
	free(list);
}

static void export_sites(FILE *f, const struct info *info)
{
	size_t nr = listed(info), i;
	struct site **list = by_bytes(info);

	value(f, "sites", "gauge", "Allocation sites that have blocks.", info->nr);
	make_unique(list, nr);
	site_values(f, "site_objects", "Blocks of an allocation site.",
		    list, nr, objects_of);
	site_values(f, "site_bytes", "Memory that blocks of an allocation site take.",
		    list, nr, bytes_of);
	metric(f, "site_growth_bytes_per_hour", "gauge",
	       "How fast the memory of an allocation site grows, from scan to scan.");
	for (i = 0; i < nr; i++) {
		if (!list[i]->has_rate)
			continue;
		site_labels(f, "site_growth_bytes_per_hour", list[i]);
		fprintf(f, "%lld\n", (long long)list[i]->rate);
	}
	free(list);
}

static void export_memory(FILE *f, const struct info *m)
{
	size_t i;

	metric(f, "memory_bytes", "gauge", "Where the memory of the machine is.");
	for (i = 0; i < m->nr_rows; i++) {
		fputs("kmemtrack_memory_bytes{", f);
		label(f, "class", m->rows[i].name);
		fprintf(f, "} %lld\n", (long long)m->rows[i].kb * 1024);
	}
	if (m->in_sites_kb < 0)
		return;
	metric(f, "pages_in_sites_bytes", "gauge",
	       "Pages of no known owner whose allocation site is known.");
	fprintf(f, "kmemtrack_pages_in_sites_bytes %lld\n", (long long)m->in_sites_kb * 1024);
}

static void export_stats(FILE *f, const char *stats)
{
	static const struct {
		const char *stat, *name, *type, *help;
		double unit;
	} values[] = {
		{ "tracking", "tracking", "gauge", "1 while allocations are tracked.", 1 },
		{ "objects", "objects", "gauge", "Blocks that are tracked.", 1 },
		{ "pool_bytes", "pool_bytes", "gauge", "Memory of records.", 1 },
		{ "scans", "scans_total", "counter", "Scans since boot.", 1 },
		{ "scan_ms", "scan_duration_seconds", "gauge", "Duration of the last scan.",
		  1000 },
		{ "pause_ns", "scan_pause_seconds", "gauge",
		  "How long all CPUs stood still in the last scan.", 1e9 },
		{ "untracked_slabs_are_roots", "untracked_slabs_are_roots", "gauge",
		  "1 if there are blocks without a record.", 1 },
	};
	static const char * const events[] = {
		"lost_no_memory", "lost_atomic", "lost_early", "lost_annotations", "lost_nmi",
		"lost_backtraces", "lost_names", "overlapping_allocations", "double_frees",
		"frees_of_unknown", "frees_inside_block", "frees_around_block",
		"impossible_sizes", "unreadable_pieces",
	};
	unsigned int i;
	uint64_t v;

	for (i = 0; i < ARRAY_SIZE(values); i++)
		if (stat_value(stats, values[i].stat, &v))
			value(f, values[i].name, values[i].type, values[i].help,
			      v / values[i].unit);
	metric(f, "events_total", "counter", "What the tracker missed or found odd.");
	for (i = 0; i < ARRAY_SIZE(events); i++)
		if (stat_value(stats, events[i], &v))
			fprintf(f, "kmemtrack_events_total{event=\"%s\"} %llu\n", events[i],
				(unsigned long long)v);
}

/* Exports the metrics of a file that this kernel may lack */
static bool export_optional(FILE *f, enum kind kind, void (*print)(FILE *f, const struct info *i))
{
	int error;
	char *text = read_kernel(kind_name(kind), &error);
	struct info *info;
	bool good;

	if (!text)
		return true;
	info = parse(kind_name(kind), text);
	if (info->kind != kind)
		die("%s is %s", kind_name(kind), kind_name(info->kind));
	print(f, info);
	good = !info->damage;
	free_info(info);
	free(text);
	return good;
}

int cmd_export(int argc, char **argv)
{
	struct info *r;
	bool good;
	int error;
	char *stats;
	FILE *f;

	if (argc)
		die("export: it takes no '%s'", argv[0]);
	if (!opt.prometheus)
		die("export: to which format? There is --prometheus");
	r = load_kernel(IS_REPORT);
	f = open_output(opt.output);
	export_report(f, r);
	stats = read_kernel("kmemtrack_info/stats", &error);
	if (stats)
		export_stats(f, stats);
	good = export_optional(f, IS_SITES, export_sites) && !r->damage;
	good = export_optional(f, IS_MEMORY, export_memory) && good;
	value(f, "export_complete", "gauge", "0 if a file of the kernel was not understood.",
	      good);
	close_output(f);
	free(stats);
	free_info(r);
	return good ? ST_OK : ST_ERROR;
}
