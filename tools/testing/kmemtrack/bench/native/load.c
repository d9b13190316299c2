// SPDX-License-Identifier: GPL-2.0
/*
 * Programs of a User-mode Linux guest, timed: one static program for all of
 * them, for the start of the kernel, and for the first process.
 *
 *   load start <kernel> <argument...>
 *                   on the host: run the kernel, with the time stamp counter
 *                   at its start on its command line as kmt_tsc=
 *   /init           in the guest: note the counter, have a module print how
 *                   much CPU time was used, and run /bench-init
 *   load boot       print the time from the start to /init
 *   load <test> ... print what one turn of each of the tests takes
 *
 * The kernel is a process of the machine and so are its programs: all of them
 * read the same counter.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define BATCH_NS	3000000ULL	/* a batch takes about as long */
#define MAX_BATCHES	999

static unsigned int batches = 60;
static int clock_fd;

static void die(const char *what)
{
	printf("kmt_bench: failed: %s: %s\n", what, strerror(errno));
	exit(1);
}

static unsigned long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

/*
 * Time for which the kernel had a CPU of the machine, and its processes that
 * ended: this does not grow while others have the CPU.
 */
static unsigned long long cpu_ns(void)
{
	unsigned long long kernel, ended;
	char text[64] = "";

	if (read(clock_fd, text, sizeof(text) - 1) <= 0 ||
	    sscanf(text, "%llu %llu", &kernel, &ended) != 2)
		die("/proc/kmt_bench");
	return kernel + ended;
}

static void wait_for(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || status)
		die("child");
}

static void fork_exit(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (!pid)
		_exit(0);
	wait_for(pid);
}

static void fork_exec(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (!pid) {
		execl("/load", "load", "nothing", NULL);
		_exit(1);
	}
	wait_for(pid);
}

static void create_unlink(void)
{
	int fd = open("/tmp/load", O_CREAT | O_EXCL | O_RDWR, 0600);

	if (fd < 0)
		die("open");
	close(fd);
	if (unlink("/tmp/load"))
		die("unlink");
}

static void map_unmap(void)
{
	size_t size = 16 * 4096, i;
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	for (i = 0; i < size; i += 4096)
		p[i] = 1;
	munmap(p, size);
}

/* The other end sends back whatever it gets, until it gets nothing more. */
static int here_in, here_out;
static pid_t other;

static void echo_start(int there_in, int there_out)
{
	char c;

	other = fork();
	if (other < 0)
		die("fork");
	if (!other) {
		close(here_out);
		if (here_in != here_out)
			close(here_in);
		while (read(there_in, &c, 1) == 1)
			if (write(there_out, &c, 1) != 1)
				break;
		_exit(0);
	}
	close(there_in);
	if (there_out != there_in)
		close(there_out);
}

static void pipe_begin(void)
{
	int to[2], from[2];

	if (pipe(to) || pipe(from))
		die("pipe");
	here_in = from[0];
	here_out = to[1];
	echo_start(to[0], from[1]);
}

static void unix_begin(void)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		die("socketpair");
	here_in = pair[0];
	here_out = pair[0];
	echo_start(pair[1], pair[1]);
}

static void ping_pong(void)
{
	char c = 'x';

	if (write(here_out, &c, 1) != 1 || read(here_in, &c, 1) != 1)
		die("echo");
}

static void echo_end(void)
{
	close(here_out);
	if (here_in != here_out)
		close(here_in);
	wait_for(other);
}

static void *image;
static size_t image_size;

