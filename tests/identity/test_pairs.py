"""Connections as a state machine against a real Postgres (CONN-14)."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from identity.accounts import create_ready_users
from identity.connections import Action, IllegalTransitionError
from identity.pairs import NobodyError, act, list_views
from identity.relations import load_relation
from storage.ids import UserId
from storage.postgres import open_pool

START = datetime(2026, 11, 22, tzinfo=UTC)
TOLD = {"requested", "matched"}


def machine(url):
    """The machine's class, over the database at `url`. Its model is what two people could tell each other."""

    class Pairs(RuleBasedStateMachine):
        def __init__(self):
            super().__init__()
            self.loop = asyncio.new_event_loop()
            self.pool = self.run(open_pool(url, application_name="test", max_connections=2))
            made = self.run(create_ready_users(self.pool, 2, "p"))
            self.people = [UserId(user) for user, _ in made]
            self.now = START
            self.blocking = []  # who blocks, in the order of blocking
            self.matched = False
            self.wants: dict[UserId, datetime] = {}  # whose request stands, and until when
            self.passed: set[UserId] = set()
            self.passed_at = START
            self.versions = [0]

        def run(self, work):
            return self.loop.run_until_complete(work)

        def act(self, index, action, version=None):
            me, other = self.people[index], self.people[1 - index]
            try:
                seen, _ = self.run(act(self.pool, me, other, action, self.now, expected_version=version))
            except (IllegalTransitionError, NobodyError) as error:
                return NobodyError if isinstance(error, NobodyError) else IllegalTransitionError
            return seen.state

        def row(self):
            return self.run(self.pool.fetchrow("SELECT * FROM connections WHERE low_id = $1 AND high_id = $2",
                                               *sorted(self.people)))  # fmt: skip

        def settle(self):
            if self.passed and self.now - self.passed_at > timedelta(days=30):
                self.passed.clear()
                self.wants.clear()
            self.wants = {user: until for user, until in self.wants.items() if self.now <= until}

        def forget(self, *, matched):
            self.matched = matched
            self.wants.clear()
            self.passed.clear()

        def refusal(self, me):
            """What every action but the blocks gets under a block."""
            return IllegalTransitionError if self.blocking[0] == me else NobodyError

        @rule(index=st.integers(0, 1))
        def request(self, index):
            me, other = self.people[index], self.people[1 - index]
            outcome = self.act(index, Action.REQUEST)
            if self.blocking:
                assert outcome is self.refusal(me)
            elif self.matched or other in self.wants:
                assert outcome == "matched"
                self.forget(matched=True)
            else:
                assert outcome == "requested"
                if me not in self.wants and other in self.passed:
                    self.wants[me] = self.passed_at + timedelta(days=30)
                    self.passed = {other}
                elif me not in self.wants:
                    self.wants[me] = self.now + timedelta(days=7)
                    self.passed.clear()

        @rule(index=st.integers(0, 1), days=st.sampled_from([0, 0, 1, 8]))
        def meet(self, index, days):
            """Not rarely, as by chance: both ask, one after the other."""
            self.request(index)
            self.wait(days)
            self.request(1 - index)

        @rule(index=st.integers(0, 1))
        def pass_on(self, index):
            me, other = self.people[index], self.people[1 - index]
            outcome = self.act(index, Action.PASS)
            if self.blocking:
                assert outcome is self.refusal(me)
            elif self.matched or (me in self.wants and other not in self.passed):
                assert outcome is IllegalTransitionError
            else:
                assert outcome == "declined"
                if me not in self.passed:
                    self.passed_at = self.now
                    self.wants = {user: self.now + timedelta(days=30) for user in self.wants if user != me}
                    self.passed.add(me)

        @rule(index=st.integers(0, 1))
        def unmatch(self, index):
            outcome = self.act(index, Action.UNMATCH)
            if self.blocking:
                assert outcome is self.refusal(self.people[index])
            else:
                assert outcome == ("unmatched" if self.matched else IllegalTransitionError)
            self.matched = False

        @rule(index=st.integers(0, 1), stale=st.booleans())
        def accept(self, index, stale):
            me, other = self.people[index], self.people[1 - index]
            row = self.row()
            outcome = self.act(index, Action.ACCEPT, (row["version"] if row else 0) + stale)
            if self.blocking:
                assert outcome is self.refusal(me)
            elif other in self.wants and not self.passed and not stale:
                assert outcome == "matched"
                self.forget(matched=True)
            else:
                assert outcome is IllegalTransitionError

        @rule(index=st.integers(0, 1))
        def block(self, index):
            me = self.people[index]
            outcome = self.act(index, Action.BLOCK)
            if me not in self.blocking:
                self.blocking.append(me)
            assert outcome == ("blocked" if self.blocking[0] == me else NobodyError)
            self.forget(matched=False)

        @precondition(lambda self: self.blocking)
        @rule(index=st.integers(0, 1))
        def unblock(self, index):
            me = self.people[index]
            outcome = self.act(index, Action.UNBLOCK)
            if self.blocking[0] != me:
                assert outcome is NobodyError
            else:
                assert outcome == "none" or outcome is NobodyError
                assert (outcome is NobodyError) == (len(self.blocking) == 2)
            if me in self.blocking:
                self.blocking.remove(me)

        @rule(days=st.sampled_from([1, 8, 31]))
        def wait(self, days):
            self.now += timedelta(days=days)
            self.settle()

        @invariant()
        def a_block_works_both_ways_and_shows_to_its_first_setter_only(self):
            views = [self.run(list_views(self.pool, each, self.now, state=None, after=None, limit=9))[0]
                     for each in self.people]  # fmt: skip
            relations = [self.run(load_relation(self.pool, each, self.people[1 - index]))
                         for index, each in enumerate(self.people)]  # fmt: skip
            assert [each.blocked for each in relations] == [bool(self.blocking)] * 2
            assert [each.matched for each in relations] == [self.matched] * 2
            if self.blocking:
                seen = {each: [view.state for view in shown]
                        for each, shown in zip(self.people, views, strict=True)}  # fmt: skip
                assert seen.pop(self.blocking[0]) == ["blocked"]
                assert seen.popitem()[1] == []

        @invariant()
        def versions_only_rise_and_every_event_is_in_the_outbox_once(self):
            row = self.row()
            if row is None:
                return
            assert row["version"] >= self.versions[-1]
            self.versions.append(row["version"])
            aggregate = "connection:{}:{}".format(*sorted(self.people))
            types = self.run(self.pool.fetch("SELECT type FROM outbox WHERE aggregate = $1", aggregate))
            told = self.run(self.pool.fetch(
                "SELECT body::jsonb->>'type' AS type FROM user_events WHERE user_id = ANY($1::uuid[])",
                self.people))  # fmt: skip
            outbox = [each["type"].removeprefix("connection.") for each in types]
            streams = [each["type"].removeprefix("connection.") for each in told]
            assert set(streams) <= TOLD
            assert streams.count("matched") == 2 * outbox.count("matched")
            assert streams.count("requested") == outbox.count("requested")

        def teardown(self):
            self.run(self.pool.close())
            self.loop.close()

    return Pairs


@pytest.mark.timeout(120)
async def test_the_table_holds_against_postgres(database_url):
    await asyncio.to_thread(
        run_state_machine_as_test,
        machine(database_url),
        settings=settings(
            max_examples=40,
            stateful_step_count=14,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
