// SPDX-License-Identifier: GPL-2.0-only
/*
 * Leak injector: pages of the page allocator, lost or held in all the ways in which the
 * kernel keeps pages. The detector tracks them with pages=track.
 */
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/scatterlist.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

#include "test_kmemtrack.h"

/* How pages are held. */
enum {
	BY_ADDRESS,
	BY_MIDDLE,
	BY_STRUCT,
	BY_TAIL,
	BY_NUMBER,
	BY_PHYS,
	BY_LIST,
	BY_SCATTER,
	BY_TABLE,
	NR_BY,
};

#define NR_HELD		16
#define HELD_ORDER	2
#define EXACT_SIZE	(5 * PAGE_SIZE)

/**
 * struct held - blocks of pages that are held in one way
 * @word: for each block, an address, a number, or another word that refers to it
 * @list: list of the pages
 * @sg: scatterlist of the pages
 * @nr: number of blocks
 */
struct held {
	unsigned long word[NR_HELD];
	struct list_head list;
	struct sg_table sg;
	unsigned int nr;
};

static struct held *held[NR_BY];

static noinline int lose_block(const struct tk_kind *k, void *p, size_t size,
			       enum tk_how how)
{
	if (!p)
		return -ENOMEM;
	tk_note(k, p, size, how, TK_LEAKED);
	return 0;
}

static int leak_pages(const struct tk_kind *k, unsigned int n)
{
	int ret = 0;

	while (n-- && !ret)
		ret = lose_block(k, (void *)__get_free_pages(GFP_KERNEL |
							     __GFP_ZERO,
							     k->where),
				 PAGE_SIZE << k->where, TK_PAGES);
	return ret;
}

static int leak_page(const struct tk_kind *k, unsigned int n)
{
	int ret = 0;

	while (n-- && !ret) {
		struct page *page = alloc_page(GFP_KERNEL | __GFP_ZERO);

		ret = lose_block(k, page ? page_address(page) : NULL, PAGE_SIZE,
				 TK_PAGES);
	}
	return ret;
}

static int leak_compound(const struct tk_kind *k, unsigned int n)
{
	int ret = 0;

	while (n-- && !ret) {
		struct page *page = alloc_pages(GFP_KERNEL | __GFP_ZERO |
						__GFP_COMP, k->where);

		ret = lose_block(k, page ? page_address(page) : NULL,
				 PAGE_SIZE << k->where, TK_PAGES);
	}
	return ret;
}

static int leak_exact(const struct tk_kind *k, unsigned int n)
{
	int ret = 0;

	while (n-- && !ret)
		ret = lose_block(k, alloc_pages_exact(EXACT_SIZE, GFP_KERNEL |
						      __GFP_ZERO),
				 EXACT_SIZE, TK_EXACT);
	return ret;
}

static int leak_bulk(const struct tk_kind *k, unsigned int n)
{
	struct page *pages[16];
	unsigned long nr, i;

	for (; n; n -= nr) {
		memset(pages, 0, sizeof(pages));
		nr = alloc_pages_bulk_array(GFP_KERNEL | __GFP_ZERO,
					    min_t(unsigned int, n,
						  ARRAY_SIZE(pages)), pages);
		if (!nr)
			return -ENOMEM;
		for (i = 0; i < nr; i++)
			lose_block(k, page_address(pages[i]), PAGE_SIZE,
				   TK_PAGES);
	}
	memset(pages, 0, sizeof(pages));
	barrier_data(pages);
	return 0;
}

/* Pages on a list whose head is lost. */
static int leak_list(const struct tk_kind *k, unsigned int n)
{
	struct list_head list;
	int ret = 0;

	INIT_LIST_HEAD(&list);
	while (n-- && !ret) {
		struct page *page = alloc_page(GFP_KERNEL | __GFP_ZERO);

		if (page)
			list_add(&page->lru, &list);
		ret = lose_block(k, page ? page_address(page) : NULL, PAGE_SIZE,
				 TK_PAGES);
	}
	/* Now the first page and the last one refer to each other. */
	list_del_init(&list);
	barrier_data(&list);
	return ret;
}

/* A slab object to which only a page refers: it is lost together with that page. */
static int leak_owner(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		unsigned long *p = (void *)get_zeroed_page(GFP_KERNEL);
		void *block;

		if (!p)
			return -ENOMEM;
		block = tk_make(k, 96, TK_LEAKED);
		p[7] = (unsigned long)block;
		p[8] = (unsigned long)p;
		tk_note(k, p, PAGE_SIZE, TK_PAGES, TK_LEAKED);
		if (!block)
			return -ENOMEM;
	}
	return 0;
}

static int keep(struct held *h, struct page *page, int how)
{
	const unsigned long addr = (unsigned long)page_address(page);
	struct page *all[1 << HELD_ORDER];
	unsigned int i;

	switch (how) {
	case BY_ADDRESS:
		h->word[h->nr] = addr;
		break;
	case BY_MIDDLE:
		h->word[h->nr] = addr + PAGE_SIZE + 1234;
		break;
	case BY_STRUCT:
		h->word[h->nr] = (unsigned long)page;
		break;
	case BY_TAIL:
		h->word[h->nr] = (unsigned long)(page + (1 << HELD_ORDER) - 1);
		break;
	case BY_NUMBER:
		h->word[h->nr] = page_to_pfn(page);
		break;
	case BY_PHYS:
		h->word[h->nr] = page_to_phys(page);
		break;
	case BY_LIST:
		list_add(&page->lru, &h->list);
		break;
	case BY_SCATTER:
		sg_set_page(&h->sg.sgl[h->nr], page, PAGE_SIZE << HELD_ORDER, 0);
		break;
	case BY_TABLE:
		for (i = 0; i < ARRAY_SIZE(all); i++)
			all[i] = page + i;
		h->word[h->nr] = (unsigned long)vmap(all, ARRAY_SIZE(all),
						     VM_MAP, PAGE_KERNEL);
		memset(all, 0, sizeof(all));
		barrier_data(all);
		if (!h->word[h->nr])
			return -ENOMEM;
		break;
	}
	h->nr++;
	return 0;
}

