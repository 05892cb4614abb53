"""LocalZoo is asked as Client is: the same methods, with the same arguments and results."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from seedzoo_client import Client, LocalZoo

SHARED = {"card", "close", "download", "families", "family", "profile", "select", "variant", "variants"}
OF_SERVERS = {"delete_dataset", "label", "last_dataset_id", "server", "upload"}
"""What needs somebody who keeps images, or an address."""


def public(cls: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(cls) if not name.startswith("_")}


def parameters(method: Any, *, without: tuple[str, ...] = ()) -> list[tuple[str, Any, Any, str]]:
    """Name, kind, default and annotation of each; what was brought to a place is of another class for each place."""
    return [
        (one.name, one.kind, one.default, str(one.annotation).replace("UploadedDataset", "ReadDataset"))
        for one in inspect.signature(method).parameters.values()
        if one.name not in without
    ]


def test_what_both_offer() -> None:
    assert public(LocalZoo) == SHARED | {"read"}
    assert public(Client) == SHARED | OF_SERVERS


@pytest.mark.parametrize("name", sorted(SHARED))
def test_a_shared_method_is_called_the_same_way(name: str) -> None:
    ours, theirs = getattr(LocalZoo, name), getattr(Client, name)
    without = ("request_id",) if name == "select" else ()  # repeats a call to a server that did not answer
    assert parameters(ours) == parameters(theirs, without=without)
    assert inspect.signature(ours).return_annotation == inspect.signature(theirs).return_annotation
    assert ours.__doc__


def test_data_are_read_as_they_are_uploaded() -> None:
    def comparable(method: Any) -> list[tuple[str, Any, Any, str]]:
        return [(*one[:2], one[2] is inspect.Parameter.empty, one[3]) for one in parameters(method)]

    assert comparable(LocalZoo.read) == comparable(Client.upload)
