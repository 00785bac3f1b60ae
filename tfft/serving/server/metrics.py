"""What /metrics tells Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

LATENCIES = (.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self):
        self._registry = registry = CollectorRegistry()
        self.requests = Counter("tfft_requests", "Requests answered", ["api", "model", "method", "signature", "code"],
                                registry=registry)
        self.latency = Histogram("tfft_request_seconds", "From arrival to answer", ["api", "model", "method"],
                                 buckets=LATENCIES, registry=registry)
        self.in_flight = Gauge("tfft_requests_in_flight", "Requests being answered", registry=registry)
        self.batch_rows = Histogram("tfft_batch_rows", "Rows computed at once", ["model"], buckets=SIZES, registry=registry)
        self.batch_seconds = Histogram("tfft_batch_seconds", "Time to compute a batch", ["model"], buckets=LATENCIES,
                                       registry=registry)
        self.queue = Gauge("tfft_queue_rows", "Rows waiting for a batch", ["model"], registry=registry)
        self.loaded = Gauge("tfft_loaded_version", "1 for each version in memory", ["model", "version"], registry=registry)
        self.load_failures = Counter("tfft_load_failures", "Versions that did not load", ["model"], registry=registry)

    def batches(self, model: str):
        """What a Batcher calls with the rows and seconds of each batch."""
        rows_of, seconds_of = self.batch_rows.labels(model), self.batch_seconds.labels(model)

        def observe(rows: int, seconds: float) -> None:
            rows_of.observe(rows)
            seconds_of.observe(seconds)

        return observe

    def page(self, models) -> bytes:
        """The text format; the queues are looked up now."""
        for name, model in models.by_name.items():
            self.queue.labels(name).set(sum(batcher.waiting for batcher in model.batchers.values()))
        return generate_latest(self._registry)
