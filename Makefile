# SPDX-License-Identifier: GPL-2.0
# Thin: each target is a script. CONFIG names a file in configs/.

CONFIG ?= arm64-virt-6.12
ARCH ?= arm64
VERSION ?= 6.12

.PHONY: help source kernel run shell test test-all check host kunit selftest tools \
	fuzz-files bench bench-native install uninstall check-tree \
	check-series patch deb-pkg packages clean distclean

help:
	@sed -n 's/^#: //p' Makefile

#: make run [ARCH=um|BOARD=orangepi-pc|BOARD=raspi3b]   the demonstration: build, boot, leak, scan, report
run: packages
	@scripts/run-demo $(or $(BOARD),$(ARCH))

#: make shell [ARCH=um]        the same, and then a shell in the guest
shell: packages
	@scripts/run-demo -s $(or $(BOARD),$(ARCH))

#: make kernel [CONFIG=name]   build/<name>, an O= directory; names: configs/*.conf
kernel: packages
	@scripts/build-kernel $(CONFIG)

#: make test                   the tests for each change; ends with "N passed, N failed"
test: packages
	@scripts/run-tests

#: make test-all               these, and suites that take too long for each change
test-all: packages
	@scripts/install-packages gcc-riscv64-linux-gnu qemu-system-misc clang qemu-user
	@scripts/run-tests --all

#: make check                  style, host tests and installation, the inner loop
check: packages
	@scripts/run-tests lint host install config

#: make host                   host tests alone: no kernel tree needed
host:
	@scripts/run-tests host

#: make kunit, make selftest   the suites that run in a guest of User-mode Linux
kunit selftest: packages
	@scripts/run-tests um-$@

#: make fuzz-files [SECONDS=n] [SEED=n]   random use of the files in debugfs
fuzz-files: packages
	@KMT_FUZZ=$(or $(SECONDS),3600) KMT_SEED=$(or $(SEED),1) \
		scripts/guest-test fuzz um-debug-6.12

#: make tools [CROSS_COMPILE=]  the program kmemtrack, static, build/tools/kmemtrack
tools:
	@$(MAKE) -s -C tools/mm/kmemtrack O=$(CURDIR)/build/tools CROSS_COMPILE=$(CROSS_COMPILE)

#: make bench                  costs of none, kmemleak and kmemtrack side by side
bench: packages
	@scripts/get-busybox
	@scripts/build-kernel arm64-none-6.12
	@scripts/build-kernel arm64-kmemleak-6.12
	@scripts/build-kernel arm64-virt-6.12
	@BUSYBOX=$(CURDIR)/build/busybox/busybox tools/testing/kmemtrack/bench/run
	@$(MAKE) -s -C tools/testing/kmemtrack bench
	@$(MAKE) -s bench-native

#: make bench-native           only those in nanoseconds, on User-mode Linux
bench-native: packages
	@scripts/build-kernel um-none-6.12
	@scripts/build-kernel um-kmemleak-6.12
	@scripts/build-kernel um-6.12
	@tools/testing/kmemtrack/bench/run --native $(BENCH)

#: make install KDIR=tree      overlay and patches into another tree; uninstall too
#: make check-tree KDIR=tree   checks whether they would fit
install uninstall check-tree:
	@scripts/install-tree $(@:check-tree=check) "$(KDIR)" \
		$(if $(filter file,$(origin VERSION)),,$(VERSION))

#: make patch                  the same as a series for git am, build/patches-6.12
patch: packages
	@scripts/make-patches $(VERSION)

#: make check-series [VERSION=6.1] [CONFIGS=]  does it build after each patch?
check-series: packages
	@CHECK_CONFIGS="$(CONFIGS)" scripts/check-series $(VERSION)

#: make deb-pkg [CONFIG=name or .config]   Debian packages of such a kernel, build/deb
deb-pkg: packages
	@scripts/make-deb $(CONFIG)

#: make source                 the patched tree, build/linux-6.12
source: packages
	@scripts/patch-tree $(VERSION)

packages:
	@scripts/install-packages

#: make clean, make distclean  what was built; also the sources and BusyBox
clean:
	rm -rf build/arm-* build/arm64-* build/x86_64-* build/um-* build/riscv64-* \
		build/kunit build/lint-* build/deb build/patches-* build/series \
		build/test build/demo build/run build/tools

distclean: clean
	rm -rf build/linux-* build/src build/stage-* build/busybox*
