"""Where a process stands, and the addresses of links.

An address is `unix:<path>`, `tcp:<host>:<port>`, or both with the node's name:
`unix:<path>,tcp:<host>:<port>,node:<name>`. Whoever is on the node takes the Unix socket, whoever is on
another one takes TCP, where both ends prove to know the engine's secret (handshake.py).
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Site:
    """`host` is the address that TCP links are taken on; without one, or without `secret`, there are Unix
    sockets only. `directory` is the Directory's address; empty means its socket in the run folder.
    """

    node: str = ""
    host: str = ""
    secret: str = field(default="", repr=False)
    directory: str = ""

    @property
    def placement(self) -> dict[str, dict[str, str]]:
        """Ray's option that keeps an actor on this node; none where the node has no name."""
        return {"label_selector": {NODE_LABEL: self.node}} if self.node else {}

    @property
    def takes_tcp(self) -> bool:
        """Whether peers on other nodes can come here."""
        return bool(self.host and self.secret)


NODE_LABEL = "hereabouts-node"
"""What Ray knows a node by; actors are placed by it."""

HERE = Site()
"""A node that is alone."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address, taken apart."""

    path: str = ""
    host: str = ""
    port: int = 0
    node: str = ""

    def __str__(self) -> str:
        parts = [f"unix:{self.path}"] if self.path else []
        if self.host:
            parts += [f"tcp:{self.host}:{self.port}", f"node:{self.node}"]
        return ",".join(parts)

    def is_near(self, site: Site) -> bool:
        """Whether its Unix socket is to be taken from there."""
        return bool(self.path) and (not self.host or self.node == site.node)


def parse(address: str) -> Address:
    """Takes an address apart. Raises ValueError for none."""
    found: dict[str, str] = {}
    for part in address.split(","):
        scheme, _, rest = part.partition(":")
        found[scheme] = rest
    if not found.keys() <= {"unix", "tcp", "node"} or not found.keys() & {"unix", "tcp"}:
        raise ValueError(f"{address!r} is no link address")
    host, _, port = found.get("tcp", "").rpartition(":")
    return Address(found.get("unix", ""), host, int(port or 0), found.get("node", ""))


def address_of(run_dir: str, name: str, site: Site = HERE, port: int = 0) -> str:
    """Where a process of this node listens: a socket in the run folder, and TCP on a port (0: any) if the
    site takes it.
    """
    path = f"{run_dir}/{name}.sock"
    if site.takes_tcp:
        return str(Address(path, site.host, port, site.node))
    return str(Address(path))
