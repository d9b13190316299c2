// SPDX-License-Identifier: GPL-2.0-only
/*
 * Leak injector: objects in KFENCE's pool. KFENCE serves one allocation in each
 * of its sample intervals.
 */
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/kfence.h>

#include "test_kmemtrack.h"

#ifdef CONFIG_KFENCE

#define MAX_OBJECTS	32
#define WORDS		38

/* Longer than a few intervals. */
#define PATIENCE_S	20

enum { TRACKED, UNTRACKED, LOST };

static unsigned long **objects[2];

static unsigned long *sampled(void)
{
	unsigned long end = jiffies + PATIENCE_S * HZ;

	while (time_before(jiffies, end)) {
		unsigned int i;

		for (i = 0; i < 32; i++) {
			void *p = kzalloc(WORDS * sizeof(long), GFP_KERNEL);

			if (is_kfence_address(p))
				return p;
			kfree(p);
		}
		usleep_range(200, 400);
	}
	return NULL;
}

/* Makes object @nr, lost or in the table, which refers to a mostly ordinary block. */
static int make_one(const struct tk_kind *k, unsigned int nr)
{
	unsigned long *p = sampled();

	if (!p)
		return -ENOMEM;
	if (k->where == LOST) {
		tk_note(k, p, WORDS * sizeof(long), TK_KFREE, TK_LEAKED);
		p[nr] = (unsigned long)tk_make(k, 96, TK_LEAKED);
		return p[nr] ? 0 : -ENOMEM;
	}
	objects[k->where][nr] = p;
	return 0;
}

static int make_objects(const struct tk_kind *k, unsigned int n)
{
	unsigned int i;
	int ret = 0;

	if (n > MAX_OBJECTS)
		return -EINVAL;
	if (k->where != LOST) {
		objects[k->where] = kcalloc(MAX_OBJECTS, sizeof(long *),
					    GFP_KERNEL);
		if (!objects[k->where])
			return -ENOMEM;
	}
	for (i = 0; i < n && !ret; i++)
		ret = make_one(k, i);
	return ret;
}

static int fill_objects(const struct tk_kind *k)
{
	unsigned int i;

	for (i = 0; i < MAX_OBJECTS && objects[k->where][i]; i++) {
		unsigned long *p = objects[k->where][i];

		p[i] = (unsigned long)tk_make(k, 96, TK_HELD);
		if (!p[i])
			return -ENOMEM;
	}
	return 0;
}

static int hold_in_objects(const struct tk_kind *k, unsigned int n)
{
	int ret = make_objects(k, n);

	return ret ? ret : fill_objects(k);
}

/*
 * Takes two commands: the first one allocates the objects, while tracking is off, the
 * second one the blocks to which they refer.
 */
static int hold_in_untracked(const struct tk_kind *k, unsigned int n)
{
	return objects[k->where] ? fill_objects(k) : make_objects(k, n);
}

/* Loses the blocks to which the objects refer; the objects are not noted. */
static void lose_objects(const struct tk_kind *k)
{
	unsigned int i;

	for (i = 0; objects[k->where] && i < MAX_OBJECTS; i++)
		kfree(objects[k->where][i]);
	kfree(objects[k->where]);
	objects[k->where] = NULL;
}

const struct tk_kind tk_kfence_kinds[] = {
	{ "kfence", make_objects, .count = 20, .where = LOST },
	{ "kfence", hold_in_objects, lose_objects, .count = 20, .where = TRACKED },
	{ "kfence-untracked", hold_in_untracked, lose_objects, .count = 20,
	  .where = UNTRACKED },
	{}
};

#else

const struct tk_kind tk_kfence_kinds[] = {
	{}
};

#endif /* CONFIG_KFENCE */
