"""Who does the tasks of a batch: Ray's workers, or this process (for few people, or figures of one core)."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import ray

Task = Callable[..., Any]


class Hands(Protocol):
    """Does the same task on many arguments, with something large that all of them read."""

    def share(self, large: Any) -> Any:
        """Return what stands for it as a task's first argument."""

    def each(self, task: Task, shared: Any, asked: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """Yield task(large, *arguments) of each, in order."""


class Here:
    """One after the other, in this process."""

    def share(self, large: Any) -> Any:
        """See Hands."""
        return large

    def each(self, task: Task, shared: Any, asked: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """See Hands."""
        for arguments in asked:
            yield task(shared, *arguments)


class OnRay:
    """Ray tasks: two more than there are cores are under way, so that memory has a bound. A task whose worker
    dies is done again.
    """

    def share(self, large: Any) -> Any:
        """See Hands."""
        return ray.put(large)

    def each(self, task: Task, shared: Any, asked: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """See Hands."""
        remote: Any = ray.remote(num_cpus=1, max_retries=3)(task)
        most = int(ray.cluster_resources().get("CPU", 1)) + 2  # type: ignore[no-untyped-call]
        under_way: list[Any] = []
        for arguments in asked:
            under_way.append(remote.remote(shared, *arguments))
            if len(under_way) >= most:
                yield ray.get(under_way.pop(0))
        for one in under_way:
            yield ray.get(one)
