"""Put the figures and paragraphs of studies that were run into ``tasks/studies/README.md``.

    python infra/studies/fill_page.py segtransfer-store

A mark of the page names a base and a study, for example ``camvid-rivals``. The newest report of
that name gives the paragraph after the mark and the figure in ``tasks/studies/figures``. A study
that was not run keeps what stands there.
"""

import re
import shutil
import sys
from pathlib import Path
from textwrap import TextWrapper

WIDTH = 120  # characters of a line of the page
FOLDER = Path(__file__).resolve().parents[2] / "tasks/studies"
MARKS = re.compile(r"<!-- (?P<name>[a-z-]+) -->\n.*?<!-- end -->", flags=re.DOTALL)


def newest_report(store: Path, name: str) -> Path | None:
    """Return the ``study.md`` of the newest report of ``BASE-STUDY``, or None."""
    written = store.glob(f"reports/{name}-*/study.md")
    return max((path for path in written), key=lambda path: path.stat().st_mtime, default=None)


def wrapped(part: str) -> str:
    """Return a paragraph, or a list with an item per line, in lines of ``WIDTH``."""
    wrapper = TextWrapper(WIDTH, break_long_words=False, break_on_hyphens=False)
    if not part.startswith("- "):
        return wrapper.fill(part)
    wrapper.subsequent_indent = "  "
    return "\n".join(map(wrapper.fill, part.splitlines()))


def filled(page: str, store: Path) -> str:
    """Return the page filled from the store's newest reports, and copy their figures beside it."""

    def shown(marked: re.Match[str]) -> str:
        name = marked["name"]
        written = newest_report(store, name)
        if written is None:
            return marked[0]
        figure = FOLDER / "figures" / f"{name}.png"
        figure.parent.mkdir(exist_ok=True)
        shutil.copyfile(written.with_name("study.png"), figure)
        question, *parts = written.read_text().strip().split("\n\n")
        picture = f"![{question.strip('*')}](figures/{name}.png)"
        text = "\n\n".join([picture, *map(wrapped, parts)])
        return f"<!-- {name} -->\n{text}\n<!-- end -->"

    return MARKS.sub(shown, page)


def main() -> None:
    page = FOLDER / "README.md"
    page.write_text(filled(page.read_text(), Path(sys.argv[1])))


if __name__ == "__main__":
    main()
