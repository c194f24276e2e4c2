"""The page of exit codes."""

from pages.markdown import attributes_in, table
from segtransfer.cli.exits import ExitCode

HEAD = """\
# Exit codes

| code | name | meaning |
| --- | --- | --- |
| 0 | | The command is done. |
"""
NOTES = """
- `segtransfer job follow` exits with the code of the job.
- A signal that the shell reports as 128 + N ended the process: 137 is SIGKILL, often sent
  because memory ran out.
- The class of an error decides the code: [errors](errors.md).
"""


def exit_codes_page() -> str:
    """Return the page: a table of codes in their order."""
    told = attributes_in(ExitCode)
    rows = [[str(c.value), c.name.lower().replace("_", " "), told[c.name]] for c in ExitCode]
    lines = table(["code", "name", "meaning"], rows).splitlines(keepends=True)[2:]
    return HEAD + "".join(lines) + NOTES
