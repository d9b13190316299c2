// SPDX-License-Identifier: GPL-2.0
/*
 * Access to the files: in debugfs of the running kernel, or in a directory to which they
 * were saved.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "kmemtrack.h"

static const char *root = DEBUGFS;

void set_root(const char *dir)
{
	root = dir;
}

const char *get_root(void)
{
	return root;
}

char *kernel_path(const char *name)
{
	struct buf b = {};

	buf_printf(&b, "%s/%s", root, name);
	return b.text;
}

char *read_kernel(const char *name, int *error)
{
	char *path = kernel_path(name);
	char *text = read_file(path, error);

	free(path);
	return text;
}

static char *read_config(void)
{
	char zcat[] = "zcat", gzip[] = "gzip", to_stdout[] = "-dc";
	char *programs[][3] = { { zcat }, { gzip, to_stdout } };
	char *text = NULL;
	unsigned int i;
	int fd, status;

	for (i = 0; i < ARRAY_SIZE(programs) && !text; i++) {
		fd = open("/proc/config.gz", O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			break;
		text = run_filter(programs[i], fd, &status);
	}
	if (!text) {
		struct buf b = {};
		struct utsname u;

		if (uname(&u))
			return NULL;
		buf_printf(&b, "/boot/config-%s", u.release);
		text = read_file(b.text, &status);
		buf_free(&b);
	}
	return text;
}

/* Returns the detector's lines of the kernel's log */
static char *read_log(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	struct buf b = {};
	char record[8192];
	const char *text;
	ssize_t n;

	if (fd < 0)
		return NULL;
	buf_add(&b, "", 0);
	for (;;) {
		n = read(fd, record, sizeof(record) - 1);
		/* EPIPE: records were overwritten meanwhile. */
		if (n < 0 && (errno == EPIPE || errno == EINTR))
			continue;
		if (n <= 0)
			break;
		record[n] = '\0';
		text = strchr(record, ';');
		/* What scans find is logged as kmemleak does. */
		if (text && (!strncmp(text + 1, "kmemtrack: ", 11) ||
			     !strncmp(text + 1, "kmemleak: ", 10)))
			buf_printf(&b, "%.*s\n", (int)strcspn(text + 1, "\n"), text + 1);
	}
	close(fd);
	return b.text;
}

char *read_machine(const char *name)
{
	struct buf b = {};
	struct utsname u;
	int error;

	if (!is_live())
		return read_kernel(name, &error);
	if (!strcmp(name, "config"))
		return read_config();
	if (!strcmp(name, "log"))
		return read_log();
	if (!strcmp(name, "release")) {
		if (uname(&u))
			return NULL;
		buf_printf(&b, "%s %s\n", u.release, u.machine);
		return b.text;
	}
	buf_printf(&b, "/proc/%s", name);
	name = read_file(b.text, &error);
	buf_free(&b);
	return (char *)name;
}

/* Explains why a file cannot be read */
static void explain(const char *name, int error)
{
	int unused;
	char *text;

	if (!is_live())
		die("%s/%s: %s", root, name, strerror(error));
	if (error == EACCES || error == EPERM)
		die("%s/%s: %s; run this as root", root, name, strerror(error));
	if (error != ENOENT)
		die("%s/%s: %s", root, name, strerror(error));
	text = read_kernel("kmemtrack", &unused);
	if (text && strcmp(name, "kmemtrack"))
		die("this kernel's kmemtrack does not have the file %s; a newer one does",
		    name);
	free(text);
	if (access(root, F_OK))
		die("%s: %s", root, strerror(errno));
	text = kernel_path(".");
	free(text);
	die("%s/%s is not there: debugfs is not mounted (mount -t debugfs none %s), or this kernel has no CONFIG_KMEMTRACK; see kmemtrack doctor",
	    root, name, DEBUGFS);
}

static struct info *load(enum kind kind, const char *path, const char *text)
{
	struct info *info = parse(path, text);

	if (info->kind != kind)
		die("%s is %s, not %s", path, kind_name(info->kind), kind_name(kind));
	return info;
}

struct info *load_kernel(enum kind kind)
{
	const char *name = kind_name(kind);
	struct info *info;
	char *path, *text;
	int error;

	text = read_kernel(name, &error);
	if (!text)
		explain(name, error);
	path = kernel_path(name);
	info = load(kind, path, text);
	free(path);
	free(text);
	return info;
}

struct info *load_file(const char *path)
{
	bool in = !strcmp(path, "-");
	struct info *info;
	char *text;
	int error;

	text = read_file(path, &error);
	if (!text)
		die("%s: %s", path, strerror(error));
	info = parse(in ? "standard input" : path, text);
	free(text);
	return info;
}

/* --- save --- */

static bool save_text(const char *dir, const char *name, char *text)
{
	struct buf b = {};
	FILE *f;

	if (!text)
		return false;
	buf_printf(&b, "%s/%s", dir, name);
	f = open_output(b.text);
	fputs(text, f);
	close_output(f);
	buf_free(&b);
	free(text);
	return true;
}

static void make_dir(const char *dir, const char *name)
{
	struct buf b = {};

	buf_printf(&b, "%s%s%s", dir, *name ? "/" : "", name);
	if (mkdir(b.text, 0777) && errno != EEXIST)
		die("%s: %s", b.text, strerror(errno));
	buf_free(&b);
}

int cmd_save(int argc, char **argv)
{
	static const char * const files[] = {
		"kmemtrack", "kmemtrack_info/stats", "kmemtrack_info/sites",
		"kmemtrack_info/growth", "kmemtrack_info/refs", "kmemtrack_info/memory",
		"kmemtrack_info/suppressions",
	};
	static const char * const machine[] = {
		"cmdline", "config", "log", "release", "meminfo",
	};
	unsigned int i, saved = 0;
	const char *dir;
	int error;

	if (argc != 1)
		die("save: which directory? See kmemtrack save --help");
	dir = argv[0];
	if (access(root, R_OK | X_OK))
		explain("kmemtrack", errno);
	make_dir(dir, "");
	make_dir(dir, "kmemtrack_info");
	for (i = 0; i < ARRAY_SIZE(files); i++) {
		char *text = read_kernel(files[i], &error);

		if (!text && !i)
			explain(files[i], error);
		saved += save_text(dir, files[i], text);
	}
	for (i = 0; i < ARRAY_SIZE(machine); i++)
		saved += save_text(dir, machine[i], read_machine(machine[i]));
	printf("%u files are in %s; kmemtrack --root %s ... reads them\n", saved, dir, dir);
	return ST_OK;
}
