// SPDX-License-Identifier: GPL-2.0-only
/*
 * Leak injector: objects that are lost at once, by allocator and by shape.
 */
#include <linux/io.h>
#include <linux/kmemleak.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

#include "test_kmemtrack.h"

/*
 * Clears the block, which may still hold addresses of other blocks from an earlier use,
 * so that no lost block refers to another one.
 */
static int note_or_fail(const struct tk_kind *k, void *p, size_t size,
			enum tk_how how)
{
	if (!p)
		return -ENOMEM;
	if (how != TK_PERCPU)
		memset(p, 0, size);
	tk_note(k, p, size, how, TK_LEAKED);
	return 0;
}

static int leak_kmalloc(const struct tk_kind *k, unsigned int n)
{
	int ret = 0;

	while (n-- && !ret)
		ret = note_or_fail(k, kmalloc(k->size, GFP_KERNEL), k->size,
				   TK_KFREE);
	return ret;
}

static int leak_kzalloc(const struct tk_kind *k, unsigned int n)
{
	int ret = 0;

	while (n-- && !ret)
		ret = note_or_fail(k, kzalloc(k->size, GFP_KERNEL), k->size,
				   TK_KFREE);
	return ret;
}

static int leak_cache(const struct tk_kind *k, unsigned int n)
{
	int ret = 0;

	while (n-- && !ret)
		ret = note_or_fail(k, kmem_cache_alloc(tk_cache(k->where),
						       GFP_KERNEL),
				   sizeof(struct tk_node), k->where);
	return ret;
}

static int leak_bulk(const struct tk_kind *k, unsigned int n)
{
	void *p[16];
	unsigned int i, nr;

	for (; n; n -= nr) {
		nr = min_t(unsigned int, n, ARRAY_SIZE(p));
		/* This allocates all of them or none. */
		if (!kmem_cache_alloc_bulk(tk_cache(TK_CACHE), GFP_KERNEL, nr, p))
			return -ENOMEM;
		for (i = 0; i < nr; i++)
			note_or_fail(k, p[i], sizeof(struct tk_node), TK_CACHE);
		memset(p, 0, sizeof(p));
		barrier_data(p);
	}
	return 0;
}

static int leak_krealloc(const struct tk_kind *k, unsigned int n)
{
	int ret = 0;

	while (n-- && !ret) {
		void *p = kmalloc(k->size / 8, GFP_KERNEL);
		void *q = p ? krealloc(p, k->size, GFP_KERNEL) : NULL;

		if (p && !q)
			kfree(p);
		ret = note_or_fail(k, q, k->size, TK_KFREE);
	}
	return ret;
}

static int leak_kmemdup(const struct tk_kind *k, unsigned int n)
{
	static const char text[48] = "duplicated by kmemdup";
	void *p;

	while (n--) {
		p = kmemdup(text, sizeof(text), GFP_KERNEL);
		if (!p)
			return -ENOMEM;
		tk_note(k, p, sizeof(text), TK_KFREE, TK_LEAKED);
	}
	return 0;
}

static int leak_kstrdup(const struct tk_kind *k, unsigned int n)
{
	static const char text[] = "duplicated by kstrdup";
	void *p;

	while (n--) {
		p = kstrdup(text, GFP_KERNEL);
		if (!p)
			return -ENOMEM;
		tk_note(k, p, sizeof(text), TK_KFREE, TK_LEAKED);
	}
	return 0;
}

static int leak_vmalloc(const struct tk_kind *k, unsigned int n)
{
	int ret = 0;

	while (n-- && !ret)
		ret = note_or_fail(k, vmalloc(k->size), k->size, TK_VFREE);
	return ret;
}

static int leak_vzalloc(const struct tk_kind *k, unsigned int n)
{
	int ret = 0;

	while (n-- && !ret)
		ret = note_or_fail(k, vzalloc(k->size), k->size, TK_VFREE);
	return ret;
}

static int leak_percpu(const struct tk_kind *k, unsigned int n)
{
	int ret = 0;

	while (n-- && !ret)
		ret = note_or_fail(k, (__force void *)__alloc_percpu(k->size, 8),
				   k->size, TK_PERCPU);
	return ret;
}

/* Lost per-CPU memory that holds a pointer to other per-CPU memory. */
static int leak_percpu_pointer(const struct tk_kind *k, unsigned int n)
{
	void __percpu *area = __alloc_percpu(sizeof(long), sizeof(long));
	int cpu;

	if (!area)
		return -ENOMEM;
	tk_note(k, (__force void *)area, sizeof(long), TK_PERCPU, TK_LEAKED);
	for_each_possible_cpu(cpu) {
		void **slot = per_cpu_ptr(area, cpu);

		*slot = tk_make(k, 96, TK_LEAKED);
	}
	return 0;
}

