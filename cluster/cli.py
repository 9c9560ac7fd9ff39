"""The `hereabouts` command. Each subcommand imports what it needs when it runs: `--help` answers at once."""
# ruff: noqa: PLC0415

import argparse
import asyncio
import json
import os
import signal
import sys
from importlib.metadata import version
from pathlib import Path

from cluster import job_commands, node_commands
from cluster.errors import OperatorError
from cluster.settings import Loaded, describe, inherited_environment, load

EPILOG = """\
Every command finds its engine by the data folder: --data, else HEREABOUTS_DATA, else ./.hereabouts.
Settings are HEREABOUTS_… variables or lines of hereabouts.toml; `hereabouts config` explains each.
"""


OVERRIDES = ("port", "data", "bind", "shards", "gateways")


def _load(arguments: argparse.Namespace) -> Loaded:
    return load({name: getattr(arguments, name, None) for name in OVERRIDES})


def _up(arguments: argparse.Namespace) -> int:
    from cluster import doctor, layout
    from cluster.console import Progress

    settings = _load(arguments).settings
    place = layout.layout_of(settings.data)
    findings = doctor.examine(settings, place)
    doctor.refuse_fatal(findings)
    if arguments.detach:
        from cluster.detached import up_detached

        print(up_detached(settings), flush=True)
        return 0
    from cluster.supervisor import up

    tell = Progress()
    for each in findings:
        if each.level == "warning":
            tell(f"{each.subject}: {each.found}" + (f" ({each.fix})" if each.fix else ""))
    asyncio.run(up(settings, inherited_environment(), tell, lambda url: print(f"ready {url}", flush=True)))
    return 0


def _down(arguments: argparse.Namespace) -> int:
    from cluster import layout
    from cluster.console import Progress
    from cluster.down import down

    place = layout.layout_of(_load(arguments).settings.data)
    tell = Progress()
    if asyncio.run(down(place, tell)):
        tell("stopped")
    else:
        print(f"no engine runs on {place.data}", file=sys.stderr)
    return 0


def _status(arguments: argparse.Namespace) -> int:
    from cluster import layout
    from cluster.status import collect, render

    status = asyncio.run(collect(layout.layout_of(_load(arguments).settings.data)))
    print(json.dumps(status, indent=2) if arguments.json else render(status))
    return 0 if status["ready"] else 1


def _config(arguments: argparse.Namespace) -> int:
    rows = describe(_load(arguments))
    if arguments.json:
        print(
            json.dumps(
                [dict(zip(("name", "value", "source", "doc"), row, strict=True)) for row in rows], indent=2
            )
        )
        return 0
    for name, value, source, sentence in rows:
        print(f"{name} = {value}\n    {sentence}\n    from: {source}\n")
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from cluster import doctor, layout

    settings = _load(arguments).settings
    findings = doctor.examine(settings, layout.layout_of(settings.data))
    print(doctor.render(findings))
    return 1 if any(each.level == "fatal" for each in findings) else 0


def _dev_users(arguments: argparse.Namespace) -> int:
    from cluster import layout
    from cluster.dev_users import create

    settings = _load(arguments).settings
    place = layout.layout_of(settings.data)
    create_them = create(
        settings, place, arguments.count, arguments.prefix, arguments.ttl, roles=arguments.role
    )
    for user in asyncio.run(create_them):
        print(json.dumps(user))
    return 0


def _replay(arguments: argparse.Namespace) -> int:
    from cluster import replay

    code: int = asyncio.run(replay.run(arguments, _load(arguments).settings))
    return code


