"""A batch's lists on their way into the tables: kept whole, then written some people at a time (ML-3, ML-9).

Once the lists are kept, a run that is killed goes on with writing where it was. What is kept names people, so
it is deleted when the run ends, or when another begins.
"""

import asyncio
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np

from matching import batch
from matching.arrays import Floats, Integers
from matching.batch import Edges
from matching.batch_groups import Proposed
from matching.jobs.run import Run
from matching.jobs.shards import Room
from matching.reciprocal import harmonic
from matching.shortlist import SOURCES
from storage import recommending
from storage.ids import new_id
from storage.recommending import Recommendation

CHUNK = 500
"""People whose rows are replaced in one transaction."""

Rows = dict[str, dict[int, list[Recommendation]]]
"""By kind, by person's number."""


@dataclass
class Lists:
    """What everybody gets, people by number."""

    people: Edges
    why: tuple[Integers, Floats]
    picks: Edges
    pick_why: tuple[Integers, Floats]
    groups: list[Proposed] = field(default_factory=list)
    rooms: list[Room] = field(default_factory=list)
    places: list[tuple[Integers, Integers, Floats]] = field(default_factory=list)


def packed(
    ids: Sequence[str], places: Sequence[str], model: str, lists: Lists, figures: Mapping[str, Any]
) -> bytes:
    """Return lists as bytes; numbers are those of `ids` and `places`."""
    sizes = [len(group.members) for group in lists.groups]
    stored = BytesIO()
    edges: dict[str, Any] = {f"people_{name}": each for name, each in _edge_columns(lists.people, lists.why)}
    edges |= {f"pick_{name}": each for name, each in _edge_columns(lists.picks, lists.pick_why)}
    np.savez_compressed(
        stored,
        **edges,
        ids=_uuids(ids),
        place_ids=_uuids(places),
        model=np.array(model),
        figures=np.array(json.dumps(figures)),
        group_ids=_uuids([new_id() for _ in lists.groups]),
        group_sizes=np.array(sizes, dtype=np.int32),
        group_members=_joined([group.members for group in lists.groups], np.int32),
        group_scores=_joined([group.scores for group in lists.groups], np.float32),
        room_person=np.array([room.person for room in lists.rooms], dtype=np.int32),
        room_ids=_uuids([room.room for room in lists.rooms]),
        room_scores=np.array([room.score for room in lists.rooms], dtype=np.float32),
        place_person=_joined([each[0] for each in lists.places], np.int32),
        place_rows=_stacked([each[1] for each in lists.places], np.int32),
        place_scores=_stacked([each[2] for each in lists.places], np.float32),
    )
    return stored.getvalue()


def figures_of(stored: bytes) -> dict[str, Any]:
    """Return the figures that were packed with lists."""
    with np.load(BytesIO(stored), allow_pickle=False) as found:
        figures: dict[str, Any] = json.loads(str(found["figures"]))
    return figures


def unpacked(stored: bytes) -> tuple[list[str], str, Rows]:
    """Return ids, the model's version, and every person's rows, best first."""
    with np.load(BytesIO(stored), allow_pickle=False) as found:
        kept = {name: found[name] for name in found.files}
    ids, places = _texts(kept["ids"]), _texts(kept["place_ids"])
    rows: Rows = {kind: {} for kind in recommending.KINDS}
    for kind in ("people", "pick"):
        for viewer, row in _person_rows(kept, kind, ids):
            rows[kind].setdefault(viewer, []).append(row)
    for person, row in _group_rows(kept, ids):
        rows["groups"].setdefault(person, []).append(row)
    for person, row in _place_rows(kept, places):
        rows["places"].setdefault(person, []).append(row)
    return ids, str(kept["model"]), rows


def _edge_columns(edges: Edges, why: tuple[Integers, Floats]) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    yield "viewer", edges.viewer.astype(np.int32)
    yield "shown", edges.shown.astype(np.int32)
    yield "forward", edges.forward.astype(np.float32)
    yield "backward", edges.backward.astype(np.float32)
    yield "source", edges.source.astype(np.int8)
    yield "why", why[0].astype(np.int8)
    yield "effect", why[1].astype(np.float32)


