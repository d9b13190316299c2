// SPDX-License-Identifier: GPL-2.0
/*
 * Lines of code: the symbols of vmlinux and of modules give the addresses of frames, and
 * addr2line for the architecture gives their lines.
 *
 * A frame is a return address, which may belong to the next line. So the byte before it
 * is looked up, which is part of the call.
 */
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kmemtrack.h"

struct symbol {
	const char *name;
	uint64_t address, size;
	unsigned int section;
};

struct section {
	const char *name;
	bool code;
};

struct binary {
	struct binary *next;
	const char *module;	/* NULL: vmlinux */
	char *path;		/* NULL: not found */
	unsigned char *map;
	size_t len;
	bool swapped, wide, relocatable;
	unsigned int machine, nr_sections;
	struct section *sections;
	struct symbol *symbols;	/* by name */
	size_t nr_symbols;
};

/* One address for addr2line */
struct question {
	struct frame *frame;
	struct binary *binary;
	unsigned int section;
	uint64_t address;
};

/* --- ELF, of any size and byte order; offsets of a file may be anything --- */

static uint64_t load(const struct binary *b, uint64_t at, unsigned int size)
{
	uint64_t v = 0;
	unsigned int i;

	if (at > b->len || b->len - at < size)
		return 0;
	for (i = 0; i < size; i++) {
		unsigned int byte = b->swapped ? i : size - 1 - i;

		v = v << 8 | b->map[at + byte];
	}
	return v;
}

