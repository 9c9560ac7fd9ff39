"""What may never be, in any world.

Watched all the time: a slot has one committer per epoch, and none whose epoch is over; a view's version
rises at everybody who knows one and means the same to all. Asked for when the engine has settled: all know
the newest view, and every subscriber has everything, pushed and not asked for again. At the end the history
checker judges what the clients wrote down.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest
from rt_client.views import PresenceView, StreamView
from simulated.loop import current

from actors.router import Router
from cluster.check import check
from cluster.history import End, Logged, entries
from serve_app.takeover import Takeover
from storage.messages import Advance

if TYPE_CHECKING:
    from simulated.world import World


class Invariants:
    """Of one world."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._committers: dict[tuple[int, int], Any] = {}
        """(slot, epoch) → the process that committed in it."""
        self._views: dict[int, Any] = {}
        """Version → what it says."""
        self.found: list[str] = []

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """Looks over everybody's shoulder from here on."""
        world = self._world
        log = world.database.log
        log.on_append = self._appended
        adopt, recover_all = Router.adopt_view, Takeover.recover_all

        def adopt_view(router: Router, view: Any) -> None:
            before = router.view.version
            adopt(router, view)
            self._adopted(router, before)

        def recover(takeover: Takeover, channel: Any) -> None:
            world.count("hub recovers")
            recover_all(takeover, channel)

        patch.setattr(Router, "adopt_view", adopt_view)
        patch.setattr(Takeover, "recover_all", recover)

    def _violated(self, what: str) -> None:
        self.found.append(what)

    def _appended(self, who: str, fences: Sequence[tuple[int, int]], advances: Sequence[Advance]) -> None:
        world = self._world
        world.note("append", who, [(each.room, each.after) for each in advances])
        world.count("commits")
        ownership = world.database.slots.ownership
        for slot, epoch in fences:
            if ownership.epochs[slot] != epoch:
                self._violated(
                    f"{who} committed in slot {slot} under {epoch}, it is {ownership.epochs[slot]}"
                )
            first = self._committers.setdefault((slot, epoch), who)
            if first != who:
                self._violated(f"{who} and {first} both committed in slot {slot} under epoch {epoch}")

    def _adopted(self, router: Router, before: int) -> None:
        view, process = router.view, current()
        if view.version == before:
            return
        if view.version < before:
            self._violated(f"{process} went back from view {before} to {view.version}")
        what = (tuple(view.owners), tuple(view.epochs))
        if self._views.setdefault(view.version, what) != what:
            self._violated(f"{process} has another view {view.version} than others")

    def settled(self, when: str) -> None:
        """Asked for some seconds after the last trouble. Raises Broken."""
        world = self._world
        found = [*self.found, *world.loop.broken]
        version = world.database.slots.ownership.version
        routers = [(each.process.name, each.router) for each in world.gateways.values()]
        routers += [(each.process.name, each.shard.router) for each in world.shards.values()]
        for name, router in routers:
            if router.view.version != version:
                found.append(f"{name} knows view {router.view.version} of {version}")
            elif set(router.view.addresses) != set(world.shards):
                found.append(f"{name} knows shards {sorted(router.view.addresses)} of {sorted(world.shards)}")
            elif set(router.view.gateways) != set(world.gateways):
                found.append(f"{name} knows gateways {sorted(router.view.gateways)}, not those there are")
        tops = self.tops()
        for client in world.clients:
            if client.socket is None:
                found.append(f"client {client.name[:8]} has no socket")
            elif client.unacked:
                found.append(f"client {client.name[:8]} waits for {len(client.unacked)} acknowledgements")
            for ch, view in client.views.items():
                if ch not in client.live:
                    found.append(f"client {client.name[:8]} is not subscribed to {ch[:13]}")
                elif isinstance(view, StreamView) and ch in tops and view.offset != tops[ch]:
                    found.append(f"client {client.name[:8]} is at {view.offset} of {tops[ch]} in {ch[:13]}")
        if found:
            raise world.broken(f"{when}: " + "; ".join(found[:6]))

    def rested(self, when: str) -> None:
        """Long after the last trouble: whoever watches a room sees exactly who is there. Raises Broken."""
        world = self._world
        found = []
        for client in world.clients:
            for ch, view in client.views.items():
                if isinstance(view, PresenceView):
                    room = ch.removeprefix("presence:")
                    there = {
                        each.socket.connection.id
                        for each in world.clients
                        if each.socket is not None and room in each.live
                    }
                    seen = {ref.partition(".")[0] for ref in view.metas}
                    if seen != there:
                        found.append(
                            f"ghosts {len(seen - there)}, missing {len(there - seen)} in {room[:13]}"
                        )
        if found:
            raise world.broken(f"{when}: presence: " + "; ".join(found))

    def tops(self) -> dict[str, int]:
        """Where each room's stream ends: the log, or what the activation in memory says."""
        world, tops = self._world, {}
        for ch in world.rooms:
            key = ch.removeprefix("room:")
            if ch in world.memory:
                for shard in world.shards.values():
                    held = shard.shard.activations.get(("room", key))
                    if held is not None and held.state is not None:
                        tops[ch] = held.state.stream.top
            else:
                tops[ch] = len(world.database.log.rooms[key].rows)
        return tops

    def judged(self) -> None:
        """The history checker's verdict. Raises Broken."""
        world = self._world
        rooms = world.database.log.rooms
        log = [
            Logged(ch=f"room:{key}", epoch=room.epoch, offset=row.offset, id=row.id)
            for key, room in rooms.items()
            for row in room.rows
        ]
        for client in world.clients:
            client.log += [End(ch=ch) for ch in client.views if ch not in world.memory]
        verdict = check([entries(each.name, each.log) for each in world.clients], [entries("log", log)])
        for client in world.clients:
            world.note(client.log)
        world.counts["seen"] += verdict.publications_seen
        world.counts["acked"] += verdict.acked_durable
        world.counts["resumes"] += verdict.resumes_within_limit
        world.counts["resumes recovered"] += verdict.resumes_recovered
        if verdict.violations:
            raise world.broken("; ".join(verdict.faults[:4]))
