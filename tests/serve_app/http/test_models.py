"""The registry over HTTP: who may look, what the gate's verdict lets pass, and the way back (ML-5, ML-6)."""

from storage import registry

PATH = "/v1/models"
YES = {"promote": True, "gain": 0.02, "objections": [], "against": "baseline"}
NO = {"promote": False, "objections": ["women: ece 0.200 > 0.1"], "against": "baseline"}


async def add(town, stored, verdict=None, **more):
    metrics = {"auc": 0.7} | ({} if verdict is None else {"verdict": verdict})
    async with town.pool.acquire() as connection:
        return await registry.add_version(
            connection, "people", stored, lineage={"seed": 1}, metrics=metrics, card={"for": "x"}, **more
        )


async def somebody(town, role):
    person = await town.person()
    await town.pool.execute("UPDATE users SET roles = $2 WHERE id = $1", person.user, [role] if role else [])
    return person


def promote(person, version, status=200):
    return person.post(f"{PATH}/people/promote", {"version": version}, status)


async def test_roles_say_who_looks_and_who_moves(town):
    await add(town, b"one", YES)
    for role, reads, moves in (("", 404, 404), ("app", 200, 404), ("analyst", 200, 200), ("admin", 200, 200)):
        person = await somebody(town, role)
        await person.get(PATH, reads)
        await promote(person, "people-1", moves)
        await person.post(f"{PATH}/people/rollback", None, moves)
        await town.pool.execute("UPDATE users SET status = 'suspended' WHERE id = $1", person.user)
        await person.get(PATH, 404)


async def test_what_is_known_of_each_version_is_told(town):
    await town.pool.execute(
        "INSERT INTO datasets (sha256, name, from_offset, to_offset, row_count, spec) "
        "VALUES ('d0', 'people', '0.0', '9.9', 1, '{}')"
    )
    for number in range(3):
        await add(town, b"%d" % number, YES if number else None, dataset_sha256="d0")
    ann = await somebody(town, "analyst")
    await promote(ann, "people-2")
    await town.pool.execute("UPDATE models SET erased_at = now() WHERE version = 'people-1'")
    page = await ann.get(f"{PATH}?limit=2")
    assert page["serving"] == {"people": "people-2"}
    assert [(each["version"], each["aliases"]) for each in page["items"]] == [
        ("people-3", []),
        ("people-2", ["champion"]),
    ]
    newest = page["items"][0]
    assert (newest["verdict"], newest["metrics"], newest["data_sha256"], newest["card"]) == (
        YES, {"auc": 0.7}, "d0", {"for": "x"},
    )  # fmt: skip
    rest = await ann.get(f"{PATH}?limit=2&cursor={page['next']}")
    assert [each["version"] for each in rest["items"]] == ["people-1"]
    assert rest["items"][0]["erased_at"] is not None
    assert rest["items"][0]["verdict"] is None
    assert rest["next"] is None
    empty = {"items": [], "next": None, "serving": {}, "attention": {}}
    assert await ann.get(f"{PATH}?name=emotion") == empty
    assert page["attention"] == {}
    await town.pool.execute("UPDATE models SET erased_at = now(), pruned_at = now()")
    page = await ann.get(PATH)
    assert page["attention"]["people"].startswith("people-2 serves, and somebody whom it was trained on was")
    assert all(each["pruned_at"] for each in page["items"])
    await promote(ann, "people-3", 409)


async def test_the_gates_objections_stand(town):
    ann = await somebody(town, "analyst")
    for stored, verdict, why in (
        (b"one", NO, "women: ece 0.200 > 0.1"),
        (b"two", None, "no verdict"),
        (b"three", {**YES, "against": "people-9"}, "judged against people-9, baseline serves"),
    ):
        version = await add(town, stored, verdict)
        problem = await promote(ann, version, 409)
        assert problem["code"] == 108
        assert problem["errors"] == [{"where": "gate", "why": why}]
    good = await add(town, b"good", YES)
    await town.pool.execute("UPDATE models SET erased_at = now() WHERE version = $1", good)
    assert "erased" in (await promote(ann, good, 409))["errors"][0]["why"]
    assert (await ann.get(PATH))["serving"] == {"people": "baseline"}


async def test_back_to_what_served_before(town):
    ann = await somebody(town, "admin")
    first = await add(town, b"one", YES)
    second = await add(town, b"two", {**YES, "against": first})
    for version in (first, second, second):
        assert await promote(ann, version) == {"name": "people", "version": version}
    back = [await ann.post(f"{PATH}/people/rollback", None, 200) for _ in range(2)]
    assert [each["version"] for each in back] == [first, "baseline"]
    problem = await ann.post(f"{PATH}/people/rollback", None, 409)
    assert "baseline" in problem["errors"][0]["why"]
    moved = await town.pool.fetch("SELECT why, moved_by FROM model_moves ORDER BY seq")
    assert [tuple(row) for row in moved] == [
        ("gate", ann.user), ("gate", ann.user), ("rollback", ann.user), ("rollback", ann.user),
    ]  # fmt: skip


async def test_wrong_names_and_bodies(town):
    ann = await somebody(town, "admin")
    await promote(ann, "people-1", 404)
    await ann.post(f"{PATH}/nothing/rollback", None, 404)
    await ann.post(f"{PATH}/No such/rollback", None, 422)
    await ann.post(f"{PATH}/people/promote", {"version": "people-1", "force": True}, 422)
    await ann.get(f"{PATH}?cursor=%00", 422)
