"""Blocks of columns: a table wider than the terminal is printed in parts, so no number breaks."""

from collections.abc import Iterator, Sequence

COLUMN_WIDTH = 19  # of a column of numbers on the terminal, with padding and a border
FRAME = 3  # of the padding and the border of a column


def column_blocks(first: int, columns: Sequence[int], width: int) -> Iterator[range]:
    """Yield the columns of each part, in order; a part has one column or more.

    Args:
        first: The characters of the first column, which every part repeats.
        columns: The characters of each other column.
        width: The terminal's width in characters.
    """
    start, used = 0, first + FRAME + 1
    for number, column in enumerate(columns):
        if number > start and used + column + FRAME > width:
            yield range(start, number)
            start, used = number, first + FRAME + 1
        used += column + FRAME
    yield range(start, len(columns))
