// SPDX-License-Identifier: GPL-2.0
/*
 * Pictures: a flame graph of leaks or of live memory, and a plot of the bytes of sites
 * over time. The SVG files are self-contained.
 */
#include <stdlib.h>
#include <string.h>

#include "kmemtrack.h"

#define FONT	"font-family=\"DejaVu Sans Mono,Menlo,Consolas,monospace\" font-size=\"12\""
#define LETTER	7.25		/* width of one */

static void xml_text(FILE *f, const char *s, int most)
{
	for (; *s && most; s++, most--) {
		if (*s == '&')
			fputs("&amp;", f);
		else if (*s == '<')
			fputs("&lt;", f);
		else if (*s == '>')
			fputs("&gt;", f);
		else if (*s == '"')
			fputs("&quot;", f);
		else
			fputc(*s, f);
	}
}

/* --- flame graph --- */

#define FLAME_WIDTH	1200
#define FLAME_ROW	17
#define FLAME_TOP	64
#define FLAME_SIDE	10
#define FLAME_LEAST	0.3	/* pixels; narrower boxes are left out */

/* The frame of @s at a depth, 0 is the outermost; NULL above the innermost */
static const struct frame *frame_at(const struct site *s, unsigned int depth)
{
	return depth < s->nr_frames ? &s->frames[s->nr_frames - 1 - depth] : NULL;
}

static int compare_frames(const struct frame *a, const struct frame *b)
{
	int c = strcmp(a->name, b->name);

	return c ? c : strcmp(a->module ? a->module : "", b->module ? b->module : "");
}

static int by_path(const void *x, const void *y)
{
	const struct site *a = *(struct site *const *)x, *b = *(struct site *const *)y;
	unsigned int depth;
	int c;

	for (depth = 0; ; depth++) {
		const struct frame *p = frame_at(a, depth), *q = frame_at(b, depth);

		if (!p || !q) {
			if (p || q)
				return p ? 1 : -1;
			/* Without a backtrace, the cache is the only name. */
			c = strcmp(a->cache, b->cache);
			return c ? c : a < b ? -1 : a > b;
		}
		c = compare_frames(p, q);
		if (c)
			return c;
	}
}

static double weight(const struct site *s)
{
	return opt.objects ? s->objects : s->bytes;
}

struct flame {
	FILE *f;
	struct site **sites;	/* by path */
	double total, scale;
	unsigned int depth;	/* of the deepest path that is wide enough */
	bool live;
};

static void frame_text(struct buf *b, const struct frame *fr)
{
	b->len = 0;
	buf_printf(b, "%s%s%s%s", fr->name, fr->module ? " [" : "",
		   fr->module ? fr->module : "", fr->module ? "]" : "");
}

static void draw_box(const struct flame *fl, const char *name, unsigned int depth,
		     double from, double value, uint64_t objects, uint64_t bytes, bool module)
{
	unsigned int h = hash_text(0, name);
	double x = FLAME_SIDE + from * fl->scale, width = value * fl->scale;
	double y = FLAME_TOP + (fl->depth - depth) * FLAME_ROW;
	int letters = (width - 6) / LETTER, len = strlen(name);
	unsigned int red, green, blue;

	if (fl->live) {
		red = 90 + h % 60;
		green = 170 + (h >> 8) % 50;
		blue = module ? 215 : 120 + (h >> 16) % 40;
	} else {
		red = 225 + h % 30;
		green = (module ? 170 : 100) + (h >> 8) % 60;
		blue = 60 + (h >> 16) % 50;
	}
	fprintf(fl->f, "<g class=\"f\" data-x=\"%.9g\" data-w=\"%.9g\" data-d=\"%u\"><title>",
		from / fl->total, value / fl->total, depth);
	xml_text(fl->f, name, -1);
	fprintf(fl->f, ": %s in %llu objects, %.1f%%</title>", bytes_text(bytes),
		(unsigned long long)objects, 100 * value / fl->total);
	fprintf(fl->f, "<rect x=\"%.2f\" y=\"%.0f\" width=\"%.2f\" height=\"%d\" rx=\"2\" fill=\"rgb(%u,%u,%u)\"/>",
		x, y, width > 0.6 ? width - 0.4 : width, FLAME_ROW - 1, red, green, blue);
	fprintf(fl->f, "<text x=\"%.2f\" y=\"%.0f\">", x + 3, y + 12.5);
	if (letters >= len) {
		xml_text(fl->f, name, -1);
	} else if (letters >= 4) {
		xml_text(fl->f, name, letters - 2);
		fputs("..", fl->f);
	}
	fputs("</text></g>\n", fl->f);
}

