// SPDX-License-Identifier: GPL-2.0
/*
 * Parser of the files. It checks versions, skips unknown lines and words, and reports and
 * counts known lines that do not make sense as damage. Characters that are not printable
 * ASCII, which no kernel prints, become octal numbers at once, as in names that the
 * kernel prints. So the rest of the program never sees control characters.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "kmemtrack.h"

/* --- memory of one file, freed together --- */

#define ARENA_PIECE	65536

struct piece {
	struct piece *next;
	size_t used, room;
	char text[];
};

static void *arena_alloc(struct info *info, size_t size)
{
	struct piece *p = info->arena;
	void *mem;

	size = (size + 15) & ~(size_t)15;
	if (!p || p->room - p->used < size) {
		size_t room = size > ARENA_PIECE ? size : ARENA_PIECE;

		p = xalloc(sizeof(*p) + room);
		p->room = room;
		p->next = info->arena;
		info->arena = p;
	}
	mem = p->text + p->used;
	p->used += size;
	return mem;
}

const char *keep_text(struct info *info, const char *s, size_t len)
{
	char *copy = arena_alloc(info, len + 1);

	memcpy(copy, s, len);
	copy[len] = '\0';
	return copy;
}

void free_info(struct info *info)
{
	struct piece *p, *next;
	size_t i;

	if (!info)
		return;
	for (i = 0; i < info->nr_sites; i++)
		free(info->sites[i].frames);
	free(info->sites);
	free(info->rows);
	free(info->refs);
	for (p = info->arena; p; p = next) {
		next = p->next;
		free(p);
	}
	free(info);
}

/* --- lines --- */

struct reader {
	struct info *info;
	char *text, *at;
	unsigned int nr;	/* of the line */
	bool cut;		/* the last line had no end */
	const char *again;	/* a line that was read and not used */
};

static char *clean(const char *text)
{
	struct buf b = {};
	const char *from = text;

	buf_add(&b, "", 0);
	for (; *text; text++) {
		unsigned char c = *text;

		if ((c >= ' ' && c < 127) || c == '\n' || c == '\t')
			continue;
		buf_add(&b, from, text - from);
		from = text + 1;
		/* An editor or a mail program may have put it before the newline. */
		if (c == '\r' && (text[1] == '\n' || !text[1]))
			continue;
		buf_printf(&b, "\\%03o", c);
	}
	buf_add(&b, from, text - from);
	return b.text;
}

static const char *next_line(struct reader *r)
{
	const char *line = r->again ? r->again : r->at;
	char *end;

	if (r->again) {
		r->again = NULL;
		return line;
	}
	if (!*line)
		return NULL;
	r->nr++;
	end = strchr(line, '\n');
	if (end) {
		*end = '\0';
		r->at = end + 1;
	} else {
		r->cut = true;
		r->at += strlen(line);
	}
	return line;
}

static void damaged(struct reader *r, const char *line)
{
	if (r->info->damage++ < 5)
		warn("%s:%u: not understood: %.60s%s", r->info->source, r->nr, line,
		     strlen(line) > 60 ? "..." : "");
}

/* --- words: each moves *p and returns whether it was there --- */

static bool eat(const char **p, const char *text)
{
	size_t len = strlen(text);

	if (strncmp(*p, text, len))
		return false;
	*p += len;
	return true;
}

static bool eat_number(const char **p, unsigned int base, uint64_t *value)
{
	const char *s = *p;
	uint64_t v = 0;

	for (;; s++) {
		unsigned int digit = isdigit((unsigned char)*s) ? *s - '0' :
			base == 16 && isxdigit((unsigned char)*s) ? (*s | 32) - 'a' + 10 : 99;

		if (digit >= base)
			break;
		if (v > (UINT64_MAX - digit) / base)
			return false;
		v = v * base + digit;
	}
	if (s == *p)
		return false;
	*p = s;
	*value = v;
	return true;
}

static bool eat_u64(const char **p, uint64_t *value)
{
	return eat_number(p, 10, value);
}

static bool eat_s64(const char **p, int64_t *value)
{
	const char *s = *p;
	bool minus = *s == '-';
	uint64_t v;

	s += *s == '-' || *s == '+';
	if (!eat_number(&s, 10, &v) || v > INT64_MAX)
		return false;
	*value = minus ? -(int64_t)v : (int64_t)v;
	*p = s;
	return true;
}

