// SPDX-License-Identifier: GPL-2.0
/*
 * Who allocates: backtrace, task and time.
 *
 * The name of a task is stored once, in a table; a record has a handle of two bytes. The
 * table is bounded, and no user but root may fill a set of it alone: see "Names of tasks" in
 * kmemtrack-design.rst. A purge (handles.c) removes names that no record has.
 *
 * A hook that has looked up a handle keeps a purge from removing the name
 * until a record has the handle: its interrupts are off, or it has called
 * kmt_pin_names().
 */
#include <linux/bitops.h>
#include <linux/cred.h>
#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/irq_work.h>
#include <linux/kernel.h>
#include <linux/preempt.h>
#include <linux/random.h>
#include <linux/rcupdate.h>
#include <linux/siphash.h>
#include <linux/sizes.h>
#include <linux/smp.h>
#include <linux/string_helpers.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "glue.h"
#include "recent.h"

#define KMT_NAME_WAYS	8

/* Names in a set that all users but root may have together, and each of them. */
#define KMT_NAMES_USERS	6
#define KMT_NAMES_USER	3

/**
 * struct kmt_name_set - names with the same hash
 * @lock: protects all fields
 * @used: a bit for each name that was looked up since the last purge began, or that
 *	this purge found in use. A hook finds such a name without the lock, with
 *	interrupts off: a purge clears the bit and waits for a grace period before it
 *	removes the name
 * @owner: user that added the name
 * @name: the names; an empty one is a free place
 */
struct kmt_name_set {
	raw_spinlock_t lock;
	u8 used;
	uid_t owner[KMT_NAME_WAYS];
	struct kmt_name name[KMT_NAME_WAYS];
};

#define KMT_NAME_ORDER	get_order(SZ_64K)
#define KMT_NAME_SETS	(SZ_64K / sizeof(struct kmt_name_set))

/* Handles that need no place in the table; those of the table follow. */
#define KMT_COMM_HARDIRQ	1
#define KMT_COMM_SOFTIRQ	2
#define KMT_COMM_FIRST		3

static_assert(KMT_COMM_NONE < KMT_COMM_HARDIRQ);
static_assert(KMT_COMM_FIRST + KMT_NAME_SETS * KMT_NAME_WAYS <= U16_MAX);

static struct kmt_name_set *sets;
static hsiphash_key_t names_key __read_mostly;

/*
 * Number of hooks that hold handles while interrupts are on, by the phase in which
 * they began. This is not SRCU, since Tiny SRCU wakes tasks, and the caller of a hook
 * may hold locks of the scheduler.
 */
static atomic_t pins[2];
static unsigned int phase;

/* Lookups of names for which there was no place. */
atomic_long_t kmt_lost_names;

/* A purge was requested, and has not begun. No bool: not all machines xchg() a byte. */
static unsigned int purge_wanted;

/* kmt_records_moved() when the last purge began. */
static unsigned long moved_before;

static void want_purge(void);

static bool is_free(const struct kmt_name *name)
{
	return !name->w[0];
}

/* The way of @name in @set if its bit is set in @used; else KMT_NAME_WAYS or more. */
static unsigned int find_used(const struct kmt_name_set *set,
			      const struct kmt_name *name)
{
	/* Pairs with set_used(): the name was stored before the bit. */
	unsigned long used = smp_load_acquire(&set->used);
	unsigned int way;

	for_each_set_bit(way, &used, KMT_NAME_WAYS)
		if (kmt_same_name(&set->name[way], name))
			break;
	return way;
}

static void set_used(struct kmt_name_set *set, unsigned int way)
{
	lockdep_assert_held(&set->lock);
	/* Pairs with find_used(). */
	smp_store_release(&set->used, set->used | BIT(way));
}

/* The way of @name in @set; adds the name if there is room, else KMT_NAME_WAYS. */
static unsigned int find_or_add(struct kmt_name_set *set,
				const struct kmt_name *name)
{
	unsigned int way, free = KMT_NAME_WAYS, mine = 0, users = 0, taken = 0;
	const uid_t uid = __kuid_val(current_uid());

	lockdep_assert_held(&set->lock);
	for (way = 0; way < KMT_NAME_WAYS; way++) {
		if (is_free(&set->name[way])) {
			free = way;
			continue;
		}
		if (kmt_same_name(&set->name[way], name))
			return way;
		taken++;
		users += set->owner[way] != 0;
		mine += set->owner[way] == uid;
	}
	if (taken >= KMT_NAME_WAYS / 2 || (uid && mine >= KMT_NAMES_USER - 1))
		want_purge();
	if (free == KMT_NAME_WAYS ||
	    (uid && (mine >= KMT_NAMES_USER || users >= KMT_NAMES_USERS)))
		return KMT_NAME_WAYS;
	set->name[free] = *name;
	set->owner[free] = uid;
	return free;
}

