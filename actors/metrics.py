"""What a process counts about itself: plain integers, read every few seconds by whoever exports them.

Without Ray: the exporter is metrics_export.py. A hot path keeps the `Counter` that `counter()` gave it and
adds to its `n`, which is one addition; elsewhere `count()` will do. A metric that is not in METRICS is a
mistake of the program, so a misspelt one fails in the first test that meets it.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

READING_BOUNDS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 3.0, 10.0)
Labels = tuple[tuple[str, str], ...]

SCORE_BOUNDS_S = (0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0)
TICK_BOUNDS_S = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.05, 0.25, 1.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """`labels` are the names of its labels; `bounds` the upper ends of a histogram's buckets."""

    kind: Literal["counter", "gauge", "histogram"]
    doc: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


METRICS: dict[str, Metric] = {
    # gateways
    "sockets": Metric("gauge", "WebSockets that are open, with those that have not said connect."),
    "sockets_opened": Metric("counter", "WebSockets that were accepted."),
    "sockets_closed": Metric("counter", "WebSockets that this side closed, by close code.", ("code",)),
    "deliveries": Metric("counter", "Frames handed to members of channels (frames x members)."),
    "frames": Metric("counter", "Frames that channels were given for their members."),
    "sends": Metric("counter", "Writes to sockets: what a tick holds for one leaves in one."),
    "gateway_tick_s": Metric("histogram", "Seconds that a tick took to write everything.", (), TICK_BOUNDS_S),
    "drops": Metric("counter", "What was shed, by what was too much.", ("reason",)),
    "resumes": Metric(
        "counter",
        "Subscriptions from a position of the client's, by whether it was recovered.",
        ("recovered",),
    ),
    # shards
    "messages": Metric("counter", "Messages for virtual actors."),
    "activations": Metric("gauge", "Virtual actors in memory, by kind.", ("kind",)),
    "mailbox_depth": Metric("gauge", "Messages that wait in all mailboxes."),
    "mailbox_deepest": Metric("gauge", "Messages that wait in the fullest mailbox."),
    "mailboxes_above_soft_limit": Metric("gauge", "Mailboxes with more than 1,000 waiting."),
    "shard_tick_s": Metric(
        "histogram", "Seconds that a tick of positions and places took.", (), TICK_BOUNDS_S
    ),
    "sheds": Metric("counter", "Activations that were taken out of memory because it was short."),
    "activations_bytes": Metric("gauge", "What all activations hold, about."),
    "commits": Metric("counter", "Transactions of the message log."),
    "committed": Metric("counter", "Publications that were stored."),
    "pushes": Metric("counter", "Messages to gateways: one per gateway with members, whatever their number."),
    "floods": Metric("counter", "Messages to gateways that had not told yet whether they have members."),
    "relayed": Metric("counter", "Messages to relays: one each, whatever the number of their gateways."),
    "fixes_not_logged": Metric("counter", "Fixes that Valkey did not take when they came."),
    "fixes_not_live": Metric("counter", "Fixes that moved nobody, by why.", ("reason",)),
    "score_batches": Metric("counter", "Questions to the Matcher, by what came of them.", ("outcome",)),
    "scored_pairs": Metric("counter", "Pairs that the Matcher was asked about and answered."),
    "score_queue": Metric("gauge", "People whose views wait for scores."),
    "score_wait_s": Metric("histogram", "Seconds from want to answer, per viewer.", (), SCORE_BOUNDS_S),
    "refusals": Metric("counter", "Requests that a shard refused, by error code.", ("code",)),
    "readings": Metric(
        "counter",
        "Texts that a model was to read: scored, abstained, late (its deadline came first), failed, dropped.",
        ("outcome",),
    ),
    "reading_s": Metric("histogram", "Seconds from asking for a verdict to having it.", (), READING_BOUNDS_S),
    "pruned": Metric(
        "counter",
        "Models, datasets, steps of jobs and suggestions that were removed as nothing needs them.",
        ("what",),
    ),
    "pruned_bytes": Metric("counter", "Bytes that this freed."),
    "withheld": Metric("counter", "Messages that a room refused or took back, by its policy.", ("policy",)),
    # the Matcher
    "match_people": Metric("gauge", "People in the Matcher's table."),
    "match_request_s": Metric(
        "histogram", "Seconds that the Matcher computed for one request.", (), TICK_BOUNDS_S
    ),
    "match_model_swaps": Metric(
        "counter", "Versions that an alias came to name, by whether they serve (taken, refused).", ("result",)
    ),
    "match_shadow_gap": Metric(
        "histogram",
        "Mean difference of a request's pair scores by the shadow and by the champion.",
        (),
        (0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    ),
    "match_vectors": Metric("gauge", "People whose vectors are searched for candidates."),
    "match_scores": Metric("counter", "Pair scores that were asked of the Matcher."),
    # the Reader
    "texts_read": Metric("counter", "Texts that the Reader read."),
    "reader_batch_s": Metric("histogram", "Seconds that a batch of texts took.", (), READING_BOUNDS_S),
    # all
    "handoffs": Metric("counter", "Slots handed from one shard to another, by why.", ("reason",)),
    "hung_shards": Metric("counter", "Shards that fell silent and lost their slots."),
    "takeovers": Metric("counter", "Slots taken from a shard that was gone."),
    "view_version": Metric("gauge", "Version of the newest view of the Directory that this process knows."),
    "view_changes": Metric("counter", "Views that were adopted."),
    "links_refused": Metric("counter", "Link peers that did not prove to know the secret, or were late."),
}


class Counter:
    """A number that only rises: add to `n`."""

    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 0


class Histogram:
    """How many values fell into each bucket; the last one has no upper end."""

    __slots__ = ("bounds", "buckets", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Counts one value."""
        self.buckets[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass(frozen=True, slots=True)
class Row:
    """One number. A histogram is rows of counters as Prometheus has them: `_bucket` by `le` (cumulative),
    `_sum` and `_count`.
    """

    name: str
    kind: Literal["counter", "gauge"]
    labels: Labels
    value: float


class Registry:
    """All numbers of a process."""

    def __init__(self) -> None:
        self._counters: dict[tuple[str, Labels], Counter] = {}
        self._histograms: dict[tuple[str, Labels], Histogram] = {}
        self._gauges: dict[tuple[str, Labels], Callable[[], float]] = {}
        self._totals: dict[tuple[str, Labels], Callable[[], float]] = {}
        self._families: dict[str, tuple[str, Callable[[], dict[str, float]]]] = {}

    def counter(self, name: str, **labels: str) -> Counter:
        """The counter of these labels, to be kept by a hot path."""
        key = _key("counter", name, labels)
        found = self._counters.get(key)
        if found is None:
            found = self._counters[key] = Counter()
        return found

    def count(self, name: str, n: int = 1, **labels: str) -> None:
        """Adds to a counter; about a microsecond."""
        self.counter(name, **labels).n += n

    def total(self, name: str, read: Callable[[], float], **labels: str) -> None:
        """A counter that somebody keeps for himself: `read` is asked at each export."""
        self._totals[_key("counter", name, labels)] = read

    def histogram(self, name: str, **labels: str) -> Histogram:
        """The histogram of these labels."""
        key = _key("histogram", name, labels)
        found = self._histograms.get(key)
        if found is None:
            found = self._histograms[key] = Histogram(METRICS[name].bounds)
        return found

    def gauge(self, name: str, read: Callable[[], float], **labels: str) -> None:
        """`read` is asked at each export; a later one takes the place of an earlier."""
        self._gauges[_key("gauge", name, labels)] = read

    def gauges(self, name: str, label: str, read: Callable[[], dict[str, float]]) -> None:
        """As `gauge`, for one value per value of a label: `read` gives them all."""
        _key("gauge", name, {label: ""})
        self._families[name] = (label, read)

    def rows(self) -> list[Row]:
        """Everything, now."""
        rows = [Row(name, "counter", labels, each.n) for (name, labels), each in self._counters.items()]
        rows += [Row(name, "counter", labels, read()) for (name, labels), read in self._totals.items()]
        rows += [Row(name, "gauge", labels, read()) for (name, labels), read in self._gauges.items()]
        for name, (label, read) in self._families.items():
            rows += [Row(name, "gauge", ((label, value),), number) for value, number in read().items()]
        for (name, labels), histogram in self._histograms.items():
            below = 0
            for bound, count in zip((*histogram.bounds, "+Inf"), histogram.buckets, strict=True):
                below += count
                rows.append(Row(f"{name}_bucket", "counter", (*labels, ("le", str(bound))), below))
            rows.append(Row(f"{name}_sum", "counter", labels, histogram.total))
            rows.append(Row(f"{name}_count", "counter", labels, below))
        return rows


def _key(kind: str, name: str, labels: dict[str, str]) -> tuple[str, Labels]:
    metric = METRICS[name]
    if metric.kind != kind or labels.keys() != set(metric.labels):
        raise ValueError(f"{name} is a {metric.kind} with the labels {metric.labels}")
    return name, tuple(sorted(labels.items()))


HERE = Registry()
"""The process's own."""

counter, count, total, histogram = HERE.counter, HERE.count, HERE.total, HERE.histogram
gauge, gauges = HERE.gauge, HERE.gauges
