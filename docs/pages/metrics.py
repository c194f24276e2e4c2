"""The page of metrics."""

from pages.markdown import as_markdown, code, table
from segtransfer.tasks.metrics import METRICS

HEAD = """\
# Metrics

All metrics are in percent (a drop in points of percent), from pixel counts summed over images.
Pixels with the label 255 are not counted. A class without labels and
predictions is left out of a mean over classes.

- **Shown**: the report's page offers the metric. **Logged**: MLflow gets the metric of each cell.
- `results.matrix(attack, metric="NAME")` returns any of them for every source and target.
- [Reading results](../explanation/results.md), [add a metric](../how-to/metric.md).

"""


def metrics_page() -> str:
    """Return the page: a table of metrics."""
    rows = []
    for name, score in METRICS.items():
        stronger = "lower" if score.lower_fools_more else "higher"
        marks = ["yes" if mark else "" for mark in (score.shown, score.logged)]
        rows.append([code(name), score.label, as_markdown(score.meaning), stronger, *marks])
    heads = ["metric", "label", "meaning", "of a stronger attack", "shown", "logged"]
    return HEAD + table(heads, rows)
