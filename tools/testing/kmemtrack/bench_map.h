/* SPDX-License-Identifier: GPL-2.0 */
#ifndef BENCH_MAP_H
#define BENCH_MAP_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Zeroed memory whose pages are allocated when they are touched. */
static inline void *map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return p;
}

#endif /* BENCH_MAP_H */