/* Seconds, with or without thousandths */
static bool eat_seconds(const char **p, double *value)
{
	uint64_t whole, part = 0;
	const char *s = *p, *point;

	if (!eat_u64(&s, &whole))
		return false;
	*value = whole;
	if (*s == '.') {
		point = ++s;
		if (!eat_u64(&s, &part) || s - point != 3)
			return false;
		*value += part / 1000.0;
	}
	*p = s;
	return true;
}

/* A word up to a separator, or to the end of the line if @end is empty */
static bool eat_word(struct reader *r, const char **p, const char *end, const char **word)
{
	const char *stop = *end ? strstr(*p, end) : *p + strlen(*p);

	if (!stop)
		return false;
	*word = keep_text(r->info, *p, stop - *p);
	*p = stop + strlen(end);
	return true;
}

static bool eat_quoted(struct reader *r, const char **p, const char **word)
{
	return eat(p, "\"") && eat_word(r, p, "\"", word);
}

/* --- frames --- */

static struct frame *add_frame(struct site *s)
{
	/* A kernel keeps 16 frames by default. */
	if (s->nr_frames % 16 == 0)
		s->frames = xrealloc(s->frames, s->nr_frames + 16, sizeof(*s->frames));
	memset(&s->frames[s->nr_frames], 0, sizeof(*s->frames));
	return &s->frames[s->nr_frames++];
}

/* function+0xoffset/0xsize [module build-id]; a bare address is a name, too */
static void parse_frame(struct reader *r, struct site *s, const char *text)
{
	const char *plus, *end, *p;
	struct frame *f;

	if (s->nr_frames == MAX_FRAMES)
		return;
	/* kmemleak of older kernels prints an address first. */
	p = strstr(text, ">] ");
	if (p && !strncmp(text, "[<", 2))
		text = p + 3;
	f = add_frame(s);
	f->text = keep_text(r->info, text, strlen(text));
	end = text + strcspn(text, " ");
	plus = memchr(text, '+', end - text);
	p = plus;
	f->exact = plus && eat(&p, "+0x") && eat_number(&p, 16, &f->offset) &&
		   eat(&p, "/0x") && eat_number(&p, 16, &f->size) && p == end;
	f->name = keep_text(r->info, text, (f->exact ? plus : end) - text);
	if (eat(&end, " [") && strchr(end, ']'))
		f->module = keep_text(r->info, end, strcspn(end, " ]"));
}

/* Frames: lines indented by four, which belong to a line indented by two */
static void parse_frames(struct reader *r, struct site *s)
{
	const char *line;

	while ((line = next_line(r))) {
		if (strncmp(line, "    ", 4)) {
			r->again = line;
			return;
		}
		line += strspn(line, " \t");
		if (*line)
			parse_frame(r, s, line);
	}
}

/* hex dump (first 32 bytes on cpu 0): */
static void parse_dump(struct reader *r, struct site *s, const char *p)
{
	const char *line;

	if (!eat(&p, " (first ") || !eat_u64(&p, &s->dumped))
		s->dumped = 0;

	while ((line = next_line(r))) {
		if (strncmp(line, "    ", 4)) {
			r->again = line;
			return;
		}
		if (s->nr_dump < MAX_DUMP)
			s->dump[s->nr_dump++] = keep_text(r->info, line + 4, strlen(line + 4));
	}
}

/* --- records --- */

static struct site *add_site(struct info *info)
{
	if ((info->nr_sites & (info->nr_sites - 1)) == 0)
		info->sites = xrealloc(info->sites, info->nr_sites ? info->nr_sites * 2 : 1,
				       sizeof(*info->sites));
	memset(&info->sites[info->nr_sites], 0, sizeof(*info->sites));
	return &info->sites[info->nr_sites++];
}

static bool parse_tasks(struct reader *r, struct site *s, const char *p)
{
	struct task t;

	do {
		if (!eat_quoted(r, &p, &t.comm) || !eat(&p, " ") || !eat_u64(&p, &t.nr))
			return false;
		if (s->nr_tasks < MAX_TASKS)
			s->tasks[s->nr_tasks++] = t;
	} while (eat(&p, ", "));
	return !eat(&p, " and ") || (eat_u64(&p, &s->more_tasks) && eat(&p, " more"));
}

static bool parse_ages(struct reader *r, struct site *s, const char *p)
{
	int64_t pid;

	if (!eat_seconds(&p, &s->first) || !eat(&p, " s ago, last ") ||
	    !eat_seconds(&p, &s->last) || !eat(&p, " s ago"))
		return false;
	s->has_ages = true;
	if (!eat(&p, ", comm "))
		return true;
	if (!eat_quoted(r, &p, &s->comm) || !eat(&p, " pid ") || !eat_s64(&p, &pid))
		return false;
	s->pid = pid;
	s->has_comm = true;
	return true;
}

