"""Who is on a channel, merged from what each gateway says of its own sockets: an observed-remove set (PRE-1).

Every gateway incarnation is a replica and the only writer of its rows. A row is a connection and its birth:
a clock of the replica that rises with each (re)subscription. Whatever order, however often deltas arrive,
a birth that has ended never comes back, so there are no ghosts and no tombstones that stay.

Bieniusa et al., "An optimized conflict-free replicated set" (2012), with one refinement: instead of a
version vector without gaps, each delta says up to which birth everything of its replica is `settled`
(answered by an owner, or ended), since one room sees only some of a gateway's births.
"""

from dataclasses import dataclass, field

TOMBS_LOOKED_THROUGH = 64
"""Ends that are remembered before it is looked which of them are settled."""


@dataclass(slots=True)
class Replica:
    """What one gateway incarnation said of one channel."""

    rows: dict[str, int] = field(default_factory=dict)
    """Connection → birth of its living subscription."""
    tombs: dict[str, int] = field(default_factory=dict)
    """Connection → its newest birth that has ended, where a late copy may still come."""
    settled: int = 0
    """A birth at or below it that has no row comes too late."""
    next_look: int = TOMBS_LOOKED_THROUGH

    def settle(self, settled: int) -> None:
        """Everything up to there has been answered or has ended: what needs no tomb any more goes."""
        self.settled = max(self.settled, settled)
        if len(self.tombs) >= self.next_look:
            self.tombs = {conn: birth for conn, birth in self.tombs.items() if birth > self.settled}
            self.next_look = max(TOMBS_LOOKED_THROUGH, 2 * len(self.tombs))


@dataclass(slots=True)
class SocketSet:
    """The union of all replicas. A connection that is resumed elsewhere has two rows for a while."""

    replicas: dict[str, Replica] = field(default_factory=dict)

    def add(self, replica: str, conn: str, birth: int = 0, settled: int = 0) -> bool:
        """A subscription. False where it has ended already: this is a late copy.

        `birth` 0 is a peer that keeps no clock; its word is taken as it comes.
        """
        known = self.replicas.get(replica)
        if known is None:
            known = self.replicas[replica] = Replica()
        row = known.rows.get(conn)
        if row is None and birth and (birth <= known.settled or birth <= known.tombs.get(conn, 0)):
            return False
        known.rows[conn] = birth if row is None else max(row, birth)
        known.settle(settled)
        return True

    def remove(self, replica: str, conn: str, birth: int = 0, settled: int = 0) -> bool:
        """A subscription has ended, with all earlier ones of that connection there. Whether a row went."""
        known = self.replicas.get(replica)
        if known is None:
            if not birth:
                return False
            known = self.replicas[replica] = Replica()
        row = known.rows.get(conn)
        gone = row is not None and (not birth or row <= birth)
        if gone:
            del known.rows[conn]
        if birth > max(known.settled, known.tombs.get(conn, 0)):
            known.tombs[conn] = birth
        known.settle(settled)
        return gone

    def void(self, replica: str, settled: int) -> list[str]:
        """The replica has told all its rows anew: what was born up to `settled` is no more. Who that was."""
        known = self.replicas.get(replica)
        if known is None:
            if settled:
                self.replicas[replica] = Replica(settled=settled)
            return []
        gone = [conn for conn, birth in known.rows.items() if birth <= settled]
        for conn in gone:
            del known.rows[conn]
        known.settle(settled)
        return gone

    def drop(self, replica: str) -> list[str]:
        """The replica is no more, or tells everything anew when it is back. Whose rows went."""
        known = self.replicas.pop(replica, None)
        return [] if known is None else list(known.rows)

    def has(self, conn: str) -> bool:
        """Whether any replica has it."""
        return any(conn in known.rows for known in self.replicas.values())

    def holds(self, replica: str) -> bool:
        """Whether a replica has any rows."""
        known = self.replicas.get(replica)
        return known is not None and bool(known.rows)

    def gateways_of(self, conn: str) -> list[str]:
        """The replicas that have it."""
        return [name for name, known in self.replicas.items() if conn in known.rows]

    def conns(self) -> set[str]:
        """Everybody."""
        return {conn for known in self.replicas.values() for conn in known.rows}

    def __len__(self) -> int:
        return sum(len(known.rows) for known in self.replicas.values())
