#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Objects that are handed on all the time, with confirmation by waiting.
cd "$(dirname "$0")" && CONFIRM=wait exec sh ./moving.sh "$@"