#define SIZE_OF(type, field)	sizeof(((type *)0)->field)
#define FIELD(b, at, type, field) \
	((b)->wide ? load(b, (at) + offsetof(Elf64_##type, field), \
			  SIZE_OF(Elf64_##type, field)) : \
		     load(b, (at) + offsetof(Elf32_##type, field), \
			  SIZE_OF(Elf32_##type, field)))

/* A string of a table; empty if it is not one */
static const char *elf_string(const struct binary *b, uint64_t table, uint64_t size,
			      uint64_t offset)
{
	if (table > b->len || b->len - table < size || offset >= size ||
	    !memchr(b->map + table + offset, 0, size - offset))
		return "";
	return (const char *)b->map + table + offset;
}

static uint64_t section_at(const struct binary *b, unsigned int i)
{
	uint64_t start = FIELD(b, 0, Ehdr, e_shoff);
	unsigned int size = FIELD(b, 0, Ehdr, e_shentsize);

	return start + (uint64_t)i * size;
}

static int by_address(const void *x, const void *y)
{
	const struct symbol *a = x, *b = y;

	if (a->section != b->section)
		return a->section < b->section ? -1 : 1;
	return a->address < b->address ? -1 : a->address > b->address;
}

static int by_name(const void *x, const void *y)
{
	const struct symbol *a = x, *b = y;

	return strcmp(a->name, b->name) ?: by_address(x, y);
}

/* Excludes mapping symbols of the ARM assembler, and local labels */
static bool wanted(const char *name, unsigned int type)
{
	return *name && *name != '$' && strncmp(name, ".L", 2) &&
	       (type == STT_FUNC || type == STT_NOTYPE || type == STT_GNU_IFUNC);
}

static void add_symbols(struct binary *b, unsigned int table)
{
	uint64_t at = section_at(b, table), offset = FIELD(b, at, Shdr, sh_offset);
	uint64_t size = FIELD(b, at, Shdr, sh_size), i;
	unsigned int entry = b->wide ? sizeof(Elf64_Sym) : sizeof(Elf32_Sym);
	unsigned int link = FIELD(b, at, Shdr, sh_link);
	uint64_t strings = section_at(b, link);
	uint64_t names = FIELD(b, strings, Shdr, sh_offset);
	uint64_t names_size = FIELD(b, strings, Shdr, sh_size);

	if (offset > b->len || b->len - offset < size || link >= b->nr_sections)
		return;
	b->symbols = xrealloc(NULL, size / entry, sizeof(*b->symbols));
	for (i = 0; i < size / entry; i++) {
		uint64_t sym = offset + i * entry;
		struct symbol *s = &b->symbols[b->nr_symbols];

		s->section = FIELD(b, sym, Sym, st_shndx);
		s->name = elf_string(b, names, names_size, FIELD(b, sym, Sym, st_name));
		s->address = FIELD(b, sym, Sym, st_value);
		if (s->section >= b->nr_sections || !b->sections[s->section].code ||
		    !wanted(s->name, FIELD(b, sym, Sym, st_info) & 0xf))
			continue;
		/* Bit 0 marks a Thumb function */
		if (b->machine == EM_ARM)
			s->address &= ~(uint64_t)1;
		b->nr_symbols++;
	}
}

/* Sets sizes up to the next symbol, as the kernel's table has them. */
static void set_sizes(struct binary *b)
{
	struct symbol *s = b->symbols;
	size_t i, next;

	qsort(s, b->nr_symbols, sizeof(*s), by_address);
	for (i = 0; i < b->nr_symbols; i = next) {
		for (next = i + 1; next < b->nr_symbols && !by_address(s + i, s + next);)
			next++;
		for (; i < next; i++)
			s[i].size = next < b->nr_symbols && s[next].section == s[i].section ?
				s[next].address - s[i].address : 0;
	}
	qsort(s, b->nr_symbols, sizeof(*s), by_name);
}

static void read_elf(struct binary *b)
{
	unsigned int i, names;
	uint64_t at;

	if (b->len < sizeof(Elf64_Ehdr) || memcmp(b->map, ELFMAG, SELFMAG))
		die("%s: not an ELF file", b->path);
	b->wide = b->map[EI_CLASS] == ELFCLASS64;
	b->swapped = b->map[EI_DATA] == ELFDATA2MSB;
	b->machine = FIELD(b, 0, Ehdr, e_machine);
	b->relocatable = FIELD(b, 0, Ehdr, e_type) == ET_REL;
	b->nr_sections = FIELD(b, 0, Ehdr, e_shnum);
	names = FIELD(b, 0, Ehdr, e_shstrndx);
	b->sections = xrealloc(NULL, b->nr_sections, sizeof(*b->sections));
	for (i = 0; i < b->nr_sections; i++) {
		uint64_t table = section_at(b, names);

		at = section_at(b, i);
		b->sections[i].code = FIELD(b, at, Shdr, sh_flags) & SHF_EXECINSTR;
		b->sections[i].name = elf_string(b, FIELD(b, table, Shdr, sh_offset),
						 FIELD(b, table, Shdr, sh_size),
						 FIELD(b, at, Shdr, sh_name));
	}
	for (i = 0; i < b->nr_sections && !b->symbols; i++)
		if (FIELD(b, section_at(b, i), Shdr, sh_type) == SHT_SYMTAB)
			add_symbols(b, i);
	if (b->nr_symbols)
		set_sizes(b);
	else
		warn("%s: it has no symbols", b->path);
}

/* --- files of modules --- */

/* A module's name has '_' where the name of its file may have '-'. */
static bool is_file_of(const char *file, const char *module)
{
	for (; *module; module++, file++)
		if (*file != *module && !(*file == '-' && *module == '_') &&
		    !(*file == '_' && *module == '-'))
			return false;
	return !strcmp(file, ".ko") || !strcmp(file, ".ko.debug");
}

static char *find_module(const char *dir, const char *module, unsigned int depth)
{
	DIR *d = depth < 32 ? opendir(dir) : NULL;
	char *found = NULL;
	struct dirent *e;

	if (!d && !depth)
		die("%s: %s", dir, strerror(errno));
	while (d && !found && (e = readdir(d))) {
		struct buf b = {};
		struct stat st;

		if (*e->d_name == '.')
			continue;
		buf_printf(&b, "%s/%s", dir, e->d_name);
		if (is_file_of(e->d_name, module))
			found = xstrdup(b.text);
		else if (!lstat(b.text, &st) && S_ISDIR(st.st_mode))
			found = find_module(b.text, module, depth + 1);
		buf_free(&b);
	}
	if (d)
		closedir(d);
	return found;
}

static struct binary *binaries;

static struct binary *binary_of(const char *module)
{
	struct binary *b;
	struct stat st;
	int fd;

	for (b = binaries; b; b = b->next)
		if (module && b->module ? !strcmp(module, b->module) : module == b->module)
			return b;
	b = xalloc(sizeof(*b));
	b->module = module ? xstrdup(module) : NULL;
	b->next = binaries;
	binaries = b;
	if (!module)
		b->path = xstrdup(opt.vmlinux);
	else if (opt.modules)
		b->path = find_module(opt.modules, module, 0);
	if (!b->path)
		return b;
	fd = open(b->path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		die("%s: %s", b->path, strerror(errno));
	b->len = st.st_size;
	if ((uint64_t)st.st_size != b->len || !b->len)
		die("%s: too large or empty", b->path);
	b->map = mmap(NULL, b->len, PROT_READ, MAP_PRIVATE, fd, 0);
	if (b->map == MAP_FAILED)
		die("%s: %s", b->path, strerror(errno));
	close(fd);
	read_elf(b);
	return b;
}

/* Finds a function by name; of several, the one with the size in the frame, or none */
static const struct symbol *find_symbol(const struct binary *b, const struct frame *f)
{
	const struct symbol *of_size = NULL, *first = NULL, *s;
	size_t low = 0, high = b->nr_symbols, mid;
	bool other = false, doubt = false;

	while (low < high) {
		mid = (low + high) / 2;
		if (strcmp(b->symbols[mid].name, f->name) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	for (; low < b->nr_symbols && !strcmp(b->symbols[low].name, f->name); low++) {
		s = &b->symbols[low];
		if (s->size == f->size) {
			doubt |= of_size && by_address(of_size, s);
			of_size = s;
		}
		other |= first && by_address(first, s);
		first = s;
	}
	if (of_size)
		return doubt ? NULL : of_size;
	return other ? NULL : first;
}

/* --- addr2line --- */

static const struct {
	unsigned int machine;
	const char *name;
	const char *prefixes[3];
} machines[] = {
	{ EM_X86_64, "x86-64", { "x86_64-linux-gnu-" } },
	{ EM_386, "x86", { "i686-linux-gnu-", "x86_64-linux-gnu-" } },
	{ EM_AARCH64, "arm64", { "aarch64-linux-gnu-", "aarch64-none-linux-gnu-" } },
	{ EM_ARM, "ARM", { "arm-linux-gnueabihf-", "arm-linux-gnueabi-",
			   "arm-none-linux-gnueabihf-" } },
	{ 243, "RISC-V", { "riscv64-linux-gnu-" } },
	{ 258, "LoongArch", { "loongarch64-linux-gnu-" } },
	{ EM_PPC64, "PowerPC", { "powerpc64le-linux-gnu-", "powerpc64-linux-gnu-" } },
	{ EM_S390, "s390", { "s390x-linux-gnu-" } },
	{ EM_MIPS, "MIPS", { "mips-linux-gnu-", "mipsel-linux-gnu-" } },
};

#if defined(__x86_64__)
#define HOST_MACHINE	EM_X86_64
#elif defined(__aarch64__)
#define HOST_MACHINE	EM_AARCH64
#elif defined(__arm__)
#define HOST_MACHINE	EM_ARM
#else
#define HOST_MACHINE	EM_NONE
#endif

static bool in_path(const char *program)
{
	const char *path = getenv("PATH"), *end;

	if (strchr(program, '/'))
		return !access(program, X_OK);
	for (; path && *path; path = *end ? end + 1 : end) {
		struct buf b = {};
		bool found;

		end = path + strcspn(path, ":");
		buf_printf(&b, "%.*s/%s", (int)(end - path), path, program);
		found = !access(b.text, X_OK);
		buf_free(&b);
		if (found)
			return true;
	}
	return false;
}

static bool try_tool(struct buf *b, const char *prefix, const char *name)
{
	b->len = 0;
	buf_printf(b, "%s%s", prefix, name);
	return in_path(b->text);
}

/* Chooses addr2line: with CROSS_COMPILE, of the architecture, or LLVM's; to be freed */
static char *choose_tool(const struct binary *b)
{
	const char *cross = getenv("CROSS_COMPILE"), *name = "this architecture";
	struct buf t = {};
	unsigned int i, j;

	if (cross && *cross) {
		if (try_tool(&t, cross, "addr2line"))
			return t.text;
		die("%s, as CROSS_COMPILE says, is not in PATH", t.text);
	}
	if (b->machine == HOST_MACHINE && try_tool(&t, "", "addr2line"))
		return t.text;
	for (i = 0; i < ARRAY_SIZE(machines); i++) {
		if (machines[i].machine != b->machine)
			continue;
		name = machines[i].name;
		for (j = 0; j < 3 && machines[i].prefixes[j]; j++)
			if (try_tool(&t, machines[i].prefixes[j], "addr2line"))
				return t.text;
	}
	if (try_tool(&t, "", "llvm-addr2line"))
		return t.text;
	for (i = 30; i >= 11; i--) {
		struct buf v = {};
		bool found;

		buf_printf(&v, "llvm-addr2line-%u", i);
		found = try_tool(&t, "", v.text);
		buf_free(&v);
		if (found)
			return t.text;
	}
	die("no addr2line for %s (%s): install its binutils or llvm, or set CROSS_COMPILE",
	    name, b->path);
}

/* The path of the source tree where the kernel was built */
static char *built_from(const char *build)
{
	char target[PATH_MAX];
	struct buf b = {};
	ssize_t len;

	buf_printf(&b, "%s/source", build);
	len = readlink(b.text, target, sizeof(target));
	buf_free(&b);
	return len > 0 ? xstrndup(target, len) : NULL;
}

/*
 * A place with the name of its file resolved, if that is relative to @build or has "..": with
 * base_dir, ccache makes such names.
 */
static const char *resolve(const char *place, const char *build)
{
	const char *colon = strrchr(place, ':');
	static char text[PATH_MAX + 16];
	struct buf b = {};
	char *path;

	if (!colon || !build || (*place == '/' && !strstr(place, "/../")))
		return place;
	buf_printf(&b, "%s/%.*s", *place == '/' ? "" : build, (int)(colon - place), place);
	path = realpath(b.text, NULL);
	buf_free(&b);
	if (!path)
		return place;
	snprintf(text, sizeof(text), "%s%s", path, colon);
	free(path);
	return text;
}

static const char *shorten(const char *place)
{
	static char *prefixes[4];
	static bool known;
	unsigned int i;

	if (!known) {
		char *build = realpath(opt.vmlinux, NULL);
		char *slash = build ? strrchr(build, '/') : NULL;

		if (slash)
			*slash = '\0';
		prefixes[0] = opt.source ? realpath(opt.source, NULL) : NULL;
		prefixes[1] = opt.source ? xstrdup(opt.source) : NULL;
		prefixes[2] = build ? built_from(build) : NULL;
		prefixes[3] = build;
		known = true;
	}
	place = resolve(place, prefixes[3]);
	for (i = 0; i < ARRAY_SIZE(prefixes); i++) {
		size_t len = prefixes[i] ? strlen(prefixes[i]) : 0;

		if (len && !strncmp(place, prefixes[i], len) && place[len] == '/')
			return place + len + 1;
	}
	return place;
}

/* The answer has the places of one frame, one per line, the innermost first. */
static void take_answers(struct info *info, const struct question *q, size_t nr, char *text)
{
	char *line, *rest = text;
	struct buf places = {};
	size_t i = 0;

	while ((line = strsep(&rest, "\n"))) {
		bool next = !strncmp(line, "0x", 2);

		if ((next || !rest) && i && i <= nr) {
			if (places.len)
				q[i - 1].frame->lines = keep_text(info, places.text, places.len);
			buf_free(&places);
		}
		if (next) {
			i++;
		} else if (*line && *line != '?') {
			line[strcspn(line, " ")] = '\0';
			if (!strstr(line, ":?") && !strstr(line, ":0"))
				buf_printf(&places, "%s%s", places.len ? " " : "",
					   shorten(line));
		}
	}
	buf_free(&places);
}

static void ask(struct info *info, const struct question *q, size_t nr)
{
	const struct binary *b = q->binary;
	char *tool = choose_tool(b);
	FILE *in = tmpfile();
	char *argv[8], *text;
	unsigned int n = 0;
	int status;
	size_t i;

	if (!in)
		die("no temporary file: %s", strerror(errno));
	for (i = 0; i < nr; i++)
		fprintf(in, "0x%llx\n", (unsigned long long)q[i].address);
	rewind(in);
	argv[n++] = tool;
	argv[n++] = "-a";
	argv[n++] = "-i";
	/* LLVM's searches all sections and has no such option. */
	if (b->relocatable && !strstr(tool, "llvm")) {
		argv[n++] = "-j";
		argv[n++] = (char *)b->sections[q->section].name;
	}
	argv[n++] = "-e";
	argv[n++] = b->path;
	argv[n] = NULL;
	text = run_filter(argv, dup(fileno(in)), &status);
	fclose(in);
	if (!text || status)
		die("%s %s failed", tool, b->path);
	take_answers(info, q, nr, text);
	free(text);
	free(tool);
}

static int by_binary(const void *x, const void *y)
{
	const struct question *a = x, *b = y;

	if (a->binary != b->binary)
		return a->binary < b->binary ? -1 : 1;
	return a->section < b->section ? -1 : a->section > b->section;
}

static void add_question(struct question **all, size_t *nr, struct frame *f)
{
	const struct symbol *s;
	struct question *q;
	struct binary *b;

	if (!f->exact || !f->offset)
		return;
	b = binary_of(f->module);
	s = b->path ? find_symbol(b, f) : NULL;
	if (!s)
		return;
	if ((*nr & (*nr - 1)) == 0)
		*all = xrealloc(*all, *nr ? *nr * 2 : 1, sizeof(**all));
	q = &(*all)[(*nr)++];
	q->frame = f;
	q->binary = b;
	q->section = b->relocatable ? s->section : 0;
	q->address = s->address + f->offset - 1;
}

void find_lines(struct info *info)
{
	struct question *all = NULL;
	size_t nr = 0, i, j, found = 0;

	if (!opt.vmlinux)
		return;
	binary_of(NULL);
	for (i = 0; i < info->nr_sites; i++)
		for (j = 0; j < info->sites[i].nr_frames; j++)
			add_question(&all, &nr, &info->sites[i].frames[j]);
	if (nr)
		qsort(all, nr, sizeof(*all), by_binary);
	for (i = 0; i < nr; i = j) {
		for (j = i + 1; j < nr && !by_binary(&all[i], &all[j]);)
			j++;
		ask(info, &all[i], j - i);
	}
	for (i = 0; i < nr; i++)
		found += !!all[i].frame->lines;
	free(all);
	if (info->nr_sites && !found)
		warn("%s: no lines for any frame; was it built with CONFIG_DEBUG_INFO, and is it of the kernel that ran?",
		     opt.vmlinux);
}