static void sum_up(const struct flame *fl, size_t from, size_t to, double *value,
		   uint64_t *objects, uint64_t *bytes)
{
	*value = *objects = *bytes = 0;
	for (; from < to; from++) {
		*value += weight(fl->sites[from]);
		*objects += fl->sites[from]->objects;
		*bytes += fl->sites[from]->bytes;
	}
}

/*
 * Draws the boxes at @depth, from the left, and those on top of them, for sites @from to
 * @to, which have the same frames below @depth. Without a file, only determines the depth
 * of the graph, which is at most MAX_FRAMES.
 */
static void draw_level(struct flame *fl, size_t from, size_t to, unsigned int depth, double at)
{
	size_t next;

	for (; from < to; from = next) {
		const struct site *s = fl->sites[from];
		const struct frame *fr = frame_at(s, depth), *other;
		struct buf name = {};
		uint64_t objects, bytes;
		double value;

		for (next = from + 1; next < to; next++) {
			other = frame_at(fl->sites[next], depth);
			if (!fr != !other || (fr && compare_frames(fr, other)) ||
			    (!fr && (depth || strcmp(s->cache, fl->sites[next]->cache))))
				break;
		}
		sum_up(fl, from, next, &value, &objects, &bytes);
		/* No box above the innermost frame of a path. */
		if ((fr || !depth) && value * fl->scale >= FLAME_LEAST) {
			if (fl->depth < depth + 1)
				fl->depth = depth + 1;
			if (fl->f) {
				if (fr)
					frame_text(&name, fr);
				else
					buf_printf(&name, "(no backtrace) %s", s->cache);
				draw_box(fl, name.text, depth + 1, at, value, objects, bytes,
					 fr && fr->module);
				buf_free(&name);
			}
			if (fr)
				draw_level(fl, from, next, depth + 1, at);
		}
		at += value;
	}
}

static const char flame_script[] =
"const side = 10, full = 1180, letter = 7.25;\n"
"const all = [...document.querySelectorAll('g.f')].map(g => ({\n"
"  g, rect: g.querySelector('rect'), text: g.querySelector('text'),\n"
"  title: g.querySelector('title').textContent,\n"
"  name: g.querySelector('title').textContent.replace(/: [^:]*$/, ''),\n"
"  x: +g.dataset.x, w: +g.dataset.w, d: +g.dataset.d }));\n"
"const note = document.getElementById('note');\n"
"const reset = document.getElementById('reset');\n"
"function zoom(to) {\n"
"  const e = 1e-9;\n"
"  for (const b of all) {\n"
"    const within = b.x >= to.x - e && b.x + b.w <= to.x + to.w + e && b.d >= to.d;\n"
"    const below = b.d < to.d && b.x <= to.x + e && b.x + b.w >= to.x + to.w - e;\n"
"    b.g.style.display = within || below ? '' : 'none';\n"
"    if (!within && !below) continue;\n"
"    const x = below ? 0 : (b.x - to.x) / to.w, w = below ? 1 : b.w / to.w;\n"
"    const width = w * full, room = Math.floor((width - 6) / letter);\n"
"    b.g.style.opacity = below ? 0.5 : 1;\n"
"    b.rect.setAttribute('x', side + x * full);\n"
"    b.rect.setAttribute('width', width > 0.6 ? width - 0.4 : width);\n"
"    b.text.setAttribute('x', side + x * full + 3);\n"
"    b.text.textContent = room >= b.name.length ? b.name :\n"
"      room >= 4 ? b.name.slice(0, room - 2) + '..' : '';\n"
"  }\n"
"  reset.style.visibility = to.d ? 'visible' : 'hidden';\n"
"}\n"
"function search() {\n"
"  const what = prompt('Function (a regular expression):');\n"
"  let re = null, sum = 0, end = -1;\n"
"  if (what === null) return;\n"
"  try { re = what ? new RegExp(what) : null; } catch (error) { note.textContent = error; return; }\n"
"  for (const b of all) b.rect.classList.toggle('hit', !!re && re.test(b.name));\n"
"  for (const b of all.filter(b => re && re.test(b.name)).sort((a, b) => a.x - b.x || a.d - b.d))\n"
"    if (b.x >= end - 1e-9) { sum += b.w; end = b.x + b.w; }\n"
"  note.textContent = re ? what + ': ' + (100 * sum).toFixed(1) + '%' : '';\n"
"}\n"
"for (const b of all) {\n"
"  b.g.addEventListener('click', () => zoom(b));\n"
"  b.g.addEventListener('mouseenter', () => { note.textContent = b.title; });\n"
"}\n"
"reset.addEventListener('click', () => zoom(all[0]));\n"
"document.getElementById('search').addEventListener('click', search);\n"
"addEventListener('keydown', e => { if (e.key === '/') { e.preventDefault(); search(); }\n"
"  if (e.key === 'Escape') zoom(all[0]); });\n";

