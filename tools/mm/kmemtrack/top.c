// SPDX-License-Identifier: GPL-2.0
/*
 * top: shows the sites with most memory, and reads them again every few seconds.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "kmemtrack.h"

enum key { BY_BYTES, BY_OBJECTS, BY_CHANGE, BY_RATE, BY_NAME, NR_KEYS };

static const struct {
	const char *name;
	char letter;
} keys[NR_KEYS] = {
	[BY_BYTES] = { "bytes", 'b' }, [BY_OBJECTS] = { "objects", 'o' },
	[BY_CHANGE] = { "change", 'c' }, [BY_RATE] = { "rate", 'r' },
	[BY_NAME] = { "name", 'n' },
};

struct sample {
	uint32_t id;
	uint64_t bytes;
};

struct row {
	const struct site *site;
	int64_t change;		/* bytes since the first reading */
	const char *name;
};

/* State of the screen */
struct view {
	enum key sort;
	struct info *info;
	struct row *rows;
	size_t nr, selected, first;
	struct sample *base;	/* first reading, by id */
	size_t nr_base;
	bool open, paused, quit;
};

static struct termios saved;
static atomic_int on_screen, stop_asked;

static void leave_screen(void)
{
	static const char text[] = "\033[?25h\033[?1049l";

	if (!on_screen)
		return;
	on_screen = 0;
	tcsetattr(0, TCSANOW, &saved);
	if (write(1, text, sizeof(text) - 1) < 0)
		return;
}

static void enter_screen(void)
{
	struct termios raw = saved;

	raw.c_lflag &= ~(ICANON | ECHO);
	raw.c_cc[VMIN] = 0;
	raw.c_cc[VTIME] = 0;
	tcsetattr(0, TCSANOW, &raw);
	on_screen = 1;
	fputs("\033[?1049h\033[?25l\033[2J", stdout);
}

/* Both functions of leave_screen() may be called from here. */
static void on_signal(int sig)
{
	if (sig == SIGTSTP) {
		stop_asked = 1;
	} else if (sig != SIGWINCH) {
		leave_screen();
		_exit(128 + sig);
	}
}

static void catch_signals(void)
{
	static const int caught[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH };
	struct sigaction action = { .sa_handler = on_signal };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(caught); i++)
		sigaction(caught[i], &action, NULL);
}

static enum key sort_key;

static int by_sort_key(const void *x, const void *y)
{
	const struct row *a = x, *b = y;
	int64_t p = 0, q = 0;

	switch (sort_key) {
	case BY_OBJECTS:
		p = a->site->objects;
		q = b->site->objects;
		break;
	case BY_CHANGE:
		p = a->change;
		q = b->change;
		break;
	case BY_RATE:
		p = a->site->rate;
		q = b->site->rate;
		break;
	case BY_NAME:
		p = strcmp(b->name, a->name);
		break;
	default:
		break;
	}
	if (p == q) {
		p = a->site->bytes;
		q = b->site->bytes;
	}
	if (p != q)
		return p < q ? 1 : -1;
	return a->site->id < b->site->id ? -1 : a->site->id > b->site->id;
}

static int by_id(const void *x, const void *y)
{
	const struct sample *a = x, *b = y;

	return a->id < b->id ? -1 : a->id > b->id;
}

static void first_reading(struct view *v)
{
	size_t i;

	v->base = xrealloc(NULL, v->nr, sizeof(*v->base));
	for (i = 0; i < v->nr; i++) {
		v->base[i].id = v->info->sites[i].id;
		v->base[i].bytes = v->info->sites[i].bytes;
	}
	v->nr_base = v->nr;
	if (v->nr)
		qsort(v->base, v->nr, sizeof(*v->base), by_id);
}

static const char *caller_name(const struct site *s)
{
	unsigned int i = first_caller(s);

	if (!s->nr_frames)
		return "(no backtrace)";
	return s->frames[i < s->nr_frames ? i : i - 1].name;
}

static void sort_rows(struct view *v)
{
	sort_key = v->sort;
	if (v->nr)
		qsort(v->rows, v->nr, sizeof(*v->rows), by_sort_key);
}

