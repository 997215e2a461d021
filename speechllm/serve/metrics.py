"""What the server counts, in Prometheus' words; each server has a registry of its own."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The numbers of one server."""

    def __init__(self):
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "speechllm_requests", "answered requests", ["route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "speechllm_request_seconds", "from its head to the last byte of its answer", ["route"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.batch = Histogram(
            "speechllm_batch_size", "pieces computed together", buckets=SIZES, registry=registry
        )
        self.audio = Counter(
            "speechllm_audio_seconds", "seconds of sound that were heard", registry=registry
        )
        self.busy = Gauge(
            "speechllm_requests_in_flight", "requests worked on or waiting", registry=registry
        )
        self.waiting = Gauge(
            "speechllm_pieces_waiting", "windows and questions that wait for a batch",
            registry=registry,
        )  # fmt: skip
        self.refused = Counter(
            "speechllm_requests_refused", "requests for which there was no place", registry=registry
        )
        self.gone = Counter(
            "speechllm_requests_gone", "requests whose client hung up", registry=registry
        )

    def text(self) -> bytes:
        """Write them all."""
        return generate_latest(self.registry)
