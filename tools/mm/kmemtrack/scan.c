// SPDX-License-Identifier: GPL-2.0
/*
 * scan, with a line that shows its progress, and watch: a command between two scans.
 *
 * A write of "scan" returns when the scan is complete. A child process writes it. ^C
 * kills the child, and then the kernel ends the scan.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kmemtrack.h"

#define TICK_MS		100
#define BAR		24

/* The values of stats when they were read last; @known is false if there are none */
struct progress {
	bool known;
	uint64_t scans, last_ms;
	double start;
	bool live;		/* the kernel shows the scan's progress */
	uint64_t phase, percent, ms, left_ms;
};

/* Names of the numbers in running_phase; a later kernel may have more. */
static const char * const phases[] = {
	NULL, "mark", "search", "stop", "wait", "confirm", "wait", "confirm", "judge",
};

static bool read_progress(struct progress *p)
{
	int error;
	char *stats = read_kernel("kmemtrack_info/stats", &error);
	uint64_t scans;

	if (!stats || !stat_value(stats, "scans", &scans)) {
		free(stats);
		return false;
	}
	/* Another scan has ended, so ours begins now. */
	if (p->known && scans != p->scans)
		p->start = now();
	p->known = true;
	p->scans = scans;
	if (!scans || !stat_value(stats, "scan_ms", &p->last_ms))
		p->last_ms = 0;
	p->live = stat_value(stats, "running_phase", &p->phase) &&
		  stat_value(stats, "running_percent", &p->percent) &&
		  stat_value(stats, "running_ms", &p->ms) &&
		  stat_value(stats, "running_left_ms", &p->left_ms);
	free(stats);
	return true;
}

static void show_bar(unsigned int percent)
{
	char bar[BAR + 1];
	unsigned int i;

	for (i = 0; i < BAR; i++)
		bar[i] = i < BAR * percent / 100 ? '#' : '-';
	bar[BAR] = '\0';
	fprintf(stderr, "[%s] ", bar);
}

/* Shows the kernel's figures: percent of the phase, and the time left of the scan. */
static void show_live(const struct progress *p)
{
	double took = p->ms / 1000.0, left = p->left_ms / 1000.0;

	if (!p->phase) {
		fputs("\rscanning", stderr);
	} else if (!p->left_ms) {
		fprintf(stderr, "\rscanning, %.1f s", took);
	} else {
		fputs("\rscanning ", stderr);
		show_bar(100 * took / (took + left));
		fprintf(stderr, "about %.1f s left", left);
	}
	if (p->phase && p->phase < ARRAY_SIZE(phases))
		fprintf(stderr, "; %s %llu %%", phases[p->phase],
			(unsigned long long)p->percent);
	fputs("\033[K", stderr);
}

/*
 * Shows estimates for an older kernel, which tells only how long the last scan took. They
 * are left out when this scan takes longer than the last one.
 */
static void show_guess(const struct progress *p)
{
	double took = now() - p->start, expected = p->last_ms / 1000.0;

	if (!p->last_ms) {
		fprintf(stderr, "\rscanning, %.1f s; there is no earlier scan to compare with",
			took);
	} else if (took > expected) {
		fprintf(stderr, "\rscanning, %.1f s; the last scan took %.1f s", took,
			expected);
	} else {
		fputs("\rscanning ", stderr);
		show_bar(100 * took / expected);
		fprintf(stderr, "about %2.0f %%, %.1f s left", 100 * took / expected,
			expected - took);
	}
	fputs("\033[K", stderr);
}

static void show_progress(struct progress *p)
{
	read_progress(p);
	if (p->live)
		show_live(p);
	else
		show_guess(p);
	fflush(stderr);
}

static void explain_scan(int error)
{
	if (error == EROFS)
		die("scan: these are saved files, not those of a kernel that runs");
	if (error == EPERM)
		die("scan: tracking is off; echo on > /sys/kernel/debug/kmemtrack");
	if (error == EACCES)
		die("scan: %s; run this as root", strerror(error));
	/* load_kernel() explains a missing file better than the error number. */
	if (error == ENOENT)
		free_info(load_kernel(IS_REPORT));
	die("scan: %s", strerror(error));
}

static void scan_now(bool quiet)
{
	bool show = !quiet && isatty(2);
	struct progress p = { .start = now() };
	int ends[2], status;
	struct pollfd fd;
	pid_t pid;

	if (show)
		read_progress(&p);
	if (pipe(ends))
		die("pipe: %s", strerror(errno));
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (!pid)
		_exit(-write_command("scan"));
	/* The other end is closed when the child exits. */
	close(ends[1]);
	fd.fd = ends[0];
	fd.events = POLLIN;
	while (show && !poll(&fd, 1, TICK_MS))
		show_progress(&p);
	if (show)
		fputs("\r\033[K", stderr);
	close(ends[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status))
		die("scan: ended by signal %d", WTERMSIG(status));
	if (WEXITSTATUS(status))
		explain_scan(WEXITSTATUS(status));
}

int cmd_scan(int argc, char **argv)
{
	struct site **list;
	struct info *r;
	int status;

	if (argc)
		die("scan: it takes no '%s'", argv[0]);
	scan_now(opt.quiet);
	r = load_kernel(IS_REPORT);
	if (!r->scanned)
		die("scan: the report says that there was none");
	status = status_of(r, r->leaks ? ST_LEAKS : ST_OK);
	if (!opt.quiet) {
		find_lines(r);
		show_head(stdout, r);
		list = by_bytes(r);
		show_table(stdout, list, r->nr_sites, number_or(10));
		if (r->leaks && isatty(1))
			puts("kmemtrack report shows backtraces");
		free(list);
	}
	free_info(r);
	close_output(stdout);
	return status;
}