static bool parse_history(struct site *s, const char *p)
{
	uint64_t v;

	while (eat(&p, " ") && *p) {
		if (!eat_u64(&p, &v))
			return false;
		/* The newest are kept. */
		if (s->nr_history == MAX_HISTORY)
			memmove(s->history, s->history + 1, --s->nr_history * sizeof(v));
		s->history[s->nr_history++] = v;
	}
	return !*p;
}

/* rose in 3 scans, 4096 bytes/hour, first seen 12.000 s ago */
static bool parse_rose(struct site *s, const char *p)
{
	if (!eat_u64(&p, &s->rose) || (!eat(&p, " scans") && !eat(&p, " scan")))
		return false;
	if (eat(&p, ", ")) {
		if (!eat_s64(&p, &s->rate) || !eat(&p, " bytes/hour"))
			return false;
		s->has_rate = true;
	}
	if (eat(&p, ", first seen ")) {
		if (!eat_seconds(&p, &s->first) || !eat(&p, " s ago"))
			return false;
	}
	return true;
}

/* Parses the lines of a record after its first line */
static void parse_details(struct reader *r, struct site *s)
{
	const char *line, *p;
	bool good;

	while ((line = next_line(r))) {
		p = line;
		if (!eat(&p, "  ")) {
			r->again = line;
			return;
		}
		good = true;
		if (eat(&p, "first "))
			good = parse_ages(r, s, p);
		else if (eat(&p, "tasks "))
			good = parse_tasks(r, s, p);
		else if (eat(&p, "object 0x"))
			good = eat_number(&p, 16, &s->object);
		else if (eat(&p, "history"))
			good = parse_history(s, p);
		else if (eat(&p, "rose in "))
			good = parse_rose(s, p);
		else if (eat(&p, "hex dump"))
			parse_dump(r, s, p);
		else if (eat(&p, "backtrace"))
			parse_frames(r, s);
		if (!good)
			damaged(r, line);
	}
}

/* 256 (64 to 1024): of the oldest block, and if they differ, of all */
static bool eat_sizes(const char **p, uint64_t *oldest, uint64_t *least, uint64_t *most)
{
	if (!eat_u64(p, oldest))
		return false;
	*least = *most = *oldest;
	return !eat(p, " (") || (eat_u64(p, least) && eat(p, " to ") && eat_u64(p, most) &&
				 eat(p, ")"));
}

/* leak: 5 objects, 61440 bytes (5 direct, 0 indirect), vmalloc, size 12288 ... */
static bool parse_leak_line(struct reader *r, struct site *s, const char *p)
{
	uint64_t oldest;

	if (!eat_u64(&p, &s->objects) || !eat(&p, " objects, ") ||
	    !eat_u64(&p, &s->bytes) || !eat(&p, " bytes (") ||
	    !eat_u64(&p, &s->direct) || !eat(&p, " direct, ") ||
	    !eat_u64(&p, &s->indirect) || !eat(&p, " indirect), ") ||
	    !eat_word(r, &p, ", ", &s->cache) || !eat(&p, "size ") ||
	    !eat_sizes(&p, &s->size, &s->least, &s->most))
		return false;
	s->leak = true;
	if (eat(&p, ", requested ") &&
	    !eat_sizes(&p, &oldest, &s->requested_least, &s->requested_most))
		return false;
	p = strstr(p, "; in all ");
	if (!p)
		return true;
	eat(&p, "; in all ");
	s->leads = eat_u64(&p, &s->all_direct) && eat(&p, " direct, ") &&
		   eat_u64(&p, &s->all_indirect) && eat(&p, " indirect, ") &&
		   eat_u64(&p, &s->all_bytes) && eat(&p, " bytes");
	return s->leads;
}

/* site 0123abcd: 5 objects, 320 bytes, kmalloc-64, size 64 */
static bool parse_site_line(struct reader *r, struct site *s, const char *p)
{
	uint64_t id;

	if (!eat_number(&p, 16, &id) || id > UINT32_MAX || !eat(&p, ": ") ||
	    !eat_u64(&p, &s->objects) || !eat(&p, " objects, ") ||
	    !eat_u64(&p, &s->bytes) || !eat(&p, " bytes, ") ||
	    !eat_word(r, &p, ", ", &s->cache))
		return false;
	s->id = id;
	s->has_id = true;
	if (eat(&p, "sizes ")) {
		if (!eat_u64(&p, &s->least) || !eat(&p, "-") || !eat_u64(&p, &s->most))
			return false;
	} else if (eat(&p, "size ") && eat_u64(&p, &s->size)) {
		s->least = s->most = s->size;
	} else {
		return false;
	}
	return true;
}

