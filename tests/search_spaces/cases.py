"""What the tests of search spaces share: a base attack, small spaces, a trial that answers."""

from typing import Any

from segtransfer.search_spaces import Space, read_space
from segtransfer.search_spaces.space import Value

PGD: dict[str, Any] = {"preset": "pgd", "eps": "4/255"}


def space(fields: dict[str, Any], *first: str | dict[str, Any]) -> Space:
    return read_space({"name": "mine", "fields": fields, "first": list(first)})


class Answers:
    """A trial that gives the answers it was given, and keeps what it was asked."""

    def __init__(self, **answers: Value) -> None:
        self.answers = {name.replace("__", "."): value for name, value in answers.items()}
        self.asked: dict[str, tuple[Any, ...]] = {}

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> Value:
        self.asked[name] = ("float", low, high, step, log)
        return self.answers.get(name, low)

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> Value:
        self.asked[name] = ("int", low, high, step, log)
        return self.answers.get(name, low)

    def suggest_categorical(self, name: str, choices: list[Value]) -> Value:
        self.asked[name] = ("categorical", *choices)
        return self.answers.get(name, choices[0])