static void draw_flame(struct flame *fl, const struct info *info, uint64_t objects, uint64_t bytes)
{
	unsigned int height = FLAME_TOP + (fl->depth + 1) * FLAME_ROW + 12;
	FILE *f = fl->f;

	fprintf(f, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %u\" width=\"%d\" height=\"%u\" "
		FONT ">\n", FLAME_WIDTH, height, FLAME_WIDTH, height);
	fputs("<style>g.f{cursor:pointer} g.f:hover rect{stroke:#000} rect.hit{fill:#d070f0} text{fill:#111;white-space:pre} .b{fill:#1558b0;cursor:pointer}</style>\n",
	      f);
	fprintf(f, "<rect width=\"100%%\" height=\"100%%\" fill=\"#fcfaf4\"/>\n");
	fprintf(f, "<text x=\"%d\" y=\"22\" font-size=\"16\">%s: %s in %llu objects, %zu sites, by %s</text>\n",
		FLAME_SIDE, fl->live ? "Live memory" : "Leaks", bytes_text(bytes),
		(unsigned long long)objects, info->nr_sites, opt.objects ? "objects" : "bytes");
	fprintf(f, "<text id=\"reset\" class=\"b\" x=\"%d\" y=\"22\" text-anchor=\"end\" style=\"visibility:hidden\">reset (Esc)</text>\n",
		FLAME_WIDTH - 110);
	fprintf(f, "<text id=\"search\" class=\"b\" x=\"%d\" y=\"22\" text-anchor=\"end\">search (/)</text>\n",
		FLAME_WIDTH - FLAME_SIDE);
	fprintf(f, "<text id=\"note\" x=\"%d\" y=\"46\"> </text>\n", FLAME_SIDE);
	draw_box(fl, "all", 0, 0, fl->total, objects, bytes, false);
	draw_level(fl, 0, info->nr_sites, 0, 0);
	fprintf(f, "<script><![CDATA[\n%s]]></script>\n</svg>\n", flame_script);
}

/* outermost;...;innermost bytes */
static void print_folded(FILE *f, const struct site *s)
{
	const struct frame *fr;
	struct buf name = {};
	unsigned int depth;
	char *p;

	for (depth = 0; (fr = frame_at(s, depth)); depth++) {
		frame_text(&name, fr);
		for (p = name.text; (p = strpbrk(p, "; "));)
			*p = *p == ';' ? ':' : '_';
		fprintf(f, "%s%s", depth ? ";" : "", name.text);
	}
	if (!depth)
		fprintf(f, "(no_backtrace);%s", s->cache);
	fprintf(f, " %llu\n", (unsigned long long)(opt.objects ? s->objects : s->bytes));
	buf_free(&name);
}