static void parse_scans(struct reader *r, const char *line, const char *p)
{
	double t;

	while (eat(&p, " ") && *p) {
		if (!eat_seconds(&p, &t)) {
			damaged(r, line);
			return;
		}
		if (r->info->nr_scans == MAX_HISTORY)
			memmove(r->info->scans, r->info->scans + 1,
				--r->info->nr_scans * sizeof(t));
		r->info->scans[r->info->nr_scans++] = t;
	}
}

static void parse_records(struct reader *r)
{
	struct info *info = r->info;
	const char *line, *p;
	struct site site;
	bool good;

	while ((line = next_line(r))) {
		p = line;
		memset(&site, 0, sizeof(site));
		if (eat(&p, "leak: ")) {
			good = parse_leak_line(r, &site, p);
		} else if (eat(&p, "site ")) {
			good = parse_site_line(r, &site, p);
		} else {
			if (eat(&p, "scans") && (*p == ' ' || !*p))
				parse_scans(r, line, p);
			else if (eat(&p, "other: ") &&
				 !(eat_u64(&p, &info->other_objects) &&
				   eat(&p, " objects, ") &&
				   eat_u64(&p, &info->other_bytes)))
				damaged(r, line);
			continue;
		}
		if (!good) {
			damaged(r, line);
			continue;
		}
		*add_site(info) = site;
		parse_details(r, &info->sites[info->nr_sites - 1]);
	}
}

/* --- first lines --- */

static bool report_head(struct info *info, const char *p)
{
	const char *suppressed;

	info->off = strstr(p, "; off");
	info->untracked = strstr(p, ", untracked memory");
	if (eat(&p, "no scan yet; "))
		return info->off || eat_u64(&p, &info->objects);
	if (!eat_u64(&p, &info->leaks) || !eat(&p, " leaks, ") ||
	    !eat_u64(&p, &info->bytes) || !eat(&p, " bytes, ") ||
	    !eat_u64(&p, &info->nr) || !eat(&p, " sites"))
		return false;
	info->scanned = true;
	suppressed = strstr(p, " suppressed");
	if (suppressed) {
		while (suppressed > p && isdigit((unsigned char)suppressed[-1]))
			suppressed--;
		if (!eat_u64(&suppressed, &info->suppressed))
			info->suppressed = 0;
	}
	info->scan = strchr(p, ';');
	info->scan = info->scan ? info->scan + 1 + (info->scan[1] == ' ') : "";
	p = strstr(info->scan, " ms, ");
	if (p) {
		p += 5;
		eat_u64(&p, &info->objects);
	}
	return true;
}

static bool sites_head(struct info *info, const char *p)
{
	info->off = !strcmp(p, "off");
	if (info->off)
		return true;
	return eat_u64(&p, &info->nr) && (eat(&p, " sites, ") || eat(&p, " site, ")) &&
	       eat_u64(&p, &info->objects) && eat(&p, " objects, ") &&
	       eat_u64(&p, &info->bytes) && eat(&p, " bytes");
}

static bool growth_head(struct info *info, const char *p)
{
	info->off = !strcmp(p, "off");
	if (info->off)
		return true;
	if (!eat_u64(&p, &info->nr) || (!eat(&p, " sites") && !eat(&p, " site")))
		return false;
	if (!eat(&p, " grew in each of the last "))
		return false;
	return eat_u64(&p, &info->last_scans) && eat(&p, " scans, ") &&
	       eat_s64(&p, &info->rate) && eat(&p, " bytes/hour");
}

static bool refs_head(struct reader *r, const char *p)
{
	struct info *info = r->info;

	/* Before the first command there is no block. */
	if (!eat(&p, "block 0x"))
		return true;
	return eat_number(&p, 16, &info->block) && eat(&p, ", ") &&
	       eat_u64(&p, &info->size) && eat(&p, " bytes, ") &&
	       eat_word(r, &p, ", ", &info->cache) &&
	       eat_word(r, &p, ": ", &info->state) &&
	       eat_u64(&p, &info->references) && eat(&p, " references, ") &&
	       eat_u64(&p, &info->hints) && eat(&p, " hints");
}

static bool memory_head(struct info *info, const char *p)
{
	return eat_u64(&p, &info->total_kb) && eat(&p, " kB");
}