static struct page *page_of(struct held *h, unsigned int i, int how)
{
	const unsigned long word = h->word[i];
	struct page *page;

	switch (how) {
	case BY_ADDRESS:
		return virt_to_page((void *)word);
	case BY_MIDDLE:
		return virt_to_page((void *)(word - PAGE_SIZE - 1234));
	case BY_TAIL:
		return (struct page *)word - (1 << HELD_ORDER) + 1;
	case BY_NUMBER:
		return pfn_to_page(word);
	case BY_PHYS:
		return pfn_to_page(PHYS_PFN(word));
	case BY_LIST:
		page = list_first_entry(&h->list, struct page, lru);
		list_del(&page->lru);
		return page;
	case BY_SCATTER:
		return sg_page(&h->sg.sgl[i]);
	case BY_TABLE:
		page = vmalloc_to_page((void *)word);
		vunmap((void *)word);
		return page;
	default:
		return (struct page *)word;
	}
}

static struct held *new_held(int how)
{
	struct held *h = kzalloc(sizeof(*h), GFP_KERNEL);

	if (!h)
		return NULL;
	INIT_LIST_HEAD(&h->list);
	if (how == BY_SCATTER && sg_alloc_table(&h->sg, NR_HELD, GFP_KERNEL)) {
		kfree(h);
		return NULL;
	}
	return h;
}

/* Each block of pages holds a slab object. */
static int hold_pages(const struct tk_kind *k, unsigned int n)
{
	struct held *h = new_held(k->where);
	int ret = h ? 0 : -ENOMEM;

	WRITE_ONCE(held[k->where], h);
	for (n = min_t(unsigned int, n, NR_HELD); n && !ret; n--) {
		struct page *page = alloc_pages(GFP_KERNEL | __GFP_ZERO,
						HELD_ORDER);
		unsigned long *p;

		if (!page)
			return -ENOMEM;
		p = page_address(page);
		ret = keep(h, page, k->where);
		if (ret) {
			__free_pages(page, HELD_ORDER);
			break;
		}
		tk_note(k, p, PAGE_SIZE << HELD_ORDER, TK_OTHER, TK_HELD);
		p[PAGE_SIZE / sizeof(long) + 3] =
			(unsigned long)tk_make(k, 48, TK_HELD);
	}
	return ret;
}

static void lose_held(const struct tk_kind *k)
{
	struct held *h = READ_ONCE(held[k->where]);
	unsigned int i;

	if (!h)
		return;
	for (i = 0; i < h->nr; i++) {
		struct page *page = page_of(h, i, k->where);
		unsigned long *p = page_address(page);

		kfree((void *)p[PAGE_SIZE / sizeof(long) + 3]);
		memset(p, 0, PAGE_SIZE << HELD_ORDER);
		__free_pages(page, HELD_ORDER);
	}
	if (k->where == BY_SCATTER)
		sg_free_table(&h->sg);
	WRITE_ONCE(held[k->where], NULL);
	kfree(h);
}

#define LOST(name, fn, where_, size_)					\
	{ name, fn, .where = where_, .size = size_, .count = 32,	\
	  .flags = TK_TRACKED }
#define HELD_BY(name, how)						\
	{ name, hold_pages, lose_held, .where = how, .count = NR_HELD,	\
	  .flags = TK_TRACKED | TK_VOLATILE }

const struct tk_kind tk_page_kinds[] = {
	LOST("pages-order-0", leak_pages, 0, PAGE_SIZE),
	LOST("pages-order-1", leak_pages, 1, 2 * PAGE_SIZE),
	LOST("pages-order-2", leak_pages, 2, 4 * PAGE_SIZE),
	LOST("pages-order-3", leak_pages, 3, 8 * PAGE_SIZE),
	LOST("pages-order-4", leak_pages, 4, 16 * PAGE_SIZE),
	LOST("pages-order-5", leak_pages, 5, 32 * PAGE_SIZE),
	LOST("pages-struct", leak_page, 0, PAGE_SIZE),
	LOST("pages-compound", leak_compound, 2, 4 * PAGE_SIZE),
	LOST("pages-exact", leak_exact, 0, EXACT_SIZE),
	LOST("pages-bulk", leak_bulk, 0, PAGE_SIZE),
	LOST("pages-list", leak_list, 0, PAGE_SIZE),
	LOST("pages-owner", leak_owner, 0, PAGE_SIZE),
	HELD_BY("pages-by-address", BY_ADDRESS),
	HELD_BY("pages-by-middle", BY_MIDDLE),
	HELD_BY("pages-by-struct", BY_STRUCT),
	HELD_BY("pages-by-tail", BY_TAIL),
	HELD_BY("pages-by-number", BY_NUMBER),
	HELD_BY("pages-by-phys", BY_PHYS),
	HELD_BY("pages-by-list", BY_LIST),
	HELD_BY("pages-by-scatterlist", BY_SCATTER),
	HELD_BY("pages-by-table", BY_TABLE),
	{}
};