int cmd_flame(int argc, char **argv)
{
	struct flame fl = {};
	uint64_t objects, bytes;
	struct info *info;
	int status;
	size_t i;

	if (argc > 1)
		die("flame: one file at the most");
	if (opt.leaks && opt.live)
		die("flame: --leaks or --live");
	info = argc ? load_file(argv[0]) : load_kernel(opt.live ? IS_SITES : IS_REPORT);
	if (info->kind == IS_MEMORY || info->kind == IS_REFS)
		die("flame: %s is %s, which has no backtraces", info->source,
		    kind_name(info->kind));
	fl.live = info->kind != IS_REPORT;
	fl.sites = by_bytes(info);
	if (info->nr_sites)
		qsort(fl.sites, info->nr_sites, sizeof(*fl.sites), by_path);
	sum_up(&fl, 0, info->nr_sites, &fl.total, &objects, &bytes);
	if (opt.folded) {
		fl.f = open_output(opt.output);
		for (i = 0; i < info->nr_sites; i++)
			print_folded(fl.f, fl.sites[i]);
	} else {
		if (!fl.total)
			fl.total = 1;
		fl.scale = (FLAME_WIDTH - 2 * FLAME_SIDE) / fl.total;
		draw_level(&fl, 0, info->nr_sites, 0, 0);
		fl.f = open_output(opt.output);
		draw_flame(&fl, info, objects, bytes);
	}
	close_output(fl.f);
	status = status_of(info, ST_OK);
	free(fl.sites);
	free_info(info);
	return status;
}

/* --- plot --- */

#define PLOT_WIDTH	960
#define PLOT_HEIGHT	420
#define PLOT_LEFT	96
#define PLOT_RIGHT	24
#define PLOT_TOP	56
#define PLOT_LINES	8

static const char * const line_colours[PLOT_LINES] = {
	"#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#7f7f7f",
};

/* Distance of lines of the grid: a power of two, or a round time in seconds */
static double bytes_step(double least)
{
	double step = 1;

	while (step < least && step < 1e18)
		step *= 2;
	return step;
}

static double time_step(double least)
{
	static const unsigned int steps[] = {
		1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 4 * 3600,
		8 * 3600, 12 * 3600, 86400, 2 * 86400, 7 * 86400, 28 * 86400,
	};
	double step;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(steps); i++)
		if (steps[i] >= least)
			return steps[i];
	for (step = steps[i - 1]; step < least;)
		step *= 2;
	return step;
}

struct axes {
	double t0, t1, top;
};

static double x_of(const struct axes *a, double t)
{
	return PLOT_LEFT + (PLOT_WIDTH - PLOT_LEFT - PLOT_RIGHT) * (t - a->t0) / (a->t1 - a->t0);
}

static double y_of(const struct axes *a, double bytes)
{
	return PLOT_TOP + PLOT_HEIGHT * (1 - bytes / a->top);
}

static void draw_axes(FILE *f, const struct axes *a)
{
	double step = bytes_step(a->top / 8), v;

	for (v = 0; v <= a->top * 1.0001; v += step) {
		fprintf(f, "<path d=\"M%d %.1fH%d\" stroke=\"#ddd\"/>", PLOT_LEFT, y_of(a, v),
			PLOT_WIDTH - PLOT_RIGHT);
		fprintf(f, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
			PLOT_LEFT - 8, y_of(a, v) + 4, bytes_text(v));
	}
	step = time_step((a->t1 - a->t0) / 8);
	v = step * (uint64_t)(a->t0 / step + 0.999999);
	for (; v <= a->t1 && v + step > v; v += step) {
		uint64_t s = v;

		fprintf(f, "<path d=\"M%.1f %dV%d\" stroke=\"#eee\"/>", x_of(a, v), PLOT_TOP,
			PLOT_TOP + PLOT_HEIGHT + 5);
		fprintf(f, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%llu:%02u:%02u</text>\n",
			x_of(a, v), PLOT_TOP + PLOT_HEIGHT + 20, (unsigned long long)(s / 3600),
			(unsigned int)(s / 60 % 60), (unsigned int)(s % 60));
	}
	fprintf(f, "<path d=\"M%d %dV%dH%d\" fill=\"none\" stroke=\"#444\"/>\n", PLOT_LEFT,
		PLOT_TOP, PLOT_TOP + PLOT_HEIGHT, PLOT_WIDTH - PLOT_RIGHT);
}

/* A shorter history ends at the same scan as the others. */
static void draw_line(FILE *f, const struct info *info, const struct axes *a,
		      const struct site *s, const char *colour, double y)
{
	unsigned int i, skip = info->nr_scans - s->nr_history;
	char name[512];

	site_name(s, name, sizeof(name));
	fputs("<g><title>", f);
	xml_text(f, name, -1);
	fprintf(f, "</title><polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"",
		colour);
	for (i = 0; i < s->nr_history; i++)
		fprintf(f, "%s%.1f,%.1f", i ? " " : "", x_of(a, info->scans[skip + i]),
			y_of(a, s->history[i]));
	fputs("\"/>", f);
	for (i = 0; i < s->nr_history; i++)
		fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>",
			x_of(a, info->scans[skip + i]), y_of(a, s->history[i]), colour);
	fprintf(f, "<rect x=\"%d\" y=\"%.0f\" width=\"14\" height=\"4\" fill=\"%s\"/><text x=\"%d\" y=\"%.0f\">",
		PLOT_LEFT, y - 6, colour, PLOT_LEFT + 22, y);
	fprintf(f, "%-11s ", bytes_text(s->bytes));
	xml_text(f, name, 92);
	fputs("</text></g>\n", f);
}

