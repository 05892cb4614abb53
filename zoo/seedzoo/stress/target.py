"""One row of conditions to be: a set of images under one condition, its finished blocks, and what they add up to."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from seedzoo.errors import LocalFailure
from seedzoo.inference.sources import Skipped
from seedzoo.selection.signatures import signature
from seedzoo.stress import metrics
from seedzoo.stress.blocks import Block
from seedzoo.stress.condition import Condition
from seedzoo.stress.evaluation_set import EvaluationSet
from seedzoo.stress.kept import Kept
from seedzoo.stress.metrics import Sums
from seedzoo.stress.run import DecodedBlock, Run
from seedzoo.stress.scoring import Evaluated, evaluated, truth_of

__all__ = ["Counting", "Result", "Slice", "Target", "target_folder"]

_WHOLE, _SIGNATURE = "whole", "signature"


class Counting(Protocol):
    """The run that a target is finished for."""

    @property
    def members(self) -> NDArray[np.bool_]:
        """Which variants are members of the family, bool ``[M]``."""
        ...

    def check(self) -> None:
        """Raise Cancelled where the run ends early."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Slice:
    """A condition of its own: the images of one value of one column, as they are.

    Attributes:
        name: Of the condition.
        rows: bool ``[n]`` over the set.
        kind: Always ``slice``.
        severity: Always None.
    """

    name: str
    rows: NDArray[np.bool_]
    kind: str = "slice"
    severity: None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """What a target's blocks add up to.

    Attributes:
        sums: Of the whole set.
        slices: Of each slice, in their order.
        cot: float64 ``[M]``, see :class:`seedzoo.selection.signatures.Signature`; None where there is no signature.
        nuclear: float64 ``[M]``; likewise.
        skipped: Images that cannot be read.
    """

    sums: Sums
    slices: tuple[Sums, ...]
    cot: NDArray[np.float64] | None
    nuclear: NDArray[np.float64] | None
    skipped: tuple[Skipped, ...]


