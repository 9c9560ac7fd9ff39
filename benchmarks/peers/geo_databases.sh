#!/bin/sh
# Installs Debian's PostGIS and Redis, as root: what answers are checked against (`make test-full`) and what
# the kernels are measured beside (`make bench`). Nothing is started: whoever needs one runs its own.
set -eu
postgis() { ls /usr/share/postgresql/*/extension/postgis.control >/dev/null 2>&1; }
redis() { command -v redis-server >/dev/null; }
if postgis && redis; then exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "no PostGIS or no Redis (apt-get install postgresql-15-postgis-3 redis-server as root)" >&2
	exit 1
fi
echo "installing PostGIS and Redis from Debian" >&2
apt-get update -qq
packages=$(apt-cache search --names-only '^postgresql-[0-9]+-postgis-3$' | cut -d' ' -f1 | sort -V | tail -n 1)
policy=/usr/sbin/policy-rc.d
if ! [ -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod 755 $policy
	trap 'rm -f $policy' EXIT
fi
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages redis-server >/dev/null
