"""Labelling sessions in the object store, beside the dataset that they belong to.

    datasets/<id>/labelling/<selection id>.npz    predictions of all variants on all examples, written once
    datasets/<id>/labelling/<selection id>.json   the labels given and the open question, changed by compare-and-set

Any replica goes on from these two. Replaying labels takes a few milliseconds each, so the selectors used last are kept
in memory, each with the etag of the labels that it has seen: one that another replica has overtaken is not used.
"""

from __future__ import annotations

import hashlib
import io
import math
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from seedzoo.catalog.codec import decode_json, encode_json
from seedzoo.catalog.store import ObjectStore
from seedzoo.errors import Conflict, IntegrityError, NotFound
from seedzoo.selection.active import ActiveSelector
from seedzoo_server.storage.keys import check_id, dataset_prefix, unknown

__all__ = ["LabellingRecord", "Labellings", "OpenLabelling"]

_CACHED = 8


@dataclass(frozen=True, slots=True)
class LabellingRecord:
    """``labelling/<selection id>.json``: the state of an :class:`ActiveSelector`, with None for NaN."""

    predictions_sha256: str
    """Of the npz file, which this state belongs to."""
    seconds: float
    """How long the evaluation took."""
    warnings: tuple[str, ...]
    """What was noticed while the examples were evaluated."""
    n_classes: int
    eta: float
    seed: int
    audit: tuple[int, ...]
    indices: tuple[int, ...] = ()
    labels: tuple[int, ...] = ()
    probabilities: tuple[float | None, ...] = ()
    pending: int = -1
    pending_probability: float | None = None
    closed: bool = False
    """Whether the report is being made from these labels: no more are taken."""
    provider: str = ""
    """What ran the models; empty where none ran, and in older records."""


def _with_state(record: LabellingRecord, selector: ActiveSelector) -> LabellingRecord:
    """The record with what the selector knows now."""
    state = selector.state()
    return replace(
        record,
        n_classes=state["n_classes"],
        eta=state["eta"],
        seed=state["seed"],
        audit=tuple(state["audit"].tolist()),
        indices=tuple(state["indices"].tolist()),
        labels=tuple(state["labels"].tolist()),
        probabilities=tuple(_nan_as_none(q) for q in state["probabilities"].tolist()),
        pending=state["pending"],
        pending_probability=_nan_as_none(state["pending_probability"]),
    )


def _selector(record: LabellingRecord, predictions: NDArray[np.integer], *, where: str) -> ActiveSelector:
    state = {
        "n_classes": record.n_classes,
        "eta": record.eta,
        "seed": record.seed,
        "audit": np.array(record.audit, dtype=np.int64),
        "indices": np.array(record.indices, dtype=np.int64),
        "labels": np.array(record.labels, dtype=np.int64),
        "probabilities": np.array([_none_as_nan(q) for q in record.probabilities], dtype=np.float64),
        "pending": record.pending,
        "pending_probability": _none_as_nan(record.pending_probability),
    }
    try:
        return ActiveSelector.restore(predictions, state)
    except ValueError as error:
        raise _damaged(where, str(error)) from error


def _nan_as_none(q: float) -> float | None:
    return None if math.isnan(q) else q


def _none_as_nan(q: float | None) -> float:
    return math.nan if q is None else q


@dataclass
class OpenLabelling:
    """A labelling session while one call works on it."""

    key: str
    record: LabellingRecord
    """As stored."""
    etag: str
    selector: ActiveSelector
    """As stored, until it is asked or told something."""
    predictions: NDArray[np.integer]
    """``[N, M]`` in the smallest type that holds them."""

    @property
    def given(self) -> dict[int, int]:
        """Label of each labelled example."""
        return dict(zip(self.record.indices, self.record.labels, strict=True))

    @property
    def audit_left(self) -> list[int]:
        """Examples of the audit without a label, in order."""
        given = self.given
        return [index for index in self.record.audit if index not in given]


