#!/usr/bin/env bash
# A Docker engine on a machine that has none and can pull no image:
#
#   compose/ci/engine.sh start    fetch what is missing, start the engine, make the images
#   compose/ci/engine.sh env      the variables for a shell: eval "$(compose/ci/engine.sh env)"
#   compose/ci/engine.sh stop     stop the engine; its data stays
#   compose/ci/engine.sh purge    stop it and remove its data; what was fetched stays
#
# It needs Debian, root, Go, and the registries of both. Everything lies under
# $MLOPS_HOME/engine (default ~/.mlops/engine): data, socket, and a cache that
# makes the next start quick. It never talks to another engine, and does not
# start beside one, because two would share their firewall rules.
#
# The images debian:bookworm-slim, postgres, redis and versity/versitygw that it
# makes are STAND-INS for the official ones: the same software from Debian's
# packages and from Go modules, under the same names, with the entry variables,
# users and ports that the stack uses. They prove the stack, not those images.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${MLOPS_HOME:-$HOME/.mlops}/engine
cache=$root/cache
socket=$root/docker.sock
pidfile=$root/dockerd.pid

compose_module=github.com/docker/compose/v5@v5.5.1
gateway_module=github.com/versity/versitygw@v1.8.0
ca=/etc/ssl/certs/ca-certificates.crt
inside=/etc/ssl/host-bundle.crt # a place that Debian's ca-certificates does not write to

say() { echo "engine: $*" >&2; }
die() { say "$*"; exit 1; }
ours() { env -u DOCKER_CONTEXT -u DOCKER_TLS_VERIFY DOCKER_HOST="unix://$socket" DOCKER_CONFIG="$root/config" DOCKER_BUILDKIT=0 docker "$@"; }

# running tells whether the process in the pidfile is our engine.
running() {
	[ -s "$pidfile" ] && tr '\0' ' ' <"/proc/$(cat "$pidfile")/cmdline" 2>/dev/null | grep -qF -- "--data-root $root/data "
}

variables() {
	cat <<-EOF
		export DOCKER_HOST='unix://$socket'
		export DOCKER_CONFIG='$root/config'
		export DOCKER_BUILDKIT=0
		export MLOPS_BUILD_NETWORK=host
		unset DOCKER_CONTEXT DOCKER_TLS_VERIFY
	EOF
}

