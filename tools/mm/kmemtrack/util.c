// SPDX-License-Identifier: GPL-2.0
/*
 * Memory, text, terminal, and files that are replaced atomically.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kmemtrack.h"

void (*before_exit)(void);

static char *output_path, *output_temp;

static void remove_temp(void)
{
	if (output_temp)
		unlink(output_temp);
}

static void complain(const char *fmt, va_list args)
{
	fflush(stdout);
	fputs("kmemtrack: ", stderr);
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
}

void die(const char *fmt, ...)
{
	va_list args;

	if (before_exit)
		before_exit();
	va_start(args, fmt);
	complain(fmt, args);
	va_end(args);
	remove_temp();
	exit(ST_ERROR);
}

void warn(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	complain(fmt, args);
	va_end(args);
}

void *xalloc(size_t size)
{
	void *p = calloc(1, size ? size : 1);

	if (!p)
		die("no memory for %zu bytes", size);
	return p;
}

void *xrealloc(void *p, size_t nr, size_t size)
{
	if (size && nr > SIZE_MAX / size)
		die("no memory for %zu times %zu bytes", nr, size);
	size *= nr;
	p = realloc(p, size ? size : 1);
	if (!p)
		die("no memory for %zu bytes", size);
	return p;
}

char *xstrndup(const char *s, size_t len)
{
	char *copy = xalloc(len + 1);

	memcpy(copy, s, len);
	return copy;
}

char *xstrdup(const char *s)
{
	return xstrndup(s, strlen(s));
}

void buf_add(struct buf *b, const char *text, size_t len)
{
	if (b->room - b->len <= len) {
		b->room = (b->len + len + 1) * 2;
		b->text = xrealloc(b->text, b->room, 1);
	}
	memcpy(b->text + b->len, text, len);
	b->len += len;
	b->text[b->len] = '\0';
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list args;
	char *text;
	int len;

	va_start(args, fmt);
	len = vasprintf(&text, fmt, args);
	va_end(args);
	if (len < 0)
		die("no memory for text");
	buf_add(b, text, len);
	free(text);
}

void buf_free(struct buf *b)
{
	free(b->text);
	memset(b, 0, sizeof(*b));
}

/* --- files --- */

/*
 * The output file gets its name when it is complete, so a program that reads it
 * meanwhile, such as node_exporter, sees the old one.
 */
static enum colour_mode colours;
static bool coloured;

FILE *open_output(const char *path)
{
	struct stat st;
	struct buf b = {};
	mode_t mask;
	FILE *f;
	int fd;

	if (!path || !strcmp(path, "-"))
		return stdout;
	/* Colours were decided for the terminal: not for a file, unless always. */
	coloured = colours == COLOUR_ALWAYS;
	/* A device or a pipe is written to directly, not replaced. */
	if (!stat(path, &st) && !S_ISREG(st.st_mode)) {
		f = fopen(path, "w");
		if (!f)
			die("%s: %s", path, strerror(errno));
		return f;
	}
	buf_printf(&b, "%s.XXXXXX", path);
	fd = mkstemp(b.text);
	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	output_path = xstrdup(path);
	output_temp = b.text;
	mask = umask(0);
	umask(mask);
	fchmod(fd, 0666 & ~mask);
	f = fdopen(fd, "w");
	if (!f)
		die("%s: %s", path, strerror(errno));
	return f;
}

void close_output(FILE *f)
{
	bool bad = fflush(f) || ferror(f);

	if (f == stdout) {
		if (bad)
			die("standard output: %s", strerror(errno));
		return;
	}
	/* If renamed before it is on disk, the file may be empty after a crash. */
	if (!bad && output_temp && fsync(fileno(f)) && errno != EINVAL && errno != EROFS)
		bad = true;
	if (fclose(f) || bad)
		die("%s: %s", output_path ? output_path : "output", strerror(errno));
	if (!output_temp)
		return;
	if (rename(output_temp, output_path))
		die("%s: %s", output_path, strerror(errno));
	free(output_temp);
	free(output_path);
	output_temp = output_path = NULL;
}

static char *read_fd(int fd, int *error)
{
	struct buf b = {};
	char part[16384];
	ssize_t n;

	buf_add(&b, "", 0);
	for (;;) {
		n = read(fd, part, sizeof(part));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		/* Replace NUL bytes, which would end the text. */
		for (ssize_t i = 0; i < n; i++)
			if (!part[i])
				part[i] = '\1';
		buf_add(&b, part, n);
		if (b.len > MAX_FILE) {
			errno = EFBIG;
			n = -1;
			break;
		}
	}
	*error = n < 0 ? errno : 0;
	if (*error)
		buf_free(&b);
	return b.text;
}

/*
 * Reads to the end of the file, since files of debugfs have no size. "-" is the standard
 * input, since small systems have no /dev/stdin.
 */