class Labellings:
    """Reads and writes labelling sessions; safe to share between threads."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, OpenLabelling] = OrderedDict()

    def create(
        self,
        dataset_id: str,
        selection_id: str,
        *,
        predictions: NDArray[np.integer],
        n_classes: int,
        audit: int,
        seed: int,
        seconds: float,
        warnings: tuple[str, ...],
        provider: str = "",
    ) -> None:
        """Store the predictions and draw the audit; what an earlier attempt stored stays.

        Args:
            dataset_id: Whose examples.
            selection_id: Which selection.
            predictions: int ``[N, M]``.
            n_classes: Classes of the task.
            audit: Examples of the uniform random sample; 0 for none.
            seed: Of all draws.
            seconds: How long the evaluation took.
            warnings: What was noticed on the way.
            provider: What ran the models.

        Raises:
            NotFound: The dataset was deleted meanwhile; nothing stays.
        """
        key = _key(dataset_id, selection_id)
        raw = _packed(predictions)
        try:
            self._store.put(f"{key}.npz", raw, if_absent=True)
        except Conflict:
            # A server that died in between stored them; on other hardware ours might differ in a tie.
            raw = self._store.get(f"{key}.npz")
            predictions = _unpacked(raw, where=f"{key}.npz")
        selector = ActiveSelector(predictions, n_classes, seed=seed)
        if audit:
            selector.audit(audit)
        state = selector.state()
        record = LabellingRecord(
            predictions_sha256=hashlib.sha256(raw).hexdigest(),
            seconds=seconds,
            warnings=warnings,
            provider=provider,
            n_classes=n_classes,
            eta=state["eta"],
            seed=seed,
            audit=(),
        )
        with suppress(Conflict):  # the same attempt as above got as far as this
            self._store.put(f"{key}.json", encode_json(_with_state(record, selector)), if_absent=True)
        # A deletion removes the record first and then what it finds: what is written after that is ours to remove.
        if not self._store.exists(f"{dataset_prefix(dataset_id)}/dataset.json"):
            self._store.delete(f"{key}.json")
            self._store.delete(f"{key}.npz")
            raise unknown("ds", dataset_id)

    @contextmanager
    def opened(self, dataset_id: str, selection_id: str) -> Iterator[OpenLabelling]:
        """The session as it is in the store now, for one call alone; kept in memory after it.

        Raises:
            NotFound: It was deleted.
            IntegrityError: What is stored is damaged.
        """
        key = _key(dataset_id, selection_id)
        try:
            raw, etag = self._store.get_with_etag(f"{key}.json")
        except NotFound as error:
            raise unknown("sel", selection_id) from error
        record = decode_json(raw, LabellingRecord, where=f"{key}.json")
        with self._lock:
            found = self._kept.pop(key, None)
        # A selection that was deleted and made again may have the same labels, none, for other predictions.
        same = found is not None and found.record.predictions_sha256 == record.predictions_sha256
        if found is None or not same or found.etag != etag:
            predictions = found.predictions if found is not None and same else self._predictions(key, record)
            selector = _selector(record, predictions, where=f"{key}.json")
            found = OpenLabelling(key, record, etag, selector, predictions)
        # After an error the selector may know more than the store: it is not kept.
        yield found
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > _CACHED:
                self._kept.popitem(last=False)

    def save(self, session: OpenLabelling, *, closed: bool = False) -> None:
        """Store what the session's selector was asked and told.

        Raises:
            Conflict: Somebody else stored something since it was opened; nothing was written.
        """
        record = replace(_with_state(session.record, session.selector), closed=closed)
        session.etag = self._store.put(f"{session.key}.json", encode_json(record), if_match=session.etag)
        session.record = record

    def _predictions(self, key: str, record: LabellingRecord) -> NDArray[np.integer]:
        try:
            raw = self._store.get(f"{key}.npz")
        except NotFound as error:
            raise _damaged(f"{key}.npz", "it is gone") from error
        if hashlib.sha256(raw).hexdigest() != record.predictions_sha256:
            raise _damaged(f"{key}.npz", "it is not what was stored")
        return _unpacked(raw, where=f"{key}.npz")


def _key(dataset_id: str, selection_id: str) -> str:
    return f"{dataset_prefix(check_id('ds', dataset_id))}/labelling/{check_id('sel', selection_id)}"


def _packed(predictions: NDArray[np.integer]) -> bytes:
    buffer = io.BytesIO()
    # Mostly equal columns: compression makes them a tenth.
    np.savez_compressed(buffer, predictions=predictions.astype(np.min_scalar_type(int(predictions.max()))))
    return buffer.getvalue()


def _unpacked(raw: bytes, *, where: str) -> NDArray[np.integer]:
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as found:
            return np.asarray(found["predictions"])
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise _damaged(where, str(error)) from error


def _damaged(where: str, why: str) -> IntegrityError:
    return IntegrityError(
        f"{where} cannot be used: {why}",
        hint="Delete the dataset (zoo forget) and start again; the labels are in the file that zoo label wrote.",
        reason="LABELLING_DAMAGED",
    )
