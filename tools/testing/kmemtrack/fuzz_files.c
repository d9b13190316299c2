// SPDX-License-Identifier: GPL-2.0
/*
 * fuzz_files <seed> <seconds>: fuzzer of the detector's files, in a guest. It runs as
 * root on a kernel with debug options, whose console has the errors.
 *
 * It runs in rounds. A round has a seed of its own, and one or more workers. Each worker
 * opens files, reads, seeks and writes at random: commands of the tracker, damaged
 * commands, and noise, to the files of debugfs and to the parameters of the module. With
 * a single worker, a write that fails must change nothing. fuzz_command.c checks the
 * parser.
 *
 * To repeat a round, run fuzz_files <its seed> 0. Its workers then do the same; with a
 * single worker the kernel does the same, too.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define DEBUG		"/sys/kernel/debug/"
#define PARAMS		"/sys/module/kmemtrack/parameters"
#define MAX_FILES	64
#define MAX_WORKERS	4
#define MAX_FDS		8
#define MAX_TEXT	5000
#define STEPS		400
/* Seconds after which a worker is killed. */
#define PATIENCE	10
/* Seconds in which a killed worker must exit. */
#define GONE		120

static char files[MAX_FILES][128];
static unsigned int nr_files, nr_params;
static uint64_t state;
static bool alone;
static unsigned int step;

/* Counters of all workers, in shared memory. */
static struct {
	unsigned long taken;
	unsigned long refused;
	unsigned long bytes_read;
} *counts;

static uint64_t draw(void)
{
	uint64_t z = (state += 0x9e3779b97f4a7c15ul);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ul;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebul;
	return z ^ (z >> 31);
}

static unsigned int below(unsigned int n)
{
	return draw() % n;
}

static void fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("# step %u: ", step);
	vprintf(format, args);
	printf("\n");
	va_end(args);
	fflush(stdout);
	_exit(1);
}

static void add_file(const char *dir, const char *name)
{
	if (nr_files < MAX_FILES)
		snprintf(files[nr_files++], sizeof(files[0]), "%s%s", dir,
			 name);
}

static void add_dir(const char *path)
{
	struct dirent *e;
	DIR *dir = opendir(path);

	while (dir && (e = readdir(dir)))
		if (e->d_name[0] != '.') {
			add_file(path, "/");
			strncat(files[nr_files - 1], e->d_name,
				sizeof(files[0]) - strlen(files[nr_files - 1]) -
				1);
		}
	if (dir)
		closedir(dir);
}

/* Parameters come first. */
static void find_files(void)
{
	add_dir(PARAMS);
	nr_params = nr_files;
	add_dir(DEBUG "kmemtrack_info");
	add_file(DEBUG, "kmemtrack");
	add_file(DEBUG, "kmemleak");
}

static const char * const words[] = {
	"on", "off", "scan", "scan", "log", "scan=on", "scan=off", "stack=on",
	"stack=off", "pages=on", "pages=off", "pages=track", "clear",
	"confirm=snapshot",
	"confirm=wait", "verbose=on", "verbose=off", "Y", "N", "1", "0",
	"suppress=function:a*", "suppress=cache:k*", "suppress=module:t*",
	"unsuppress=function:a*", "unsuppress=all",
};

/* Values for parameters, which are numbers more often than not. */
static const char * const values[] = {
	"on", "off", "Y", "N", "1", "0", "snapshot", "wait",
};

static const char * const numbers[] = {
	"scan=", "min_age=", "max_pause=", "dump=", "refs=", "rules_off=", "sites=",
	"", "", "early_pool=",
};

/* Formats a number, in one of several ways, at or near some limit. */
static size_t make_number(char *text, size_t room)
{
	static const uint64_t limits[] = {
		0, 1, 8, 0x1fff, 50000, 1000000, 10000000, INT32_MAX / 1000,
		INT32_MAX, UINT32_MAX, INT64_MAX, UINT64_MAX,
	};
	static const char * const formats[] = {
		"%llu", "+%llu", "%#llx", "%#llo", "-%llu", " %llu", "%llux",
		"%llX", "%llu00000000",
	};
	uint64_t n = below(3) ? limits[below(ARRAY_SIZE(limits))] + below(3) - 1 : draw();
	unsigned int how = below(3) ? 0 : below(ARRAY_SIZE(formats));

	if (!below(4))
		n = 0x60000000 + (draw() & 0x3fffffff);
	return snprintf(text, room, formats[how], (unsigned long long)n);
}

static const char special[] = { ' ', '\n', '\t', '=', '+', ',', '%', 0 };

