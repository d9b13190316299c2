// SPDX-License-Identifier: GPL-2.0-only
#define TWIN	twin_b

#include "test_kmemtrack_twin.h"

module_init(twin_b_begin);
module_exit(twin_b_end);