static int leak_vmalloc_array(const struct tk_kind *k, unsigned int n)
{
	void **array = vzalloc(array_size(n, sizeof(*array)));
	unsigned int i;

	if (!array)
		return -ENOMEM;
	tk_note(k, array, n * sizeof(*array), TK_VFREE, TK_LEAKED);
	for (i = 0; i < n; i++)
		array[i] = tk_make(k, 72, TK_LEAKED);
	return 0;
}

/* The first block refers to the others, from different pages. */
static int leak_vmalloc_chain(const struct tk_kind *k, unsigned int n)
{
	struct tk_node *first = vzalloc(k->size), *next;

	if (!first)
		return -ENOMEM;
	tk_note(k, first, k->size, TK_VFREE, TK_LEAKED);
	while (n--) {
		next = tk_make(k, sizeof(*next), TK_LEAKED);
		if (!next)
			return -ENOMEM;
		next->next = first->next;
		first->next = next;
	}
	return 0;
}

/* A list whose head is reset, so that its members are lost as a ring. */
static int leak_list(const struct tk_kind *k, unsigned int n)
{
	static LIST_HEAD(head);
	struct tk_node *node;

	while (n--) {
		node = tk_make(k, sizeof(*node), TK_LEAKED);
		if (!node)
			return -ENOMEM;
		list_add_tail(&node->list, &head);
	}
	INIT_LIST_HEAD(&head);
	return 0;
}

static int leak_hlist(const struct tk_kind *k, unsigned int n)
{
	static struct hlist_head head;
	struct tk_node *node;

	while (n--) {
		node = tk_make(k, sizeof(*node), TK_LEAKED);
		if (!node)
			return -ENOMEM;
		hlist_add_head(&node->hlist, &head);
	}
	INIT_HLIST_HEAD(&head);
	return 0;
}

static int leak_rbtree(const struct tk_kind *k, unsigned int n)
{
	static struct rb_root root = RB_ROOT;

	while (n--) {
		struct rb_node **link = &root.rb_node, *parent = NULL;
		struct tk_node *node = tk_make(k, sizeof(*node), TK_LEAKED);

		if (!node)
			return -ENOMEM;
		while (*link) {
			parent = *link;
			link = &parent->rb_right;
		}
		rb_link_node(&node->rb, parent, link);
		rb_insert_color(&node->rb, &root);
	}
	WRITE_ONCE(root.rb_node, NULL);
	return 0;
}

/* A chain of objects; if k->where is set, the last one refers to the first. */
static int leak_chain(const struct tk_kind *k, unsigned int n)
{
	struct tk_node *first = NULL, *last = NULL, *node;

	while (n--) {
		node = tk_make(k, sizeof(*node), TK_LEAKED);
		if (!node)
			return -ENOMEM;
		if (last)
			last->next = node;
		else
			first = node;
		last = node;
	}
	if (k->where)
		last->next = first;
	return 0;
}

/* A lost block that refers to the middle and to the last byte of other lost blocks. */
static int leak_interior(const struct tk_kind *k, unsigned int n)
{
	char **holder = tk_make(k, 2 * sizeof(*holder), TK_LEAKED);
	char *p = tk_make(k, 256, TK_LEAKED), *q = tk_make(k, 80, TK_LEAKED);

	if (!holder || !p || !q)
		return -ENOMEM;
	holder[0] = p + 128;
	holder[1] = q + 79;
	return 0;
}

static int leak_overwritten(const struct tk_kind *k, unsigned int n)
{
	static void *global;

	while (n--)
		WRITE_ONCE(global, tk_make(k, k->size, TK_LEAKED));
	WRITE_ONCE(global, NULL);
	return 0;
}

static int leak_erased(const struct tk_kind *k, unsigned int n)
{
	static void *global;

	while (n--) {
		WRITE_ONCE(global, tk_make(k, k->size, TK_LEAKED));
		barrier_data(&global);
		kmemleak_erase(&global);
		barrier_data(&global);
	}
	return 0;
}

/* The report must name this function. */
static noinline void tk_handed_over(const void *p)
{
	kmemleak_update_trace(p);
	barrier();
}

static int leak_updated(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		void *p = tk_make(k, k->size, TK_LEAKED);

		if (!p)
			return -ENOMEM;
		tk_handed_over(p);
	}
	return 0;
}

/* The parts of an object that are left after its middle was freed. */
static int leak_part(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		char *p = kzalloc(4096, GFP_KERNEL);

		if (!p)
			return -ENOMEM;
		tk_note(k, p, 1024, TK_KFREE, TK_LEAKED);
		tk_note(k, p + 2048, 2048, TK_PART, TK_LEAKED);
		kmemleak_free_part(p + 1024, 1024);
	}
	return 0;
}

