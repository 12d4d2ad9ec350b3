r"""Lost symmetries: directions that no output shows, beside those that the group explains.

No check of a found symmetry sees one that was not found.  But along every continuous symmetry the network stays the same
function, so that the Jacobian of its outputs, at random weights and on fresh inputs, vanishes in that direction.  What its
nullity has more than the orbit has dimensions was lost, is not looked for, or holds at that point only (a dead unit).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn

from epigraph.errors import EpigraphError
from epigraph.objective.evaluate import Evaluator
from epigraph.objective.graph import Graph
from epigraph.symmetry.oracle import Nullity, rank_of
from epigraph.symmetry.result import Symmetries

if TYPE_CHECKING:
    from epigraph.objective.objective import Objective

MOST = 400  # parameters; the Jacobian is dense
POINTS = 3
SPARE = 4  # fresh outputs per parameter: those of few tokens are not independent


@final
@dataclass(frozen=True)
class Lost:
    """Directions that no output shows at a random point (``nullity``), and how many of them the group explains."""

    nullity: Nullity
    explained: int

    @property
    def unexplained(self) -> int:
        return self.nullity.observed - self.explained

    def to_dict(self) -> dict[str, Any]:
        seen = self.nullity
        return {
            "nullity": seen.observed,
            "explained": self.explained,
            "parameters": seen.size,
            "above": seen.above,
            "below": seen.below,
        }


def lost(J: Objective, found: Symmetries, *, seed: int = 0, most: int = MOST) -> Lost | None:
    """What the group leaves unexplained of the nullity of the outputs' Jacobian at random weights.

    Inputs are drawn anew, floats normal and integers within the range of the data; outputs under a loss that ignores a
    common shift of them (softmax) are taken without it.  Buffers stay as J has them.  None for more than ``most``
    parameters, under weight decay, and where J has no model whose tensor of inputs can be drawn or outputs read.  Costs a
    gradient per parameter and a singular value decomposition.

    Example:
        >>> import torch, epigraph
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
        >>> J = epigraph.Objective(net, torch.nn.MSELoss(), torch.randn(8, 2), torch.randn(8, 1))
        >>> epigraph.symmetry.lost.lost(J, epigraph.symmetries(J)).unexplained
        0
    """
    size = sum(v.numel() for v in J.parameters.values())
    if J.model is None or J.loss is None or size > most or any(J.weight_decay.values()) or len(J.batches()) != 1:
        return None
    generator = torch.Generator().manual_seed(seed)
    try:
        graph, scores = _scored(J, size + 16, generator)
    except (EpigraphError, TypeError, ValueError, IndexError, RuntimeError):  # a model may refuse other inputs
        return None
    best: Lost | None = None
    for _ in range(POINTS):  # what holds at one point only is not lost
        point = {k: _weights(v.shape, generator) for k, v in J.parameters.items()}
        orbit = found.flat({**{k: found.values[k] for k in found.buffers}, **point})
        seen = Lost(_jacobian_nullity(graph, scores, point, generator), orbit)
        best = seen if best is None or seen.unexplained < best.unexplained else best
        if best.unexplained == 0:
            break
    return best


def _weights(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Matrices of size 1, biases and gains smaller, so that few units are dead."""
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    return noise if len(shape) > 1 else 0.2 * noise


class _Scored(nn.Module):
    """A model whose outputs are multiplied by parameters and summed."""

    def __init__(self, model: nn.Module, scores: Tensor, centred: bool):
        super().__init__()
        self.model, self.scores, self.centred = model, nn.Parameter(scores), centred

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        out = self.model(*inputs, **named)
        out = out - out.mean(-1, keepdim=True) if self.centred else out
        return (out * self.scores).sum()


def _scored(J: Objective, rows: int, generator: torch.Generator) -> tuple[Graph, Tensor]:
    """The graph of the outputs times scores, on at least ``rows`` numbers of fresh outputs, and scores of their shape."""
    from epigraph.objective.objective import Objective

    assert J.model is not None
    given = J.batches()[0].inputs
    with torch.no_grad():
        outputs = _called(J.model, given)
        samples = len(_tensors(given)[0])
        fresh = _drawn(given, -(-SPARE * rows * samples // outputs.numel()), generator)
        scores = torch.zeros_like(_called(J.model, fresh))
    model = _Scored(J.model, scores, _ignores_shifts(J, outputs))
    return Objective(model, lambda total, _: total, fresh, torch.zeros(1), mode=J.mode).graph(), scores  # type: ignore[arg-type]


def _tensors(inputs: Any) -> list[Tensor]:
    values = (
        inputs.values() if isinstance(inputs, Mapping) else inputs if isinstance(inputs, tuple | list) else [inputs]
    )
    return [v for v in values if isinstance(v, Tensor)]


def _called(model: nn.Module, inputs: Any) -> Tensor:
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple | list) else model(inputs)


def _drawn(inputs: Any, samples: int, generator: torch.Generator) -> Any:
    """Inputs of the same kind for so many samples."""
    if isinstance(inputs, Mapping):
        return {k: _drawn(v, samples, generator) for k, v in inputs.items()}
    if isinstance(inputs, tuple | list):
        return type(inputs)(_drawn(v, samples, generator) for v in inputs)
    shape = (samples, *inputs.shape[1:])
    if inputs.is_floating_point():
        return torch.randn(shape, generator=generator).to(inputs.dtype)
    return torch.randint(int(inputs.min()), int(inputs.max()) + 1, shape, generator=generator).to(inputs.dtype)


def _ignores_shifts(J: Objective, outputs: Tensor) -> bool:
    """Does the loss stay the same when a number is added to all outputs of a sample?"""
    assert J.loss is not None
    shift = torch.arange(outputs.numel() // outputs.shape[-1]).reshape(*outputs.shape[:-1], 1) % 7
    targets = J.batches()[0].targets
    one, two = (J.loss(out, targets) for out in (outputs.double(), outputs.double() + shift))
    return outputs.shape[-1] > 1 and bool(torch.isclose(one, two, rtol=1e-9, atol=1e-12))


def _jacobian_nullity(graph: Graph, scores: Tensor, point: Mapping[str, Tensor], generator: torch.Generator) -> Nullity:
    """P minus the rank of the gradients of the scored outputs over random scores."""
    evaluator = Evaluator(graph)
    leaves = {k: v.clone().requires_grad_(True) for k, v in point.items()}
    weights = torch.zeros(scores.shape, dtype=torch.float64, requires_grad=True)
    known = set(graph.parameter_nodes)
    given = {k: v for k, v in {**{f"model.{k}": v for k, v in leaves.items()}, "scores": weights}.items() if k in known}
    (outputs,) = torch.autograd.grad(evaluator(given), weights, create_graph=True)
    rows = []
    for _ in range(sum(v.numel() for v in point.values()) + 16):
        score = torch.randn(outputs.shape, generator=generator, dtype=torch.float64)
        parts = torch.autograd.grad(outputs, list(leaves.values()), score, retain_graph=True, allow_unused=True)
        filled = [torch.zeros_like(v) if g is None else g for g, v in zip(parts, leaves.values(), strict=True)]
        rows.append(torch.cat([g.reshape(-1) for g in filled]))
    return rank_of(torch.stack(rows))
