# SPDX-License-Identifier: GPL-2.0
# Sourced by the scripts in this directory.

TOP=$(cd "$(dirname "$0")/.." && pwd)
BUILD=${KMT_BUILD:-$TOP/build}
JOBS=${JOBS:-$(nproc)}
export LC_ALL=C

# What a make that calls this was given, such as VERSION=, is not for the kernel's make.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES
# What tests compare, and what another user reads, has the usual permissions.
umask 022
case $TOP:$BUILD in
*[!A-Za-z0-9_./+:@~-]*)
	echo "${0##*/}: the kernel's build does not work in a directory of this name: $TOP" >&2
	exit 1 ;;
esac

# Version strings in the kernel must not differ from build to build.
export KBUILD_BUILD_TIMESTAMP="Thu Jan  1 00:00:00 UTC 2026"
export KBUILD_BUILD_USER=kmemtrack
export KBUILD_BUILD_HOST=localhost

say()
{
	echo "== $*"
}

die()
{
	echo "${0##*/}: $*" >&2
	exit 1
}

# apt_get <argument...>: apt-get without questions, which retries downloads
apt_get()
{
	apt-get -q -o Acquire::Retries=3 "$@" </dev/null
}

# one_at_a_time <name>: takes a lock until this script ends
one_at_a_time()
{
	mkdir -p "$BUILD"
	exec 9>"$BUILD/.$1"
	flock 9
}

# Paths that this project adds to a kernel tree.
OVERLAY="include lib mm tools Documentation Kconfig.kmemtrack"

# copy_overlay <dir>: copies the overlay into a kernel tree
copy_overlay()
{
	(cd "$TOP" && tar -cf - --exclude=.gitignore --exclude='*.o' \
		--exclude='*.ko' --exclude='.*.cmd' --exclude='*.mod*' \
		--exclude='*.symvers' --exclude='*.order' \
		--exclude=tools/mm/kmemtrack/kmemtrack $OVERLAY) |
		tar -xf - --no-same-owner -C "$1"
	mv "$1/Kconfig.kmemtrack" "$1/lib/Kconfig.kmemtrack"
}

# load_config <name>: sets arch, cross, image, version, fragments, kin, machine. For each
# <name>-<version>.conf, the name <name>-none-<version> is the same kernel without a
# detector, and <name>-kmemleak-<version> the same with kmemleak.
load_config()
{
	conf=$1
	if [ ! -f "$TOP/configs/$1.conf" ]; then
		conf=$(echo "$1" | sed -n 's/-\(none\|kmemleak\)-\([0-9.]*\)$/-\2/p')
		[ -f "$TOP/configs/$conf.conf" ] ||
			die "no configuration '$1'; known: $(cd "$TOP/configs" &&
			    ls -- *.conf | sed 's/\.conf$//' | tr '\n' ' ')"
	fi
	kin= machine=
	. "$TOP/configs/$conf.conf"
	if [ "$conf" != "$1" ]; then
		kin="$conf $kin"
		fragments=$(echo "$fragments" |
			sed 's/ \(kmemtrack\|injector\|kunit\|demo\)\.config//g')
		case $1 in
		*-kmemleak-*) fragments="$fragments kmemleak.config" ;;
		esac
	fi
	obj=$BUILD/$1
	tree=$BUILD/linux-$version
}

# kmake <target...>: the kernel's make in the O= directory of the loaded config
kmake()
{
	make -C "$tree" O="$obj" ARCH="$arch" CROSS_COMPILE="$cross" \
		${kmake_cc:+"CC=$kmake_cc"} --no-print-directory -j"$JOBS" "$@"
}

# External modules and the compiler check of Kbuild see the same compiler.
use_ccache()
{
	kmake_cc=
	if command -v ccache >/dev/null; then
		kmake_cc="ccache ${cross}gcc"
	fi
}