/* The handle of @name; interrupts are off. */
static u16 intern(struct kmt_name name)
{
	struct kmt_name_set *set = READ_ONCE(sets);
	unsigned int way;

	if (unlikely(!set || is_free(&name)))
		return KMT_COMM_NONE;
	/* Another task may be writing the name, so terminate the copy. */
	((char *)&name)[TASK_COMM_LEN - 1] = '\0';
	set += reciprocal_scale(hsiphash(&name, sizeof(name), &names_key),
				KMT_NAME_SETS);
	way = find_used(set, &name);
	if (unlikely(way >= KMT_NAME_WAYS)) {
		raw_spin_lock(&set->lock);
		way = find_or_add(set, &name);
		if (way < KMT_NAME_WAYS)
			set_used(set, way);
		raw_spin_unlock(&set->lock);
	}
	if (likely(way < KMT_NAME_WAYS))
		return KMT_COMM_FIRST + (set - sets) * KMT_NAME_WAYS + way;
	atomic_long_inc(&kmt_lost_names);
	return KMT_COMM_NONE;
}

/**
 * kmt_comm_init - allocate the table of names of tasks
 *
 * Before, and without memory for it, all names are unknown.
 */
void kmt_comm_init(void)
{
	struct kmt_name_set *new;
	unsigned int i;

	if (sets)
		return;
	new = kmt_own_alloc(GFP_KERNEL | __GFP_ZERO, KMT_NAME_ORDER);
	if (!new)
		return;
	for (i = 0; i < KMT_NAME_SETS; i++)
		raw_spin_lock_init(&new[i].lock);
	get_random_bytes(&names_key, sizeof(names_key));
	/* A hook that has slept since tracking was on before may read it at any time. */
	smp_store_release(&sets, new);
}

/* Returns the set, and the way in it, of a handle; NULL if it is not of the table. */
static struct kmt_name_set *set_of(u16 handle, unsigned int *way)
{
	unsigned int i = handle - KMT_COMM_FIRST;

	if (!sets || handle < KMT_COMM_FIRST ||
	    i >= KMT_NAME_SETS * KMT_NAME_WAYS)
		return NULL;
	*way = i % KMT_NAME_WAYS;
	return &sets[i / KMT_NAME_WAYS];
}

/**
 * kmt_comm - the name of a task
 * @handle: handle in a record
 *
 * Return: a string, valid as long as a record or an open report has the handle. If one
 * had it when the caller took kmt_reports_sem, it is valid until the caller releases that.
 */
const char *kmt_comm(u16 handle)
{
	const struct kmt_name_set *set;
	unsigned int way;

	if (handle == KMT_COMM_HARDIRQ)
		return "hardirq";
	if (handle == KMT_COMM_SOFTIRQ)
		return "softirq";
	set = set_of(handle, &way);
	return set ? (const char *)&set->name[way] : "?";
}

/**
 * kmt_escape - show a name that users choose: printable ASCII as it is
 * @text: room for it
 * @room: its size
 * @name: name
 * @max: its size, if it has no end before
 * @also: characters of ASCII that are escaped, too
 *
 * Return: @text
 */
const char *kmt_escape(char *text, size_t room, const char *name, size_t max,
		       const char *also)
{
	int len = string_escape_mem(name, strnlen(name, max), text, room - 1,
				    ESCAPE_OCTAL | ESCAPE_NAP | ESCAPE_APPEND,
				    also);

	text[min_t(int, len, room - 1)] = '\0';
	return text;
}

/**
 * kmt_escape_log_task - escape the name of a task for the log
 * @name: room for the result
 * @comm: the name, which a task can set to any bytes
 *
 * Return: the text to print between quotes.
 */
const char *kmt_escape_log_task(struct kmt_log_task *name, const char *comm)
{
	return kmt_escape(name->text, sizeof(name->text), comm,
			  TASK_COMM_LEN, "\"\\");
}

