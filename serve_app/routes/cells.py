"""Outlines of H3 cells, for whoever draws a map without a library of their own."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import ConfigDict

from geo.cells import Cell, boundary_of, cell_of, centre_of, is_cell, resolution_of
from geo.coordinates import LatLng
from geo.privacy import RES_STRANGERS_FINEST
from serve_app.errors import not_found
from serve_app.gate import anybody
from serve_app.schemas import Answer, problems

router = APIRouter(
    prefix="/v1/cells", tags=["location"], responses=problems(404, 429, 500), dependencies=[Depends(anybody)]
)

Position = list[float]


class Outline(Answer):
    """A ring of [longitude, latitude]; one that steps over ±180 goes the short way round."""

    type: Literal["Polygon"] = "Polygon"
    coordinates: list[list[Position]]


class CellProperties(Answer):
    """`centre` is [longitude, latitude]."""

    resolution: int
    centre: Position


class CellShown(Answer):
    """A GeoJSON Feature."""

    model_config = ConfigDict(json_schema_extra={"description": "A GeoJSON Feature (RFC 7946)"})

    type: Literal["Feature"] = "Feature"
    id: str
    geometry: Outline
    properties: CellProperties


KEEP = "public, max-age=31536000, immutable"

Latitude = Annotated[float, Query(ge=-90, le=90, allow_inf_nan=False)]
Longitude = Annotated[float, Query(ge=-180, le=180, allow_inf_nan=False)]


@router.get("", summary="The cell at a point of the map")
async def get_cell_at(lat: Latitude, lon: Longitude, response: Response) -> CellShown:
    """The res 8 cell there, in which strangers see somebody at most: to draw the honeycomb of a map from its
    middle. A URL is no place for where a person is: round the middle to two decimals.
    """
    response.headers["Cache-Control"] = KEEP
    return _shown(cell_of(lat, lon, RES_STRANGERS_FINEST))


@router.get("/{cell}", summary="The outline of an H3 cell")
async def get_cell(
    cell: Annotated[str, Path(description="An H3 cell as hexadecimal text", examples=["881f1d4887fffff"])],
    response: Response,
) -> CellShown:
    """It never changes: keep it. 404 for what is no cell."""
    if not (len(cell) == 15 and cell.isascii() and cell == cell.lower() and is_cell(cell)):
        raise not_found()
    response.headers["Cache-Control"] = KEEP
    return _shown(Cell(cell))


def _shown(cell: Cell) -> CellShown:
    ring = [_position(corner) for corner in boundary_of(cell)]
    return CellShown(
        id=cell,
        geometry=Outline(coordinates=[[*ring, ring[0]]]),
        properties=CellProperties(resolution=resolution_of(cell), centre=_position(centre_of(cell))),
    )


def _position(at: LatLng) -> Position:
    return [round(at.lon, 7), round(at.lat, 7)]
