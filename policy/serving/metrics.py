"""The metrics of a server, in Prometheus' text format."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from paradp.policy.plan_stats import PlanStats

_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
_COUNTS = (1, 2, 4, 8, 12, 16, 20, 26, 32, 50, 75, 100, 200)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.clients = Gauge("paradp_clients", "Connected clients.", registry=self._registry)
        self.answers = Counter("paradp_answers", "Answers, by kind.", ["kind"], registry=self._registry)
        self._batch = self._histogram("paradp_batch_size", "Plans made together.", _COUNTS)
        self._waited = self._histogram("paradp_queue_seconds", "Longest wait of a batch's requests.", _SECONDS)
        self._plan = self._histogram("paradp_plan_seconds", "Time of a plan.", _SECONDS)
        self._rounds = self._histogram("paradp_plan_rounds", "Network rounds of a plan.", _COUNTS)
        self._unconverged = Counter("paradp_plans_unconverged", "Plans that a budget ended.", registry=self._registry)

    def _histogram(self, name: str, what: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, what, buckets=buckets, registry=self._registry)

    def batch(self, size: int, waited: float) -> None:
        self._batch.observe(size)
        self._waited.observe(waited)

    def plan(self, stats: PlanStats) -> None:
        self._plan.observe(stats.timing.seconds)
        self._rounds.observe(stats.rounds)
        self._unconverged.inc(not stats.converged)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)
