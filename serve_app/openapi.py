"""The OpenAPI 3.1 document, with every refusal in it as the one schema of problem+json."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from serve_app.schemas import Problem, problems

DESCRIPTION = """Who is near, who is here, and talking to them.

Errors are `application/problem+json` with a numeric `code`; `temporary` says whether the same request may
succeed later. Not found and not allowed are both 404. Lists are pages: `items`, and `next` for `cursor`.
The real-time protocol `rt.v1` is described in docs/protocol.md; `GET /v1/rt` says where it is.
"""

_WITH_BODY = problems(400, 413)


def openapi(app: FastAPI) -> dict[str, Any]:
    """The document, built once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title="Hereabouts",
            version=app.version,
            openapi_version="3.1.0",
            summary="A real-time engine for social apps",
            description=DESCRIPTION,
            routes=app.routes,
            license_info=None,
        )
        _complete(document)
        app.openapi_schema = document
    return app.openapi_schema


def _complete(document: dict[str, Any]) -> None:
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for methods in document["paths"].values():
        for operation in methods.values():
            responses: dict[str, Any] = operation["responses"]
            if "422" in responses:
                responses.update(_named(problems(422)))
            if "requestBody" in operation:
                responses.update(_named(_WITH_BODY))
            for status in ("429",):
                if status in responses:
                    responses[status]["headers"] = {
                        "Retry-After": {"description": "Seconds", "schema": {"type": "integer"}},
                        "RateLimit": {"schema": {"type": "string"}},
                        "RateLimit-Policy": {"schema": {"type": "string"}},
                    }
            operation["responses"] = dict(sorted(responses.items()))


def _named(entries: dict[int | str, dict[str, object]]) -> dict[str, Any]:
    return {str(status): entry for status, entry in entries.items()}
