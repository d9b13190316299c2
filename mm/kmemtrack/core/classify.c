// SPDX-License-Identifier: GPL-2.0
/*
 * The classification of leaks: direct and indirect ones.
 *
 * One lost pointer often loses a whole structure. A leak that another leak leads to is
 * indirect: a fix for the other one will most likely fix it, too. Of leaks that lead to
 * each other, and to which no other leak leads, the one that was allocated first is
 * direct, since the others were most likely allocated for it.
 *
 * Two walks find the direct leaks, see "Classification" in kmemtrack-design.rst: one from the
 * oldest leak to the youngest, and one back over those at which the first one started. Each
 * walk reads a leak once. An indirect leak hangs on the direct leak from which the second walk
 * covered it first.
 *
 * A leak that an earlier scan reported has been unreachable since then, so no code can
 * have stored the address of a younger block in it. A word that looks like one refers to
 * an earlier block in the same place.
 *
 * Since kmt_judge() nothing gives up: kmt_go_on() lets others run, and is true.
 */
#include "mark.h"

#define KMT_DIGITS	256

/**
 * struct kmt_leaks - state of a classification
 * @r: how leaks are read
 * @m: marker
 * @now: low 32 bits of jiffies
 * @before: when leaks were classified last, low 32 bits of jiffies
 * @known: the leak that is being read was reported by an earlier scan
 * @rank: leaks, from the oldest to the youngest
 * @other: buffer of the same size, to sort; later the leaks that a walk covered
 * @count: counters of digits, to sort
 * @nr: number of leaks in @rank
 * @max: room in @rank and in @other
 * @found: number of leaks in @other
 * @done: how many of these were read
 */
struct kmt_leaks {
	struct kmt_reader r;
	struct kmt_marker *m;
	u32 now;
	u32 before;
	bool known;
	struct kmt_rank *rank;
	struct kmt_rank *other;
	unsigned long *count;
	unsigned long nr;
	unsigned long max;
	unsigned long found;
	unsigned long done;
};

static bool change_leak(struct kmt_core *core, struct kmt_object *o, u16 set,
			u16 clear, struct kmt_object *was)
{
	struct kmt_held held;
	bool leak;

	if (!kmt_lock_object(core, o, &held))
		return false;
	leak = o->flags & KMT_LEAK;
	*was = *o;
	if (leak)
		kmt_change_flags(o, set, clear);
	kmt_unlock(&held);
	return leak;
}

/* Makes the leak that @word refers to indirect; the walk reads it later. */
static void cover_ref(struct kmt_leaks *leaks, enum kmt_space space,
		      unsigned long word)
{
	struct kmt_held held;
	struct kmt_object *o;

	o = kmt_lock_find(leaks->m->core, space, word, &held);
	if (!o)
		return;
	if ((o->flags & KMT_LEAK) && o != leaks->r.from &&
	    !(leaks->known && kmt_is_younger(o->born, leaks->before))) {
		/* A walk covers each leak once, so there is room for those counted. */
		if (!(o->flags & KMT_COVERED) && leaks->found < leaks->max)
			leaks->other[leaks->found++] = (struct kmt_rank){
				.o = o, .direct = leaks->r.from
			};
		kmt_change_flags(o, KMT_INDIRECT | KMT_COVERED, 0);
	}
	kmt_unlock(&held);
}

static void cover_refs(struct kmt_reader *r, unsigned int nr)
{
	struct kmt_leaks *leaks = container_of(r, struct kmt_leaks, r);
	struct kmt_marker *m = r->m;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		const unsigned long word = kmt_untag(m->buf[i]);

		if (kmt_in(&m->ranges.virt, word) && !kmt_in(&m->core->skip, word))
			cover_ref(leaks, KMT_VIRT, word);
		if (kmt_in_pair(&m->ranges.percpu, word))
			cover_ref(leaks, KMT_PERCPU, word);
	}
}