/**
 * kmt_pin_names - keep purges from removing names that are looked up from now on
 *
 * If interrupts are off, names that were looked up since they are off are kept, too.
 *
 * Context: any but NMI.
 * Return: the argument for kmt_unpin_names().
 */
int kmt_pin_names(void)
{
	unsigned long flags;
	unsigned int now;

	/* Hooks in interrupts do not look up names. */
	if (!in_task())
		return -1;
	local_irq_save(flags);
	/* Pairs with kmt_begin_purge(): bits that it cleared before are clear. */
	now = smp_load_acquire(&phase);
	atomic_inc(&pins[now]);
	local_irq_restore(flags);
	return now;
}

/**
 * kmt_unpin_names - end kmt_pin_names(): records now have the handles
 * @pin: from kmt_pin_names()
 */
void kmt_unpin_names(int pin)
{
	/* Pairs with kmt_begin_purge(): the record is in its place. */
	if (pin >= 0)
		atomic_fetch_dec_release(&pins[pin]);
}

/**
 * kmt_keep_name - keep a name that is in use from being removed
 * @handle: its handle
 *
 * Context: between kmt_begin_purge() and kmt_end_purge().
 */
void kmt_keep_name(u16 handle)
{
	struct kmt_name_set *set;
	unsigned long flags;
	unsigned int way;

	set = set_of(handle, &way);
	if (!set || READ_ONCE(set->used) & BIT(way))
		return;
	raw_spin_lock_irqsave(&set->lock, flags);
	set_used(set, way);
	raw_spin_unlock_irqrestore(&set->lock, flags);
}

static unsigned long purge_began;

/* When the last purge ended, and for how long none may begin then, in jiffies. */
static unsigned long purge_ended, purge_pause;

static struct delayed_work purge_work;

/**
 * kmt_begin_purge - from now on, looking up a name marks it as used
 *
 * The caller then visits the records, and after them all copies of records, so that it
 * meets the copy of a record that is freed meanwhile.
 *
 * Context: a work item, may sleep.
 */
void kmt_begin_purge(void)
{
	const unsigned int before = phase;
	unsigned int cpu, i;

	purge_began = jiffies;
	moved_before = kmt_records_moved();
	for (i = 0; i < KMT_NAME_SETS; i++) {
		raw_spin_lock_irq(&sets[i].lock);
		WRITE_ONCE(sets[i].used, 0);
		raw_spin_unlock_irq(&sets[i].lock);
	}
	/*
	 * When this returns, handles that were looked up before it are in
	 * records, or held in this phase.
	 */
	synchronize_rcu();
	/*
	 * Keep the names that CPUs remember, since hooks use these without a lookup.
	 * Do this before the phase changes: the removal does not wait for hooks of the
	 * new phase, and such a hook may hold a name that its CPU has replaced by then.
	 */
	for_each_possible_cpu(cpu)
		/*
		 * Pairs with the release in kmt_task_comm(): if its new handle is seen
		 * here, so are the records with the previous one.
		 */
		kmt_keep_name(smp_load_acquire(per_cpu_ptr(&kmt_recent.comm, cpu)));
	/* Pairs with kmt_pin_names(): the bits are clear. */
	smp_store_release(&phase, !before);
	/* When this returns, no hook begins in the old phase any more. */
	synchronize_rcu();
	while (atomic_read_acquire(&pins[before]))
		msleep(20);
}

static void remove_unused(struct kmt_name_set *set)
{
	unsigned int way;

	raw_spin_lock_irq(&set->lock);
	for (way = 0; way < KMT_NAME_WAYS; way++)
		if (!(set->used & BIT(way)))
			set->name[way] = (struct kmt_name){};
	raw_spin_unlock_irq(&set->lock);
}

static bool has_no_name(int cpu, void *unused)
{
	const struct kmt_recent *recent = per_cpu_ptr(&kmt_recent, cpu);

	return READ_ONCE(recent->comm) == KMT_COMM_NONE &&
	       READ_ONCE(recent->name.w[0]);
}

/*
 * If there was no place for the name that this CPU remembers, forget the name, so that
 * the next allocation looks it up again.
 */
static void forget_own_name(void *unused)
{
	struct kmt_recent *recent = this_cpu_ptr(&kmt_recent);

	if (recent->comm == KMT_COMM_NONE)
		recent->name = (struct kmt_name){};
}

static void remove_all_unused(void)
{
	unsigned int i;

	for (i = 0; i < KMT_NAME_SETS; i++)
		remove_unused(&sets[i]);
	/* When this returns, each CPU that found no place has stored that. */
	synchronize_rcu();
	on_each_cpu_cond(has_no_name, forget_own_name, NULL, true);
}

