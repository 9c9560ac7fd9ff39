"""The page at `/`, from files beside this package: no build step, nothing from another host."""

import mimetypes
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Response

from serve_app.errors import not_found

FOLDER = Path(__file__).resolve().parent.parent / "page"

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "geolocation=(self), camera=(), microphone=()",
}

_TYPES = {".js": "text/javascript", ".svg": "image/svg+xml", ".css": "text/css", ".html": "text/html"}

router = APIRouter(include_in_schema=False)

ETags = Annotated[str, Header(alias="if-none-match")]


@router.get("/")
async def get_page(if_none_match: ETags = "") -> Response:
    return _file("index.html", if_none_match)


@router.get("/favicon.ico")
async def get_icon(if_none_match: ETags = "") -> Response:
    return _file("mark.svg", if_none_match)


@router.get("/page/{name}")
async def get_file(name: str, if_none_match: ETags = "") -> Response:
    return _file(name, if_none_match)


def _file(name: str, if_none_match: str) -> Response:
    """A file of the page. Revalidated at each use: a new release is seen at the next load."""
    path = FOLDER / name
    if path.parent != FOLDER or name.startswith(".") or not path.is_file():
        raise not_found()
    content = path.read_bytes()
    etag = f'"{sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache", **SECURITY_HEADERS}
    if etag in if_none_match:
        return Response(status_code=304, headers=headers)
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response(content, headers=headers, media_type=kind)
