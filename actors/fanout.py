"""A shard's way to gateways: one message to each that hears a channel (FAN-1, FAN-2)."""

from actors import messages as wire
from actors.effects import Fan, Send
from actors.link import Link
from actors.metrics import counter
from actors.occupancy import Tellers
from actors.relay import Relays
from actors.router import Router

_pushes, _floods = counter("pushes"), counter("floods")


RELAY_ABOVE = 5_000
"""A room with more members than this goes through relays, if there are several gateways and shards."""

FEWER = 0.8
"""It is sent directly again with so much fewer."""


class FanOut:
    """The gateways that this shard can reach, and what they have told."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self.relay_above = RELAY_ABOVE
        self.gateways: dict[str, Link] = {}
        """By incarnation."""
        self._names: dict[str, str] = {}
        self._tellers = Tellers()
        self.relays = Relays(router, self.gateways, self._send)

    def opened(self, hello: wire.Hello, link: Link) -> None:
        """A gateway's link: a second one of the same incarnation replaces the first."""
        self.gateways[hello.incarnation] = link
        self._names[hello.incarnation] = hello.name
        self._tellers.opened(hello.incarnation)

    def closed(self, incarnation: str, link: Link) -> bool:
        """Whether the gateway can't be reached now: it has no newer link."""
        if self.gateways.get(incarnation) is not link:
            return False
        del self.gateways[incarnation]
        self._tellers.closed(incarnation)
        self.relays.gateway_lost(incarnation)
        return True

    def told(self, gateway: str, message: wire.Told) -> None:
        """It has told all that it holds in these slots."""
        self._tellers.told(gateway, message.slots, message.epochs)

    def tellers(self, slot: int) -> list[str]:
        """The gateways whose rows of a slot are all known here."""
        epoch = self._router.view.epochs[slot]
        return [gateway for gateway in self.gateways if self._tellers.has_told(gateway, slot, epoch)]

    def inherits(self, slot: int, tellers: list[str]) -> set[str]:
        """The slot came with all that these had told of it; returns those that can be reached here, too."""
        here = self.gateways.keys() & set(tellers)
        for gateway in here:
            self._tellers.told(gateway, [slot], [self._router.view.epochs[slot]])
        return here

    def is_dead(self, gateway: str) -> bool:
        """Whether a gateway that can't be reached is no more, as far as the Directory knows."""
        if gateway in self.gateways:
            return False
        return self._names.get(gateway, gateway) not in self._router.view.gateways

    def send(self, effect: Send) -> None:
        """To one gateway; lost if it can't be reached, as its members then are."""
        self._send(effect.gateway, effect.message)

    def _send(self, gateway: str, message: wire.Pushed) -> None:
        link = self.gateways.get(gateway)
        if link is not None:
            link.send(message)
            _pushes.n += 1

    def fan(self, effect: Fan) -> None:
        """To all that hear the channel, and to all that may."""
        message, gateways, limit = effect.message, self.gateways, self.relay_above
        is_relayed = self.relays.has(message.ch)
        if is_relayed or effect.members > limit:
            self.relays.fan(effect, is_large=effect.members > (FEWER * limit if is_relayed else limit))
        else:
            for gateway in effect.gateways:
                link = gateways.get(gateway)
                if link is not None:
                    link.send(message)
                    _pushes.n += 1
        if effect.slot < 0:
            return
        for gateway in self._tellers.untold(effect.slot, self._router.view.epochs[effect.slot]):
            if gateway not in effect.gateways:
                gateways[gateway].send(message)
                _floods.n += 1
