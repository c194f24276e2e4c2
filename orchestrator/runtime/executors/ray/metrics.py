"""The driver's metrics through Ray: every node exports its processes' metrics to Prometheus."""

from collections.abc import Mapping

from ray.util.metrics import Counter, Gauge, Histogram

from segtransfer.runtime.metrics import INSTRUMENTS, Instrument, Meter


def ray_meter() -> Meter:
    """Return a meter for the calling process, a Ray worker or driver.

    Ray puts ``ray_`` before every name, and exports on the metrics port of the node.

    Returns:
        A function that adds to a counter, sets a gauge or observes a value of a histogram.
    """
    metrics = {instrument.name: _metric_of(instrument) for instrument in INSTRUMENTS}

    def record(instrument: Instrument, value: float, labels: Mapping[str, str]) -> None:
        metric, tags = metrics[instrument.name], dict(labels)
        if isinstance(metric, Counter):
            metric.inc(value, tags)
        elif isinstance(metric, Gauge):
            metric.set(value, tags)
        else:
            metric.observe(value, tags)

    return record


def _metric_of(instrument: Instrument) -> Counter | Gauge | Histogram:
    name, meaning, labels = instrument.name, instrument.meaning, instrument.labels
    if instrument.kind == "counter":
        return Counter(name, meaning, labels)
    if instrument.kind == "gauge":
        return Gauge(name, meaning, labels)
    return Histogram(name, meaning, list(instrument.boundaries), labels)
