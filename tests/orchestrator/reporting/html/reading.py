"""A page as a test reads it, with the parser of the standard library."""

import base64
import io
import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import pandas as pd

VOID = {"meta", "link", "input", "br", "img"}


@dataclass
class Table:
    """Texts of a table's cells by row, without what is for screen readers only."""

    caption: str = ""
    rows: list[list[str]] = field(default_factory=list)


class Page(HTMLParser):
    """Elements, attributes, tables, links and scripts of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []  # tag, name, value
        self.tables: list[Table] = []
        self.scripts: list[str] = []
        self.text = ""
        self._open: list[tuple[str, str]] = []
        self.feed(html)
        self.close()

    @property
    def data(self) -> dict[str, Any]:
        """What the page's script reads."""
        return json.loads(self.scripts[0])

    def table(self, caption: str) -> Table:
        (found,) = [table for table in self.tables if table.caption == caption]
        return found

    def download(self, name: str) -> bytes:
        """The file that a link of this name holds."""
        links = [value for tag, key, value in self.attributes if (tag, key) == ("a", "href")]
        names = [value for tag, key, value in self.attributes if (tag, key) == ("a", "download")]
        files = [link for link in links if link.startswith("data:")]
        _, content = files[names.index(name)].split(";base64,")
        return base64.b64decode(content)

    def frame(self) -> pd.DataFrame:
        return pd.read_parquet(io.BytesIO(self.download("results.parquet")))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append((tag, dict(attrs).get("class") or ""))
        if tag == "table":
            self.tables.append(Table())
        elif tag == "tr":
            self.tables[-1].rows.append([])
        elif tag in ("td", "th"):
            self.tables[-1].rows[-1].append("")
        elif tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        tags = [tag for tag, _ in self._open]
        if "script" in tags:
            self.scripts[-1] += data
            return
        if any(kind == "sr" for _, kind in self._open):
            return
        self.text += data
        if tags[-1:] == ["strong"] and "caption" in tags:
            self.tables[-1].caption += data
        elif any(kind == "detail" for _, kind in self._open):
            return
        elif "td" in tags or "th" in tags:
            self.tables[-1].rows[-1][-1] += data.strip()
