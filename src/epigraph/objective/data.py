"""The data behind J: batches with exact weights, so that their weighted sum is the mean or the sum over all samples."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, final

from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.data import BatchSampler, DataLoader

from epigraph.errors import ObjectiveError, UsageError
from epigraph.objective.blocks import check_tensor

MOST_BATCHES = 20_000  # each batch is a part of the graph; an endless stream of them is no J


@final
@dataclass(frozen=True)
class Batch:
    """One call of the program: its inputs, its targets, its weight in J and the number of samples in it."""

    inputs: Any
    targets: Any
    weight: Fraction
    samples: int


def read(
    inputs: Any, targets: Any, reduction: str | None, loss: Callable[..., Any] | None
) -> tuple[list[Batch], list[str]]:
    """The batches, and notes on what was assumed.

    Raises:
        ObjectiveError: no data, or data that is not finite, complex, sparse or on the meta device.
        UsageError: targets beside a ``DataLoader``, or an unknown reduction.
    """
    if not isinstance(inputs, DataLoader):
        if reduction is not None:
            _known(reduction)
        check_data(inputs, "inputs")
        check_data(targets, "targets")
        return [Batch(inputs, targets, Fraction(1), length(inputs))], []
    if targets is not None:
        raise UsageError(
            "E029",
            "targets are given beside a DataLoader",
            why="the last entry of each batch is its target",
            hint="leave targets out",
        )
    rows = _rows(inputs)
    chosen = _known(reduction or reduction_of(loss) or "mean")
    counts = _counts(inputs, rows)
    total = sum(counts)
    batches = [
        Batch(x, y, Fraction(n, total) if chosen == "mean" else Fraction(1), n)
        for (x, y), n in zip(rows, counts, strict=True)
    ]
    return batches, _notes(inputs, loss, reduction, len(rows))


def _rows(loader: DataLoader[Any]) -> list[tuple[Any, Any]]:
    rows = []
    for batch in loader:
        if len(rows) == MOST_BATCHES:
            raise ObjectiveError(
                "E203",
                f"the DataLoader gives more than {MOST_BATCHES} batches",
                why="every batch is a part of J's graph",
                hint="a larger batch_size, or a part of the data",
            )
        rows.append(_split(batch))
    if not rows:
        raise ObjectiveError(
            "E203",
            "the dataset is empty",
            why="the DataLoader gave no batch",
            hint="check the dataset's length and drop_last",
        )
    for x, y in rows:
        check_data(x, "inputs")
        check_data(y, "targets")
    return rows


def _known(reduction: str) -> str:
    if reduction not in ("mean", "sum"):
        raise UsageError(
            "E026",
            f"unknown reduction {reduction!r} over batches",
            why="J is one number: a mean or a sum over samples",
            hint='reduction="mean" or reduction="sum", as the loss itself reduces',
        )
    return reduction


def reduction_of(loss: Callable[..., Any] | None) -> str | None:
    """What the loss says of itself: a module's attribute, or the keyword of a ``functools.partial``."""
    while isinstance(loss, functools.partial):
        if "reduction" in loss.keywords:
            return str(loss.keywords["reduction"])
        loss = loss.func
    said = getattr(loss, "reduction", None)
    return said if isinstance(said, str) else None


def _notes(loader: DataLoader[Any], loss: Callable[..., Any] | None, reduction: str | None, batches: int) -> list[str]:
    notes = []
    if batches > 1 and reduction is None and reduction_of(loss) is None:
        notes.append(
            "the loss does not say how it reduces a batch: it is taken for a mean, so J is the mean over all samples "
            '(reduction="sum" where it is a sum)'
        )
    if getattr(loader, "drop_last", False):
        notes.append("the DataLoader has drop_last=True: J is over the batches that it gives")
    return notes


def _split(batch: Any) -> tuple[Any, Any]:
    """(inputs, targets): the last entry of a tuple is the target; a dict is all inputs."""
    if isinstance(batch, Mapping):
        return dict(batch), None
    if isinstance(batch, tuple | list):
        if len(batch) == 1:
            return batch[0], None
        return (batch[0] if len(batch) == 2 else tuple(batch[:-1])), batch[-1]
    return batch, None


def _counts(loader: DataLoader[Any], rows: Sequence[tuple[Any, Any]]) -> list[int]:
    """Samples in each batch: as the loader's sampler cut them where that is known, else the first dimension."""
    sampler = loader.batch_sampler
    if type(sampler) is BatchSampler and sampler.batch_size:
        try:
            whole = len(sampler.sampler)  # type: ignore[arg-type]
        except TypeError:
            whole = -1
        sizes = [min(sampler.batch_size, whole - i * sampler.batch_size) for i in range(len(rows))]
        if whole > 0 and all(n > 0 for n in sizes) and (sampler.drop_last or sum(sizes) == whole):
            return sizes
    return [length(x) for x, _ in rows]


def length(value: Any) -> int:
    """The size of the first dimension of the first tensor that has one."""
    for leaf in tree_leaves(value):
        if isinstance(leaf, Tensor) and leaf.ndim:
            return leaf.shape[0]
    return 1


def check_data(value: Any, what: str) -> None:
    """Every tensor and number in the structure is finite, real and dense, and no tensor is empty."""
    for leaf in tree_leaves(value):
        if isinstance(leaf, float) and not math.isfinite(leaf):
            raise ObjectiveError(
                "E204",
                f"{what} has an entry {leaf}",
                why="J has no value there, so nothing can be proved about it",
                hint="clean the data first",
            )
        if isinstance(leaf, Tensor):
            check_tensor(leaf, what, "E204")
            if leaf.numel() == 0:
                raise ObjectiveError(
                    "E203",
                    f"the dataset is empty: {what} has shape {tuple(leaf.shape)}",
                    why="a loss over no samples has no value",
                    hint="check the slice or filter that made it",
                )
