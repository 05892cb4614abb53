"""What a server remembers of selections that have ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tests.unit.server.test_selections_listed import REQUEST

from seedzoo.catalog.memory import MemoryStore
from seedzoo_server.storage import selections as module
from seedzoo_server.storage.selections import Selections

MARKED = datetime(2026, 1, 1, tzinfo=UTC)


class Counting(MemoryStore):
    """Counts reads."""

    read = 0

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        self.read += 1
        return super().get_with_etag(key)


def test_large_tables_of_costs_do_not_fill_the_memory() -> None:
    store = Counting()
    selections = Selections(store)
    costs = (1.0,) * (module._ENDED_BYTES // module._NUMBER_BYTES // 2)
    ids = [selections.create(f"r{number}", b"body", replace(REQUEST, costs=costs)).id for number in range(3)]
    for selection_id in ids:
        selections.cancel(selection_id)
    record = selections.create("r", b"body", REQUEST)
    marks = dict.fromkeys(ids, MARKED)
    selections.served(record, marks)
    store.read = 0
    assert selections.served(record, {ids[2]: MARKED}) == 1
    assert store.read == 0, "the last one is remembered"
    selections.served(record, marks)
    assert store.read > 0


def test_a_selection_that_was_marked_anew_is_read_anew() -> None:
    store = Counting()
    selections = Selections(store)
    ended = selections.create("r0", b"body", REQUEST).id
    selections.cancel(ended)
    record = selections.create("r", b"body", REQUEST)
    reads = []
    for marked in (MARKED, MARKED, MARKED + timedelta(seconds=1)):
        store.read = 0
        selections.served(record, {ended: marked})
        reads.append(store.read)
    assert reads == [1, 0, 1]