@dataclass(kw_only=True, eq=False)
class Target:
    """A set under a condition.

    Attributes:
        images: The set.
        condition: What is done to its images; None where they are evaluated as they are.
        classes: Of the task.
        slices: Evaluated beside the whole.
        blocks: All of the set.
        kept: Where finished blocks are.
        skip: Whether results may lack images that cannot be read.
    """

    images: EvaluationSet
    condition: Condition | None
    classes: int
    slices: Sequence[Slice]
    blocks: Sequence[Block]
    kept: Kept
    skip: bool
    result: Result | None = None
    """Known once all blocks are finished."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _finishing: threading.Lock = field(default_factory=threading.Lock)
    _open: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        whole = self._stored(_WHOLE)
        if whole is not None:
            self.result = self._result(whole)
        else:
            self._open = {block.name for block in self.blocks if not self._finished(block)}

    @property
    def name(self) -> str:
        """Of the condition."""
        return self.images.name if self.condition is None else self.condition.name

    def is_open(self, block: Block) -> bool:
        """Whether the block is still to be evaluated."""
        return block.name in self._open

    @property
    def complete(self) -> bool:
        """Whether all blocks are finished but not added up: an earlier run broke off right then."""
        return self.result is None and not self._open

    def evaluate(self, decoded: DecodedBlock, run: Run) -> int:
        """Evaluate all variants on a block, keep what was counted, and finish the target with its last block.

        Returns:
            The images in the block.
        """
        run.check()
        found = Evaluated()
        if len(decoded.rows):
            pixels = decoded.images
            if self.condition is not None:
                pixels = self.condition.apply(pixels, decoded.rows)
            truth = truth_of(self.images, decoded.rows, classes=self.classes)
            found = evaluated(run.models, pixels, truth, signed=self.signs(decoded.block), check=run.check)
        return self.count(decoded.block, decoded.rows, decoded.skipped, found, run)

    def signs(self, block: Block) -> bool:
        """Whether the block's probabilities are wanted, for signatures."""
        return block.signature and self.images.anchors is None

    def count(
        self,
        block: Block,
        rows: NDArray[np.intp],
        skipped: Sequence[Skipped],
        found: Evaluated,
        run: Counting,
    ) -> int:
        """Keep what all variants got on a block, and finish the target with its last one.

        Args:
            block: Which.
            rows: intp ``[u]`` of its usable images.
            skipped: Its other images.
            found: On the usable images; empty where there are none.
            run: Of the variants.

        Returns:
            The images in the block.
        """
        arrays: dict[str, NDArray[Any]] = {
            "skipped.row": np.array([one.row for one in skipped], dtype=np.int64),
            "skipped.name": np.array([one.name for one in skipped], dtype=np.str_),
            "skipped.reason": np.array([one.reason for one in skipped], dtype=np.str_),
        }
        truth = truth_of(self.images, rows, classes=self.classes)
        if found.scores is not None:
            chosen = [None, *(np.flatnonzero(part.rows[rows]) for part in self.slices)]
            for number, positions in enumerate(chosen):
                if positions is None or len(positions):
                    counted = metrics.sums(found.scores, truth, positions, counted=run.members)
                    arrays.update({f"{number}.{name}": array for name, array in counted.items()})
        if self.signs(block):
            # Before the counts: a block counts as finished only with all that later steps need.
            none = np.empty((0, len(run.members), truth.width), dtype=np.float32)
            both: dict[str, NDArray[Any]] = {
                "outputs": none if found.outputs is None else found.outputs,
                "places": truth.places,
                "skipped.row": arrays["skipped.row"],
            }
            self.kept.put(f"{block.name}.outputs", both, compress=False)
        self.kept.put(block.name, arrays)
        self._close(block, run)
        return len(block.rows)

    def finish(self, run: Counting) -> int:
        """Add up the finished blocks."""
        with self._finishing:
            self._sign(run)
            self._add_up()
        return 0

    def _close(self, block: Block, run: Counting) -> None:
        with self._lock:
            self._open.discard(block.name)
            last = not self._open
            signed = not any(other.signature and other.name in self._open for other in self.blocks)
        if last:
            self.finish(run)
        elif block.signature and signed:
            with self._finishing:
                self._sign(run)

    def _sign(self, run: Counting) -> None:
        """Signatures from the kept probabilities, which are then thrown away."""
        names = [f"{block.name}.outputs" for block in self.blocks if block.signature]
        if not names or self._stored(_SIGNATURE) is not None:
            return
        parts = [self._still_there(name) for name in names]
        places = np.concatenate([part["places"] for part in parts])
        arrays: dict[str, NDArray[Any]] = {"cot": np.empty(0), "nuclear": np.empty(0)}
        if len(places):
            width = parts[0]["outputs"].shape[2]
            shares = np.bincount(places, minlength=width) / len(places)
            found = []
            for member in range(len(run.members)):
                run.check()
                found.append(signature(np.concatenate([part["outputs"][:, member] for part in parts]), shares))
            arrays = {name: np.array([getattr(one, name) for one in found]) for name in arrays}
        arrays["skipped.row"] = np.concatenate([part["skipped.row"] for part in parts])
        self.kept.put(_SIGNATURE, arrays)
        self.kept.drop(*names)

    def _add_up(self) -> None:
        parts = [self._still_there(block.name) for block in self.blocks]
        signed = self._stored(_SIGNATURE) or {}
        whole: dict[str, NDArray[Any]] = {
            f"signature.{name}": array for name, array in signed.items() if name != "skipped.row"
        }
        for name in ("skipped.row", "skipped.name", "skipped.reason"):
            whole[name] = np.concatenate([part[name] for part in parts])
        for number in range(len(self.slices) + 1):
            counted = [found for part in parts if (found := _numbered(part, number))]
            if counted:
                whole.update({f"{number}.{name}": array for name, array in metrics.add(counted).items()})
        self.kept.put(_WHOLE, whole)
        self.result = self._result(whole)
        self.kept.drop(_SIGNATURE)
        for block in self.blocks:
            self.kept.drop(block.name, f"{block.name}.outputs")

    def _result(self, whole: Mapping[str, NDArray[Any]]) -> Result:
        counted = [_numbered(whole, number) for number in range(len(self.slices) + 1)]
        cot, nuclear = whole.get("signature.cot"), whole.get("signature.nuclear")
        known = cot is not None and nuclear is not None and len(cot) > 0
        return Result(
            sums=counted[0],
            slices=tuple(counted[1:]),
            cot=cot if known else None,
            nuclear=nuclear if known else None,
            skipped=tuple(
                Skipped(row=int(row), name=str(name), reason=str(reason))
                for row, name, reason in zip(
                    whole["skipped.row"], whole["skipped.name"], whole["skipped.reason"], strict=True
                )
            ),
        )

    def _stored(self, name: str) -> dict[str, NDArray[Any]] | None:
        """What is kept; without leave to skip, what lacks images does not count."""
        found = self.kept.get(name)
        lacks = found is not None and not self.skip and len(found.get("skipped.row", ()))
        return None if lacks else found

    def _still_there(self, name: str) -> dict[str, NDArray[Any]]:
        """What this run found or put there: a sum over the rest alone would be wrong and look right."""
        found = self._stored(name)
        if found is None:
            raise LocalFailure(
                f"a finished block of {self.name} was deleted or changed while it was needed",
                hint="Leave the work folder alone, and run again: only what is missing is measured.",
                reason="BLOCK_LOST",
            )
        return found

    def _finished(self, block: Block) -> bool:
        if self._stored(block.name) is None:
            return False
        if not block.signature or self._stored(_SIGNATURE) is not None:
            return True
        return self._stored(f"{block.name}.outputs") is not None


def _numbered(arrays: Mapping[str, NDArray[Any]], number: int) -> dict[str, NDArray[np.int64]]:
    prefix = f"{number}."
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def target_folder(root: Path, name: str) -> Path:
    """Where a condition's blocks are kept, whatever characters its name has."""
    folder = quote(name, safe="=-_.")
    # Names of files may have 255 bytes; a value of a column can be longer.
    return root / (folder if len(folder) <= 120 else hashlib.sha256(name.encode()).hexdigest())