static void draw_plot(FILE *f, const struct info *info, struct site **list, size_t nr)
{
	unsigned int height = PLOT_TOP + PLOT_HEIGHT + 72 + nr * 18;
	uint64_t most = 1;
	struct axes a;
	unsigned int j;
	size_t i;

	for (i = 0; i < nr; i++)
		for (j = 0; j < list[i]->nr_history; j++)
			if (list[i]->history[j] > most)
				most = list[i]->history[j];
	a.top = bytes_step(most / 8.0);
	a.top *= (uint64_t)(most / a.top + 0.999999);
	a.t0 = info->scans[0];
	a.t1 = info->scans[info->nr_scans - 1];
	if (a.t1 <= a.t0) {
		a.t0 -= 1;
		a.t1 = a.t0 + 2;
	}
	fprintf(f, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %u\" width=\"%d\" height=\"%u\" "
		FONT ">\n<style>text{fill:#222;white-space:pre} g:hover polyline{stroke-width:4}</style>\n",
		PLOT_WIDTH, height, PLOT_WIDTH, height);
	fprintf(f, "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n");
	fprintf(f, "<text x=\"%d\" y=\"26\" font-size=\"16\">Bytes of allocation sites at each scan</text>\n",
		PLOT_LEFT);
	draw_axes(f, &a);
	fprintf(f, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">time since boot (h:mm:ss)</text>\n",
		(PLOT_WIDTH + PLOT_LEFT) / 2, PLOT_TOP + PLOT_HEIGHT + 42);
	for (i = 0; i < nr; i++)
		draw_line(f, info, &a, list[i], line_colours[i],
			  PLOT_TOP + PLOT_HEIGHT + 72 + i * 18.0);
	fputs("</svg>\n", f);
}

/* Growth of the bytes over the known history */
static int64_t gain(const struct site *s)
{
	return s->nr_history ? s->history[s->nr_history - 1] - s->history[0] : 0;
}

static int by_gain(const void *x, const void *y)
{
	const struct site *a = *(struct site *const *)x, *b = *(struct site *const *)y;

	if (gain(a) != gain(b))
		return gain(a) < gain(b) ? 1 : -1;
	return a < b ? -1 : a > b;
}

int cmd_plot(int argc, char **argv)
{
	struct site **list;
	struct info *info;
	size_t i, nr = 0, most = number_or(PLOT_LINES);
	int status;
	FILE *f;

	if (argc > 1)
		die("plot: one file at the most");
	info = argc ? load_file(argv[0]) : load_kernel(IS_SITES);
	if (info->kind != IS_SITES)
		die("plot: %s is %s, which has no times of scans", info->source,
		    kind_name(info->kind));
	if (info->off)
		die("plot: %s", sites_line(info));
	if (!info->nr_scans)
		die("plot: %s has no history yet: it begins with the first scan", info->source);
	list = by_bytes(info);
	if (opt.sort && strcmp(opt.sort, "bytes") && strcmp(opt.sort, "change"))
		die("plot: --sort is bytes or change");
	if (opt.sort && !strcmp(opt.sort, "change") && info->nr_sites)
		qsort(list, info->nr_sites, sizeof(*list), by_gain);
	if (most > PLOT_LINES)
		most = PLOT_LINES;
	for (i = 0; i < info->nr_sites && nr < most; i++) {
		struct site *s = list[i];

		if (!s->nr_history)
			continue;
		if (s->nr_history > info->nr_scans) {
			warn("%s: a history is longer than the list of scans", info->source);
			info->damage++;
			continue;
		}
		list[nr++] = s;
	}
	f = open_output(opt.output);
	draw_plot(f, info, list, nr);
	close_output(f);
	status = status_of(info, ST_OK);
	free(list);
	free_info(info);
	return status;
}
