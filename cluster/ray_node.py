"""`ray start` for a node that joins a head on the same machine, on loopback.

With RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0, which keeps Ray on 127.0.0.1, the command refuses to start any node
but a head; with 1 it puts the machine's own address in the place of 127.0.0.1. Here it is allowed to, once it
has taken note of the address; the daemons that it starts inherit the 0.
"""

import sys

from ray._private import ray_constants, services
from ray.scripts import scripts

LOOPBACK = "127.0.0.1"


def main() -> None:
    services.get_node_ip_address = lambda *_: LOOPBACK
    ray_constants.ENABLE_RAY_CLUSTER = True
    sys.argv[0] = "ray"
    scripts.main()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