/* --- refs and memory --- */

static bool add_ref(struct reader *r, const char *line)
{
	struct info *info = r->info;
	struct reference ref = {};
	const char *p = line;

	if (eat(&p, "ref ")) {
		if (!eat_u64(&p, &ref.level) || !eat(&p, ": "))
			return false;
		if (!eat_word(r, &p, " ", &ref.kind) || !eat_word(r, &p, "", &ref.where))
			return false;
	} else if (!strncmp(p, "left out", 8)) {
		ref.note = true;
		ref.kind = "";
		eat_word(r, &p, "", &ref.where);
	} else {
		eat(&p, "hint: ");
		ref.hint = true;
		if (!eat_word(r, &p, " at ", &ref.kind) || !eat_word(r, &p, "", &ref.where))
			return false;
	}
	if ((info->nr_refs & (info->nr_refs - 1)) == 0)
		info->refs = xrealloc(info->refs, info->nr_refs ? info->nr_refs * 2 : 1,
				      sizeof(*info->refs));
	info->refs[info->nr_refs++] = ref;
	return true;
}

static void parse_refs(struct reader *r)
{
	const char *line;

	while ((line = next_line(r)))
		if ((!strncmp(line, "ref ", 4) || !strncmp(line, "hint: ", 6) ||
		     !strncmp(line, "left out", 8)) && !add_ref(r, line))
			damaged(r, line);
}

/* A number and "kB"; moves @text behind it */
static bool eat_kb(const char **text, bool sign, int64_t *kb)
{
	const char *p = *text + strspn(*text, " \t");

	if (sign && *p != '+' && *p != '-' && *p != '0')
		return false;
	/* The number of bytes must fit, too. */
	if (!eat_s64(&p, kb) || !eat(&p, " kB") || *kb > INT64_MAX / 1024 ||
	    *kb < INT64_MIN / 1024)
		return false;
	*text = p;
	return true;
}

/* "page tables     1234 kB  +4 kB  -12 kB": the name ends where the number begins. */
static bool add_row(struct reader *r, const char *line)
{
	struct info *info = r->info;
	struct memory_row row = {};
	const char *p = line, *end;
	bool found = false;

	for (end = line; *end && !found; end++) {
		p = end + 1;
		found = *end == ' ' && *p != ' ' && eat_kb(&p, false, &row.kb);
	}
	if (!found)
		return false;
	while (end > line && strchr(" :", end[-1]))
		end--;
	row.name = keep_text(info, line, end - line);
	row.has_scan = eat_kb(&p, true, &row.since_scan);
	if (!row.has_scan) {
		p += strspn(p, " \t");
		eat(&p, "-");
	}
	row.has_boot = eat_kb(&p, true, &row.since_boot);
	if ((info->nr_rows & (info->nr_rows - 1)) == 0)
		info->rows = xrealloc(info->rows, info->nr_rows ? info->nr_rows * 2 : 1,
				      sizeof(*info->rows));
	info->rows[info->nr_rows++] = row;
	return true;
}

/* "  in sites     1234 kB": of "no known owner" */
static void add_part(struct info *info, const char *line)
{
	int64_t kb;

	line += strspn(line, " ");
	if (eat(&line, "in sites ") && eat_kb(&line, false, &kb))
		info->in_sites_kb = kb;
}

static void parse_memory(struct reader *r)
{
	const char *line;

	while ((line = next_line(r)))
		/* An indented line is a part of the line above it. */
		if (isalpha((unsigned char)*line))
			add_row(r, line);
		else
			add_part(r->info, line);
}

/* --- kmemleak's records, one for each block --- */

/* unreferenced object 0xffff000001434c00 (size 1024): */
static bool parse_object_line(struct site *s, const char *p)
{
	if (!eat_number(&p, 16, &s->object) || !eat(&p, " (size ") || !eat_u64(&p, &s->size))
		return false;
	s->cache = "?";
	s->leak = true;
	s->objects = s->direct = 1;
	s->least = s->most = s->bytes = s->size;
	return true;
}

/* comm "sh", pid 1, jiffies 4294937319 (age 12.345s) */
static bool parse_owner(struct reader *r, struct site *s, const char *p)
{
	const char *age = strstr(p, "(age ");
	int64_t pid;

	if (!eat_quoted(r, &p, &s->comm) || !eat(&p, ", pid ") || !eat_s64(&p, &pid))
		return false;
	if (eat(&p, ", jiffies ") && !eat_u64(&p, &s->ticks))
		return false;
	s->pid = pid;
	s->has_comm = true;
	if (age) {
		age += strlen("(age ");
		s->has_ages = eat_seconds(&age, &s->first);
		s->last = s->first;
	}
	return true;
}

