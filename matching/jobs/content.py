"""What other ways of suggesting interests would have earned, from the log of what was suggested (ML-8).

Protocol: every suggestion of the last --days days that is a day old or more (whether it was taken up is known
then) has the way it was chosen (matching/content.py), the chance of each way that had something to show, and
a context. Reward: 1 if the person made it an interest of theirs within a day, else 0. Of each policy two
estimates of its mean reward, with standard errors: inverse propensity (`ips`, unbiased, as every chance that
was logged is .05 or more) and doubly robust (`dr`, with each way's mean reward out-of-fold, two folds in
turn). `effective` says how many choices that rests on: with fewer than 30 or so believe neither. `logged` is
what was earned. Policies: `uniform`, `always-<way>` (uniform where that has nothing to show), `thompson` (as
it would choose now), and `linucb` by the contexts, learned on the earlier half of the log and judged on the
later half, beside `logged` of that half. Nothing is changed. Seed: of the draws.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from matching import content as ways
from matching.arrays import Floats, Integers
from matching.bandit import LinUcb, doubly_robust, inverse_propensity
from matching.jobs import command
from matching.jobs.engine import connect
from storage import content
from storage.content import ChoiceRow

FEWEST_ROWS = 50
_DIGITS = 5


def report(log: Sequence[ChoiceRow], tallies: dict[str, tuple[int, int]], seed: int) -> dict[str, Any]:
    """Return the estimates; `tallies` are what Thompson sampling knows now."""
    shown = ways.matrix([row.propensities for row in log])
    arms = np.array([ways.ARMS.index(row.arm) for row in log])
    rewards = np.array([row.is_taken for row in log], dtype=np.float64)
    there = shown > 0
    uniform = there / there.sum(axis=1, keepdims=True)
    policies = {"uniform": uniform}
    for place, name in enumerate(ways.ARMS):
        only = np.zeros_like(uniform)
        only[:, place] = 1.0
        policies[f"always-{name}"] = np.where(there[:, [place]], only, uniform)
    policies["thompson"] = _thompson(there, tallies, seed)
    judged = {name: _judged(policy, shown, arms, rewards) for name, policy in policies.items()}
    half = len(log) // 2
    learned = _linucb(log[:half], arms[:half], rewards[:half], log[half:], there[half:])
    return {
        "choices": len(log),
        "ways": {
            name: {"shown": int((arms == place).sum()), "taken": int(rewards[arms == place].sum())}
            for place, name in enumerate(ways.ARMS)
        },
        "logged": _mean(rewards),
        "policies": judged,
        "later_half": {
            "logged": _mean(rewards[half:]),
            "linucb": _judged(learned, shown[half:], arms[half:], rewards[half:]),
        },
    }


def _mean(rewards: Floats) -> dict[str, float]:
    return _said(float(rewards.mean()), float(rewards.std(ddof=1) / np.sqrt(len(rewards))))


def _said(value: float, error: float) -> dict[str, float]:
    return {"value": round(value, _DIGITS), "standard_error": round(error, _DIGITS)}


def _judged(policy: Floats, shown: Floats, arms: Integers, rewards: Floats) -> dict[str, Any]:
    rows = np.arange(len(arms))
    logged = shown[rows, arms]
    expected = _expected(arms, rewards)
    weight = policy[rows, arms] / logged
    return {
        "effective": round(float(weight.sum() ** 2 / max(float((weight**2).sum()), 1e-12)), 1),
        "ips": _said(*inverse_propensity(rewards, logged, policy[rows, arms])),
        "dr": _said(*doubly_robust(rewards, logged, arms, policy, expected)),
    }


def _expected(arms: Integers, rewards: Floats) -> Floats:
    """Each way's mean reward, of the rows of the other fold, shrunk towards that of all."""
    found = np.empty((len(arms), len(ways.ARMS)))
    fold = np.arange(len(arms)) % 2
    for each in (0, 1):
        other = fold != each
        overall = rewards[other].mean()
        for place in range(len(ways.ARMS)):
            of_way = rewards[other & (arms == place)]
            found[fold == each, place] = (of_way.sum() + overall) / (len(of_way) + 1)
    return found


def _thompson(there: Any, tallies: dict[str, tuple[int, int]], seed: int) -> Floats:
    """The chances as they would be now, of each set of ways that had something to show."""
    policy = np.zeros(there.shape)
    for kind in np.unique(there, axis=0):
        names = [name for name, is_there in zip(ways.ARMS, kind.tolist(), strict=True) if is_there]
        odds = ways.propensities(tallies, names, np.random.default_rng(seed))
        policy[(there == kind).all(axis=1)] = ways.matrix([odds])[0]
    return policy


def _linucb(
    log: Sequence[ChoiceRow], arms: Integers, rewards: Floats, later: Sequence[ChoiceRow], there: Any
) -> Floats:
    """The chances that LinUCB, having learned from the log, gives to each way later; it learns no more."""
    bandit = LinUcb(len(ways.ARMS), len(ways.CONTEXT))
    for row, arm, reward in zip(log, arms.tolist(), rewards.tolist(), strict=True):
        bandit.learn(arm, np.asarray(row.context, dtype=np.float64), reward)
    policy = np.where(there, ways.FLOOR, 0.0)
    for place, row in enumerate(later):
        bounds = bandit.bounds(np.asarray(row.context, dtype=np.float64))
        best = int(np.where(there[place], bounds, -np.inf).argmax())
        policy[place, best] += 1.0 - policy[place].sum()
    return policy


async def main(database_url: str, asked: argparse.Namespace) -> dict[str, Any]:
    connection = await connect(database_url, "content")
    try:
        now = datetime.now(UTC)
        log = await content.ripe(connection, now - timedelta(days=asked.days), now)
        if len(log) < FEWEST_ROWS:
            raise command.JobError(
                f"{len(log)} suggestions of interests are a day old; {FEWEST_ROWS} are needed to say anything"
            )
        return report(log, await content.tallies(connection), asked.seed)
    finally:
        await connection.close()


def parser() -> argparse.ArgumentParser:
    made = command.parser("content", __doc__)
    made.add_argument("--days", type=int, default=30, metavar="N", help="default: 30")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    return made


if __name__ == "__main__":
    sys.exit(command.run(parser(), lambda site, asked: asyncio.run(main(site.database_url, asked))))
