"""A strict reader of the LaTeX that tables consist of: whatever it does not know is an error."""

import re

COMMANDS = {
    "begin", "end", "centering", "caption", "label", "toprule", "midrule", "bottomrule",
    "textbf", "scriptsize", "footnotesize", "par", "smallskip", "pm", "linewidth",
    "textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar",
    "textendash",
}  # fmt: skip
TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[&%$#_{}~^]|[^\\&%$#_{}~^]+", re.DOTALL)


def parsed(source: str) -> list[tuple[int, list[list[str]]]]:
    """Return columns and rows of cells of every tabular; fails unless all is well-formed."""
    _check_tokens(source)
    tables = re.findall(
        r"\\begin\{tabular\}\{((?:[lr]|p\{[0-9.]+\\linewidth\})+)\}\n(.*?)\\end\{tabular\}",
        source,
        re.DOTALL,
    )
    assert len(tables) == source.count(r"\begin{table}") > 0
    found = []
    for columns, body in tables:
        lines = body.strip().splitlines()
        assert lines[0] == r"\toprule"
        assert lines[-1] == r"\bottomrule"
        rows = [line for line in lines if not line.endswith("rule")]
        assert all(row.endswith(r" \\") for row in rows)
        # A bracket or star after the end of a row would be its argument.
        assert not any(re.match(r"\s*[\[*]", row) for row in rows)
        cells = [re.split(r"(?<!\\) & ", row.removesuffix(r" \\")) for row in rows]
        found.append((len(re.findall(r"[lr]|p\{", re.sub(r"\{.*?\}", "{", columns))), cells))
    return found


def _check_tokens(source: str) -> None:
    """Check commands, braces, mathematics, environments, and that no special character is bare."""
    depth, maths, environments, tabular = 0, False, list[str](), False
    tokens = TOKEN.findall(source)
    assert "".join(tokens) == source
    for place, token in enumerate(tokens):
        if token == "{":
            depth += 1
        elif token == "}":
            depth -= 1
        elif token == "$":
            maths = not maths
        elif token == "^":
            assert maths
        elif token == "&":
            assert tabular
        elif token in "%#_~":
            raise AssertionError(f"a bare {token} in {''.join(tokens[place - 3 : place + 3])!r}")
        elif token.startswith("\\") and token[1:2].isalpha():
            assert token[1:] in COMMANDS, token
            if token in (r"\begin", r"\end"):
                name = tokens[place + 2]
                environments.append(name) if token == r"\begin" else None
                assert environments[-1] == name
                environments.pop() if token == r"\end" else None
                tabular = "tabular" in environments
            assert token != r"\pm" or maths
        elif token.startswith("\\"):
            assert token[1] in "\\&%$#_{}", token
        assert depth >= 0
    assert (depth, maths, environments) == (0, False, [])