/* "... and N more object(s)", which the log and this program print for a site */
static bool take_more(struct site *s)
{
	const char *p = s->nr_frames ? s->frames[s->nr_frames - 1].text : "";
	uint64_t more;

	if (!eat(&p, "... and "))
		return true;
	s->nr_frames--;
	if (!eat_u64(&p, &more) || more == UINT64_MAX ||
	    (s->size && more + 1 > UINT64_MAX / s->size))
		return false;
	s->objects = s->direct = more + 1;
	s->bytes = s->objects * s->size;
	return true;
}

static void parse_kmemleak(struct reader *r)
{
	const char *line, *p;
	struct site *s = NULL;
	bool good;

	while ((line = next_line(r))) {
		p = line;
		good = true;
		if (eat(&p, "unreferenced object 0x")) {
			s = add_site(r->info);
			good = parse_object_line(s, p);
			if (!good) {
				r->info->nr_sites--;
				s = NULL;
			}
		} else if (s && eat(&p, "  comm ")) {
			good = parse_owner(r, s, p);
		} else if (s && eat(&p, "  hex dump")) {
			parse_dump(r, s, p);
		} else if (s && eat(&p, "  backtrace")) {
			parse_frames(r, s);
			good = take_more(s);
		}
		if (!good)
			damaged(r, line);
	}
}

struct keyed_site {
	char *key;
	struct site *site;
};

static int by_site_key(const void *x, const void *y)
{
	const struct keyed_site *a = x, *b = y;

	return strcmp(a->key, b->key) ?: (a->site < b->site ? -1 : a->site > b->site);
}

/* Whether the oldest block of @a is older than that of @b. Older ones have more seconds. */
static bool is_older(const struct site *a, const struct site *b)
{
	if (a->has_ages && b->has_ages)
		return a->first > b->first;
	return a->ticks < b->ticks;
}

static void add_tasks(struct site *sum, const struct site *s)
{
	unsigned int i, k;

	sum->more_tasks += s->more_tasks;
	for (i = 0; i < s->nr_tasks; i++) {
		for (k = 0; k < sum->nr_tasks; k++)
			if (!strcmp(sum->tasks[k].comm, s->tasks[i].comm))
				break;
		if (k < sum->nr_tasks)
			sum->tasks[k].nr += s->tasks[i].nr;
		else if (k < MAX_TASKS)
			sum->tasks[sum->nr_tasks++] = s->tasks[i];
		else
			sum->more_tasks++;
	}
}

/* Adds the blocks of @s to @sum, which describes the older one of their oldest blocks. */
static void add_to(struct site *sum, const struct site *s)
{
	struct site other = *s;
	unsigned int i;

	if (is_older(s, sum)) {
		other = *sum;
		*sum = *s;
	}
	add_tasks(sum, &other);
	sum->objects += other.objects;
	sum->bytes += other.bytes;
	sum->direct += other.direct;
	sum->indirect += other.indirect;
	sum->leads = false;
	if (sum->requested_most || other.requested_most) {
		if (!sum->requested_most) {
			sum->requested_least = sum->least;
			sum->requested_most = sum->most;
		}
		if (!other.requested_most) {
			other.requested_least = other.least;
			other.requested_most = other.most;
		}
		if (other.requested_least < sum->requested_least)
			sum->requested_least = other.requested_least;
		if (other.requested_most > sum->requested_most)
			sum->requested_most = other.requested_most;
	}
	if (other.least < sum->least)
		sum->least = other.least;
	if (other.most > sum->most)
		sum->most = other.most;
	if (sum->has_ages && other.has_ages && other.last < sum->last)
		sum->last = other.last;
	for (i = 0; i < sum->nr_history && i < other.nr_history; i++)
		sum->history[i] += other.history[i];
	if (other.rose > sum->rose)
		sum->rose = other.rose;
	sum->rate += other.rate;
	free(other.frames);
}

static int more_bytes_first(const void *x, const void *y)
{
	const struct site *a = x, *b = y;

	if (a->bytes != b->bytes)
		return a->bytes < b->bytes ? 1 : -1;
	return a->object < b->object ? -1 : a->object > b->object;
}

/*
 * Makes one record of those of a site: a report has several if its leaks hang on leaks of
 * different sites, and kmemleak's file has one for each block. Sites without @offsets are
 * those of the same functions. Sorts the records by bytes.
 */
