"""Refusals are problem documents with a code and a trace id, and hold nothing that was sent."""

import logging
import time

import asyncpg
import pytest

from actors.protocol import EngineError, ErrorCode
from identity.tokens import issue_access_token
from serve_app import errors
from serve_app.app import ApiConfig, build_app
from storage.ids import UserId, new_id

NOWHERE = "postgresql://hereabouts@127.0.0.1:1/nothing"
MEMBERS = {"type", "title", "status", "detail", "code", "temporary", "trace_id"}


async def test_every_code_has_a_status_of_its_kind():
    assert set(errors.STATUS) == set(ErrorCode)
    for code, status in errors.STATUS.items():
        assert code.temporary == (status in (429, 503)), code


def test_every_status_that_is_used_has_a_title():
    fixed = {refusal.status for refusal in errors._FIXED.values()}
    assert (fixed | set(errors.STATUS.values())) <= set(errors.TITLES)


@pytest.mark.parametrize("token", [None, "", "x", "a.b.c", "Bearer", "eyJhbGciOiJub25lIn0.e30."])
async def test_no_token_and_a_wrong_one_are_401_with_101(town, token):
    answer = await (await town.client(token)).get("/v1/me")
    assert (answer.status_code, answer.json()["code"]) == (401, 101)
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_an_expired_token_is_401_with_109(town):
    token = issue_access_token(town.key, user=UserId(new_id()), now_s=time.time() - 700)
    answer = await (await town.client(token)).get("/v1/me")
    assert (answer.status_code, answer.json()["code"]) == (401, 109)


async def test_a_token_of_somebody_who_is_gone_finds_nothing(town):
    token = issue_access_token(town.key, user=UserId(new_id()), now_s=time.time())
    client = await town.client(token)
    assert (await client.get("/v1/me")).status_code == 401
    assert (await client.get("/v1/rooms")).json() == {"items": [], "next": None}
    answer = await client.post("/v1/rooms", json={"name": "x"})
    assert (answer.status_code, answer.json()["code"]) == (404, 103)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 400),
        (b"", 422),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b'{"name": 1}', 422),
        (b"nul", 400),
    ],
)
async def test_malformed_bodies_are_107(town, content, status):
    ada = await town.person()
    answer = await ada.client.post("/v1/rooms", content=content, headers={"content-type": "application/json"})
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["status"]) == (status, 107, status)
    assert set(problem) >= MEMBERS
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_body_over_a_mebibyte_is_413_whether_it_says_so_or_not(town):
    ada = await town.person()

    async def chunks():
        for _ in range(33):
            yield b" " * 32_768

    for content in (b" " * (1024 * 1024 + 1), chunks()):
        answer = await ada.client.post(
            "/v1/rooms", content=content, headers={"content-type": "application/json"}
        )
        assert (answer.status_code, answer.json()["code"]) == (413, 106)


async def test_an_unknown_path_is_404_and_an_unknown_method_405(town):
    ada = await town.person()
    assert (await ada.get("/v1/nothing", 404))["code"] == 103
    answer = await ada.ask("DELETE", "/v1/rooms")
    assert (answer.status_code, answer.json()["code"]) == (405, 104)
    assert answer.headers["allow"] == "GET, POST"


async def test_the_trace_id_is_the_callers_if_it_is_one(town):
    ada = await town.person()
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    for header, expected in ((f"00-{trace_id}-00f067aa0ba902b7-01", True), ("00-zz-1-01", False)):
        answer = await ada.ask("GET", "/v1/nothing", headers={"traceparent": header})
        assert (answer.json()["trace_id"] == trace_id) is expected


async def test_an_unexpected_failure_is_500_and_keeps_its_text_to_itself(town, caplog):
    ada = await town.person()
    await town.pool.execute("ALTER TABLE rooms RENAME TO canary_table")
    with caplog.at_level(logging.DEBUG):
        answer = await ada.ask("GET", "/v1/rooms")
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (500, 100)
    assert "canary" not in answer.text
    assert problem["trace_id"] in caplog.text


async def test_without_a_database_requests_are_503_and_say_when_to_come_back(open_town, town):
    token = issue_access_token(town.key, user=UserId(new_id()), now_s=time.time())
    async with open_town(database_url=NOWHERE) as cut:
        client = await cut.client(token)
        for answer in (
            await client.get("/v1/rooms"),
            await client.post("/v1/auth/login", json={"handle": "ada", "password": "x" * 9}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (503, 100)
            assert answer.json()["temporary"]
            assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    "error",
    [asyncpg.CannotConnectNowError(), asyncpg.AdminShutdownError(), asyncpg.ConnectionDoesNotExistError(),
     ConnectionResetError(), TimeoutError(), asyncpg.InterfaceError("closed")],
)  # fmt: skip
def test_a_database_that_is_away_is_a_temporary_refusal(error):
    refusal = errors.refusal_of(error)
    assert (refusal.status, refusal.code.temporary) == (503, True)


def test_what_the_engine_refuses_keeps_its_code():
    for code in ErrorCode:
        refusal = errors.refusal_of(EngineError(code, "why", 250))
        document = errors.problem_document(refusal, "0" * 32)
        assert (document["code"], document["temporary"]) == (code.value, code.temporary)


async def test_logs_hold_neither_tokens_nor_coordinates_nor_ids(engine, caplog):
    ada = await engine.person()
    token = ada.client.headers["authorization"].removeprefix("Bearer ")
    with caplog.at_level(logging.INFO):
        fix = {"lat": 52.123456, "lon": 13.654321, "acc_m": 8, "t_ms": int(time.time() * 1000)}
        await ada.post("/v1/positions", fix, 200)
        await ada.post("/v1/positions", {**fix, "lat": 152.123456}, 422)
        await ada.get("/v1/people/near?radius_m=52.123456")
        await ada.get(f"/v1/users/{ada.user}")
        await ada.get("/v1/52.123456/13.654321", 404)
        await ada.ask("POST", "/v1/auth/login", {"handle": "canary-handle", "password": "canary-password"})
    ours = "\n".join(each.getMessage() for each in caplog.records if each.name.startswith("hereabouts"))
    assert "POST /v1/positions 200" in ours
    assert "GET /v1/users/{user} 200" in ours
    for secret in ("52.123456", "13.654321", token, token[:40], ada.user, "canary"):
        assert secret not in ours


def test_production_does_not_run_without_rate_limits():
    with pytest.raises(ValueError, match="rate limits"):
        build_app(
            ApiConfig("/tmp", NOWHERE, "redis://127.0.0.1:1", "s" * 40, mode="production", rate_limits=False)
        )


async def test_too_many_sign_ins_are_429_with_the_time_to_wait(open_town):
    async with open_town(rate_limits=True) as town:
        await town.app.state.services._starting[1]
        client = await town.client()
        wish = {"handle": "nobody", "password": "x" * 9}
        answers = [await client.post("/v1/auth/login", json=wish) for _ in range(21)]
        assert [answer.status_code for answer in answers] == [401] * 20 + [429]
        problem = answers[-1].json()
        assert (problem["code"], problem["temporary"]) == (111, True)
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 5
        assert answers[-1].headers["ratelimit-policy"] == '"sign-in-pair";q=20;w=100'
        assert (await client.get("/v1/rt")).headers["ratelimit"].startswith('"open";r=')
