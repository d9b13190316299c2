#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# moving.sh with confirm=wait
cd "$(dirname "$0")" && CONFIRM=wait exec sh ./moving.sh "$@"
