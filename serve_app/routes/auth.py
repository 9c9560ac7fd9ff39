"""Registering, signing in, staying signed in (identity.md, AUTH)."""

from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import ConfigDict, Field

from identity.accounts import HANDLE, PASSWORD_MAXIMUM, PASSWORD_MINIMUM, Tokens
from identity.tokens import TokenInvalid
from serve_app.gate import Credentials, ServicesHere, address_of, admit, anybody
from serve_app.schemas import Answer, Body, Line, problems
from serve_app.throttle import SIGN_IN, SIGN_IN_PAIR

router = APIRouter(
    prefix="/v1/auth",
    tags=["sign-in"],
    responses=problems(429, 500, 503),
    dependencies=[Depends(anybody)],
)

Handle = Annotated[Line, Field(min_length=3, max_length=32, pattern=HANDLE, examples=["ada"])]
Password = Annotated[str, Field(min_length=PASSWORD_MINIMUM, max_length=PASSWORD_MAXIMUM)]
Device = Annotated[Line, Field(max_length=128, description="The same for one installation of an app")]


class Registration(Body):
    """A new account, for a person of 18 years or more."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"handle": "ada", "password": "correct horse battery", "birth_date": "1990-12-10"}]
        }
    )

    handle: Handle
    password: Password
    birth_date: Annotated[date, Field(strict=False)]
    mail: Annotated[Line, Field(max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")] | None = None
    device: Device = ""


class Login(Body):
    """Handle (in any case) and password."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"handle": "ada", "password": "correct horse battery", "device": "phone-1"}]
        }
    )

    handle: Annotated[Line, Field(max_length=64)]
    password: Annotated[str, Field(max_length=PASSWORD_MAXIMUM)]
    device: Device = ""


class Refresh(Body):
    """The refresh token, once; with `device`, as it was given at sign-in."""

    refresh_token: Annotated[Line, Field(max_length=200)]
    device: Device | None = None


class Logout(Body):
    """For who has no access token any more."""

    refresh_token: Annotated[Line, Field(max_length=200)] | None = None


class SignedIn(Answer):
    """`access_token` is valid for `expires_in` seconds; `refresh_token` gets the next pair, once."""

    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - RFC 6750's word
    expires_in: int
    user: str


def _signed_in(tokens: Tokens, response: Response) -> SignedIn:
    response.headers["Cache-Control"] = "no-store"
    return SignedIn(
        access_token=tokens.access_token,
        refresh_token=tokens.refresh_token,
        expires_in=tokens.expires_in_s,
        user=tokens.user,
    )


@router.post("/register", status_code=201, summary="Make an account", responses=problems(409))
async def register(
    wanted: Registration, request: Request, response: Response, here: ServicesHere
) -> SignedIn:
    """Makes an account and signs it in. 409: the handle is taken; 422: also when under 18."""
    admit(here, SIGN_IN, address_of(request), response)
    tokens = await here.accounts.register(
        handle=wanted.handle,
        password=wanted.password,
        birth_date=wanted.birth_date,
        mail=wanted.mail,
        device=wanted.device,
    )
    return _signed_in(tokens, response)


@router.post("/login", summary="Sign in", responses=problems(401))
async def login(wanted: Login, request: Request, response: Response, here: ServicesHere) -> SignedIn:
    """A new session for this device. An unknown handle and a wrong password are answered alike."""
    address = address_of(request)
    admit(here, SIGN_IN, address, response)
    admit(here, SIGN_IN_PAIR, f"{address} {wanted.handle.lower()}")
    tokens = await here.accounts.login(handle=wanted.handle, password=wanted.password, device=wanted.device)
    return _signed_in(tokens, response)


@router.post("/refresh", summary="Get the next pair of tokens", responses=problems(401))
async def refresh(wanted: Refresh, response: Response, here: ServicesHere) -> SignedIn:
    """Each refresh token works once; a second use ends its session, unless it is the same device's within
    20 s: that gets the same successor.
    """
    tokens = await here.accounts.refresh(wanted.refresh_token, device=wanted.device)
    return _signed_in(tokens, response)


@router.post("/logout", status_code=204, summary="End this session", responses=problems(401))
async def logout(here: ServicesHere, credentials: Credentials, wanted: Logout | None = None) -> Response:
    """Ends the session of the access token, or of `refresh_token`; its access tokens run out alone."""
    if wanted is not None and wanted.refresh_token is not None:
        await here.accounts.logout_by_refresh(wanted.refresh_token)
    elif credentials is None:
        raise TokenInvalid
    else:
        claims = await here.verifier.verify(credentials.credentials)
        await here.accounts.logout(claims.session)
    return Response(status_code=204)
