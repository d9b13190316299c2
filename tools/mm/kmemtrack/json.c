// SPDX-License-Identifier: GPL-2.0
/*
 * Output for programs: JSON (report.schema.json), KTAP, and the format of kmemleak.
 */
#include <string.h>

#include "kmemtrack.h"

#define JSON_VERSION	1

/* All text is printable ASCII, see parse.c; a tab counts as a blank. */
void json_text(FILE *f, const char *s)
{
	fputc('"', f);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fputc('\\', f);
		if (*s == '\t')
			fputs("\\t", f);
		else
			fputc(*s, f);
	}
	fputc('"', f);
}

static void json_start(FILE *f, const char *format)
{
	fprintf(f, "{\n  \"format\": \"%s\",\n  \"version\": %d,\n", format, JSON_VERSION);
}

static void json_member(FILE *f, const char *indent, const char *name, const char *text)
{
	fprintf(f, "%s\"%s\": ", indent, name);
	json_text(f, text);
}

static void json_number(FILE *f, const char *name, uint64_t value)
{
	fprintf(f, "\"%s\": %llu", name, (unsigned long long)value);
}

static void json_frame(FILE *f, const struct frame *fr, const char *indent)
{
	const char *p, *end;

	json_member(f, indent, "function", fr->name);
	if (fr->exact) {
		fputs(", ", f);
		json_number(f, "offset", fr->offset);
		fputs(", ", f);
		json_number(f, "size", fr->size);
	}
	if (fr->module)
		json_member(f, ", ", "module", fr->module);
	if (!fr->lines)
		return;
	fputs(", \"lines\": [", f);
	for (p = fr->lines; *p; p = end + (*end == ' ')) {
		char place[1024];

		end = p + strcspn(p, " ");
		snprintf(place, sizeof(place), "%.*s", (int)(end - p), p);
		fputs(p == fr->lines ? "" : ", ", f);
		json_text(f, place);
	}
	fputc(']', f);
}

static void json_leak(FILE *f, const struct site *s)
{
	unsigned int i;

	fprintf(f, "      \"direct\": %llu, \"indirect\": %llu,\n",
		(unsigned long long)s->direct, (unsigned long long)s->indirect);
	if (s->leads)
		fprintf(f, "      \"in_all\": {\"direct\": %llu, \"indirect\": %llu, \"bytes\": %llu},\n",
			(unsigned long long)s->all_direct, (unsigned long long)s->all_indirect,
			(unsigned long long)s->all_bytes);
	if (s->requested_most)
		fprintf(f, "      \"requested\": {\"least\": %llu, \"most\": %llu},\n",
			(unsigned long long)s->requested_least,
			(unsigned long long)s->requested_most);
	if (s->has_ages)
		fprintf(f, "      \"first_s\": %.3f, \"last_s\": %.3f,\n", s->first, s->last);
	if (s->object)
		fprintf(f, "      \"object\": \"0x%llx\",\n", (unsigned long long)s->object);
	if (!s->nr_dump)
		return;
	fputs("      \"dump\": [", f);
	for (i = 0; i < s->nr_dump; i++) {
		fputs(i ? ", " : "", f);
		json_text(f, s->dump[i]);
	}
	fputs("],\n", f);
}

static void json_tasks(FILE *f, const struct site *s)
{
	unsigned int i;

	if (s->has_comm) {
		json_member(f, "      ", "comm", s->comm);
		fprintf(f, ", \"pid\": %ld,\n", s->pid);
	}
	if (!s->nr_tasks)
		return;
	fputs("      \"tasks\": [", f);
	for (i = 0; i < s->nr_tasks; i++) {
		json_member(f, i ? ", {" : "{", "comm", s->tasks[i].comm);
		fputs(", ", f);
		json_number(f, "blocks", s->tasks[i].nr);
		fputc('}', f);
	}
	fprintf(f, "],\n      \"more_tasks\": %llu,\n", (unsigned long long)s->more_tasks);
}

static void json_site(FILE *f, const struct site *s)
{
	unsigned int i, caller = first_caller(s);

	fprintf(f, "    {\n      \"id\": \"%08x\", \"objects\": %llu, \"bytes\": %llu,\n", s->id,
		(unsigned long long)s->objects, (unsigned long long)s->bytes);
	json_member(f, "      ", "cache", s->cache);
	fprintf(f, ", \"least\": %llu, \"most\": %llu,\n", (unsigned long long)s->least,
		(unsigned long long)s->most);
	if (s->leak)
		json_leak(f, s);
	json_tasks(f, s);
	if (s->nr_history) {
		fputs("      \"history\": [", f);
		for (i = 0; i < s->nr_history; i++)
			fprintf(f, "%s%llu", i ? ", " : "", (unsigned long long)s->history[i]);
		fputs("],\n", f);
	}
	if (s->has_rate)
		fprintf(f, "      \"rose\": %llu, \"bytes_per_hour\": %lld,\n",
			(unsigned long long)s->rose, (long long)s->rate);
	if (caller < s->nr_frames) {
		json_member(f, "      ", "function", s->frames[caller].name);
		fputs(",\n", f);
	}
	fputs("      \"backtrace\": [", f);
	for (i = 0; i < s->nr_frames; i++) {
		fputs(i ? ",\n        {" : "\n        {", f);
		json_frame(f, &s->frames[i], "");
		fputc('}', f);
	}
	fputs(s->nr_frames ? "\n      ]\n    }" : "]\n    }", f);
}

