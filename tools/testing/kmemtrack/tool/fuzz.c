// SPDX-License-Identifier: GPL-2.0
/*
 * fuzz ROUNDS SEED FILE...: changes each file in many ways and gives it to the
 * commands that read such files. Each round is a process of its own: it must end
 * with a status of the program, not with a signal or a sanitizer's.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kmemtrack.h"

int tool_main(int argc, char **argv);

static uint64_t state;

/* xorshift64* */
static uint32_t roll(uint32_t n)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (state * 0x2545f4914f6cdd1dull >> 32) % n;
}

static const char * const pieces[] = {
	"18446744073709551615", "18446744073709551616", "-9223372036854775808", "-1", "0", "\n",
	"\n\n", "\r\n", "\033[2J", "\"", "\\", "</svg>", "    ", "  ", "  backtrace:\n",
	"    f+0x1/0x2 [m]\n", "leak: ", "site ", "  history 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n",
	"scans 99999999999999999999\n", "scans 18446744073709551614.000 18446744073709551615.000\n",
	"\377\376", "\t", " kB", "999999999999999999 kB", "kmemtrack 2: ", "hint: ", "ref 1: ",
	"a_name_that_is_much_longer_than_any_that_there_could_be_in_a_kernel_of_ours",
};

static void insert(struct buf *b, size_t at, const char *text, size_t len)
{
	struct buf n = {};

	buf_add(&n, b->text, at);
	buf_add(&n, text, len);
	buf_add(&n, b->text + at, b->len - at);
	buf_free(b);
	*b = n;
}

static void change(struct buf *b)
{
	size_t at = roll(b->len + 1), len = roll(64);
	const char *piece = pieces[roll(ARRAY_SIZE(pieces))];

	if (len > b->len - at)
		len = b->len - at;
	switch (roll(6)) {
	case 0:			/* cut off */
		b->len = at;
		b->text[at] = '\0';
		break;
	case 1:
		if (len)
			b->text[at] = roll(256);
		break;
	case 2:
		memmove(b->text + at, b->text + at + len, b->len - at - len);
		b->len -= len;
		b->text[b->len] = '\0';
		break;
	case 3: {
		char *copy = xstrndup(b->text + at, len);

		insert(b, roll(b->len + 1), copy, len);
		free(copy);
		break;
	}
	default:
		/* Numbers are where the limits are. */
		while (roll(4) && at < b->len && (b->text[at] < '0' || b->text[at] > '9'))
			at++;
		insert(b, at, piece, strlen(piece));
	}
}

/* Commands that take files which begin so, or any */
static const struct {
	const char *head;
	const char *words[3];
} commands[] = {
	{ "kmemtrack ", { "report" } }, { "", { "report", "--json" } },
	{ "kmemtrack ", { "report", "--ktap" } }, { "kmemtrack ", { "report", "--kmemleak" } },
	{ "", { "flame" } }, { "", { "flame", "--folded" } }, { "kmemtrack-sites", { "plot" } },
	{ "kmemtrack-growth", { "growth" } }, { "kmemtrack-memory", { "memory" } },
	{ "kmemtrack-memory", { "memory", "--json" } }, { "", { "diff" } },
	{ "unreferenced", { "report" } },
};

static int run(const char *file, const char *other, unsigned int command)
{
	char *argv[8] = { "kmemtrack" };
	int argc = 1, status, null, i;
	pid_t pid = fork();

	if (!pid) {
		null = open("/dev/null", O_RDWR);
		dup2(null, 0);
		dup2(null, 1);
		/* A sanitizer has something to say, the program not. */
		for (i = 0; i < 3 && commands[command].words[i]; i++)
			argv[argc++] = (char *)commands[command].words[i];
		if (!strcmp(argv[1], "diff"))
			argv[argc++] = (char *)other;
		argv[argc++] = (char *)file;
		exit(tool_main(argc, argv));
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		die("fork");
	return status;
}

int main(int argc, char **argv)
{
	unsigned long rounds = strtoul(argv[1], NULL, 0), seed = strtoul(argv[2], NULL, 0);
	unsigned long i, understood = 0;
	char path[64];
	int fd = memfd_create("kmemtrack", 0);

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", getpid(), fd);
	for (i = 0; i < rounds; i++) {
		const char *file = argv[3 + i % (argc - 3)];
		struct buf b = {};
		unsigned int n, command;
		int status, error;
		char *text;

		state = (seed << 32) + i + 1;
		roll(2);
		text = read_file(file, &error);
		if (!text)
			die("%s", file);
		buf_add(&b, text, strlen(text));
		do {
			command = roll(ARRAY_SIZE(commands));
		} while (strncmp(text, commands[command].head, strlen(commands[command].head)));
		free(text);
		for (n = 1 + roll(6); n; n--)
			change(&b);
		if (ftruncate(fd, 0) || pwrite(fd, b.text, b.len, 0) != (ssize_t)b.len)
			die("memfd");
		status = run(path, file, command);
		if (!WIFEXITED(status) || WEXITSTATUS(status) > 2) {
			printf("round %lu, seed %lu, %s, %s: status 0x%x\n", i, seed, file,
			       commands[command].words[0], status);
			fwrite(b.text, b.len, 1, stdout);
			return 1;
		}
		understood += WEXITSTATUS(status) != 2;
		buf_free(&b);
	}
	printf("%lu of %lu were understood\n", understood, rounds);
	/* If it were all or none of them, little would have been tried. */
	return understood == 0 || understood == rounds;
}
