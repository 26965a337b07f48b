"""What Supabase Realtime is told: the changes of the published tables, by logical decoding of the publication."""

from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from uuid import uuid4

from postgres import Database

Row = dict[str, str | None]
"""The columns of a row as text; columns that are unchanged and stored apart are left out."""

UNTOLD = "(unchanged)"
KINDS = {"I": "insert", "U": "update", "D": "delete"}


@dataclass(frozen=True, slots=True)
class Change:
    """One committed change of a row; `row` is the row afterwards, or the key of a row that was deleted."""

    kind: str
    table: str
    row: Row


def completions(changes: Iterable[Change]) -> list[tuple[str | None, str | None]]:
    """(job_id, image_index) of each image row that an update turned completed, in the order in which it happened."""
    completed, status = [], {}
    for change in changes:
        row = change.row
        if change.table == "images":
            if change.kind == "update" and row["status"] == "completed" and status.get(row["id"]) != "completed":
                completed.append((row["job_id"], row["image_index"]))
            status[row["id"]] = row.get("status")
    return completed


class Publication:
    """The changes since this was made, on a replication slot that ends with its connection."""

    def __init__(self, db: Database, name: str = "supabase_realtime") -> None:
        self.name = name
        self._slot = f"test_{uuid4().hex}"
        self._relations: dict[int, tuple[str, list[str]]] = {}
        self._connection = db.connect()
        self._connection.execute("select pg_create_logical_replication_slot(%s, 'pgoutput', true)", (self._slot,))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._connection.close()

    def read(self) -> list[Change]:
        """What was committed since the last time, in the order of the commits."""
        messages = self._connection.execute(
            "select data from pg_logical_slot_get_binary_changes("
            "%s, null, null, 'proto_version', '1', 'publication_names', %s)",
            (self._slot, self.name),
        ).fetchall()
        return [change for (data,) in messages if (change := self._change(Message(data)))]

    def _change(self, message: "Message") -> Change | None:
        kind = message.letter()
        if kind == "R":
            self._remember(message)
        if kind not in KINDS:
            return None
        table, columns = self._relations[message.number(4)]
        part = message.letter()
        values = message.values()
        # An update of a key, or of a table with REPLICA IDENTITY FULL, tells the old row first.
        if kind == "U" and part != "N":
            message.letter()
            values = message.values()
        row = {name: value for name, value in zip(columns, values, strict=True) if value is not UNTOLD}
        return Change(KINDS[kind], table, row)

    def _remember(self, message: "Message") -> None:
        oid, _, table, _ = message.number(4), message.text(), message.text(), message.letter()
        columns = []
        for _ in range(message.number(2)):
            message.number(1)
            columns.append(message.text())
            message.number(8)
        self._relations[oid] = table, columns


class Message:
    """One message of the protocol that pgoutput speaks, read from left to right."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        self._at += size
        return self._data[self._at - size : self._at]

    def letter(self) -> str:
        return self.take(1).decode()

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def text(self) -> str:
        text = self.take(self._data.index(b"\0", self._at) - self._at)
        self.take(1)
        return text.decode()

    def values(self) -> list[str | None]:
        """One row; UNTOLD for a value that did not change and is stored apart."""
        return [self._value(self.letter()) for _ in range(self.number(2))]

    def _value(self, kind: str) -> str | None:
        if kind == "t":
            return self.take(self.number(4)).decode()
        return None if kind == "n" else UNTOLD