void merge_sites(struct info *info, bool offsets)
{
	struct keyed_site *k = xrealloc(NULL, info->nr_sites, sizeof(*k));
	struct site *sites = xrealloc(NULL, info->nr_sites, sizeof(*sites));
	size_t i, nr = 0;

	for (i = 0; i < info->nr_sites; i++) {
		k[i].site = &info->sites[i];
		k[i].key = site_key(k[i].site, offsets);
	}
	if (i)
		qsort(k, i, sizeof(*k), by_site_key);
	for (i = 0; i < info->nr_sites; i++) {
		if (i && !strcmp(k[i - 1].key, k[i].key))
			add_to(&sites[nr - 1], k[i].site);
		else
			sites[nr++] = *k[i].site;
	}
	for (i = 0; i < info->nr_sites; i++)
		free(k[i].key);
	free(k);
	free(info->sites);
	if (nr)
		qsort(sites, nr, sizeof(*sites), more_bytes_first);
	info->sites = sites;
	info->nr_sites = nr;
}

/* Counts what is in the records of kmemleak's file, which has no first line. */
static void count_sites(struct info *info)
{
	size_t i;

	merge_sites(info, true);
	for (i = 0; i < info->nr_sites; i++) {
		info->leaks += info->sites[i].objects;
		info->bytes += info->sites[i].bytes;
	}
	info->nr = info->nr_sites;
	info->scanned = true;
	info->head = info->scan = "records of kmemleak";
}

/* --- files --- */

static const struct {
	const char *name;	/* in the first line */
	const char *title;	/* for people */
} kinds[NR_KINDS] = {
	[IS_REPORT] = { "kmemtrack", "kmemtrack" },
	[IS_SITES]  = { "kmemtrack-sites", "kmemtrack_info/sites" },
	[IS_GROWTH] = { "kmemtrack-growth", "kmemtrack_info/growth" },
	[IS_REFS]   = { "kmemtrack-refs", "kmemtrack_info/refs" },
	[IS_MEMORY] = { "kmemtrack-memory", "kmemtrack_info/memory" },
};

const char *kind_name(enum kind kind)
{
	return kinds[kind].title;
}

static bool parse_head(struct reader *r, const char *line)
{
	struct info *info = r->info;
	const char *p;
	uint64_t version;
	unsigned int i;

	for (i = 0; i < NR_KINDS; i++) {
		p = line;
		if (eat(&p, kinds[i].name) && eat(&p, " "))
			break;
	}
	if (i == NR_KINDS)
		die("%s: no file of kmemtrack: it begins with \"%.40s\"", info->source, line);
	info->kind = i;
	if (!eat_u64(&p, &version) || !eat(&p, ":"))
		die("%s: its first line has no version", info->source);
	if (version != 1)
		die("%s: format %s %llu; this program knows version 1", info->source,
		    kinds[i].name, (unsigned long long)version);
	p += *p == ' ';
	info->head = keep_text(info, p, strlen(p));
	switch (info->kind) {
	case IS_REPORT:
		return report_head(info, info->head);
	case IS_SITES:
		return sites_head(info, info->head);
	case IS_GROWTH:
		return growth_head(info, info->head);
	case IS_REFS:
		return refs_head(r, info->head);
	default:
		return memory_head(info, info->head);
	}
}

/* Compares the numbers in the head with the file, which may have been cut off. */
static void check_whole(struct reader *r)
{
	struct info *info = r->info;
	uint64_t bytes = info->other_bytes;
	size_t i;

	if (r->cut && info->nr_sites) {
		warn("%s: its last line has no end", info->source);
		info->damage++;
	}
	for (i = 0; i < info->nr_sites; i++)
		if (__builtin_add_overflow(bytes, info->sites[i].bytes, &bytes))
			bytes = UINT64_MAX;
	if (info->kind == IS_REPORT && info->nr_sites < info->nr) {
		warn("%s: cut off or damaged: %zu of %llu sites are there", info->source,
		     info->nr_sites, (unsigned long long)info->nr);
		info->damage++;
	}
	if (info->kind == IS_SITES && bytes < info->bytes) {
		warn("%s: cut off or damaged: %llu of %llu bytes are there", info->source,
		     (unsigned long long)bytes, (unsigned long long)info->bytes);
		info->damage++;
	}
	if (info->damage > 5)
		warn("%s: and %u more such lines", info->source, info->damage - 5);
}

