// SPDX-License-Identifier: GPL-2.0
/*
 * Commands to the running kernel. Saved files are never written to: files of debugfs are
 * recognised by their file system.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "kmemtrack.h"

#define DEBUGFS_MAGIC	0x64626720

bool is_live(void)
{
	struct statfs fs;

	/* DEBUGFS is live even if debugfs is not mounted. */
	return !strcmp(get_root(), DEBUGFS) ||
	       (!statfs(get_root(), &fs) && (uint32_t)fs.f_type == DEBUGFS_MAGIC);
}

int write_command(const char *command)
{
	char *path;
	ssize_t n;
	int fd, error = 0;

	if (!is_live())
		return -EROFS;
	path = kernel_path("kmemtrack");
	fd = open(path, O_WRONLY | O_CLOEXEC);
	free(path);
	if (fd < 0)
		return -errno;
	n = write(fd, command, strlen(command));
	if (n < 0)
		error = -errno;
	close(fd);
	return error;
}
