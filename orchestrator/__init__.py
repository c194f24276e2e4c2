"""Measure how adversarial examples transfer between segmentation models.

    from segtransfer import run
    results = run("mine.yaml", ["seed=1"])
    results.matrix("ds-mi")              # DataFrame, sources x targets

Names are loaded on first use, so ``import segtransfer`` is cheap. Authors of losses, transforms
and models import from ``segtransfer.extend``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segtransfer.api import (
        attack,
        compare,
        evaluate,
        load_model,
        open_results,
        open_store,
        plan,
        run,
        search,
        study,
    )
    from segtransfer.comparison import Comparison
    from segtransfer.errors import InputError, SegtransferError
    from segtransfer.experiment.plan import Plan
    from segtransfer.experiment.spec import Experiment
    from segtransfer.results import Results
    from segtransfer.runtime.in_memory import Scores
    from segtransfer.runtime.listener import Listener
    from segtransfer.searches import SearchListener, SearchResult
    from segtransfer.searches.spec import Search
    from segtransfer.store import Store
    from segtransfer.studies import StudyResult

__all__ = [
    "Comparison",
    "Experiment",
    "InputError",
    "Listener",
    "Plan",
    "Results",
    "Scores",
    "Search",
    "SearchListener",
    "SearchResult",
    "SegtransferError",
    "Store",
    "StudyResult",
    "__version__",
    "attack",
    "compare",
    "evaluate",
    "load_model",
    "open_results",
    "open_store",
    "plan",
    "run",
    "search",
    "study",
]

_MODULES = {
    "Comparison": "comparison",
    "Experiment": "experiment.spec",
    "InputError": "errors",
    "Listener": "runtime.listener",
    "Plan": "experiment.plan",
    "Results": "results",
    "Scores": "runtime.in_memory",
    "Search": "searches.spec",
    "SearchListener": "searches",
    "SearchResult": "searches",
    "SegtransferError": "errors",
    "Store": "store",
    "StudyResult": "studies",
    "attack": "api",
    "compare": "api",
    "evaluate": "api",
    "load_model": "api",
    "open_results": "api",
    "open_store": "api",
    "plan": "api",
    "run": "api",
    "search": "api",
    "study": "api",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        return version("segtransfer")
    if name not in _MODULES:
        raise AttributeError(f"module 'segtransfer' has no attribute '{name}'")
    value = getattr(import_module(f"segtransfer.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
