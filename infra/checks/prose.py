"""Measure the language of docstrings and pages; fail if a figure is worse than the recorded one.

    python infra/checks/prose.py            # compare with infra/checks/prose.json
    python infra/checks/prose.py --write    # record figures that are better; worse ones still fail

The figures are rates of five words per 1,000 docstring words, the share of function docstrings
whose first line is no imperative, the share of public functions whose docstring has a section
(Args, Returns, Raises, Yields), and the number of Markdown lines over 120 characters outside
tables, pictures and code.
"""

import argparse
import ast
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECORD = Path(__file__).with_name("prose.json")
FOLDERS = ("orchestrator", "tasks", "search_spaces")
WORDS = ("what", "where", "that", "it", "one")
WIDEST = 120  # characters of a Markdown line
# First words of a noun phrase or a question; every other first word counts as an imperative.
NO_IMPERATIVE = re.compile(
    r"(What|Whatever|Which|Where|Whether|How|Who|Why|Those|The|A|An|Of|All|Every|Each|One|None)\b"
)
SECTION = re.compile(r"^\s*(Args|Returns|Raises|Yields):", re.MULTILINE)
NOT_RUNNING_TEXT = ("|", "!", "    ")  # tables, pictures, code
SECTIONS = "public functions with Args, Returns, Raises or Yields, %"

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | Function


def docstrings(root: Path) -> Iterator[tuple[Documented, str]]:
    """Yield each documented module, class and function of the package with its docstring."""
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, Documented) and (text := ast.get_docstring(node)):
                    yield node, text


def wide_lines(root: Path) -> int:
    """Return the number of lines over ``WIDEST`` characters in the pages of the root and docs/."""
    return sum(
        len(line) > WIDEST and not line.startswith(NOT_RUNNING_TEXT)
        for path in [*root.glob("*.md"), *(root / "docs").rglob("*.md")]
        for line in path.read_text().splitlines()
    )


def measure(root: Path) -> dict[str, float]:
    """Return the figures of a checkout by name, rounded to one decimal."""
    documented = list(docstrings(root))
    words = Counter(word for _, text in documented for word in re.findall("[a-z']+", text.lower()))
    functions = [(node, text) for node, text in documented if isinstance(node, Function)]
    public = [text for node, text in functions if not node.name.startswith("_")]
    nouns = sum(bool(NO_IMPERATIVE.match(text)) for _, text in functions)
    sections = sum(bool(SECTION.search(text)) for text in public)
    figures = {
        f"{word!r} per 1,000 docstring words": 1000 * words[word] / max(1, words.total())
        for word in WORDS
    }
    figures["first lines that are no imperative, %"] = 100 * nouns / max(1, len(functions))
    figures[SECTIONS] = 100 * sections / max(1, len(public))
    figures[f"Markdown lines over {WIDEST} characters"] = wide_lines(root)
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