packages() {
	local missing=()
	command -v dockerd >/dev/null || missing+=(docker.io)
	command -v iptables >/dev/null || missing+=(iptables)
	command -v debootstrap >/dev/null || missing+=(debootstrap)
	[ ${#missing[@]} -eq 0 ] && return
	command -v apt-get >/dev/null || die "this machine is no Debian and has no ${missing[*]}; install Docker, and use --runtime docker without this script"
	say "installing ${missing[*]}"
	local policy=/usr/sbin/policy-rc.d made=
	if [ ! -e $policy ]; then # Debian starts what it installs; the engine here is ours alone
		printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy && made=1
	fi
	local rc=0
	{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$root/packages.log" 2>&1 || rc=$?
	[ -z "$made" ] || rm -f $policy
	[ $rc -eq 0 ] || { tail -n 5 "$root/packages.log" >&2; die "Debian's packages cannot be installed"; }
}

# program builds a main package of a Go module into the cache, once.
program() { # file, module@version, package below the module
	[ -x "$cache/$1" ] && return
	say "building $1 from $2"
	local dir
	dir=$(mktemp -d "$cache/.build-XXXXXX")
	# "go install module@version" refuses modules with replace directives.
	(cd "$dir" && printf 'module engine\n\ngo 1.26\n' >go.mod && go get "${2%@*}/$3@${2#*@}" &&
		CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$cache/.$1" "${2%@*}/$3") >"$root/$1.log" 2>&1 ||
		{ tail -n 5 "$root/$1.log" >&2; die "$2 cannot be built"; }
	rm -rf "$dir"
	mv "$cache/.$1" "$cache/$1"
}

# base makes the file system of debian:bookworm-slim, once.
base() {
	[ -s "$cache/debian.tar" ] && return
	say "debootstrap of Debian bookworm (2 to 3 minutes)"
	rm -rf "$cache/rootfs"
	debootstrap --variant=minbase bookworm "$cache/rootfs" >"$root/debootstrap.log" 2>&1 ||
		{ tail -n 5 "$root/debootstrap.log" >&2; die "debootstrap failed"; }
	if [ -s $ca ]; then # without the host's bundle nothing inside reaches a registry behind a proxy
		install -D -m 644 $ca "$cache/rootfs$inside"
	fi
	rm -rf "$cache"/rootfs/var/cache/apt/archives/*.deb "$cache"/rootfs/var/lib/apt/lists/* "$cache"/rootfs/usr/share/{doc,man,locale}/*
	tar -C "$cache/rootfs" -cf "$cache/.debian.tar" .
	mv "$cache/.debian.tar" "$cache/debian.tar"
	rm -rf "$cache/rootfs"
}

engine() {
	if running && ours version >/dev/null 2>&1; then return; fi
	if pgrep -x dockerd >/dev/null; then
		die "another engine runs on this machine; use it (mlopsctl start --runtime docker), two would share their firewall rules"
	fi
	[ "$(id -u)" -eq 0 ] || die "an engine needs root"
	say "starting dockerd in $root"
	rm -f "$pidfile"
	setsid dockerd --data-root "$root/data" --exec-root "$root/exec" --host "unix://$socket" --pidfile "$pidfile" \
		--bip 10.214.0.1/24 --default-address-pool base=10.213.0.0/16,size=24 \
		--log-opt max-size=20m --log-opt max-file=3 </dev/null >>"$root/dockerd.log" 2>&1 &
	local i
	for ((i = 0; i < 240; i++)); do
		ours version >/dev/null 2>&1 && return
		sleep 0.25
	done
	tail -n 5 "$root/dockerd.log" >&2
	die "dockerd does not answer after 60 s"
}

# image builds a stand-in unless the one there is made of the same files.
image() { # name, folder of its build context
	local sum
	sum=$(cd "$2" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16)
	[ "$(ours image inspect -f '{{index .Config.Labels "mlops.standin"}}' "$1" 2>/dev/null)" = "$sum" ] && return
	say "making the stand-in $1"
	ours build --quiet --network host --label "mlops.standin=$sum" -t "$1" "$2" >"$root/image.log" 2>&1 ||
		{ tail -n 5 "$root/image.log" >&2; die "$1 cannot be made"; }
}

images() {
	if ! ours image inspect debian:bookworm-slim >/dev/null 2>&1; then
		say "importing the stand-in debian:bookworm-slim"
		local changes=(-c 'CMD ["bash"]' -c 'ENV LANG=C.UTF-8')
		if [ -s $ca ]; then
			changes+=(-c "ENV SSL_CERT_FILE=$inside" -c "ENV PIP_CERT=$inside" -c "ENV REQUESTS_CA_BUNDLE=$inside")
		fi
		ours import "${changes[@]}" "$cache/debian.tar" debian:bookworm-slim >/dev/null
	fi
	image postgres:15-bookworm "$here/standin/postgres"
	image redis:7-bookworm "$here/standin/redis"
	local s3=$cache/versitygw-image
	rm -rf "$s3" && mkdir -p "$s3"
	cp "$here"/standin/versitygw/* "$cache/versitygw" "$s3"
	image versity/versitygw:v1.8.0 "$s3"
}

start() {
	install -d -m 700 "$root"
	mkdir -p "$cache" "$root/config/cli-plugins"
	exec 9>"$root/lock"
	flock 9
	packages
	command -v go >/dev/null || die "Go is missing; install it"
	base & # it waits for the network, the compiler for the processor
	program docker-compose $compose_module cmd
	program versitygw $gateway_module cmd/versitygw
	ln -sf "$cache/docker-compose" "$root/config/cli-plugins/docker-compose"
	wait $!
	engine 9>&-
	images
	say "ready; its images are stand-ins made on this machine, not the official ones"
	say "eval \"\$($0 env)\" lets a shell use it"
}

stop() {
	running || return 0
	local pid i
	pid=$(cat "$pidfile")
	say "stopping dockerd ($pid)"
	kill "$pid"
	for ((i = 0; i < 240; i++)); do
		kill -0 "$pid" 2>/dev/null || return 0
		sleep 0.25
	done
	die "dockerd ($pid) does not end"
}

case ${1:-} in
start) start ;;
env) variables ;;
stop) stop ;;
purge)
	stop
	umount "$root"/exec/netns/* 2>/dev/null || true
	rm -rf "$root/data" "$root/exec" "$socket" "$pidfile"
	;;
*) die "usage: engine.sh start|env|stop|purge" ;;
esac