void json_sites(FILE *f, const struct info *info)
{
	static const char * const formats[] = {
		[IS_REPORT] = "kmemtrack-report", [IS_SITES] = "kmemtrack-sites",
		[IS_GROWTH] = "kmemtrack-growth",
	};
	unsigned int i;
	size_t n;

	json_start(f, formats[info->kind]);
	fprintf(f, "  \"tracking\": %s,\n", info->off ? "false" : "true");
	if (info->kind == IS_REPORT) {
		fprintf(f, "  \"scanned\": %s,\n  \"untracked_memory\": %s,\n",
			info->scanned ? "true" : "false",
			info->untracked ? "true" : "false");
		fprintf(f, "  \"leaks\": %llu,\n  \"bytes\": %llu,\n  \"suppressed\": %llu,\n",
			(unsigned long long)info->leaks, (unsigned long long)info->bytes,
			(unsigned long long)info->suppressed);
		json_member(f, "  ", "scan", info->scan);
		fputs(",\n", f);
	} else if (info->kind == IS_SITES) {
		fprintf(f, "  \"objects\": %llu,\n  \"bytes\": %llu,\n",
			(unsigned long long)info->objects, (unsigned long long)info->bytes);
		fputs("  \"scans_s\": [", f);
		for (i = 0; i < info->nr_scans; i++)
			fprintf(f, "%s%.3f", i ? ", " : "", info->scans[i]);
		fputs("],\n", f);
		fprintf(f, "  \"other\": {\"objects\": %llu, \"bytes\": %llu},\n",
			(unsigned long long)info->other_objects,
			(unsigned long long)info->other_bytes);
	} else {
		fprintf(f, "  \"scans\": %llu,\n  \"bytes_per_hour\": %lld,\n",
			(unsigned long long)info->last_scans, (long long)info->rate);
	}
	fprintf(f, "  \"complete\": %s,\n  \"sites\": [", info->damage ? "false" : "true");
	for (n = 0; n < info->nr_sites; n++) {
		fputs(n ? ",\n" : "\n", f);
		json_site(f, &info->sites[n]);
	}
	fputs(info->nr_sites ? "\n  ]\n}\n" : "]\n}\n", f);
}

void json_memory(FILE *f, const struct info *m)
{
	size_t i;

	json_start(f, "kmemtrack-memory");
	fprintf(f, "  \"total_kb\": %llu,\n", (unsigned long long)m->total_kb);
	if (m->in_sites_kb >= 0)
		fprintf(f, "  \"in_sites_kb\": %lld,\n", (long long)m->in_sites_kb);
	fputs("  \"classes\": [", f);
	for (i = 0; i < m->nr_rows; i++) {
		const struct memory_row *r = &m->rows[i];

		json_member(f, i ? ",\n    {" : "\n    {", "name", r->name);
		fprintf(f, ", \"kb\": %lld", (long long)r->kb);
		if (r->has_scan)
			fprintf(f, ", \"since_scan_kb\": %lld", (long long)r->since_scan);
		if (r->has_boot)
			fprintf(f, ", \"since_boot_kb\": %lld", (long long)r->since_boot);
		fputc('}', f);
	}
	fputs(m->nr_rows ? "\n  ]\n}\n" : "]\n}\n", f);
}

void json_refs(FILE *f, const struct info *r)
{
	size_t i, n = 0;

	json_start(f, "kmemtrack-refs");
	if (r->state) {
		fprintf(f, "  \"block\": \"0x%llx\",\n  \"size\": %llu,\n",
			(unsigned long long)r->block, (unsigned long long)r->size);
		json_member(f, "  ", "cache", r->cache);
		json_member(f, ",\n  ", "state", r->state);
		fputs(",\n", f);
	}
	fputs("  \"references\": [", f);
	for (i = 0; i < r->nr_refs; i++) {
		if (r->refs[i].hint || r->refs[i].note)
			continue;
		fprintf(f, "%s\n    {\"level\": %llu", n++ ? "," : "",
			(unsigned long long)r->refs[i].level);
		json_member(f, ", ", "kind", r->refs[i].kind);
		json_member(f, ", ", "where", r->refs[i].where);
		fputc('}', f);
	}
	fputs(n ? "\n  ],\n  \"hints\": [" : "],\n  \"hints\": [", f);
	for (i = 0, n = 0; i < r->nr_refs; i++) {
		if (!r->refs[i].hint)
			continue;
		json_member(f, n++ ? ",\n    {" : "\n    {", "kind", r->refs[i].kind);
		json_member(f, ", ", "where", r->refs[i].where);
		fputc('}', f);
	}
	fputs(n ? "\n  ],\n  \"left_out\": [" : "],\n  \"left_out\": [", f);
	for (i = 0, n = 0; i < r->nr_refs; i++) {
		if (!r->refs[i].note)
			continue;
		fputs(n++ ? ",\n    " : "\n    ", f);
		json_text(f, r->refs[i].where);
	}
	fputs(n ? "\n  ]\n}\n" : "]\n}\n", f);
}

