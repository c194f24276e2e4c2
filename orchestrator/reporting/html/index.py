"""Index of a store: a static page with its experiments, studies, searches and comparisons."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from segtransfer.errors import InputError
from segtransfer.experiment.manifest_reading import read_manifest
from segtransfer.reporting.entries import IndexEntry, read_entries
from segtransfer.reporting.html.templates import HERE, environment
from segtransfer.reporting.places import reports_root
from segtransfer.store import Store
from segtransfer.store.store import SEARCHES

INDEX = "index.html"
PLURALS = {
    "experiment": "experiments",
    "study": "studies",
    "search": "searches",
    "comparison": "comparisons",
    "leaderboard": "leaderboards",
}


@dataclass(frozen=True)
class IndexItem:
    """An entry as the page shows it: its links by label, and its day."""

    entry: IndexEntry
    links: dict[str, str]
    day: str


def write_index(store: Store) -> Path:
    """Write ``index.html`` into the folder of a store's reports.

    The page is made of the small files beside the reports. Descriptions in the store are read for
    experiments without a report, or written since their report. A broken description is an entry
    with the reason.

    Returns:
        The page.
    """
    root = reports_root(store.location)
    root.mkdir(parents=True, exist_ok=True)
    items = sorted(_items(store, root), key=lambda item: item.entry.when, reverse=True)
    sections = {
        kind: of_kind
        for kind in PLURALS
        if (of_kind := [item for item in items if item.entry.kind == kind])
    }
    template = environment().get_template("index.html")
    css = "".join((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "index.css"))
    text = template.render(
        store=store.location, sections=sections, plurals=PLURALS, css=Markup(css)
    )
    page = root / INDEX
    page.write_text(text, encoding="utf-8", errors="replace")  # JSON may hold half a character
    return page


def _items(store: Store, root: Path) -> Iterator[IndexItem]:
    reported = list(read_entries(root))
    infos = {
        info.path.removeprefix("experiments/").removesuffix(".json"): info
        for info in store.files.infos("experiments")
        if info.path.endswith(".json")
    }
    searched = {name.split("/")[1] for name in store.files.names(SEARCHES)}
    ours = [(entry, path) for entry, path in reported if entry.store == store.location]
    for entry, path in ours:
        state = entry.state
        if entry.kind in ("experiment", "study", "leaderboard"):
            info = infos.get(entry.identity)
            if info is None:
                state = "deleted from the store"
            elif info.mtime_ns > path.stat().st_mtime_ns:
                state = _damage(store, entry.identity) or state
        folder = quote(path.parent.name)
        links = {label: f"{folder}/{quote(file)}" for label, file in entry.files.items()}
        yield IndexItem(entry.model_copy(update={"state": state}), links, _day(entry.when))
    known = {(entry.kind, entry.identity) for entry, _ in ours}
    for identity, info in infos.items():
        if ("experiment", identity) not in known:
            yield _unreported(store, identity, info.mtime_ns / 1e9)
    for identity in sorted(searched):
        if ("search", identity) not in known:
            state = "no report: the search has not ended; resume it by its command with --resume"
            yield _bare("search", store, identity, f"search {identity[:12]}", state)


def _unreported(store: Store, identity: str, written: float) -> IndexItem:
    """Return the item of an experiment without a report."""
    when = datetime.fromtimestamp(written, UTC).isoformat()
    content = store.description(identity) or {}
    spec = content.get("spec")
    name = spec.get("name") if isinstance(spec, dict) else None
    title = name if isinstance(name, str) else identity[:12]
    damage = _damage(store, identity)
    missing = f"no report: segtransfer report {store.location} --experiment {identity[:12]}"
    return _bare("experiment", store, identity, title, damage or missing, when)


def _bare(
    kind: str, store: Store, identity: str, title: str, state: str, when: str = ""
) -> IndexItem:
    fields = {"kind": kind, "store": store.location, "identity": identity, "title": title}
    entry = IndexEntry.model_validate({**fields, "state": state, "when": when})
    return IndexItem(entry, {}, _day(when))


def _damage(store: Store, identity: str) -> str:
    """Return why the description of an experiment cannot be read, or nothing."""
    try:
        read_manifest(store.description(identity) or {}, identity, store.location)
    except InputError as error:
        return str(error)
    return ""


def _day(when: str) -> str:
    """Return the day and time of a moment in ISO 8601, or nothing."""
    try:
        return datetime.fromisoformat(when).astimezone(UTC).strftime("%-d %b %Y, %H:%M UTC")
    except (ValueError, OverflowError):
        return ""
