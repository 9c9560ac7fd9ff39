"""Signing in over HTTP."""

import json

import pytest

ADA = {"handle": "ada", "password": "correct horse", "birth_date": "1990-12-10"}


async def test_register_login_refresh_logout(town):
    somebody = await town.anybody()
    registered = await somebody.post("/v1/auth/register", ADA)
    assert set(registered) == {"access_token", "refresh_token", "token_type", "expires_in", "user"}
    wanted = {"handle": "ADA", "password": "correct horse", "device": "phone"}
    signed_in = await somebody.post("/v1/auth/login", wanted, 200)
    assert signed_in["user"] == registered["user"]
    assert signed_in["expires_in"] == 600
    ada = await town.client(signed_in["access_token"])
    assert (await ada.get("/v1/me")).json()["handle"] == "ada"
    renewed = await somebody.post("/v1/auth/refresh", {"refresh_token": signed_in["refresh_token"]}, 200)
    assert renewed["refresh_token"] != signed_in["refresh_token"]
    assert (await ada.post("/v1/auth/logout")).status_code == 204
    gone = await somebody.post("/v1/auth/refresh", {"refresh_token": renewed["refresh_token"]}, 401)
    assert gone["code"] == 101


async def test_tokens_are_not_stored_by_caches(town):
    answer = await (await town.client()).post("/v1/auth/register", json=ADA)
    assert answer.headers["cache-control"] == "no-store"


async def test_logging_out_needs_some_token_and_a_refresh_token_is_one(town):
    somebody = await town.anybody()
    tokens = await somebody.post("/v1/auth/register", ADA)
    await somebody.post("/v1/auth/logout", {}, 401)
    await somebody.post("/v1/auth/logout", {"refresh_token": "x"}, 401)
    await somebody.post("/v1/auth/logout", {"refresh_token": tokens["refresh_token"]}, 204)
    await somebody.post("/v1/auth/refresh", {"refresh_token": tokens["refresh_token"]}, 401)


async def test_a_wrong_password_and_an_unknown_handle_are_answered_alike(town):
    somebody = await town.anybody()
    await somebody.post("/v1/auth/register", ADA)
    wrong = await somebody.post("/v1/auth/login", {"handle": "ada", "password": "x" * 12}, 401)
    unknown = await somebody.post("/v1/auth/login", {"handle": "bob", "password": "x" * 12}, 401)
    assert {**wrong, "trace_id": 0} == {**unknown, "trace_id": 0}
    assert wrong["code"] == 101


async def test_a_taken_handle_is_409_and_no_account(town):
    somebody = await town.anybody()
    await somebody.post("/v1/auth/register", ADA)
    taken = await somebody.post("/v1/auth/register", {**ADA, "handle": "Ada"}, 409)
    assert taken["code"] == 108


@pytest.mark.parametrize(
    "changes",
    [{"handle": "a"}, {"handle": "a b c"}, {"handle": "a\0bc"}, {"handle": 7}, {"password": "short"},
     {"password": "x" * 257}, {"birth_date": "yesterday"}, {"birth_date": "2024-01-01"}, {"birth_date": 7},
     {"birth_date": "0000-00-00"}, {"mail": "nowhere"}, {"mail": "a@b\0"}, {"role": "admin"},
     {"device": "x" * 200}, {"password": "\ud800" * 9}],
)  # fmt: skip
async def test_a_registration_outside_the_rules_is_refused_with_107(town, changes):
    somebody = await town.client()
    content = json.dumps({**ADA, **changes}).encode()
    answer = await somebody.post(
        "/v1/auth/register", content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert problem["code"] == 107
    assert problem["errors"][0]["where"].startswith("body")
    assert await town.pool.fetchval("SELECT count(*) FROM users") == 0


async def test_a_minor_is_told_why(town):
    refused = await (await town.anybody()).post("/v1/auth/register", {**ADA, "birth_date": "2020-01-01"}, 422)
    assert "18" in refused["detail"]