void json_diff(FILE *f, const struct delta *d, size_t nr)
{
	size_t i;

	json_start(f, "kmemtrack-diff");
	fputs("  \"changes\": [", f);
	for (i = 0; i < nr; i++) {
		fprintf(f, "%s\n    {\"change\": \"%s\", \"objects\": %lld, \"bytes\": %lld, \"site\":\n",
			i ? "," : "", change_names[d[i].change], (long long)d[i].objects,
			(long long)d[i].bytes);
		json_site(f, d[i].after ?: d[i].before);
		fputc('}', f);
	}
	fputs(nr ? "\n  ]\n}\n" : "]\n}\n", f);
}

/* --- KTAP: each site is a failed test --- */

/* Escapes '#', which would begin a directive. */
static void ktap_name(FILE *f, const char *s)
{
	for (; *s; s++)
		fputc(*s == '#' ? '_' : *s, f);
}

void print_ktap(FILE *f, const struct info *r)
{
	char name[512];
	unsigned int j;
	size_t i;

	fputs("KTAP version 1\n", f);
	if (!r->scanned || !r->nr_sites) {
		fprintf(f, "1..1\n%s 1 - %s\n", r->scanned && !r->leaks ? "ok" : "not ok",
			!r->scanned ? "no scan was made" : r->leaks ?
			"records of leaks are missing" : "no leaks");
		return;
	}
	fprintf(f, "1..%zu\n", r->nr_sites);
	for (i = 0; i < r->nr_sites; i++) {
		const struct site *s = &r->sites[i];

		site_name(s, name, sizeof(name));
		fprintf(f, "not ok %zu - ", i + 1);
		ktap_name(f, s->cache);
		fputs(": ", f);
		ktap_name(f, name);
		fprintf(f, "\n# %llu objects, %llu bytes, size %llu\n",
			(unsigned long long)s->objects, (unsigned long long)s->bytes,
			(unsigned long long)s->size);
		if (s->has_comm)
			fprintf(f, "# comm \"%s\", pid %ld\n", s->comm, s->pid);
		for (j = 0; j < s->nr_frames; j++)
			fprintf(f, "#   %s%s%s%s\n", s->frames[j].text,
				s->frames[j].lines ? "  (" : "",
				s->frames[j].lines ? s->frames[j].lines : "",
				s->frames[j].lines ? ")" : "");
	}
}

/* --- kmemleak --- */

/*
 * Prints one record per site, for its oldest block. The report has ages instead of
 * jiffies. The checksum is of the names in the frames: it is equal for equal backtraces,
 * but differs from the kernel's.
 */
void print_kmemleak(FILE *f, const struct info *r)
{
	unsigned int j;
	size_t i;

	for (i = 0; i < r->nr_sites; i++) {
		const struct site *s = &r->sites[i];
		uint32_t crc = 0;

		for (j = 0; j < s->nr_frames; j++)
			crc = hash_text(crc, s->frames[j].text);
		fprintf(f, "unreferenced object 0x%08llx (size %llu):\n",
			(unsigned long long)s->object, (unsigned long long)s->size);
		fprintf(f, "  comm \"%s\", pid %ld (age %.3fs)\n", s->has_comm ? s->comm : "?",
			s->pid, s->first);
		if (s->nr_dump)
			fprintf(f, "  hex dump (first %llu bytes):\n",
				(unsigned long long)s->dumped);
		for (j = 0; j < s->nr_dump; j++)
			fprintf(f, "    %s\n", s->dump[j]);
		fprintf(f, "  backtrace (crc %x):\n", crc);
		for (j = 0; j < s->nr_frames; j++)
			fprintf(f, "    %s%s%s%s\n", s->frames[j].text,
				s->frames[j].lines ? "  (" : "",
				s->frames[j].lines ? s->frames[j].lines : "",
				s->frames[j].lines ? ")" : "");
		if (s->objects > 1)
			fprintf(f, "    ... and %llu more object(s) with the same backtrace\n",
				(unsigned long long)(s->objects - 1));
	}
}