def _check(arguments: argparse.Namespace) -> int:
    from cluster.check import check, tally
    from cluster.history import read

    try:
        histories, logs = map(read, arguments.history), map(read, arguments.log)
        verdict = check(histories, logs, skips_allowed=arguments.skips_allowed)
    except OSError as unreadable:
        raise OperatorError(str(unreadable)) from None
    print(json.dumps(verdict.as_json()) if arguments.json else tally(verdict))
    return 1 if verdict.violations else 0


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _parser(replay_arguments: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hereabouts",
        description="A self-hostable real-time engine for social apps: who is near, who is here, and talk.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"hereabouts {version('hereabouts')}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--data", metavar="DIR", help="the engine's data folder (default: .hereabouts)")
    listen = argparse.ArgumentParser(add_help=False)
    listen.add_argument(
        "--port", type=int, help="the HTTP port (default: 8000); the gateway's is the next one"
    )
    listen.add_argument("--bind", metavar="ADDR", help="the address to listen on (default: 127.0.0.1)")
    as_json = argparse.ArgumentParser(add_help=False)
    as_json.add_argument("--json", action="store_true", help="for programs")

    up = commands.add_parser(
        "up",
        parents=[where, listen],
        help="start an engine and keep it running",
        description="Start an engine: Postgres, Valkey, Ray and the apps on it. Progress goes to stderr, "
        "one line `ready URL` to stdout. Ctrl-C or `hereabouts down` stops it.",
    )
    up.add_argument("--shards", type=_positive, metavar="N", help="shard actors (default: 2)")
    up.add_argument("--gateways", type=_positive, metavar="N", help="gateways (default: 1)")
    up.add_argument("--detach", action="store_true", help="return when it is ready, and leave it running")
    up.set_defaults(run=_up)

    down = commands.add_parser("down", parents=[where], help="stop the engine, and exactly that")
    down.set_defaults(run=_down)

    node_commands.add(commands, where)
    job_commands.add(commands, where, as_json)

    status = commands.add_parser(
        "status",
        parents=[where, as_json],
        help="processes, memory, slots and message counts per shard, Ray address and token",
    )
    status.set_defaults(run=_status)

    config = commands.add_parser(
        "config", parents=[where, as_json], help="every setting, its value, its source"
    )
    config.set_defaults(run=_config)

    doctor = commands.add_parser(
        "doctor", parents=[where, listen], help="what is wrong with this machine, and the fix"
    )
    doctor.set_defaults(run=_doctor)

    users = commands.add_parser(
        "dev-users",
        parents=[where],
        help="create users that are ready for use (not in production)",
        description='Create users: active, adult, visible to everyone at res 8, addable. Prints one {"user", '
        '"handle", "token"} a line.',
    )
    users.add_argument("--count", type=_positive, required=True, metavar="N")
    users.add_argument("--prefix", default="u", help="what the handles begin with (default: u)")
    users.add_argument(
        "--ttl", type=float, default=86_400.0, metavar="S", help="seconds the tokens are valid"
    )
    users.add_argument(
        "--role", action="append", default=[], choices=["app", "analyst", "admin"],
        help="a role for all of them; app: their fences may take people into rooms without an opt-in, and "
        "they see every fence's events and the models; analyst, admin: they see, promote and roll back "
        "models",
    )  # fmt: skip
    users.add_argument("--json", action="store_true", help="one JSON object a line (it always is)")
    users.set_defaults(run=_dev_users)

    check = commands.add_parser(
        "check",
        parents=[as_json],
        help="prove that what clients saw is one history",
        description="Checks histories that clients wrote (JSON lines, docs/histories.md): the same id at the "
        "same offset everywhere, no gap that was not announced, nothing acknowledged lost, none twice, the "
        "log's order. Prints counts and every violation; exits 1 if there is one.",
    )
    check.add_argument("history", type=Path, nargs="+", metavar="HISTORY", help="a file of a client's lines")
    check.add_argument(
        "--log", type=Path, action="append", default=[], metavar="FILE", help="the stored logs, as lines"
    )
    check.add_argument(
        "--skips-allowed", action="store_true", help="there are blocks or filters: skips are no violation"
    )
    check.set_defaults(run=_check)

    replay = commands.add_parser(
        "replay", parents=[where, listen], help="walk GPS traces through real clients"
    )
    if replay_arguments:
        from cluster import replay as replay_module

        replay_module.add_arguments(replay)
    replay.set_defaults(run=_replay)
    return parser


def main() -> None:
    # A shell starts `hereabouts up &` with SIGINT ignored; whoever sends it all the same means it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    arguments = _parser(replay_arguments="replay" in sys.argv[1:]).parse_args()
    try:
        sys.exit(arguments.run(arguments))
    except OperatorError as wrong:
        print(f"hereabouts: {wrong}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:  # `hereabouts config | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