static void read_sites(struct view *v)
{
	const struct sample *old;
	struct sample wanted;
	size_t i;

	free_info(v->info);
	v->info = load_kernel(IS_SITES);
	v->nr = v->info->nr_sites;
	v->rows = xrealloc(v->rows, v->nr, sizeof(*v->rows));
	if (!v->base)
		first_reading(v);
	for (i = 0; i < v->nr; i++) {
		const struct site *s = &v->info->sites[i];

		wanted.id = s->id;
		old = v->nr_base ? bsearch(&wanted, v->base, v->nr_base, sizeof(wanted), by_id) :
				   NULL;
		v->rows[i].site = s;
		v->rows[i].name = caller_name(s);
		v->rows[i].change = s->bytes - (old ? old->bytes : 0);
	}
	sort_rows(v);
}

/* --- drawing --- */

static void end_line(unsigned int *left)
{
	fputs("\033[K\r\n", stdout);
	--*left;
}

static void draw_row(const struct row *r, bool selected, int width)
{
	char line[1024], name[512];

	site_name(r->site, name, sizeof(name));
	snprintf(line, sizeof(line), "%10s %7s %10s %10s  %-11.11s  %s",
		 bytes_text(r->site->bytes), count_text(r->site->objects),
		 r->change ? signed_bytes_text(r->change) : "",
		 r->site->rate ? signed_bytes_text(r->site->rate) : "",
		 r->site->cache, name);
	fputs(selected ? "\033[7m" : "", stdout);
	put_cut(stdout, line, width);
	fputs(selected ? "\033[0m" : "", stdout);
}

static void draw_site(const struct view *v, const struct site *s, unsigned int left, int width)
{
	char line[256], bars[64];
	unsigned int i;

	spark(bars, sizeof(bars), s);
	printf("%s\033[1m%s, %s in %llu objects\033[0m", "", s->cache, bytes_text(s->bytes),
	       (unsigned long long)s->objects);
	end_line(&left);
	if (left > 2 && v->info->nr_scans) {
		printf("  at each scan: %s  now %s", bars, bytes_text(s->bytes));
		end_line(&left);
	}
	for (i = 0; i < s->nr_frames && left > 1; i++) {
		snprintf(line, sizeof(line), "  %s", s->frames[i].text);
		put_cut(stdout, line, width);
		end_line(&left);
	}
}

static void draw(struct view *v)
{
	int width = term_width();
	unsigned int left = term_height(), room, i;
	char line[512];

	fputs("\033[H", stdout);
	snprintf(line, sizeof(line), "kmemtrack top%s - %s", v->paused ? ", paused" : "",
		 sites_line(v->info));
	put_cut(stdout, line, width);
	end_line(&left);
	snprintf(line, sizeof(line), "sort: %s (b o c r n)  Enter: backtrace  Space: pause  q: quit",
		 keys[v->sort].name);
	put_cut(stdout, line, width);
	end_line(&left);
	fputs("\033[1m", stdout);
	snprintf(line, sizeof(line), "%10s %7s %10s %10s  %-11s  %s", "BYTES", "OBJECTS", "CHANGE",
		 "PER HOUR", "CACHE", "SITE");
	put_cut(stdout, line, width);
	fputs("\033[0m", stdout);
	end_line(&left);

	room = v->open && left > 8 ? left / 2 : left - 1;
	if (v->selected >= v->nr)
		v->selected = v->nr ? v->nr - 1 : 0;
	if (v->selected < v->first)
		v->first = v->selected;
	if (v->selected >= v->first + room)
		v->first = v->selected - room + 1;
	for (i = 0; i < room && v->first + i < v->nr; i++) {
		draw_row(&v->rows[v->first + i], v->first + i == v->selected, width);
		end_line(&left);
	}
	if (v->open && v->nr && left > 2) {
		end_line(&left);
		draw_site(v, v->rows[v->selected].site, left, width);
	}
	fputs("\033[J", stdout);
	fflush(stdout);
}

