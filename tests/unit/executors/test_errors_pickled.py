"""Errors of every class come out of another process as they went in."""

from __future__ import annotations

import copy
import pickle

import pytest

import seedzoo.errors as errors
from seedzoo.errors import ItemsError, ZooError

CLASSES = [getattr(errors, name) for name in errors.__all__ if isinstance(getattr(errors, name), type)]


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_every_class_is_pickled_whole(kind: type[ZooError], protocol: int) -> None:
    if kind is ItemsError:
        error: ZooError = ItemsError("what", faults={1: "x"}, hint="do")
    else:
        error = kind("what", hint="do", reason="CODE", field="a.b")
    error.add_note("where")
    for again in (pickle.loads(pickle.dumps(error, protocol=protocol)), copy.copy(error)):
        assert type(again) is kind
        assert str(again) == "what"
        assert vars(again) == vars(error)
        assert again.exit_code == error.exit_code
