"""What crosses HTTP, as types: shared by the routes, and the source of the OpenAPI document."""

import unicodedata
from typing import Annotated, Generic, Literal, TypeVar

from fastapi import Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from actors.protocol import OFFSET_LIMIT
from serve_app.errors import MEDIA_TYPE, TITLES
from storage.ids import is_id

LIMIT_DEFAULT, LIMIT_MAXIMUM = 50, 300

Item = TypeVar("Item")


class Body(BaseModel):
    """A request's body: unknown fields and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Answer(BaseModel):
    """A response's body."""

    model_config = ConfigDict(extra="forbid")


class Page(Answer, Generic[Item]):
    """One page of a list; `next` goes into `cursor` (messages: `after` or `before`), null at the end."""

    items: list[Item]
    next: str | None = Field(description="Where the next page begins; null at the end")


class Fault(Answer):
    """Where a request is wrong, and why."""

    where: str
    why: str


class Problem(BaseModel):
    """A refusal (RFC 9457). `code` is a number of the error table; `temporary` is the only retry signal."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:hereabouts:error:103",
                    "title": "Not found",
                    "status": 404,
                    "detail": "This is not here, or not yours.",
                    "code": 103,
                    "temporary": False,
                    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
                }
            ]
        },
    )

    type: str
    title: str
    status: int
    detail: str
    code: int = Field(ge=100, le=199, description="See docs/protocol.md §5")
    temporary: bool
    trace_id: str
    retry_ms: int | None = None
    errors: list[Fault] | None = None


def problems(*statuses: int) -> dict[int | str, dict[str, object]]:
    """OpenAPI entries for these refusals, all of them of the one schema."""
    return {
        status: {
            "description": TITLES[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def _canonical_id(text: str) -> str:
    if not is_id(text):
        raise ValueError("not an id in canonical form")
    return text


def _printable(text: str) -> str:
    if any(unicodedata.category(each) == "Cc" for each in text):
        raise ValueError("control characters are not allowed")
    return text


Id = Annotated[
    str,
    StringConstraints(min_length=36, max_length=36, pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"),
    AfterValidator(_canonical_id),
]
Line = Annotated[str, AfterValidator(_printable), Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
"""Text of one line: a name, a device."""


class Terms(Answer):
    """On which terms a room's messages are read (docs/protocol.md §7.2)."""

    scorer: Literal["inline", "model"]
    policy: Literal["pass", "hold", "retract"]
    deadline_ms: int
    heads: list[Literal["sentiment", "emotion", "offence"]]
    threshold: float | None = None
    marks: bool = False


Audience = Literal["nobody", "matches", "group", "everyone"]
Offset = Annotated[int, Query(ge=0, lt=OFFSET_LIMIT)]


def _clamped(value: object) -> object:
    """A larger limit is the largest (docs/protocol.md §6)."""
    if isinstance(value, str) and value.isdecimal() and value.isascii():
        return str(min(int(value[:9]), LIMIT_MAXIMUM))
    return value


Limit = Annotated[
    int,
    BeforeValidator(_clamped, json_schema_input_type=int),
    Query(ge=1, description=f"Items a page; more than {LIMIT_MAXIMUM} is {LIMIT_MAXIMUM}"),
]
Cursor = Annotated[
    Id | None, Query(description="`next` of the page before", json_schema_extra={"format": "uuid"})
]
