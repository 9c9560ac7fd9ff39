"""A room's terms of reading and its figures over HTTP (NLP-4, NLP-10)."""

TERMS = {
    "scorer": "inline", "policy": "hold", "deadline_ms": 500, "heads": ["sentiment"], "threshold": 0.6,
    "marks": False,
}  # fmt: skip
NASTY = "you are a horrible, disgusting liar and I hate you"


async def made(owner, *members, **more):
    wish = {"name": "a room", "members": [each.user for each in members], **more}
    return f"/v1/rooms/{(await owner.post('/v1/rooms', wish))['id']}"


async def test_a_room_is_read_when_its_owner_says_so_and_members_see_it(engine):
    ann, bob, eve = await engine.people(3)
    path = await made(ann, bob)
    assert (await bob.get(path))["reading"] is None
    assert (await bob.get(f"{path}/dynamics", 409))["code"] == 108
    for who in (bob, eve):
        await who.put(f"{path}/reading", TERMS, 404)
        await who.delete(f"{path}/reading", 404)
    answer = await ann.put(f"{path}/reading", TERMS)
    assert answer == {"reading": TERMS, "o": 1}
    assert (await bob.get(path))["reading"] == TERMS
    assert (await bob.get("/v1/rooms"))["items"][0]["reading"] == TERMS
    told = (await bob.get(f"{path}/messages"))["items"][0]
    assert (told["u"], told["d"]["type"], told["d"]["reading"]) == ("", "reading.terms", TERMS)
    refusal = await bob.post(f"{path}/messages", {"d": {"text": NASTY}, "cid": "c"}, 422)
    assert (refusal["code"], refusal["temporary"]) == (123, False)
    assert NASTY not in str(refusal)
    await bob.post(f"{path}/messages", {"d": {"text": "something nicer"}, "cid": "c"}, 422)
    await bob.post(f"{path}/messages", {"d": {"text": "what a lovely day"}})
    figures = await ann.get(f"{path}/dynamics")
    assert (figures["room"]["messages"], figures["room"]["scored"], figures["mine"]) == (1, 1, None)
    assert (await bob.get(f"{path}/dynamics"))["mine"]["messages"] == 1
    await eve.get(f"{path}/dynamics", 404)
    await ann.delete(f"{path}/reading")
    assert (await bob.get(path))["reading"] is None
    await bob.post(f"{path}/messages", {"d": {"text": NASTY}})


async def test_an_encrypted_room_and_one_in_memory_are_never_read(engine):
    ann = await engine.person()
    for more, word in (({"is_encrypted": True}, "encrypted"), ({"durability": "memory"}, "memory")):
        path = await made(ann, **more)
        refusal = await ann.put(f"{path}/reading", TERMS, 409)
        assert (refusal["code"], word in refusal["detail"]) == (108, True)
        shown = await ann.get(path)
        assert (shown["is_encrypted"], shown["reading"]) == ("is_encrypted" in more, None)


async def test_terms_that_make_no_sense_are_refused_with_what_is_wrong(engine):
    ann = await engine.person()
    path = await made(ann)
    for wrong, word in (
        ({"threshold": None}, "threshold"),
        ({"heads": ["offence"]}, "inline"),
        ({"deadline_ms": 9_999}, "deadline_ms"),
        ({"marks": True}, "marks"),
    ):
        refusal = await ann.put(f"{path}/reading", TERMS | wrong, 422)
        assert word in refusal["detail"].lower()
    for wrong in ({"policy": "shout"}, {"threshold": 2}, {"heads": []}, {"heads": "all"}, {"deadline_ms": 1}):
        await ann.put(f"{path}/reading", TERMS | wrong, 422)


async def test_the_least_that_can_be_said_is_that_it_is_read(engine):
    ann = await engine.person()
    path = await made(ann)
    answer = await ann.put(f"{path}/reading", {})
    assert answer["reading"] == {
        "scorer": "inline", "policy": "pass", "deadline_ms": 1000, "heads": ["sentiment"], "threshold": None,
        "marks": False,
    }  # fmt: skip