/* Changes, inserts, deletes or repeats bytes. */
static size_t damage(char *text, size_t len)
{
	unsigned int n = below(4);

	while (n--) {
		size_t at = len ? below(len) : 0;

		switch (below(4)) {
		case 0:
			text[at] = draw();
			break;
		case 1:
			memmove(text + at + 1, text + at, len - at);
			text[at] = special[below(ARRAY_SIZE(special))];
			len++;
			break;
		case 2:
			if (len)
				memmove(text + at, text + at + 1, --len - at);
			break;
		default:
			if (2 * len < MAX_TEXT - 100) {
				memcpy(text + len, text, len);
				len *= 2;
			}
		}
	}
	return len;
}

/* Makes the text for a write, to a parameter if @param; returns its length. */
static size_t make_text(char *text, bool param)
{
	size_t len = 0;

	memset(text, special[below(ARRAY_SIZE(special))], MAX_TEXT);
	switch (below(8)) {
	case 0:
		for (len = below(64); len; len--)
			text[len] = draw();
		return below(64);
	case 1:
		return below(MAX_TEXT);
	case 2:
	case 3:
		if (!param)
			len = snprintf(text, MAX_TEXT, "%s",
				       numbers[below(ARRAY_SIZE(numbers))]);
		len += make_number(text + len, MAX_TEXT - len);
		break;
	default:
		len = snprintf(text, MAX_TEXT, "%s", param ?
			       values[below(ARRAY_SIZE(values))] :
			       words[below(ARRAY_SIZE(words))]);
	}
	if (!below(3))
		text[len++] = '\n';
	return below(4) ? len : damage(text, len);
}

/*
 * Whether a write would end the run: it makes the kernel panic, or makes the periodic
 * scan, which cannot be killed, wait for half an hour.
 */
static bool is_fatal(const char *path, const char *text)
{
	const char *age = strstr(path, "/min_age") ? text :
			  strstr(text, "min_age=");
	unsigned long ms;

	if (strstr(path, "panic_on_leak") || strstr(text, "panic"))
		return true;
	if (!age)
		return false;
	ms = strtoul(age + strcspn(age, "0123456789"), NULL, 0);
	return ms > 200 && ms <= INT32_MAX / 1000;
}

/* All parameters, one after the other. */
static void read_params(char *text, size_t room)
{
	unsigned int i;

	memset(text, 0, room);
	for (i = 0; i < nr_params; i++) {
		int fd = open(files[i], O_RDONLY);
		size_t at = strlen(text);

		if (fd < 0)
			continue;
		if (read(fd, text + at, room - at - 1) < 0)
			fail("read %s: %s", files[i], strerror(errno));
		close(fd);
	}
}

static void write_to(int fd, const char *path)
{
	static char text[MAX_TEXT + 100], before[4096], after[4096];
	size_t len = make_text(text, strstr(path, PARAMS));
	ssize_t ret;
	int error;

	text[len] = 0;
	if (is_fatal(path, text))
		return;
	if (alone)
		read_params(before, sizeof(before));
	/* A buffer that is unmapped, or partly so. */
	if (!below(16)) {
		ret = write(fd, below(2) ? (void *)8 :
			    text + sizeof(text) - len, len + 4096 * 64);
	} else if (!below(8)) {
		struct iovec v[2] = {
			{ text, len / 2 }, { text + len / 2, len - len / 2 },
		};

		ret = writev(fd, v, 2);
	} else {
		ret = below(16) ? write(fd, text, len) :
		      pwrite(fd, text, len, draw() >> 1);
	}
	error = errno;
	if (ret >= 0)
		__atomic_fetch_add(&counts->taken, 1, __ATOMIC_RELAXED);
	else
		__atomic_fetch_add(&counts->refused, 1, __ATOMIC_RELAXED);
	if (ret >= 0 || !alone)
		return;
	read_params(after, sizeof(after));
	if (strcmp(before, after))
		fail("\"%.40s\" to %s: %s, and parameters were\n%sare\n%s",
		     text, path, strerror(error), before, after);
}

static void read_from(int fd)
{
	static char text[70000];
	struct iovec v[2] = { { text, below(100) }, { text + 100, 1000 } };
	size_t len = below(2) ? below(64) : below(sizeof(text));
	ssize_t ret = 0;

	switch (below(5)) {
	case 0:
		ret = pread(fd, text, len, below(2) ? below(100000) :
			    draw() >> 1);
		break;
	case 1:
		ret = readv(fd, v, 2);
		len = v[0].iov_len + 1000;
		break;
	case 2:
		/* A buffer that is unmapped */
		ret = read(fd, (void *)8, len);
		break;
	default:
		ret = read(fd, text, len);
	}
	if (ret > (ssize_t)len)
		fail("read of %zu bytes returned %zd", len, ret);
	if (ret > 0)
		__atomic_fetch_add(&counts->bytes_read, ret, __ATOMIC_RELAXED);
}

