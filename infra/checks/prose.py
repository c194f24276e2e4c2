"""Measure the language of docstrings, help and pages; fail if a figure is worse than recorded.

    python infra/checks/prose.py            # compare with infra/checks/prose.json
    python infra/checks/prose.py --write    # record figures that are better; worse ones still fail

The figures are:

- rates of five words per 1,000 words of docstrings, of ``--help`` texts, and of pages (Markdown);
- the share of function docstrings whose first line is no imperative;
- the share of public functions whose docstring has a section (Args, Returns, Raises, Yields);
- the number of lines of pages over 120 characters.

Tables, pictures and code of pages are left out.
"""

import argparse
import ast
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECORD = Path(__file__).with_name("prose.json")
FOLDERS = ("orchestrator", "tasks", "search_spaces")
PAGE_FOLDERS = ("docs", "infra", "tasks", "search_spaces")
HELP_FOLDER = "orchestrator/cli"
WORDS = ("what", "where", "that", "it", "one")
WIDEST = 120  # characters of a Markdown line
# First words of a noun phrase or a question; every other first word counts as an imperative.
NO_IMPERATIVE = re.compile(
    r"(What|Whatever|Which|Where|Whether|How|Who|Why|Those|The|A|An|Of|All|Every|Each|One|None)\b"
)
SECTION = re.compile(r"^\s*(Args|Returns|Raises|Yields):", re.MULTILINE)
CONTRACT = re.compile(r"\n\n(?:Args|Returns|Raises):\n.*", re.DOTALL)  # which help leaves out
NOT_RUNNING_TEXT = ("|", "!", "    ")  # tables, pictures, code
FENCED_CODE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
NO_WORDS = re.compile(r"`[^`]*`|\]\([^)]*\)|<[^>]*>")  # code, targets of links, tags
SECTIONS = "public functions with Args, Returns, Raises or Yields, %"

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | Function


def documented_in(folder: Path) -> Iterator[tuple[Documented, str]]:
    """Yield each documented module, class and function below a folder with its docstring."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, Documented) and (text := ast.get_docstring(node)):
                yield node, text


def help_texts(root: Path) -> Iterator[str]:
    """Yield the texts that ``--help`` prints: of options and groups, then of verbs.

    The text of an option or group is the argument ``help`` of a call. The text of a verb is its
    docstring, which has an example, up to Args, Returns or Raises.
    """
    for path in sorted((root / HELP_FOLDER).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "help":
                parts = [n.value for n in ast.walk(node.value) if isinstance(n, ast.Constant)]
                yield "".join(part for part in parts if isinstance(part, str))
    for _, text in documented_in(root / HELP_FOLDER):
        if "\n\nExample:\n" in text:
            yield "\n".join(running_lines(CONTRACT.sub("", text)))


def pages(root: Path) -> Iterator[str]:
    """Yield the text of every Markdown page of the root, docs, infra, tasks and search_spaces."""
    for path in [*root.glob("*.md"), *(p for f in PAGE_FOLDERS for p in (root / f).rglob("*.md"))]:
        yield path.read_text()


def running_lines(text: str) -> list[str]:
    """Return the lines of a page without tables, pictures and code."""
    lines = FENCED_CODE.sub("", text).splitlines()
    return [line for line in lines if not line.startswith(NOT_RUNNING_TEXT)]


def rates(texts: Iterable[str], kind: str) -> dict[str, float]:
    """Return the figure of each word of ``WORDS`` by name, per 1,000 words of texts of a kind."""
    words = Counter(word for text in texts for word in re.findall("[a-z']+", text.lower()))
    count = max(1, words.total())
    return {f"{word!r} per 1,000 {kind} words": 1000 * words[word] / count for word in WORDS}


def measure(root: Path) -> dict[str, float]:
    """Return the figures of a checkout by name, rounded to one decimal."""
    documented = [found for folder in FOLDERS for found in documented_in(root / folder)]
    functions = [(node, text) for node, text in documented if isinstance(node, Function)]
    public = [text for node, text in functions if not node.name.startswith("_")]
    nouns = sum(bool(NO_IMPERATIVE.match(text)) for _, text in functions)
    sections = sum(bool(SECTION.search(text)) for text in public)
    lines = [line for page in pages(root) for line in running_lines(page)]
    figures = rates((text for _, text in documented), "docstring")
    figures |= rates(help_texts(root), "help")
    figures |= rates([NO_WORDS.sub(" ", "\n".join(lines))], "page")
    figures["first lines that are no imperative, %"] = 100 * nouns / max(1, len(functions))
    figures[SECTIONS] = 100 * sections / max(1, len(public))
    wide = sum(len(line) > WIDEST for line in lines)
    figures[f"Markdown lines over {WIDEST} characters"] = wide
    return {name: round(figure, 1) for name, figure in figures.items()}


def is_worse(name: str, figure: float, recorded: float) -> bool:
    """Return whether a figure fell short of the recorded one: fewer sections, more of the rest."""
    return figure < recorded if name == SECTIONS else figure > recorded


def main() -> None:
    """Print all figures, record the better ones if asked to, and exit with 1 if any is worse."""
    parser = argparse.ArgumentParser(description="Compare the language with its recorded figures.")
    parser.add_argument("--write", action="store_true", help="record figures that are better")
    parser.add_argument("--root", type=Path, default=ROOT, help="checkout to measure")
    parser.add_argument("--record", type=Path, default=RECORD, help="file of recorded figures")
    options = parser.parse_args()
    figures = measure(options.root)
    recorded = figures if options.write else {}  # of a figure that was never recorded
    if options.record.exists():
        recorded = recorded | json.loads(options.record.read_text())
    worse = {name for name in figures if is_worse(name, figures[name], recorded[name])}
    for name, figure in figures.items():
        mark = "  WORSE" if name in worse else ""
        print(f"{figure:8.1f}  recorded {recorded[name]:8.1f}  {name}{mark}")
    if options.write:
        kept = {name: recorded[name] for name in worse}
        options.record.write_text(json.dumps(figures | kept, indent=1) + "\n")
    sys.exit(bool(worse))


if __name__ == "__main__":
    main()
