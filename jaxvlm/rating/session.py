"""One sitting: material of one or several runs, mixed, in an order of each rater's own."""

import hashlib
from collections.abc import Sequence
from typing import Literal

from jaxvlm.errors import ConfigError
from jaxvlm.rating.material import Goal, Item, Material
from jaxvlm.rating.store import Answer, Store

Mode = Literal["share", "frame"]
VALUES: dict[Mode, tuple[int, ...]] = {"share": (0, 25, 50, 75, 100), "frame": (0, 1)}


class Session:
    """Items by their names and the stores that keep what is said of them; each folder keeps its own answers."""

    def __init__(self, shown: Sequence[tuple[Material, Sequence[Item]]], mode: Mode):
        """Opens the stores.

        Args:
          shown: materials, and which of their items are judged.
          mode: `share` asks for the share of an episode's time, `frame` whether a frame shows the goal.

        Raises:
          ConfigError: there is nothing to judge.
          RunError: a store cannot be opened.
        """
        self.mode: Mode = mode
        self.values = VALUES[mode]
        self.items: dict[str, tuple[Material, Item]] = {
            item.id: (material, item) for material, items in shown for item in items
        }
        if not self.items:
            raise ConfigError("there is nothing to rate: ask for at least one episode or frame")
        self.goals: list[Goal] = list(dict.fromkeys(material.goal for material, _ in shown))
        self.stores = {path: Store(path) for path in dict.fromkeys(material.answers for material, _ in shown)}

    def order(self, rater: str) -> list[str]:
        """Names of all items in the order that this rater sees them in.

        It looks random, is the same at every visit, and no item changes places with another when runs are added. Goals
        come one after the other, as a rater keeps one criterion in mind more easily than several.
        """

        def key(name: str) -> tuple[bytes, bytes]:
            return _hash(rater, self.items[name][0].goal.prompt), _hash(rater, name)

        return sorted(self.items, key=key)

    def answer(self, answer: Answer) -> None:
        """Keeps an answer; it is on the disk when this returns.

        Raises:
          ConfigError: the item is not part of the session, or the value is none that can be given.
          RunError: it could not be written.
        """
        if answer.item not in self.items:
            raise ConfigError(f"no such item: {answer.item[:40]!r}")
        if answer.value is not None and answer.value not in self.values:
            raise ConfigError(f"{answer.value} is no answer; give one of {', '.join(map(str, self.values))}")
        self.stores[self.items[answer.item][0].answers].add(answer)

    def answers(self, rater: str | None = None) -> list[Answer]:
        """Current answers to the session's items, of one rater or of all."""
        return [
            answer
            for store in self.stores.values()
            for answer in store.current(rater)
            if answer.item in self.items
        ]

    def raters(self) -> list[str]:
        """Names of all who answered anything."""
        return list(dict.fromkeys(name for store in self.stores.values() for name in store.raters()))

    def close(self) -> None:
        """Closes the stores."""
        for store in self.stores.values():
            store.close()


def _hash(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode()).digest()
