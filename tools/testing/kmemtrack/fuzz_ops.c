// SPDX-License-Identifier: GPL-2.0
/* Fuzzer of operations on a tracker, compared with the oracle. */
#include "fuzz.h"
#include "steps.h"

#define MAX_STEPS	400

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct steps t;

	t.src = (struct source){ .data = data, .left = size, .fuzzed = true };
	steps_begin(&t);
	while (t.src.left && t.nr < MAX_STEPS)
		step(&t);
	steps_end(&t);
	return 0;
}
