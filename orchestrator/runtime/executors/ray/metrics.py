"""The driver's metrics on Ray's way to Prometheus: every node exports what its workers count."""

from collections.abc import Mapping

from ray.util.metrics import Counter, Gauge, Histogram

from segtransfer.runtime.status import METRICS, Meter, Metric


def ray_meter() -> Meter:
    """A meter of the process that calls it: a Ray worker or driver.

    Ray puts ``ray_`` before every name. It exports on the metrics port of the node.
    """
    instruments = {metric.name: _instrument(metric) for metric in METRICS}

    def record(metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        instrument, tags = instruments[metric.name], dict(labels)
        if isinstance(instrument, Counter):
            instrument.inc(value, tags)
        elif isinstance(instrument, Gauge):
            instrument.set(value, tags)
        else:
            instrument.observe(value, tags)

    return record


def _instrument(metric: Metric) -> Counter | Gauge | Histogram:
    if metric.kind == "counter":
        return Counter(metric.name, metric.meaning, metric.labels)
    if metric.kind == "gauge":
        return Gauge(metric.name, metric.meaning, metric.labels)
    return Histogram(metric.name, metric.meaning, list(metric.boundaries), metric.labels)
