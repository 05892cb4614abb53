"""Somebody who publishes releases during a soak test, and is killed now and then; a family is whole or not there."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support import small_bundle

from seedzoo.catalog.catalog import Catalog
from seedzoo.catalog.names import FamilyRef
from seedzoo.catalog.store import ObjectStore
from seedzoo.errors import IntegrityError, NotFound, StoreError

if TYPE_CHECKING:
    from tests.e2e.soak import Ledger

__all__ = ["PUBLISHES_KILLED", "Publisher"]

FAMILY = "second"
PUBLISHES_KILLED = "publishes killed"
_SIZES = (4, 3)
"""Variants of the two bundles that are published in turn, so that each publish makes a new release."""
_GIVE_UP_S = 120.0


class Publisher:
    """Publishes in turn two bundles of one family until it is left; some publishes are killed on the way.

    Args:
        store: The whole store.
        url: The same for a process, with ``environment`` for its credentials.
        environment: Of the processes.
        folder: For the bundles.
        ledger: Takes what was done and what was found wrong.
        seed: Of when to kill.
    """

    def __init__(
        self, store: ObjectStore, url: str, environment: dict[str, str], folder: Path, ledger: Ledger, *, seed: int
    ) -> None:
        self._store, self._url, self._environment, self._ledger = store, url, environment, ledger
        self._random = random.Random(f"publisher {seed}")
        self._bundles = [small_bundle(folder / f"bundle-{size}", name=FAMILY, variants=size) for size in _SIZES]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher")

    def __enter__(self) -> Publisher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        for bundle in itertools.cycle(self._bundles):
            if self._stopping.wait(self._random.uniform(1.0, 5.0)):
                return
            self._publish(bundle)
            self.look()

    def _publish(self, bundle: Path) -> None:
        """Once; whether it succeeds depends on the store, and on who is killed."""
        process = subprocess.Popen(
            [sys.executable, "-m", "seedzoo_client", "publish", str(bundle), "--store", self._url],
            env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        patience = self._random.uniform(0.5, 4.0) if self._random.random() < 0.6 else _GIVE_UP_S
        try:
            code = process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            self._ledger.add(PUBLISHES_KILLED)
            if patience == _GIVE_UP_S:
                self._ledger.problem(f"a publish was not over after {patience:g} s")
        else:
            self._ledger.add("publishes done" if code == 0 else "publishes that failed with the store")

    def look(self) -> None:
        """Read every model of the release that readers see now; all of it is there, or nothing is visible."""
        catalog = Catalog(self._store)
        try:
            family, release = catalog.family(FamilyRef(FAMILY))
        except NotFound as error:
            # A release that the alias names and that is not there would be half of one.
            if error.reason != "FAMILY_UNKNOWN":
                self._half(str(error))
            return
        except IntegrityError as error:
            self._half(str(error))
            return
        except StoreError:
            return
        if len(family.variants) not in _SIZES:
            self._half(f"{release.id} has {len(family.variants)} variants")
        for variant in family.variants:
            try:
                catalog.model(release, variant)
            except (IntegrityError, NotFound) as error:
                self._half(f"{release.id} {variant.tag}: {error}")
            except StoreError:
                return
            self._ledger.add("published variants read")

    def _half(self, text: str) -> None:
        self._ledger.add("variants half visible")
        self._ledger.problem(f"half visible: {text}")
