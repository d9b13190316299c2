/* SPDX-License-Identifier: GPL-2.0 */
#ifndef FUZZ_H
#define FUZZ_H

#include "env.h"

/* libFuzzer calls it with each input. */
int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

#endif /* FUZZ_H */
