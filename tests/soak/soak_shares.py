"""A long run cut into shares: one process or several, and what they found so far."""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, Self, TypeVar

import torch


class Tally(Protocol):
    """Counts that add up."""

    def add(self, other: Self, /) -> Any: ...


T = TypeVar("T", bound=Tally)


def in_shares(work: Callable[[Any], T], tasks: Sequence[Any], jobs: int, whole: T) -> Iterator[T]:
    """``whole`` with the counts of each task added, after each task."""
    if jobs == 1:
        for task in tasks:
            whole.add(work(task))
            yield whole
        return
    with multiprocessing.get_context("spawn").Pool(jobs, torch.set_num_threads, (1,)) as pool:
        for part in pool.imap_unordered(work, tasks):
            whole.add(part)
            yield whole


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options that every long run has."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    return parser
