# SPDX-License-Identifier: GPL-2.0
# bash completion for kmemtrack

_kmemtrack()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
	local commands="scan report top memory growth refs diff flame plot watch export doctor save"
	local all="--help --root --color" lines="--vmlinux --modules --source"
	local command= i opts

	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-r|--root|--color)
			((i++)) ;;
		-*)	;;
		*)	command=${COMP_WORDS[i]}
			break ;;
		esac
	done

	case $prev in
	-r|--root|--modules|--source)
		COMPREPLY=($(compgen -d -- "$cur"))
		return ;;
	--vmlinux|-o|--output)
		COMPREPLY=($(compgen -f -- "$cur"))
		return ;;
	--color)
		COMPREPLY=($(compgen -W "auto always never" -- "$cur"))
		return ;;
	-s|--sort)
		opts="bytes objects change rate name"
		[ "$command" != plot ] || opts="bytes change"
		COMPREPLY=($(compgen -W "$opts" -- "$cur"))
		return ;;
	-n|--number|-d|--delay|--status)
		return ;;
	esac

	case $command in
	"")	COMPREPLY=($(compgen -W "$commands $all --version" -- "$cur"))
		return ;;
	scan)	opts="$all $lines --quiet --number" ;;
	report)	opts="$all $lines --output --json --ktap --kmemleak --number" ;;
	top)	opts="$all --json --number --delay --once --sort" ;;
	memory|refs)
		opts="$all --output --json" ;;
	growth)	opts="$all $lines --output --json --number" ;;
	diff)	opts="$all $lines --output --json --verbose --functions" ;;
	flame)	opts="$all --output --leaks --live --folded --objects" ;;
	plot)	opts="$all --output --number --sort" ;;
	watch)	opts="$all $lines --output --json --ktap --quiet --number --clear --status" ;;
	export)	opts="$all --output --number --prometheus" ;;
	*)	opts=$all ;;
	esac

	case $cur in
	-*)	COMPREPLY=($(compgen -W "$opts" -- "$cur")) ;;
	*)	case $command in
		watch)	COMPREPLY=($(compgen -c -- "$cur")) ;;
		save)	COMPREPLY=($(compgen -d -- "$cur")) ;;
		report|memory|growth|diff|flame|plot)
			COMPREPLY=($(compgen -f -- "$cur")) ;;
		esac ;;
	esac
}

complete -o filenames -F _kmemtrack kmemtrack
