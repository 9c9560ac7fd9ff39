"""The OpenAPI document is complete, and the application does what it says."""

import pytest

ANYBODY = {
    "/v1/auth/register", "/v1/cells", "/v1/cells/{cell}", "/v1/rt", "/v1/rt/sse", "/v1/rt/emit", "/healthz",
    "/readyz",
}  # fmt: skip
FRAMES = "/v1/rt/emit"
"""Its body is what a WebSocket message would be, and is described in docs/protocol.md."""

SIGNING_IN = {"/v1/auth/login", "/v1/auth/refresh"}


@pytest.fixture
async def document(town):
    return (await (await town.client()).get("/v1/openapi.json")).json()


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


async def test_every_resource_of_the_first_slice_is_there(document):
    assert document["openapi"].startswith("3.1")
    assert {f"{method.upper()} {path}" for path, method, _ in operations(document)} == {
        "POST /v1/auth/register", "POST /v1/auth/login", "POST /v1/auth/refresh", "POST /v1/auth/logout",
        "GET /v1/me", "PATCH /v1/me", "DELETE /v1/me", "PUT /v1/me/visibility", "PUT /v1/me/fences/{fence}",
        "GET /v1/users/{user}", "GET /v1/connections", "PUT /v1/connections/{user}",
        "GET /v1/matches", "GET /v1/recommendations/people", "GET /v1/recommendations/pick",
        "GET /v1/recommendations/groups", "GET /v1/recommendations/places",
        "GET /v1/recommendations/interests",
        "GET /v1/models", "POST /v1/models/{name}/promote", "POST /v1/models/{name}/rollback",
        "POST /v1/decisions", "GET /v1/me/preferences", "PUT /v1/me/preferences",
        "GET /v1/rooms", "POST /v1/rooms", "GET /v1/rooms/{room}",
        "PUT /v1/rooms/{room}/members/{user}", "DELETE /v1/rooms/{room}/members/{user}",
        "GET /v1/rooms/{room}/messages", "POST /v1/rooms/{room}/messages",
        "PUT /v1/rooms/{room}/reading", "DELETE /v1/rooms/{room}/reading", "GET /v1/rooms/{room}/dynamics",
        "GET /v1/fences", "POST /v1/fences", "GET /v1/fences/{fence}", "DELETE /v1/fences/{fence}",
            "GET /v1/fences/{fence}/events",
        "GET /v1/shares", "POST /v1/shares", "GET /v1/shares/{share}", "DELETE /v1/shares/{share}",
        "GET /v1/me/positions", "DELETE /v1/me/positions",
        "GET /v1/me/places", "DELETE /v1/me/places", "GET /v1/me/places/{place}",
        "PATCH /v1/me/places/{place}", "DELETE /v1/me/places/{place}",
        "POST /v1/positions", "GET /v1/people/near", "GET /v1/cells", "GET /v1/cells/{cell}",
        "GET /v1/rt", "GET /v1/rt/sse", "DELETE /v1/rt/sse", "POST /v1/rt/emit",
        "GET /healthz", "GET /readyz",
    }  # fmt: skip


async def test_every_operation_says_what_it_is_and_how_it_refuses(document):
    ids = set()
    for path, method, operation in operations(document):
        where = f"{method} {path}"
        assert operation["summary"], where
        assert operation["description"], where
        assert operation["tags"], where
        assert operation["operationId"] not in ids, where
        ids.add(operation["operationId"])
        refusals = {status for status in operation["responses"] if status >= "400"}
        for status in refusals:
            assert operation["responses"][status]["content"] == {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
            }, where
        if path.startswith("/v1/"):
            assert {"429", "500"} <= refusals, where
            assert ("401" in refusals) == (path not in ANYBODY), where
        if "requestBody" in operation:
            assert {"400", "413", "422"} <= refusals, where
        if "{" in path:
            assert "404" in refusals, where


async def test_bearer_tokens_are_asked_for_where_an_account_is_needed(document):
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for path, method, operation in operations(document):
        assert bool(operation.get("security")) == (path not in ANYBODY | SIGNING_IN), (method, path)


async def test_every_body_is_closed_and_has_an_example(document):
    schemas = document["components"]["schemas"]
    for path, _, operation in operations(document):
        if "requestBody" not in operation or path == FRAMES:
            continue
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        names = [each["$ref"].rpartition("/")[2] for each in schema.get("anyOf", [schema]) if "$ref" in each]
        assert names, path
        for name in names:
            assert schemas[name]["additionalProperties"] is False, name
            assert schemas[name]["description"], name


async def test_a_problem_has_code_and_trace_id(document):
    problem = document["components"]["schemas"]["Problem"]
    assert {"code", "trace_id", "status", "title", "type", "detail", "temporary"} <= set(problem["required"])
    assert problem["properties"]["code"]["type"] == "integer"
    assert "HTTPValidationError" not in document["components"]["schemas"]
