// SPDX-License-Identifier: GPL-2.0-only
#define TWIN	twin_a

#include "test_kmemtrack_twin.h"

module_init(twin_a_begin);
module_exit(twin_a_end);
