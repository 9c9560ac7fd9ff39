"""Ray's job server and nothing else of its dashboard, in the one process that Ray starts for it anyway.

`ray start` keeps a dashboard process even without a dashboard; it does nothing there. Here it answers
`/api/jobs` and `/api/packages`, which is all that `ray job …` asks for, with Ray's own handlers and Ray's own
check of the token, on loopback (docs/decisions/0236).
"""

import argparse
import asyncio
import inspect
import signal
from typing import Any

import aiohttp
from aiohttp import web
from ray import ray_constants
from ray._private import logging_utils
from ray._private.authentication.http_token_authentication import get_token_auth_middleware
from ray._private.ray_logging import setup_component_logger
from ray.core.generated import gcs_pb2
from ray.dashboard.modules.job.common import JobInfoStorageClient
from ray.dashboard.modules.job.job_head import JobHead
from ray.dashboard.optional_utils import get_browser_request_middleware
from ray.dashboard.subprocesses.module import SubprocessModuleConfig
from setproctitle import setproctitle

TITLE = "ray::hereabouts-jobs"
AGENT_TIMEOUT_S = 10.0
ALIVE: int = gcs_pb2.GcsNodeInfo.ALIVE  # type: ignore[attr-defined] # made by protobuf at run time
LOG_FILE = "job-server.log"


class Jobs(JobHead):
    """Ray's module, which otherwise has a process of its own behind the dashboard's."""

    def __init__(self, config: SubprocessModuleConfig) -> None:
        super().__init__(config)  # type: ignore[no-untyped-call]
        self._job_info_client = JobInfoStorageClient(self.gcs_client)

    def routes(self) -> list[web.RouteDef]:
        """Return those that its handlers are marked with."""
        handlers = inspect.getmembers(self, lambda one: hasattr(one, "__route_path__"))
        return [web.route(each.__route_method__, each.__route_path__, each) for _, each in handlers]

    async def get_target_agent(self, timeout_s: float = AGENT_TIMEOUT_S) -> Any:
        """Return whoever runs a job on the head node. Ray's dashboard has written down which node that is;
        without it we do, for its agent asks too.
        """
        nodes, _ = await self.gcs_client.async_get_all_node_info(timeout=timeout_s)
        for node, info in nodes.items():
            if info.is_head_node and info.state == ALIVE:
                await self.gcs_client.async_internal_kv_put(
                    ray_constants.KV_HEAD_NODE_ID_KEY,
                    node.hex().encode(),
                    True,
                    namespace=ray_constants.KV_NAMESPACE_JOB,
                )
        return await super().get_target_agent(timeout_s)


def _arguments() -> argparse.Namespace:
    """Of those that Ray gives its dashboard, what is needed here."""
    parser = argparse.ArgumentParser()
    for name in ("host", "gcs-address", "cluster-id-hex", "log-dir", "session-dir", "temp-dir"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--stdout-filepath", default="")
    parser.add_argument("--stderr-filepath", default="")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--logging-rotate-bytes", type=int, default=0)
    parser.add_argument("--logging-rotate-backup-count", type=int, default=0)
    return parser.parse_known_args()[0]


async def _serve(arguments: argparse.Namespace) -> None:
    session = arguments.session_dir
    jobs = Jobs(
        SubprocessModuleConfig(
            cluster_id_hex=arguments.cluster_id_hex,
            gcs_address=arguments.gcs_address,
            session_name=session.rpartition("/")[2],
            temp_dir=arguments.temp_dir,
            session_dir=session,
            logging_level=ray_constants.LOGGER_LEVEL,
            logging_format=ray_constants.LOGGER_FORMAT,
            log_dir=arguments.log_dir,
            logging_filename=LOG_FILE,
            logging_rotate_bytes=arguments.logging_rotate_bytes,
            logging_rotate_backup_count=arguments.logging_rotate_backup_count,
            socket_dir=session,
        )
    )
    middlewares: list[Any] = [
        get_token_auth_middleware(aiohttp),
        get_browser_request_middleware(aiohttp, allowed_methods={"GET", "HEAD", "OPTIONS"}),
    ]
    app = web.Application(client_max_size=ray_constants.DASHBOARD_CLIENT_MAX_SIZE, middlewares=middlewares)
    app.add_routes(jobs.routes())
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, arguments.host, arguments.port).start()
    # What `ray start` waits for, and what `ray.init` calls the dashboard's address.
    jobs.gcs_client.internal_kv_put(
        ray_constants.DASHBOARD_ADDRESS.encode(),
        f"{arguments.host}:{arguments.port}".encode(),
        True,
        namespace=ray_constants.KV_NAMESPACE_DASHBOARD,
    )
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()


def main() -> None:
    arguments = _arguments()
    setup_component_logger(
        logging_level=ray_constants.LOGGER_LEVEL,
        logging_format=ray_constants.LOGGER_FORMAT,
        log_dir=arguments.log_dir,
        filename=LOG_FILE,
        max_bytes=arguments.logging_rotate_bytes,
        backup_count=arguments.logging_rotate_backup_count,
    )
    logging_utils.redirect_stdout_stderr_if_needed(
        arguments.stdout_filepath,
        arguments.stderr_filepath,
        arguments.logging_rotate_bytes,
        arguments.logging_rotate_backup_count,
    )
    setproctitle(TITLE)
    asyncio.run(_serve(arguments))


if __name__ == "__main__":
    main()
