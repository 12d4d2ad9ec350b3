"""A process that searches into an atlas and says on stdout what it has seen written; it may be killed at any moment."""

from __future__ import annotations

import sys

from landscapes import xor

from epigraph.critical.atlas import Atlas
from epigraph.critical.explore import Explorer
from epigraph.critical.resume import bridge


def main(path: str, seed: int, batches: int, size: int) -> None:
    J = xor(2)
    explorer = Explorer(J, True, False, seed, lambda *parts: None)
    atlas = Atlas(path, create=True)
    run, done = atlas.run(atlas.objective(J), seed, True)
    print("ready", flush=True)
    objective = atlas.objective(J)
    for k in range(batches):
        found = explorer.catalogue(size, (), done)
        done = atlas.absorb(run, done, size, explorer, found)
        print(f"done {done} values {' '.join(f'{p.value:.9f}' for p in found.points)}", flush=True)
        if k % 4 == 3:
            bridge(atlas, objective, run, explorer)
            (known,) = (c for c in atlas.catalogues() if c.points)
            print(f"linked {len(known.transitions)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *(int(a) for a in sys.argv[2:]))
