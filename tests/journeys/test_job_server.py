"""The job server that every engine has: who may use it, and what it says of itself (ML-3)."""

import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from rt_client.engine import Engine
from rt_client.town import hereabouts, status


def asked(url: str, token: str | None, method: str = "GET") -> int:
    request = urllib.request.Request(url, method=method, data=b"{}" if method == "POST" else None)
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code


def test_status_says_what_to_type_to_run_a_job(engine: Engine) -> None:
    ray = status(engine.data)["ray"]
    line = ray["submit"]
    assert f"RAY_AUTH_TOKEN_PATH={ray['token_path']} " in line
    assert line.endswith(f"job submit --address {ray['dashboard_url']} --")
    assert f"{line} python -m matching.jobs.train" in hereabouts(engine.data, "status")


@pytest.mark.parametrize(("path", "method"), [("/api/jobs/", "GET"), ("/api/jobs/", "POST")])
def test_only_the_token_opens_it_and_only_from_this_machine(engine: Engine, path: str, method: str) -> None:
    ray = status(engine.data)["ray"]
    assert urlsplit(ray["dashboard_url"]).hostname == "127.0.0.1"
    url = ray["dashboard_url"] + path
    assert asked(url, None, method) == 401
    assert asked(url, "0" * 64, method) == 403
    token = Path(ray["token_path"]).read_text(encoding="ascii").strip()
    assert asked(url, token, "GET") == 200
