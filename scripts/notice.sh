#!/bin/sh
# Writes NOTICE: the licences of all modules that mlopsctl links, on Linux and
# on macOS, from the module cache. Modules of one licence text share it.
set -eu
export LC_ALL=C
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for os in linux/amd64 linux/arm64 darwin/arm64; do
	GOOS=${os%/*} GOARCH=${os#*/} CGO_ENABLED=0 go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/mlopsctl
done | sort -u | grep . >"$work/modules"
mkdir "$work/texts"
while read -r path version dir; do
	cat /dev/null >"$work/text"
	for file in "$dir"/LICENSE* "$dir"/LICENCE* "$dir"/COPYING* "$dir"/NOTICE "$dir"/NOTICE.*; do
		case $file in *.go) continue ;; esac
		[ -f "$file" ] && { tr -d '\r' <"$file"; echo; } >>"$work/text"
	done
	[ -s "$work/text" ] || { echo "$path $version has no licence file" >&2; exit 1; }
	sum=$(cksum <"$work/text" | tr ' ' -)
	[ -f "$work/texts/$sum" ] || cp "$work/text" "$work/texts/$sum"
	echo "$sum $path $version" >>"$work/list"
done <"$work/modules"
{
	echo "mlopsctl links the Go standard library and the modules below, each under its own licence."
	echo "The source of each is at the path and version named. This file is written by scripts/notice.sh."
	echo
	echo "================================================================================"
	echo "The Go standard library and runtime"
	echo
	cat "$(go env GOROOT)/LICENSE"
	for sum in $(awk '!seen[$1]++ {print $1}' "$work/list"); do
		echo
		echo "================================================================================"
		awk -v s="$sum" '$1 == s {print $2, $3}' "$work/list"
		echo
		cat "$work/texts/$sum"
	done
} >NOTICE