/* Reads a covered leak, unless this walk has read it already. */
static void read_leak(struct kmt_leaks *leaks, struct kmt_object *o,
		      struct kmt_object *head)
{
	struct kmt_object copy;

	if (!change_leak(leaks->m->core, o, KMT_SCANNED, 0, &copy) ||
	    (copy.flags & KMT_SCANNED))
		return;
	leaks->known = !(copy.flags & KMT_NEW);
	leaks->r.from = head;
	if (kmt_is_read(&copy))
		kmt_read_object(&leaks->r, o, &copy);
}

/*
 * Visits all leaks that can be reached from @head, and makes them indirect (KMT_COVERED).
 * @head itself stays as it is.
 */
static void cover(struct kmt_leaks *leaks, struct kmt_object *head)
{
	struct kmt_object copy;

	if (!change_leak(leaks->m->core, head, KMT_COVERED, 0, &copy))
		return;
	read_leak(leaks, head, head);
	while (leaks->done < leaks->found && kmt_go_on(leaks->m))
		read_leak(leaks, leaks->other[leaks->done++].o, head);
}

static void reset_leaks(struct kmt_leaks *leaks)
{
	struct kmt_object copy;
	unsigned long i;

	leaks->found = 0;
	leaks->done = 0;
	for (i = 0; i < leaks->nr && kmt_go_on(leaks->m); i++)
		change_leak(leaks->m->core, leaks->rank[i].o, 0,
			    KMT_COVERED | KMT_SCANNED, &copy);
}

static void cover_forward(struct kmt_leaks *leaks)
{
	unsigned long i;

	for (i = 0; i < leaks->nr && kmt_go_on(leaks->m); i++)
		if (!(READ_ONCE(leaks->rank[i].o->flags) & KMT_COVERED))
			cover(leaks, leaks->rank[i].o);
}

static void cover_backward(struct kmt_leaks *leaks)
{
	unsigned long i = leaks->nr;

	while (i-- && kmt_go_on(leaks->m))
		if (!(READ_ONCE(leaks->rank[i].o->flags) &
		      (KMT_INDIRECT | KMT_COVERED)))
			cover(leaks, leaks->rank[i].o);
}

/*
 * The sort key of a leak: older ones first. In the same tick, the one whose backtrace was
 * kept first: a function that allocates one block and then another did so when it first
 * ran. With the same backtrace, the largest, by powers of two. Leaks without a backtrace
 * come last.
 */
static u64 order(const struct kmt_core *core, const struct kmt_object *o, u32 now)
{
	const u32 size = min_t(unsigned long, o->size, U32_MAX);
	u32 trace = BIT(KMT_TRACE_ORDER_BITS) - 1;

	if (o->trace && core->ops->trace_order)
		trace = core->ops->trace_order(o->trace);
	return (u64)(u32)~(now - o->born) << 32 |
	       (u64)trace << (32 - KMT_TRACE_ORDER_BITS) | (31 - ilog2(size));
}

/* Adds the leak @o to @leaks->rank; it is direct until a walk makes it indirect. */
static void collect_leak(struct kmt_leaks *leaks, struct kmt_object *o)
{
	struct kmt_object copy;

	if (change_leak(leaks->m->core, o, 0, KMT_INDIRECT | KMT_COVERED |
			KMT_SCANNED, &copy) && leaks->nr < leaks->max)
		leaks->rank[leaks->nr++] = (struct kmt_rank){
			.o = o, .key = order(leaks->m->core, &copy, leaks->now)
		};
}

/* Collects up to @left leaks, in the order of the pool. */
static void collect_leaks(struct kmt_leaks *leaks, unsigned long left)
{
	struct kmt_chunk *chunk;
	struct kmt_object *o;

	kmt_for_each_chunk(leaks->m->core, chunk) {
		if (!left || !kmt_go_on_in(leaks->m, chunk))
			return;
		kmt_for_each_in(chunk, o) {
			if (!kmt_hint_flags(o, KMT_LIVE | KMT_LEAK,
					    KMT_LIVE | KMT_LEAK))
				continue;
			if (!kmt_go_on(leaks->m))
				return;
			collect_leak(leaks, o);
			if (!--left)
				break;
		}
	}
}