/* --- watch --- */

/* Returns the exit status as a shell would */
static int run_command(char **argv)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN }, intr, quit;
	int ends[2], status, error = 0;
	pid_t pid;

	if (pipe(ends))
		die("pipe: %s", strerror(errno));
	fcntl(ends[1], F_SETFD, FD_CLOEXEC);
	fflush(stdout);
	/* ^C ends only the command: leaks until then are still shown. */
	sigaction(SIGINT, &ignore, &intr);
	sigaction(SIGQUIT, &ignore, &quit);
	pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (!pid) {
		sigaction(SIGINT, &intr, NULL);
		sigaction(SIGQUIT, &quit, NULL);
		close(ends[0]);
		execvp(argv[0], argv);
		error = errno;
		if (write(ends[1], &error, sizeof(error)) != sizeof(error))
			_exit(126);
		_exit(127);
	}
	close(ends[1]);
	if (read(ends[0], &error, sizeof(error)) != sizeof(error))
		error = 0;
	close(ends[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	sigaction(SIGINT, &intr, NULL);
	sigaction(SIGQUIT, &quit, NULL);
	if (error)
		die("watch: %s: %s", argv[0], strerror(error));
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/*
 * Reduces the second report to the sites that have more leaks than before, with the
 * number of additional leaks, if their youngest block is younger than the command. Older
 * blocks were lost before, but found only now; *@older counts them.
 */
static void leave_new(struct info *before, struct info *after, double age, uint64_t *older)
{
	size_t nr, i, kept = 0;
	struct delta *d = compare(before, after, &nr);
	struct site *sites = xrealloc(NULL, nr, sizeof(*sites));

	*older = after->leaks = after->bytes = 0;
	for (i = 0; i < nr; i++) {
		struct site *s = &sites[kept];

		if (d[i].change > CH_GROWN || d[i].objects <= 0)
			continue;
		*s = *d[i].after;
		s->objects = d[i].objects;
		s->bytes = d[i].bytes > 0 ? d[i].bytes : 0;
		if (s->has_ages && s->last > age) {
			*older += s->objects;
			continue;
		}
		/* The frames of a site that is kept now belong to the copy. */
		((struct site *)d[i].after)->frames = NULL;
		if (d[i].change == CH_GROWN)
			s->leads = false;
		after->leaks += s->objects;
		after->bytes += s->bytes;
		kept++;
	}
	free(d);
	for (i = 0; i < after->nr_sites; i++)
		free(after->sites[i].frames);
	free(after->sites);
	after->sites = sites;
	after->nr_sites = after->nr = kept;
}

static void show_leaked(FILE *f, const struct info *r, const char *command)
{
	struct site **list = by_bytes(r);
	size_t i;
	unsigned int j;

	fprintf(f, "%s%s leaked %llu %s, %s%s\n", col(C_RED), command,
		(unsigned long long)r->leaks, r->leaks == 1 ? "object" : "objects",
		bytes_text(r->bytes), col(C_OFF));
	show_table(f, list, r->nr_sites, number_or(20));
	for (i = 0; i < r->nr_sites && i < number_or(20); i++) {
		const struct site *s = list[i];

		fprintf(f, "\n%llu %s, %s, by \"%s\":\n", (unsigned long long)s->objects,
			s->objects == 1 ? "object" : "objects", s->cache,
			s->nr_tasks ? s->tasks[0].comm : s->has_comm ? s->comm : "?");
		for (j = 0; j < s->nr_frames; j++)
			fprintf(f, "    %s%s%s%s\n", s->frames[j].text,
				s->frames[j].lines ? "  (" : "",
				s->frames[j].lines ? s->frames[j].lines : "",
				s->frames[j].lines ? ")" : "");
	}
	free(list);
}

int cmd_watch(int argc, char **argv)
{
	struct info *before, *after;
	uint64_t older;
	double start;
	int status, error;
	FILE *f;

	if (!argc)
		die("watch: which command? See kmemtrack watch --help");
	scan_now(opt.quiet);
	if (opt.clear) {
		error = write_command("clear");
		if (error)
			die("clear: %s", strerror(-error));
	}
	before = load_kernel(IS_REPORT);
	start = now();
	status = run_command(argv);
	scan_now(opt.quiet);
	after = load_kernel(IS_REPORT);
	if (before->damage || after->damage)
		die("watch: the report is damaged");
	/* Blocks have times in ticks of the kernel, which are at most 10 ms. */
	leave_new(before, after, now() - start + 0.02, &older);
	find_lines(after);
	f = open_output(opt.output);
	if (opt.json)
		json_sites(f, after);
	else if (opt.ktap)
		print_ktap(f, after);
	else if (after->leaks)
		show_leaked(f, after, argv[0]);
	else if (!opt.quiet)
		fprintf(f, "%s%s leaked nothing%s\n", col(C_GREEN), argv[0], col(C_OFF));
	if (older && !opt.quiet)
		warn("%llu blocks were found only now, and are older than %s",
		     (unsigned long long)older, argv[0]);
	close_output(f);
	if (status && !opt.quiet)
		warn("%s: exit status %d", argv[0], status);
	if (after->leaks)
		status = opt.leak_status;
	free_info(before);
	free_info(after);
	return status;
}