/**
 * kmt_end_purge - remove the names that were not looked up or met in use
 *
 * If a hook made a record of the rest of a block meanwhile, whose name may not have been met,
 * this removes none, and the purge is repeated.
 *
 * Context: as kmt_begin_purge().
 */
void kmt_end_purge(void)
{
	/* Purges take two percent of the time at most. */
	WRITE_ONCE(purge_pause, max(50 * (jiffies - purge_began), 1UL * HZ));
	WRITE_ONCE(purge_ended, jiffies);
	if (kmt_records_moved() != moved_before) {
		queue_delayed_work(kmt_unbound_wq, &purge_work, purge_pause);
		return;
	}
	remove_all_unused();
	/*
	 * A CPU that found no place for the name of its task looks the name up again at its
	 * next allocation, since remove_all_unused() made it forget that. If the set is still
	 * nearly full, that lookup calls want_purge() with the lock of the set held, which
	 * requests another purge only if the flag is 0. Pairs with the xchg() there: a CPU
	 * that reads this 0 sees the names as removed.
	 */
	smp_store_release(&purge_wanted, 0);
}

static void kick_purge(struct irq_work *work)
{
	unsigned long passed = jiffies - READ_ONCE(purge_ended);
	unsigned long pause = READ_ONCE(purge_pause);

	queue_delayed_work(kmt_unbound_wq, &purge_work, pause - min(passed, pause));
}

/* A hook cannot queue work: its caller may hold locks that this takes. */
static DEFINE_IRQ_WORK(purge_irq_work, kick_purge);

/* Interrupts and workers are there, and purge_work is set up. */
static bool can_purge __ro_after_init;

/* Requests a purge. The caller holds the lock of a set. */
static void want_purge(void)
{
	if (!READ_ONCE(purge_wanted) && !xchg(&purge_wanted, 1) && can_purge)
		irq_work_queue(&purge_irq_work);
}

/**
 * kmt_start_purging - let names be removed
 * @purge: what does it: kmt_begin_purge(), a look at all names in use, kmt_end_purge()
 */
void __init kmt_start_purging(work_func_t purge)
{
	INIT_DELAYED_WORK(&purge_work, purge);
	can_purge = true;
	/* Pairs with the xchg() of want_purge(): it sees can_purge, or this its request. */
	smp_mb();
	if (READ_ONCE(purge_wanted))
		irq_work_queue(&purge_irq_work);
}

/**
 * kmt_task_comm - look up the name of the current task
 *
 * This CPU remembers the name, even if the table had no place for it, since the next
 * allocation is likely to be by the same task.
 *
 * Context: task, interrupts off.
 * Return: a handle for struct kmt_origin.
 */
u16 kmt_task_comm(void)
{
	struct kmt_recent *recent = this_cpu_ptr(&kmt_recent);
	struct kmt_name name = kmt_task_name(current);

	lockdep_assert_irqs_disabled();
	if (!kmt_same_name(&recent->name, &name)) {
		recent->name = name;
		/* Pairs with kmt_begin_purge(). */
		smp_store_release(&recent->comm, intern(name));
	}
	return recent->comm;
}

/**
 * kmt_fill_origin - describe the current allocation
 * @origin: filled in
 * @fp: frame record of the hook
 * @caller: its return address
 * @gfp: flags of the allocation
 *
 * In interrupts the pid is 0 and the name tells the kind of interrupt.
 *
 * Context: any but NMI; kmt_pin_names() was called.
 */
void kmt_fill_origin(struct kmt_origin *origin, unsigned long fp,
		     unsigned long caller, gfp_t gfp)
{
	unsigned long flags;

	static_assert(PID_MAX_LIMIT <= BIT(KMT_PID_BITS));
	origin->trace = kmt_trace_save(fp, caller, gfp);
	origin->born = jiffies;
	if (unlikely(in_hardirq() || in_serving_softirq())) {
		origin->pid_slack = kmt_pid_slack(0, 0);
		origin->comm = in_hardirq() ? KMT_COMM_HARDIRQ :
					      KMT_COMM_SOFTIRQ;
	} else {
		origin->pid_slack = kmt_pid_slack(current->pid, 0);
		local_irq_save(flags);
		origin->comm = kmt_task_comm();
		local_irq_restore(flags);
	}
}
