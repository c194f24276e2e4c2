"""Put the figures and paragraphs of studies that were run into ``tasks/studies/README.md``.

    python infra/studies/fill_page.py segtransfer-store camvid

takes the newest report of every study over the base of that name, copies its figure to
``tasks/studies/figures`` and writes its paragraph between the page's marks. A study that was not
run keeps what stands there.
"""

import re
import shutil
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "tasks/studies"
MARKS = re.compile(r"<!-- (?P<name>[a-z-]+) -->\n.*?<!-- end -->", flags=re.DOTALL)


def newest_report(store: Path, base: str, study: str) -> Path | None:
    """Return the ``study.md`` of a study's newest report, or None."""
    written = store.glob(f"reports/{base}-{study}-*/study.md")
    return max((path for path in written), key=lambda path: path.stat().st_mtime, default=None)


def filled(page: str, store: Path, base: str) -> str:
    """Return the page filled from the store's newest reports, and copy their figures beside it."""

    def fill(marked: re.Match[str]) -> str:
        name = marked["name"]
        written = newest_report(store, base, name)
        if written is None:
            return marked[0]
        figure = FOLDER / "figures" / f"{name}.png"
        figure.parent.mkdir(exist_ok=True)
        shutil.copyfile(written.with_name("study.png"), figure)
        question, _, paragraph = written.read_text().strip().partition("\n\n")
        picture = f"![{question.strip('*')}](figures/{name}.png)"
        return f"<!-- {name} -->\n{picture}\n\n{paragraph}\n<!-- end -->"

    return MARKS.sub(fill, page)


def main() -> None:
    store, base = sys.argv[1:]
    page = FOLDER / "README.md"
    page.write_text(filled(page.read_text(), Path(store), base))


if __name__ == "__main__":
    main()
