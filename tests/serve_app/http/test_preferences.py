"""My preferences: for me alone, replaced whole, under a version (MATCH-6, MATCH-11)."""

import asyncio

PATH = "/v1/me/preferences"
SAID = {
    "gender": "woman",
    "seeks": ["man", "other", "man"],
    "goals": ["Dating"],
    "age_from": 25,
    "age_to": 40,
    "within_m": 20_000,
    "interests": ["  Free   Climbing ", "free climbing", "\uff2aazz", "Öl"],
    "answers": {"smoking": {"answer": 0, "accepts": [0, 1], "weight": 50}},
    "values_21": [3.3] * 20 + [6],
}


async def put(person, json, version, status=200):
    answer = await person.ask("PUT", PATH, json, headers={"If-Match": version} if version else {})
    assert answer.status_code == status, answer.text
    return answer


async def test_they_are_kept_as_said_and_normalised(town):
    ada, bob = await town.people(2)
    empty = await ada.ask("GET", PATH)
    assert empty.headers["etag"] == '"0"'
    assert empty.json()["listed"] is True
    saved = await put(ada, SAID, empty.headers["etag"])
    assert saved.headers["etag"] == '"1"'
    assert saved.json() == {
        "listed": True,
        **SAID,
        "seeks": ["man", "other"],
        "goals": ["dating"],
        "interests": ["free climbing", "jazz", "öl"],
        "values_21": [3.3] * 20 + [6.0],
    }
    again = await ada.ask("GET", PATH)
    assert (again.json(), again.headers["etag"]) == (saved.json(), '"1"')
    assert (await bob.get(PATH))["gender"] is None
    emptied = await put(ada, {}, '"1"')
    assert emptied.json() == empty.json()
    rows = await town.pool.fetch("SELECT payload::text FROM outbox WHERE type = 'preferences.changed'")
    assert [row[0] for row in rows] == ['{"version":1}', '{"version":2}']


async def test_of_concurrent_changes_to_one_version_one_counts(town):
    ada = await town.person()
    for version in ('"0"', '"1"'):
        answers = await asyncio.gather(
            *(ada.ask("PUT", PATH, {"age_to": 50 + each}, headers={"If-Match": version}) for each in range(6))
        )
        assert sorted(each.status_code for each in answers) == [200] + [412] * 5
    await put(ada, {}, "", 412)
    await put(ada, {}, '"7"', 412)
    assert (await put(ada, {}, "*")).headers["etag"] == '"3"'


async def test_what_changed_is_told_to_those_who_keep_it(town):
    ada = await town.person()
    heard = asyncio.Queue()
    async with town.pool.acquire() as connection:
        await connection.add_listener("hereabouts", lambda *event: heard.put_nowait(event[-1]))
        await put(ada, {"interests": ["jazz"]}, "*")
        async with asyncio.timeout(5):
            told = {await heard.get(), await heard.get()}
        await connection.reset()
    assert told == {f"user:{ada.user}", f"preferences:{ada.user}"}


async def test_who_is_leaving_says_nothing_more(town):
    ada = await town.person()
    await town.pool.execute("UPDATE users SET status = 'deleting' WHERE id = $1", ada.user)
    await put(ada, {"interests": ["jazz"]}, "*", 401)
    assert await town.pool.fetchval("SELECT count(*) FROM preferences") == 0


async def test_bounds_hold(town):
    ada = await town.person()
    answer = {"answer": 0, "accepts": [], "weight": 1}
    for wrong in (
        {"age_from": 17},
        {"age_from": 41, "age_to": 40},
        {"age_to": "40"},
        {"gender": "robot"},
        {"seeks": ["everybody"]},
        {"within_m": 0},
        {"within_m": 10.5},
        {"interests": [f"tag {number}" for number in range(51)]},
        {"interests": ["x" * 41]},
        {"interests": ["\u00a0"]},
        {"interests": ["nul\x00"]},
        {"interests": ["\ufdfa" * 10]},  # 18 characters each once normalised
        {"goals": ["g" + str(number) for number in range(11)]},
        {"answers": {f"q{number}": answer for number in range(301)}},
        {"answers": {"No such": answer}},
        {"answers": {"q": {**answer, "weight": 5}}},
        {"answers": {"q": {**answer, "answer": 20}}},
        {"answers": {"q": {"answer": 1}}},
        {"values_21": [3.0] * 11},
        {"values_21": [9.0] * 21},
        {"values_21": [True] * 21},
        {"race": "x"},
    ):
        problem = (await put(ada, wrong, "*", 422)).json()
        assert problem["code"] == 107, wrong
        assert problem["errors"], wrong
    assert (await ada.ask("GET", PATH)).headers["etag"] == '"0"'
