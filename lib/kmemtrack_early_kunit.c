// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of kmemtrack: early boots that allocate far more blocks than this
 * one. kmemtrack_test.early=<n> on the command line does so, before the page
 * allocator is up. And what was freed since is no root. The kernel frees memory of
 * its image only after KUnit has run, so run the suite once more in debugfs.
 */
#include <kunit/test.h>
#include <linux/init.h>
#include <linux/kstrtox.h>
#include <linux/memblock.h>
#include <linux/mm.h>

#include "../mm/kmemtrack/glue.h"

/* One of this many blocks is freed again, some of them in early boot. */
#define FREED	16

static phys_addr_t *early;
static unsigned int nr_early;

static size_t early_size(unsigned int i)
{
	return 8 + i % 100;
}

static int __init allocate_early(char *str)
{
	unsigned int i, nr;

	if (!str || kstrtouint(str, 0, &nr) || nr > 100000)
		return 1;
	early = memblock_alloc(nr * sizeof(*early), sizeof(*early));
	if (!early)
		return 1;
	for (i = 0; i < nr; i++)
		early[i] = memblock_phys_alloc(early_size(i), 8);
	for (i = 0; i < nr; i += FREED)
		memblock_phys_free(early[i], early_size(i));
	nr_early = nr;
	return 1;
}
__setup("kmemtrack_test.early=", allocate_early);

static void early_blocks(struct kunit *test)
{
	unsigned int i, wrong = 0;

	if (!nr_early)
		kunit_skip(test, "no kmemtrack_test.early=");
	if (!kmt_tracking())
		kunit_skip(test, "not tracking");
	for (i = 0; i < nr_early; i++) {
		struct kmt_object o;
		bool known = kmt_lookup(&kmt_core, KMT_PHYS, early[i], &o);

		/* Another block at this address has another size. */
		if (i % FREED == 0)
			wrong += known && o.size == early_size(i);
		else
			wrong += !known || o.addr != early[i] ||
				 o.size != early_size(i);
	}
	KUNIT_EXPECT_EQ(test, wrong, 0);
	KUNIT_EXPECT_GE(test, READ_ONCE(kmt_core.wide[KMT_PHYS].nr),
			nr_early - nr_early / FREED - 1);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&kmt_lost_early), 0);
}

/* Pages from @phys on, @size bytes, that belong to neither memblock nor the image. */
static unsigned long nr_given_away(phys_addr_t phys, unsigned long size)
{
	unsigned long pfn, nr = 0;

	for (pfn = PFN_UP(phys); pfn < PFN_DOWN(phys + size); pfn++) {
		struct page *page = pfn_to_online_page(pfn);

		nr += page && !PageReserved(page);
	}
	return nr;
}

/*
 * What the page allocator has is no part of a root, or contents of users and of free
 * objects would hide leaks.
 */
static void roots_are_reserved(struct kunit *test)
{
	unsigned long pos = 0, sections = 0;
	struct kmt_object o;

	if (!kmt_tracking())
		kunit_skip(test, "not tracking");
	while (kmt_next_wide(&kmt_core, KMT_PHYS, &pos))
		if (kmt_lookup(&kmt_core, KMT_PHYS, pos - 1, &o) &&
		    o.min_refs == KMT_MIN_GREY)
			KUNIT_EXPECT_EQ_MSG(test, nr_given_away(o.addr, o.size), 0,
					    "%#lx, %lu bytes", o.addr,
					    (unsigned long)o.size);
	pos = 0;
	while (kmt_next_wide(&kmt_core, KMT_ROOT, &pos)) {
		if (!kmt_lookup(&kmt_core, KMT_ROOT, pos - 1, &o))
			continue;
		sections++;
		KUNIT_EXPECT_EQ_MSG(test, nr_given_away(__pa_symbol((void *)o.addr),
							o.size), 0,
				    "%pS, %lu bytes", (void *)o.addr,
				    (unsigned long)o.size);
	}
	KUNIT_EXPECT_GT(test, sections, 0);
}

static struct kunit_case early_cases[] = {
	KUNIT_CASE(early_blocks),
	KUNIT_CASE(roots_are_reserved),
	{}
};

static struct kunit_suite early_suite = {
	.name = "kmemtrack_early",
	.test_cases = early_cases,
};

kunit_test_suite(early_suite);
