"""Markdown from Python: tables, anchors, and docstrings in Google style."""

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any

SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields):$", re.MULTILINE)
SIGNS = re.compile(
    r"(?<=\S)\*|\*(?=\S)|\b_(?!\w)|(?<!\w)_\b|<"
)  # that Markdown would take as its own
ATTRIBUTE = re.compile(r"^    (\w+): (.*(?:\n     .*)*)", re.MULTILINE)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; line breaks and bars in cells are replaced.

    Args:
        heads: The titles of the columns.
        rows: The cells, as Markdown.
    """
    lines = [heads, ["---"] * len(heads), *rows]
    cells = [[" ".join(cell.split()).replace("|", r"\|") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def code(text: object) -> str:
    """Return a text as inline code."""
    return f"`{text}`"


def text_of(thing: Any) -> str:
    """Return the docstring of an object up to its first section, as Markdown paragraphs."""
    told = inspect.cleandoc(thing.__doc__ or "")
    paragraphs = SECTION.split(told)[0].strip().split("\n\n")
    return "\n\n".join(
        _block(paragraph) if _is_indented(paragraph) else as_markdown(paragraph)
        for paragraph in paragraphs
    )


def _is_indented(paragraph: str) -> bool:
    """Tell whether every line of a paragraph is indented, as formulas and code are."""
    return all(line.startswith("    ") for line in paragraph.splitlines())


def _block(paragraph: str) -> str:
    """Return an indented paragraph as a block of code."""
    return f"```text\n{inspect.cleandoc(paragraph)}\n```"


def first_line_of(thing: Any) -> str:
    """Return the first line of the docstring of an object, as Markdown."""
    return as_markdown((inspect.getdoc(thing) or "").partition("\n")[0])


def attributes_in(thing: type) -> dict[str, str]:
    """Return the section Attributes of a class and of its bases: Markdown by name."""
    found: dict[str, str] = {}
    for owner in reversed(thing.__mro__):
        _, _, section = inspect.cleandoc(owner.__doc__ or "").partition("Attributes:\n")
        found |= {name: as_markdown(text) for name, text in ATTRIBUTE.findall(section)}
    return found


def as_markdown(text: str) -> str:
    """Return running text of a docstring as one line of Markdown: code keeps its signs."""
    parts = re.split(r"(``.*?``|`.*?`)", " ".join(text.split()))
    return "".join(
        f"`{part.strip('`')}`" if part.startswith("`") else SIGNS.sub(r"\\\g<0>", part)
        for part in parts
    )


def wrapped(text: str, width: int = 120) -> str:
    """Return paragraphs of Markdown with lines of at most ``width`` characters.

    Args:
        text: The paragraphs, divided by empty lines.
        width: The most characters per line.
    """
    paragraphs = []
    for paragraph in text.split("\n\n"):
        if paragraph.startswith("```"):
            paragraphs.append(paragraph)
            continue
        lines = [""]
        for word in paragraph.split():
            if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
                lines.append("")
            lines[-1] = f"{lines[-1]} {word}".strip()
        paragraphs.append("\n".join(lines))
    return "\n\n".join(paragraphs)