char *read_file(const char *path, int *error)
{
	int fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC) : dup(0);
	char *text;

	if (fd < 0) {
		*error = errno;
		return NULL;
	}
	text = read_fd(fd, error);
	close(fd);
	return text;
}

/* Output of a program whose input is @in, which this closes; NULL if it cannot run. */
char *run_filter(char *const argv[], int in, int *status)
{
	int out[2], error;
	char *text;
	pid_t pid;

	if (pipe(out))
		die("pipe: %s", strerror(errno));
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (!pid) {
		dup2(in, 0);
		dup2(out[1], 1);
		close(in);
		close(out[0]);
		close(out[1]);
		execvp(argv[0], argv);
		_exit(127);
	}
	close(out[1]);
	close(in);
	text = read_fd(out[0], &error);
	close(out[0]);
	while (waitpid(pid, status, 0) < 0 && errno == EINTR)
		;
	if (text && WIFEXITED(*status) && WEXITSTATUS(*status) == 127) {
		free(text);
		text = NULL;
	}
	return text;
}

/* --- numbers as text; each function has buffers for a few in one line --- */

static char *room(void)
{
	static char rooms[8][40];
	static unsigned int next;

	return rooms[next++ % ARRAY_SIZE(rooms)];
}

const char *bytes_text(uint64_t bytes)
{
	static const char * const units[] = {
		"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"
	};
	char *text = room();
	double value = bytes;
	unsigned int unit = 0;

	while (value >= 1023.95 && unit + 1 < ARRAY_SIZE(units)) {
		value /= 1024;
		unit++;
	}
	snprintf(text, 40, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return text;
}

const char *signed_bytes_text(int64_t bytes)
{
	char *text = room();

	if (!bytes)
		return "0";
	snprintf(text, 40, "%c%s", bytes < 0 ? '-' : '+',
		 bytes_text(bytes < 0 ? -(uint64_t)bytes : (uint64_t)bytes));
	return text;
}

const char *count_text(uint64_t n)
{
	char *text = room();

	if (n < 100000)
		snprintf(text, 40, "%llu", (unsigned long long)n);
	else if (n < 10000000)
		snprintf(text, 40, "%.0fk", n / 1e3);
	else if (n < 10000000000)
		snprintf(text, 40, "%.0fM", n / 1e6);
	else
		snprintf(text, 40, "%.0fG", n / 1e9);
	return text;
}

const char *duration_text(double s)
{
	char *text = room();

	if (s < 1)
		snprintf(text, 40, "%.0f ms", s * 1000);
	else if (s < 60)
		snprintf(text, 40, s < 10 ? "%.1f s" : "%.0f s", s);
	else if (s < 3600)
		snprintf(text, 40, "%.0f min", s / 60);
	else if (s < 2 * 86400)
		snprintf(text, 40, "%.1f h", s / 3600);
	else
		snprintf(text, 40, "%.1f days", s / 86400);
	return text;
}

double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* FNV-1a */
uint32_t hash_text(uint32_t h, const char *s)
{
	if (!h)
		h = 2166136261u;
	while (*s)
		h = (h ^ (unsigned char)*s++) * 16777619u;
	return h;
}

/* --- terminal --- */

void set_colours(enum colour_mode mode)
{
	const char *term = getenv("TERM"), *no = getenv("NO_COLOR");

	colours = mode;
	coloured = mode == COLOUR_ALWAYS ||
		   (mode == COLOUR_AUTO && isatty(1) && !(no && *no) &&
		    !(term && !strcmp(term, "dumb")));
}

const char *col(enum colour c)
{
	static const char * const codes[] = {
		[C_OFF] = "\033[0m", [C_BOLD] = "\033[1m", [C_DIM] = "\033[2m",
		[C_RED] = "\033[31m", [C_GREEN] = "\033[32m",
		[C_YELLOW] = "\033[33m", [C_CYAN] = "\033[36m",
	};

	return coloured ? codes[c] : "";
}

static int term_size(bool height)
{
	const char *env = getenv(height ? "LINES" : "COLUMNS");
	int least = height ? 5 : 40;
	struct winsize ws;
	long n = 0;

	if (isatty(1) && !ioctl(1, TIOCGWINSZ, &ws))
		n = height ? ws.ws_row : ws.ws_col;
	if (!n && env)
		n = strtol(env, NULL, 10);
	/* A serial line has no size. */
	if (n <= 0)
		n = height ? 24 : 80;
	return n < least ? least : n > 1000 ? 1000 : n;
}

int term_width(void)
{
	return term_size(false);
}

int term_height(void)
{
	return term_size(true);
}

void put_cut(FILE *f, const char *text, int width)
{
	int len = strlen(text);

	if (len <= width)
		fputs(text, f);
	else if (width > 2)
		fprintf(f, "%.*s..", width - 2, text);
}
