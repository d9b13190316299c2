// SPDX-License-Identifier: GPL-2.0
/* Opens and closes a terminal over and over, as a daemon without a modem does. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int i, fd;

	if (argc != 3) {
		fprintf(stderr, "usage: %s <tty> <times>\n", argv[0]);
		return 2;
	}
	for (i = 0; i < atoi(argv[2]); i++) {
		fd = open(argv[1], O_RDWR | O_NOCTTY | O_NONBLOCK);
		if (fd < 0) {
			perror(argv[1]);
			return 1;
		}
		close(fd);
	}
	return 0;
}
