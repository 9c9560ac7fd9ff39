"""The `hereabouts` command. Each subcommand imports what it needs when it runs: `--help` answers at once."""

import argparse
import asyncio
import sys
from importlib.metadata import version

from cluster.errors import OperatorError
from cluster.settings import Loaded, describe, inherited_environment, load


def _up(arguments: argparse.Namespace) -> int:
    from cluster.console import Progress
    from cluster.supervisor import up

    settings = _load(arguments).settings
    asyncio.run(
        up(settings, inherited_environment(), Progress(), lambda url: print(f"ready {url}", flush=True))
    )
    return 0


def _load(arguments: argparse.Namespace) -> Loaded:
    return load({name: getattr(arguments, name, None) for name in ("port", "data", "bind")})


def _config(arguments: argparse.Namespace) -> int:
    for name, value, source, sentence in describe(_load(arguments)):
        print(f"{name} = {value}\n    from: {source}\n    {sentence}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hereabouts", description="A self-hostable real-time engine for social apps."
    )
    parser.add_argument("--version", action="version", version=f"hereabouts {version('hereabouts')}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--data", metavar="DIR", help="the engine's data folder (HEREABOUTS_DATA)")
    up = commands.add_parser("up", parents=[where], help="start an engine")
    up.add_argument("--port", type=int)
    up.add_argument("--bind")
    up.set_defaults(run=_up)
    config = commands.add_parser(
        "config", parents=[where], help="show every setting, its value and its source"
    )
    config.set_defaults(run=_config)
    return parser


def main() -> None:
    arguments = _parser().parse_args()
    try:
        sys.exit(arguments.run(arguments))
    except OperatorError as wrong:
        print(f"hereabouts: {wrong}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