static void give_ids(struct info *info)
{
	size_t i;

	for (i = 0; i < info->nr_sites; i++) {
		struct site *s = &info->sites[i];
		char *key;

		if (s->has_id)
			continue;
		key = site_key(s, true);
		s->id = hash_text(0, key);
		free(key);
	}
}

struct info *parse(const char *source, const char *text)
{
	struct info *info = xalloc(sizeof(*info));
	struct reader r = { .info = info };
	const char *line;

	info->in_sites_kb = -1;
	info->scan = "";
	r.text = r.at = clean(text);
	info->source = keep_text(info, source, strlen(source));
	line = next_line(&r);
	if (!line)
		die("%s: empty", source);
	if (!strncmp(line, "unreferenced object ", 20)) {
		r.again = line;
		parse_kmemleak(&r);
		count_sites(info);
	} else if (!parse_head(&r, line)) {
		damaged(&r, line);
	}
	switch (info->kind) {
	case IS_REFS:
		parse_refs(&r);
		break;
	case IS_MEMORY:
		parse_memory(&r);
		break;
	default:
		/* This parses all of a kmemleak file. */
		parse_records(&r);
		break;
	}
	check_whole(&r);
	give_ids(info);
	free(r.text);
	return info;
}

bool stat_value(const char *stats, const char *name, uint64_t *value)
{
	size_t len = strlen(name);
	const char *p = stats;

	while (p && *p) {
		if (!strncmp(p, name, len) && p[len] == ' ') {
			p += len + 1;
			return eat_u64(&p, value);
		}
		p = strchr(p, '\n');
		p += !!p;
	}
	return false;
}

/* --- names of sites --- */

/*
 * Whether a function only allocates for its caller, by its name. A backtrace begins with
 * the allocator's own function; helpers that copy or grow memory for others may follow.
 */
bool is_allocator(const char *function)
{
	static const char * const prefixes[] = {
		"kmalloc", "kzalloc", "kcalloc", "kmem_cache_alloc", "kmem_cache_zalloc",
		"kvmalloc", "kvzalloc", "kvcalloc", "krealloc", "kvrealloc", "kmemdup",
		"kvmemdup", "memdup_user", "vmemdup_user", "kstrdup", "kstrndup",
		"strndup_user", "kasprintf", "kvasprintf", "vmalloc", "vzalloc", "vcalloc",
		"get_vm_area", "pcpu_alloc", "alloc_percpu", "memblock_alloc",
		"memblock_phys_alloc", "devm_kmalloc", "devm_kmemdup", "devm_kstrdup",
		"do_kmalloc", "do_krealloc", "alloc_pages", "folio_alloc",
		"get_page_from_freelist", "get_free_page", "get_zeroed_page",
	};
	unsigned int i;

	function += strspn(function, "_");
	for (i = 0; i < ARRAY_SIZE(prefixes); i++)
		if (!strncmp(function, prefixes[i], strlen(prefixes[i])))
			return true;
	return false;
}

unsigned int first_caller(const struct site *s)
{
	unsigned int i;

	for (i = 0; i < s->nr_frames; i++)
		if (!is_allocator(s->frames[i].name))
			return i;
	return s->nr_frames;
}

void site_name(const struct site *s, char *text, size_t size)
{
	unsigned int i = first_caller(s), len = 0;

	/* If all frames are of allocators, the outermost one tells most. */
	if (i == s->nr_frames && i)
		i--;
	text[0] = '\0';
	if (!s->nr_frames)
		snprintf(text, size, "(no backtrace)");
	for (; i < s->nr_frames && len < size; i++) {
		const struct frame *f = &s->frames[i];

		len += snprintf(text + len, size - len, "%s%s%s%s%s", len ? " < " : "",
				f->name, f->module ? " [" : "", f->module ? f->module : "",
				f->module ? "]" : "");
	}
}

/*
 * A key that is equal for one site in several files; has the size if no backtrace. Blocks of
 * a site may be of different slab caches, and the cache of a record is that of one of them.
 */
char *site_key(const struct site *s, bool offsets)
{
	bool apart = !strcmp(s->cache, "percpu") || !strcmp(s->cache, "memblock");
	struct buf b = {};
	unsigned int i;

	buf_printf(&b, "%s\n", apart ? s->cache : "");
	for (i = 0; i < s->nr_frames; i++)
		buf_printf(&b, "%s [%s]\n", offsets ? s->frames[i].text : s->frames[i].name,
			   s->frames[i].module ? s->frames[i].module : "");
	if (!s->nr_frames)
		buf_printf(&b, "%llu\n", (unsigned long long)s->least);
	return b.text;
}