/* --- keys --- */

static void move(struct view *v, long by)
{
	if (by < 0 && v->selected < (size_t)-by)
		v->selected = 0;
	else
		v->selected += by;
	if (v->selected >= v->nr)
		v->selected = v->nr ? v->nr - 1 : 0;
}

static void letter(struct view *v, char c)
{
	unsigned int i;

	for (i = 0; i < NR_KEYS; i++) {
		if (c != keys[i].letter)
			continue;
		v->sort = i;
		v->first = v->selected = 0;
		sort_rows(v);
	}
	if (c == 'q')
		v->quit = true;
	else if (c == 'j')
		move(v, 1);
	else if (c == 'k')
		move(v, -1);
	else if (c == ' ')
		v->paused = !v->paused;
	else if (c == '\n' || c == '\r')
		v->open = !v->open;
}

static void read_keys(struct view *v)
{
	long page = term_height() - 4;
	char text[64];
	ssize_t n = read(0, text, sizeof(text) - 1), i;

	if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
		v->quit = true;
	if (n <= 0)
		return;
	text[n] = '\0';
	for (i = 0; i < n; i++) {
		const char *p = text + i;

		if (*p != '\033') {
			letter(v, *p);
			continue;
		}
		if (!strncmp(p, "\033[A", 3) || !strncmp(p, "\033OA", 3))
			move(v, -1);
		else if (!strncmp(p, "\033[B", 3) || !strncmp(p, "\033OB", 3))
			move(v, 1);
		else if (!strncmp(p, "\033[5", 3))
			move(v, -page);
		else if (!strncmp(p, "\033[6", 3))
			move(v, page);
		else if (!p[1])
			v->open = false;
		/* Skip the rest of an escape sequence, up to its letter */
		while (i + 1 < n && strchr("[O0123456789;~", text[i + 1]))
			i++;
		if (i + 1 < n && *p == '\033' && text[i] != '~' && i > p - text)
			i++;
	}
}

static void stop(void)
{
	stop_asked = 0;
	leave_screen();
	kill(getpid(), SIGSTOP);
	enter_screen();
}

static void live(struct view *v)
{
	struct pollfd in = { .fd = 0, .events = POLLIN };
	double next = 0;

	if (tcgetattr(0, &saved))
		die("top: %s", strerror(errno));
	before_exit = leave_screen;
	catch_signals();
	enter_screen();
	while (!v->quit) {
		double wait;

		if (stop_asked)
			stop();
		if (now() >= next) {
			if (!v->paused || !v->info)
				read_sites(v);
			next = now() + opt.delay;
		}
		draw(v);
		wait = next - now();
		if (poll(&in, 1, wait > 0 ? wait * 1000 + 1 : 0) > 0)
			read_keys(v);
	}
	leave_screen();
}

static void once(struct view *v)
{
	struct site **list;
	size_t i;

	read_sites(v);
	list = xrealloc(NULL, v->nr, sizeof(*list));
	for (i = 0; i < v->nr; i++)
		list[i] = (struct site *)v->rows[i].site;
	printf("%s\n", sites_line(v->info));
	show_table(stdout, list, v->nr, number_or(20));
	free(list);
}

int cmd_top(int argc, char **argv)
{
	struct view v = { .sort = BY_BYTES };
	unsigned int i;
	int status;

	if (argc)
		die("top: it takes no '%s'", argv[0]);
	if (opt.sort) {
		for (i = 0; i < NR_KEYS && strcmp(opt.sort, keys[i].name); i++)
			;
		if (i == NR_KEYS)
			die("top: --sort is one of bytes, objects, change, rate, name");
		v.sort = i;
	}
	if (opt.json) {
		v.info = load_kernel(IS_SITES);
		json_sites(stdout, v.info);
	} else if (opt.once || !isatty(1) || !isatty(0)) {
		once(&v);
	} else {
		live(&v);
	}
	close_output(stdout);
	status = status_of(v.info, ST_OK);
	free_info(v.info);
	free(v.rows);
	free(v.base);
	return status;
}
