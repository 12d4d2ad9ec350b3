"""The slope of each sample's own loss at the model's outputs: with the targets given, or drawn from the model's distribution."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_map

from epigraph.errors import ObjectiveError
from epigraph.objective.data import Batch
from epigraph.objective.objective import Objective

Rows = tuple[Tensor, Tensor, tuple[int, ...]]  # weights in J; slopes [draws, N, ...]; the axes that make up one row

SAME = {torch.float32: 1e-4, torch.float64: 1e-9}  # relative; the batch's loss and its samples' put together again


def per_sample(loss: Callable[[Tensor, Any], Tensor], z: Tensor, batch: Batch) -> Rows:
    """The slope of each sample's loss at its outputs; rows are samples.

    Raises:
        ObjectiveError: the batch's loss is neither the mean nor the sum of its samples' losses.
    """
    z = z.detach().requires_grad_()
    whole = loss(z, batch.targets)
    (slope,) = _slope(whole, z)
    losses = _each(loss, z, batch.targets)
    total, size = losses.detach().sum(), losses.detach().abs().sum()
    (slopes,) = _slope(losses.sum(), z)
    for weight in (1.0 / len(losses), 1.0):
        near = SAME.get(z.dtype, 1e-2)
        same = abs(float(total) * weight - float(whole.detach())) <= near * float(size) * weight
        if same and float((slopes * weight - slope).norm()) <= near * float(slope.norm()) + 1e-30:
            return z.new_tensor(weight * float(batch.weight)), slopes.unsqueeze(0), tuple(range(2, z.ndim + 1))
    raise ObjectiveError(
        "E218",
        "the loss of a batch is neither the mean nor the sum of its samples' losses",
        why=f"{float(whole.detach()):.9g} for the batch, {float(losses.detach().mean()):.9g} the mean over its {len(losses)} samples",
        hint='kind="gauss-newton", or a loss without weights, ignored targets and terms across samples',
    )


def _slope(value: Tensor, z: Tensor) -> tuple[Tensor]:
    if not value.requires_grad:
        return (torch.zeros_like(z),)
    (slope,) = torch.autograd.grad(value, z, allow_unused=True)
    return (torch.zeros_like(z) if slope is None else slope,)


def _each(loss: Callable[[Tensor, Any], Tensor], z: Tensor, y: Any) -> Tensor:
    """The loss of each sample as a batch of one: by vmap, or one by one where the loss cannot be mapped."""
    n = z.shape[0] if z.ndim else 0
    ragged: list[Any] = []

    def check(v: Any) -> Any:
        if isinstance(v, Tensor) and (v.ndim == 0 or v.shape[0] != n):
            ragged.append(v.shape)
        return v

    tree_map(check, y)
    if n == 0 or ragged:
        raise ObjectiveError(
            "E218",
            f"outputs of shape {tuple(z.shape)} and their targets have no common first dimension of samples",
            why="the empirical Fisher matrix is a sum over samples",
            hint='kind="gauss-newton"',
        )

    def one(zi: Tensor, yi: Any) -> Tensor:
        return loss(zi.unsqueeze(0), tree_map(lambda v: v.unsqueeze(0) if isinstance(v, Tensor) else v, yi))

    axes = tree_map(lambda v: 0 if isinstance(v, Tensor) else None, y)
    try:
        return torch.vmap(one, in_dims=(0, axes))(z, y)
    except (RuntimeError, ValueError):
        rows = [one(z[i], tree_map(lambda v, i=i: v[i] if isinstance(v, Tensor) else v, y)) for i in range(n)]
        return torch.stack(rows)


# targets of the model's own ---------------------------------------------------------------------------------------
FAMILIES: dict[Any, str] = {
    torch.nn.CrossEntropyLoss: "categorical",
    F.cross_entropy: "categorical",
    torch.nn.MSELoss: "normal",
    F.mse_loss: "normal",
    torch.nn.BCEWithLogitsLoss: "bernoulli",
    F.binary_cross_entropy_with_logits: "bernoulli",
}
PLAIN: dict[str, Any] = {
    "weight": None,
    "pos_weight": None,
    "label_smoothing": 0.0,
    "size_average": None,
    "reduce": None,
}


def drawn(J: Objective, z: Tensor, batch: Batch, samples: int, seed: int) -> Rows:
    """Slopes of the negative log-likelihood at drawn targets; rows are samples, or the places of a categorical variable.

    The loss is that of a categorical distribution (logits in dimension 1), of independent Bernoulli variables, or of normal
    variables of variance 1/2, whose negative log-likelihood is (z - y)^2 up to a constant.

    Raises:
        ObjectiveError: the loss is none of these, or has class weights or label smoothing.
    """
    family, options = _family(J.loss)
    mean = options.get("reduction", "mean") == "mean"
    generator = torch.Generator(device=z.device).manual_seed(seed)
    if family == "categorical":
        return (*_categorical(z, batch, samples, generator, options, mean), (2 if z.ndim > 1 else 1,))
    noise = torch.rand if family == "bernoulli" else torch.randn
    draw = noise((samples, *z.shape), generator=generator, dtype=z.dtype, device=z.device)
    slopes = z.sigmoid() - (draw < z.sigmoid()).to(z.dtype) if family == "bernoulli" else -(2**0.5) * draw
    weight = torch.full_like(z, (1 / z.numel() if mean else 1.0) * float(batch.weight))
    return weight, slopes, tuple(range(2, slopes.ndim))


def _categorical(
    z: Tensor, batch: Batch, samples: int, generator: torch.Generator, options: dict[str, Any], mean: bool
) -> tuple[Tensor, Tensor]:
    axis = 1 if z.ndim > 1 else 0
    share = z.softmax(axis).movedim(axis, -1)
    kept = torch.ones(share.shape[:-1], dtype=z.dtype, device=z.device)
    if not batch.targets.is_floating_point():
        kept = (batch.targets != options.get("ignore_index", -100)).to(z.dtype)
    picks = torch.multinomial(share.reshape(-1, share.shape[-1]), samples, replacement=True, generator=generator)
    hot = F.one_hot(picks.T, share.shape[-1]).to(z.dtype).reshape(samples, *share.shape)
    slopes = (share - hot).movedim(-1, axis + 1)
    return (kept / (kept.sum() if mean else 1.0)).unsqueeze(axis) * float(batch.weight), slopes


def _family(loss: Any) -> tuple[str, dict[str, Any]]:
    """The distribution behind a loss, and the options that it was given."""
    options: dict[str, Any] = {}
    inner = loss
    while isinstance(inner, functools.partial):
        options = {**inner.keywords, **options}
        inner = inner.func
    family = FAMILIES.get(inner) if inspect.isfunction(inner) or inspect.isbuiltin(inner) else FAMILIES.get(type(inner))
    if isinstance(inner, torch.nn.Module):
        options = {k: getattr(inner, k) for k in ("reduction", *PLAIN, "ignore_index") if hasattr(inner, k)} | options
    strange = {k for k, v in options.items() if k in PLAIN and v is not PLAIN[k] and v != PLAIN[k]}
    if family is None or strange:
        name = getattr(inner, "__name__", type(inner).__name__)
        raise ObjectiveError(
            "E218",
            f"no distribution is known behind the loss {name}"
            + (f" with {', '.join(sorted(strange))}" if strange else ""),
            why="targets are drawn from the model's own distribution: cross-entropy, MSE and BCE with logits have one",
            hint='one of these losses itself, not a function around it; or kind="gauss-newton"',
        )
    return family, options