static unsigned int digit(const struct kmt_rank *r, bool by_cell,
			  unsigned int shift)
{
	const u64 key = by_cell ? (unsigned long)r->o : r->key;

	return key >> shift & (KMT_DIGITS - 1);
}

/*
 * Sorts the first @nr of @leaks->rank by one digit, by means of @leaks->other. The sort
 * is stable.
 */
static void sort_digit(struct kmt_leaks *leaks, unsigned long nr, bool by_cell,
		       unsigned int shift)
{
	unsigned long i, n, sum = 0, *count = leaks->count;
	const struct kmt_rank *r = leaks->rank;

	memset(count, 0, KMT_DIGITS * sizeof(*count));
	for (i = 0; i < nr && kmt_go_on(leaks->m); i++)
		count[digit(&r[i], by_cell, shift)]++;
	if (count[digit(&r[0], by_cell, shift)] == nr)
		return;
	for (i = 0; i < KMT_DIGITS; i++) {
		n = count[i];
		count[i] = sum;
		sum += n;
	}
	for (i = 0; i < nr && kmt_go_on(leaks->m); i++)
		leaks->other[count[digit(&r[i], by_cell, shift)]++] = r[i];
	swap(leaks->rank, leaks->other);
}

static void sort_ranks(struct kmt_leaks *leaks, unsigned long nr, bool by_cell)
{
	unsigned int shift;

	for (shift = 0; shift < 64 && nr; shift += 8)
		sort_digit(leaks, nr, by_cell, shift);
}

/* Passes the indirect leaks that the second walk found to kmt_ops.classified(). */
static void pass_ranks(struct kmt_leaks *leaks)
{
	struct kmt_core *core = leaks->m->core;

	if (!core->ops->classified)
		return;
	swap(leaks->rank, leaks->other);
	sort_ranks(leaks, leaks->found, true);
	core->ops->classified(core, leaks->rank, leaks->found);
}

/**
 * kmt_classify - find out which leaks are direct
 * @m: marker, after kmt_judge()
 * @nr: leaks that kmt_judge() has counted
 * @now: low 32 bits of jiffies
 *
 * Takes time in proportion to the size of the leaks, and to the number of cells of the
 * pool up to the last leak: each is checked once. Takes memory in proportion to the
 * number of leaks; without that memory all leaks are direct. If a leak was split since
 * it was counted, a part may keep the result of an earlier scan.
 *
 * Context: no lock held; may sleep. Never given up.
 */
void kmt_classify(struct kmt_marker *m, unsigned long nr, u32 now)
{
	const struct kmt_ops *ops = m->core->ops;
	struct kmt_leaks leaks = {
		.r = { .words = cover_refs, .m = m },
		.m = m, .max = nr, .now = now, .before = m->core->classified,
	};
	size_t bytes = 2 * leaks.max * sizeof(*leaks.rank) +
		       KMT_DIGITS * sizeof(*leaks.count);
	void *table;

	m->core->classified = now;
	table = ops->table_alloc ? ops->table_alloc(m->core, bytes) : NULL;
	if (table) {
		leaks.rank = table;
		leaks.other = leaks.rank + leaks.max;
		leaks.count = (unsigned long *)(leaks.other + leaks.max);
	} else {
		leaks.max = 0;
	}
	collect_leaks(&leaks, nr);
	sort_ranks(&leaks, leaks.nr, false);
	cover_forward(&leaks);
	reset_leaks(&leaks);
	cover_backward(&leaks);
	pass_ranks(&leaks);
	if (table)
		ops->table_free(m->core, table, bytes);
}