static void module_begin(void)
{
	int fd = open("/kmt_empty.ko", O_RDONLY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		die("/kmt_empty.ko");
	image_size = st.st_size;
	image = malloc(image_size);
	if (!image || read(fd, image, image_size) != (ssize_t)image_size)
		die("/kmt_empty.ko");
	close(fd);
}

static void load_unload_with(const char *options)
{
	if (syscall(SYS_init_module, image, image_size, options))
		die("init_module");
	if (syscall(SYS_delete_module, "kmt_empty", 0))
		die("delete_module");
}

static void load_unload(void)
{
	load_unload_with("");
}

static void getppid_call(void)
{
	syscall(SYS_getppid);
}

static const struct test {
	const char *name;
	void (*begin)(void);
	void (*one)(void);
	void (*end)(void);
} tests[] = {
	{ "syscall",	NULL,		getppid_call,	NULL },
	{ "fork",	NULL,		fork_exit,	NULL },
	{ "exec",	NULL,		fork_exec,	NULL },
	{ "file",	NULL,		create_unlink,	NULL },
	{ "pipe",	pipe_begin,	ping_pong,	echo_end },
	{ "unix",	unix_begin,	ping_pong,	echo_end },
	{ "mmap",	NULL,		map_unmap,	NULL },
	{ "module",	module_begin,	load_unload,	NULL },
};

static unsigned long long batch(const struct test *t, unsigned int count,
				unsigned long long *cpu)
{
	unsigned long long start_cpu = cpu_ns(), start = now_ns(), took;
	unsigned int i;

	for (i = 0; i < count; i++)
		t->one();
	took = now_ns() - start;
	*cpu = cpu_ns() - start_cpu;
	return took;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void print_batches(const char *name, const char *what, double *ns)
{
	qsort(ns, batches, sizeof(*ns), compare);
	printf("kmt_bench: user_%s.%s=%.2f\n", name, what, ns[batches / 2]);
	printf("kmt_bench: user_%s.%s_min=%.2f\n", name, what, ns[0]);
}

/* As many turns a batch as fill its time; the first ones only warm up. */
static void run(const struct test *t)
{
	static double ns[MAX_BATCHES], used[MAX_BATCHES];
	unsigned long long took, cpu;
	unsigned int i, count = 1;

	if (t->begin)
		t->begin();
	for (;;) {
		took = batch(t, count, &cpu);
		if (took >= BATCH_NS / 2 || count >= 1 << 20)
			break;
		count *= 2;
	}
	for (i = 0; i < batches; i++) {
		ns[i] = (double)batch(t, count, &cpu) / count;
		used[i] = (double)cpu / count;
	}
	if (t->end)
		t->end();
	print_batches(t->name, "ns", ns);
	print_batches(t->name, "cpu", used);
}

static int start(char **argv)
{
	char stamp[40];
	char **args;
	int n;

	for (n = 0; argv[n]; n++)
		;
	args = calloc(n + 2, sizeof(*args));
	if (!n || !args)
		return 1;
	memcpy(args, argv, n * sizeof(*args));
	args[n] = stamp;
	snprintf(stamp, sizeof(stamp), "kmt_tsc=%llu", __rdtsc());
	execv(args[0], args);
	perror(args[0]);
	return 1;
}

/* An unknown name on the command line comes as a variable of init's. */
static int first_process(unsigned long long tsc)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", tsc);
	setenv("kmt_tsc_init", text, 1);
	module_begin();
	load_unload_with("boot=1");
	execl("/bin/sh", "sh", "/bench-init", NULL);
	die("/bench-init");
	return 1;
}

static void print_boot(void)
{
	const char *from = getenv("kmt_tsc"), *to = getenv("kmt_tsc_init");
	unsigned long long tsc, ns;

	if (!from || !to)
		die("no time stamps");
	tsc = __rdtsc();
	ns = now_ns();
	while (now_ns() - ns < 50000000)
		;
	tsc = __rdtsc() - tsc;
	ns = now_ns() - ns;
	printf("kmt_bench: boot.wall=%.0f\n",
	       (strtoull(to, NULL, 10) - strtoull(from, NULL, 10)) *
	       ((double)ns / tsc));
}

int main(int argc, char **argv)
{
	unsigned long long tsc = __rdtsc();
	const char *text = getenv("BATCHES");
	unsigned int i;
	int arg;

	if (!strcmp(argv[0], "/init"))
		return first_process(tsc);
	if (argc < 2)
		return 1;
	if (!strcmp(argv[1], "nothing"))
		return 0;
	if (!strcmp(argv[1], "start"))
		return start(argv + 2);
	setlinebuf(stdout);
	if (!strcmp(argv[1], "boot")) {
		print_boot();
		return 0;
	}
	if (text)
		batches = atoi(text);
	if (!batches || batches > MAX_BATCHES)
		return 1;
	clock_fd = open("/proc/kmt_bench", O_RDONLY | O_CLOEXEC);
	for (arg = 1; arg < argc; arg++)
		for (i = 0; i < sizeof(tests) / sizeof(*tests); i++)
			if (!strcmp(argv[arg], tests[i].name))
				run(&tests[i]);
	return 0;
}