static void do_step(int *fds, unsigned int *of)
{
	static int sink = -1;
	unsigned int i = below(MAX_FDS);
	struct pollfd p = { .fd = fds[i], .events = POLLIN | POLLOUT };
	void *mem;

	if (sink < 0)
		sink = open("/dev/null", O_WRONLY);
	if (fds[i] < 0) {
		of[i] = below(3) ? nr_files - 1 - below(2) : below(nr_files);
		fds[i] = open(files[of[i]], below(4) ? O_RDWR :
			      below(2) ? O_RDONLY : O_WRONLY | O_TRUNC);
		if (fds[i] < 0)
			fds[i] = open(files[of[i]], O_RDONLY);
		return;
	}
	switch (below(12)) {
	case 0:
		close(fds[i]);
		fds[i] = -1;
		break;
	case 1:
		lseek(fds[i], below(2) ? below(10000) : draw(), below(5));
		break;
	case 2:
		sendfile(sink, fds[i], NULL, below(100000));
		break;
	case 3:
		mem = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fds[i], 0);
		if (mem != MAP_FAILED)
			munmap(mem, 4096);
		ioctl(fds[i], draw(), draw());
		poll(&p, 1, 0);
		break;
	case 4:
	case 5:
	case 6:
	case 7:
		read_from(fds[i]);
		break;
	default:
		write_to(fds[i], files[of[i]]);
	}
}

static void work(uint64_t seed)
{
	unsigned int of[MAX_FDS] = {};
	int fds[MAX_FDS];

	state = seed;
	memset(fds, -1, sizeof(fds));
	for (step = 0; step < STEPS; step++)
		do_step(fds, of);
	_exit(0);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

/* Waits for a worker, and kills it at @end; @killed counts those. False if it hangs. */
static bool wait_for(pid_t pid, double end, unsigned long *killed)
{
	bool sent = false;
	int status;

	while (waitpid(pid, &status, WNOHANG) != pid) {
		if (!sent && now() > end) {
			kill(pid, SIGKILL);
			sent = true;
			(*killed)++;
		} else if (now() > end + GONE) {
			printf("# worker %d cannot be killed\n", pid);
			return false;
		}
		usleep(2000);
	}
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return true;
	return sent && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static bool put(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) > 0;

	if (!ok)
		printf("# %s to %s: %s\n", text, file, strerror(errno));
	close(fd);
	return ok;
}

/* Checks that the detector still works, in whatever state the workers left it. */
static bool recovers(void)
{
	static const char * const usual[] = {
		"on", "scan=off", "stack=on", "pages=on", "rules_off=0",
		"confirm=snapshot", "max_pause=1000000", "min_age=0",
		"verbose=off", "sites=16384", "unsuppress=all",
		"scan",
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(usual); i++)
		if (!put(DEBUG "kmemtrack", usual[i]))
			return false;
	return true;
}

/* Makes leaks for a report, after the injector has freed earlier ones. */
static bool lose(void)
{
	return put(DEBUG "test_kmemtrack", "reap") &&
	       put(DEBUG "test_kmemtrack", "leak kmalloc-256 50") &&
	       put(DEBUG "test_kmemtrack", "leak cache 20") &&
	       put(DEBUG "kmemtrack", "scan");
}

static bool play(uint64_t seed, unsigned long *killed)
{
	pid_t pids[MAX_WORKERS];
	unsigned int i, nr;
	bool ok = true;
	double end;

	if (!lose())
		return false;
	state = seed;
	nr = below(2) ? 1 : 2 + below(MAX_WORKERS - 1);
	alone = nr == 1;
	for (i = 0; i < nr; i++) {
		uint64_t own = draw();

		fflush(stdout);
		pids[i] = fork();
		if (!pids[i])
			work(own);
	}
	end = now() + PATIENCE;
	for (i = 0; i < nr; i++)
		ok &= wait_for(pids[i], end, killed);
	return recovers() && ok;
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	double end = now() + (argc > 2 ? atof(argv[2]) : 10);
	unsigned long rounds = 0, killed = 0;
	bool ok;

	counts = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (counts == MAP_FAILED)
		return 1;
	find_files();
	printf("# %u files, %u of them parameters\n", nr_files, nr_params);
	do {
		ok = play(seed + rounds, &killed);
		if (!ok)
			printf("# seed %llu\n",
			       (unsigned long long)(seed + rounds));
		rounds++;
	} while (ok && now() < end);
	printf("# %lu rounds, %lu writes taken, %lu refused, %lu bytes read, %lu workers killed\n",
	       rounds, counts->taken, counts->refused, counts->bytes_read,
	       killed);
	/* Without both accepted and refused writes the test means nothing. */
	return !ok || !counts->taken || !counts->refused || !counts->bytes_read;
}