def _person_rows(
    kept: Mapping[str, np.ndarray[Any, Any]], kind: str, ids: Sequence[str]
) -> Iterator[tuple[int, Recommendation]]:
    columns = {name: kept[f"{kind}_{name}"] for name in ("viewer", "shown", "source", "why", "effect")}
    forward, backward = (kept[f"{kind}_{name}"].astype(np.float64) for name in ("forward", "backward"))
    score = harmonic(forward, backward)
    lists = [values.tolist() for values in (*columns.values(), forward, backward, score)]
    for viewer, shown, source, why, effect, there, back, fused in zip(*lists, strict=True):
        reasons = [
            [batch.REASONS[feature], round(added, 3)]
            for feature, added in zip(why, effect, strict=True)
            if feature >= 0
        ]
        detail = {"forward": round(there, 4), "backward": round(back, 4), "source": SOURCES[source]}
        text = json.dumps(detail | {"why": reasons}, separators=(",", ":"))
        yield viewer, Recommendation(ids[shown], round(fused, 4), text, (ids[shown],))


def _group_rows(
    kept: Mapping[str, np.ndarray[Any, Any]], ids: Sequence[str]
) -> Iterator[tuple[int, Recommendation]]:
    ends = np.cumsum(kept["group_sizes"])
    members, scores = kept["group_members"].tolist(), kept["group_scores"].tolist()
    for group, size, end in zip(_texts(kept["group_ids"]), kept["group_sizes"].tolist(), ends, strict=True):
        inside = members[end - size : end]
        for person, score in zip(inside, scores[end - size : end], strict=True):
            others = tuple(ids[each] for each in inside if each != person)
            text = json.dumps({"source": "near", "members": others}, separators=(",", ":"))
            yield person, Recommendation(group, round(score, 4), text, others)
    rooms = zip(
        kept["room_person"].tolist(), _texts(kept["room_ids"]), kept["room_scores"].tolist(), strict=True
    )
    for person, room, score in rooms:
        yield person, Recommendation(room, round(score, 4), '{"source":"invited"}', ())


def _place_rows(
    kept: Mapping[str, np.ndarray[Any, Any]], places: Sequence[str]
) -> Iterator[tuple[int, Recommendation]]:
    columns = (kept[f"place_{name}"].tolist() for name in ("person", "rows", "scores"))
    for person, rows, scores in zip(*columns, strict=True):
        for place, score in zip(rows, scores, strict=True):
            if place >= 0:
                yield person, Recommendation(places[place], round(score, 4), '{"source":"visits"}', ())


def _uuids(texts: Sequence[str]) -> np.ndarray[Any, Any]:
    return np.frombuffer(b"".join(uuid.UUID(text).bytes for text in texts), dtype="V16")


def _texts(stored: np.ndarray[Any, Any]) -> list[str]:
    raw = stored.tobytes()
    return [str(uuid.UUID(bytes=raw[at : at + 16])) for at in range(0, len(raw), 16)]


def _joined(parts: Sequence[np.ndarray[Any, Any]], kind: type) -> np.ndarray[Any, Any]:
    return np.concatenate(parts).astype(kind) if parts else np.empty(0, dtype=kind)


def _stacked(parts: Sequence[np.ndarray[Any, Any]], kind: type) -> np.ndarray[Any, Any]:
    return np.concatenate(parts).astype(kind) if parts else np.empty((0, 0), dtype=kind)


async def write(run: Run, stored: bytes, kinds: Sequence[str]) -> dict[str, int]:
    """Replace everybody's rows; return how many stand, by kind. What a killed run has written of the same
    lists is not written again.
    """
    ids, model, rows = await asyncio.to_thread(unpacked, stored)
    totals = dict.fromkeys(kinds, 0)
    for start in range(0, len(ids), CHUNK):
        users = dict(enumerate(ids[start : start + CHUNK], start))

        async def put(connection: Any, users: dict[int, str] = users) -> dict[str, int]:
            return {
                kind: await recommending.put(
                    connection,
                    kind,
                    {user: rows[kind].get(number, []) for number, user in users.items()},
                    model=model,
                    run=run.id,
                    undecided=kind != "places",
                )
                for kind in kinds
            }

        written = await run.commit(f"written {start}", put)
        for kind in kinds:
            totals[kind] += written[kind]
        await run.progress("written", min(start + CHUNK, len(ids)), len(ids))
    return totals
