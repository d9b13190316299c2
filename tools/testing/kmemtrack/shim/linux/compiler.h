/* SPDX-License-Identifier: GPL-2.0 */
/* For vendor/: all that is needed is in env.h. */
#include "../env.h"