/* From an allocator that calls kmemleak_alloc() itself. */
static int leak_page(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		void *p = (void *)get_zeroed_page(GFP_KERNEL);

		if (!p)
			return -ENOMEM;
		kmemleak_alloc(p, PAGE_SIZE, 1, GFP_KERNEL);
		tk_note(k, p, PAGE_SIZE, TK_PAGE, TK_LEAKED);
	}
	return 0;
}

/*
 * Words that may hint at a lost block: its physical address, its struct page with a bit
 * of a scatterlist, and the address right after its end, where no other block begins.
 */
struct hint {
	unsigned long phys;
	unsigned long page;
	unsigned long end;
};

static struct hint hints[8];

static int leak_hinted(const struct tk_kind *k, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n && i < ARRAY_SIZE(hints); i++) {
		char *p = vzalloc(k->size);
		struct page *page = p ? vmalloc_to_page(p) : NULL;

		if (!p)
			return -ENOMEM;
		hints[i].phys = page_to_phys(page);
		hints[i].page = (unsigned long)page | 2;
		hints[i].end = PAGE_ALIGN((unsigned long)p + k->size);
		barrier_data(&hints[i]);
		tk_note(k, p, k->size, TK_VFREE, TK_LEAKED);
	}
	return 0;
}

static void end_hinted(const struct tk_kind *k)
{
	memset(hints, 0, sizeof(hints));
	barrier_data(hints);
}

/* Refers to freed blocks, in whose place the next block may be allocated. */
static int leak_dangling(const struct tk_kind *k, unsigned int n)
{
	void **pointers = kcalloc(n, sizeof(*pointers), GFP_KERNEL);
	unsigned int i;

	if (!pointers)
		return -ENOMEM;
	for (i = 0; i < n; i++)
		pointers[i] = kmem_cache_alloc(tk_cache(TK_CACHE), GFP_KERNEL);
	for (i = 0; i < n; i++)
		if (pointers[i])
			kmem_cache_free(tk_cache(TK_CACHE), pointers[i]);
	tk_note(k, pointers, n * sizeof(*pointers), TK_KFREE, TK_LEAKED);
	return 0;
}

#define KMALLOC(bytes)							\
	{ "kmalloc-" #bytes, leak_kmalloc, .size = (bytes), .count = 2 }

const struct tk_kind tk_leak_kinds[] = {
	KMALLOC(8),
	KMALLOC(32),
	KMALLOC(64),
	KMALLOC(96),
	KMALLOC(128),
	KMALLOC(192),
	KMALLOC(256),
	KMALLOC(512),
	KMALLOC(710),
	KMALLOC(1024),
	KMALLOC(2048),
	KMALLOC(4096),
	KMALLOC(8192),
	{ "kmalloc-16k", leak_kmalloc, .size = 16 << 10 },
	{ "kmalloc-128k", leak_kmalloc, .size = 128 << 10 },
	{ "kmalloc-1m", leak_kmalloc, .size = 1 << 20 },
	{ "kzalloc", leak_kzalloc, .size = 1024, .count = 3 },
	{ "cache", leak_cache, .count = 3, .where = TK_CACHE },
	{ "cache-ctor", leak_cache, .count = 2, .where = TK_CTOR },
	{ "cache-typesafe", leak_cache, .count = 2, .where = TK_TYPESAFE },
	{ "cache-bulk", leak_bulk, .count = 5 },
	{ "krealloc", leak_krealloc, .size = 512 },
	{ "kmemdup", leak_kmemdup },
	{ "kstrdup", leak_kstrdup },
	{ "vmalloc", leak_vmalloc, .size = 64, .count = 2 },
	{ "vmalloc-100k", leak_vmalloc, .size = 100 << 10 },
	{ "vzalloc-256k", leak_vzalloc, .size = 256 << 10 },
	{ "vzalloc-8m", leak_vzalloc, .size = 8 << 20 },
	{ "percpu", leak_percpu, .size = 64, .count = 4 },
	{ "percpu-pointer", leak_percpu_pointer },
	{ "vmalloc-array", leak_vmalloc_array, .count = 20 },
	{ "vmalloc-chain", leak_vmalloc_chain, .size = 9000, .count = 2 },
	{ "list", leak_list, .count = 10 },
	{ "hlist", leak_hlist, .count = 5 },
	{ "rbtree", leak_rbtree, .count = 10 },
	{ "chain", leak_chain, .count = 3 },
	{ "cycle", leak_chain, .count = 2, .where = 1 },
	{ "self", leak_chain, .count = 1, .where = 1 },
	{ "interior", leak_interior },
	{ "overwritten", leak_overwritten, .size = 40, .count = 4 },
	{ "erased", leak_erased, .size = 56 },
	{ "updated", leak_updated, .size = 88 },
	{ "part", leak_part },
	{ "page", leak_page },
	{ "dangling", leak_dangling, .count = 20 },
	{ "hinted", leak_hinted, .size = 100 << 10, .count = 8,
	  .end = end_hinted },
	{}
};
