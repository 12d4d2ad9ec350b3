"""Programs as people write them, each to be built afresh at any point: what a graph is compared with."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epigraph import Objective

Point = Mapping[str, Tensor]
Fix = Callable[[nn.Module], nn.Module]
Parts = tuple[nn.Module, Any, Any, Any]  # model, loss, inputs, targets


@dataclass(frozen=True)
class Program:
    """A model with its loss and data, or a function; ``verdict`` is what the whole must come to where that is settled."""

    name: str
    build: Callable[..., Any]
    is_model: bool
    verdict: str | None
    refusable: bool  # a clear error is as good as a graph
    options: Mapping[str, Any]

    def objective(self) -> Objective:
        """As a user makes it."""
        torch.manual_seed(0)
        if self.is_model:
            return Objective(*self.build(lambda m: m.double()), **self.options)
        f, parameters = self.build()
        return Objective.from_function(f, parameters, **self.options)

    def value(self, point: Point) -> float:
        """The program built anew, its parameters set before anything else is made from them, and run once by itself."""
        torch.manual_seed(0)
        if not self.is_model:
            f, parameters = self.build()
            names = list(parameters)
            return float(f(*(point[n].clone() for n in names)).detach())

        def fix(model: nn.Module) -> nn.Module:
            model.double()
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    if name in point:
                        parameter.copy_(point[name])
            return model

        model, loss, x, y = self.build(fix)
        for name, parameter in loss.named_parameters() if isinstance(loss, nn.Module) else ():
            parameter.data.copy_(point[f"loss.{name}"])
        model.train(self.options.get("mode") == "train")
        out = model(**x) if isinstance(x, dict) else model(*x) if isinstance(x, tuple) else model(x)
        value = out if loss is None else loss(out) if y is None else loss(out, y)
        return float((value if isinstance(value, Tensor) else value["loss"]).detach())


PROGRAMS: list[Program] = []


def model(
    verdict: str | None = None, refusable: bool = False, **options: Any
) -> Callable[[Callable[[Fix], Parts]], Callable[[Fix], Parts]]:
    def register(build: Callable[[Fix], Parts]) -> Callable[[Fix], Parts]:
        PROGRAMS.append(Program(build.__name__, build, True, verdict, refusable, options))
        return build

    return register


def function(
    verdict: str | None = None, refusable: bool = False, **options: Any
) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    def register(build: Callable[[], Any]) -> Callable[[], Any]:
        PROGRAMS.append(Program(build.__name__, build, False, verdict, refusable, options))
        return build

    return register


def rows(columns: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(6, columns, generator=generator, dtype=torch.float64)


def goals(columns: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(6)
    return torch.randn(6, columns, generator=generator, dtype=torch.float64)


def vector() -> dict[str, Tensor]:
    return {"w": torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)}


class Forward(nn.Module):
    """A vector of weights with the forward that a program wants."""

    def __init__(self, forward: Callable[..., Any]):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.5, -1.0, 2.0]))
        self.run = forward

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.run(self, *inputs, **named)


# the loss reaches into the model ----------------------------------------------------------------------------------
@model("convex")
def penalty_on_an_attribute(fix: Fix) -> Parts:
    m = fix(nn.Linear(3, 1))
    return m, lambda o, y: F.mse_loss(o, y) + 0.1 * m.weight.abs().sum(), rows(), goals()


@model("nonconvex")
def concave_penalty_on_a_captured_weight(fix: Fix) -> Parts:
    m = fix(nn.Linear(3, 1))
    weight = m.weight
    return m, lambda o, y: F.mse_loss(o, y) - 0.1 * (weight**4).sum(), rows(), goals()


@model("nonconvex")
def penalty_on_the_data_of_a_weight(fix: Fix) -> Parts:
    m = fix(nn.Linear(3, 1))
    weight = m.weight.data
    return m, lambda o, y: F.mse_loss(o, y) - 0.1 * (weight**4).sum(), rows(), goals()


@model("nonconvex")
def penalty_on_a_row_taken_beforehand(fix: Fix) -> Parts:
    m = fix(nn.Linear(3, 3))
    row = m.weight.detach()[0]
    return m, lambda o, y: F.mse_loss(o, y) + 0.1 * (row**3).sum(), rows(), goals(3)


@model()
def penalty_on_a_transposed_square_weight(fix: Fix) -> Parts:
    m = fix(nn.Linear(3, 3, bias=False))
    turned = m.weight.detach().t()
    scales = torch.arange(9.0, dtype=torch.float64).reshape(3, 3)
    return m, lambda o, y: F.mse_loss(o, y) + 0.1 * (turned * turned * scales).sum(), rows(), goals(3)


@model()
def every_second_entry_taken_beforehand(fix: Fix) -> Parts:
    m = fix(nn.Linear(4, 2, bias=False))
    part = m.weight.detach()[:, ::2]
    return m, lambda o, y: F.mse_loss(o, y) + (part * torch.arange(4.0).reshape(2, 2)).sum(), rows(4), goals(2)


@model("concave")
def buffer_over_the_memory_of_a_weight(fix: Fix) -> Parts:
    m = fix(Forward(lambda m, x: -((m.w * m.b).sum() ** 3)))
    m.register_buffer("b", m.w.data)
    return m, None, rows(), None


@model("convex")
def inputs_over_the_memory_of_a_weight(fix: Fix) -> Parts:
    m = fix(nn.Linear(3, 1, bias=False))
    return m, lambda o: o.sum(), m.weight.detach(), None


@model("convex")
def activations_kept_for_the_loss(fix: Fix) -> Parts:
    def forward(m: Any, x: Tensor) -> Tensor:
        m.hidden = x @ m.w
        return m.hidden

    m = fix(Forward(forward))
    return m, lambda o, y: F.mse_loss(o, y[:, 0]) + (m.hidden**2).sum(), rows(), goals()


@model("convex")
def activations_collected_by_a_hook(fix: Fix) -> Parts:
    m = fix(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1).requires_grad_(False)))
    seen: list[Tensor] = []
    m[0].register_forward_hook(lambda mod, i, o: seen.append(o))
    return m, lambda o, y: F.mse_loss(o, y) + (seen[-1] ** 2).mean(), rows(), goals()


@model()
def hook_that_changes_the_output(fix: Fix) -> Parts:
    m = fix(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1)))
    m[0].register_forward_hook(lambda mod, i, o: o * o)
    return m, F.mse_loss, rows(), goals()


@model("convex")
def loss_with_parameters(fix: Fix) -> Parts:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(1, dtype=torch.float64))

        def forward(self, o: Tensor, y: Tensor) -> Tensor:
            return F.mse_loss(o + self.shift, y) + (self.shift**2).sum()

    return fix(nn.Linear(3, 1)), Scaled(), rows(), goals()


@model("convex")
def loss_by_partial(fix: Fix) -> Parts:
    return fix(nn.Linear(3, 1)), functools.partial(F.huber_loss, delta=0.3, reduction="sum"), rows(), goals()


@model("convex")
def loss_from_the_model(fix: Fix) -> Parts:
    return fix(Forward(lambda m, x, y: F.mse_loss(x @ m.w, y[:, 0]))), None, (rows(), goals()), None


@model("convex")
def named_inputs_and_a_structured_output(fix: Fix) -> Parts:
    def forward(m: Any, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = features @ m.w
        return {"logits": logits, "loss": F.mse_loss(logits, labels[:, 0])}

    return fix(Forward(forward)), None, {"labels": goals(), "features": rows()}, None


# ties, freezing, wrapping -----------------------------------------------------------------------------------------
@model("nonconvex")
def tied_layers(fix: Fix) -> Parts:
    m = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    m[1].weight = m[0].weight
    return fix(m), F.mse_loss, rows(), goals(3)


@model("convex")
def frozen_first_layer(fix: Fix) -> Parts:
    m = fix(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)))
    m[0].requires_grad_(False)
    return m, F.mse_loss, rows(), goals()


@model("nonconvex")
def weight_norm(fix: Fix) -> Parts:
    return fix(torch.nn.utils.parametrizations.weight_norm(nn.Linear(3, 1))), F.mse_loss, rows(), goals()


@model("convex")
def pruned(fix: Fix) -> Parts:
    import torch.nn.utils.prune as prune

    m = nn.Linear(3, 1)
    prune.l1_unstructured(m, "weight", amount=1)
    m.weight_mask = torch.tensor([[1.0, 0.0, 1.0]])
    return fix(m), F.mse_loss, rows(), goals()


@model("convex")
def checkpointed(fix: Fix) -> Parts:
    from torch.utils.checkpoint import checkpoint

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.fc, x, use_reentrant=False)

    return fix(Net()), F.mse_loss, rows(), goals()


@model("nonconvex")
def scripted(fix: Fix) -> Parts:
    return (
        torch.jit.script(fix(nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1)))),
        F.mse_loss,
        rows(),
        goals(),
    )


@model("convex")
def parameter_subclass(fix: Fix) -> Parts:
    class Own(nn.Parameter):
        pass

    m = Forward(lambda m, x: x @ m.w)
    m.w = Own(m.w.data.double())
    return fix(m), lambda o, y: F.mse_loss(o, y[:, 0]), rows(), goals()


@model("convex")
def functional_call(fix: Fix) -> Parts:
    m = fix(
        Forward(lambda m, x: torch.func.functional_call(layer, {"weight": 2 * m.w[None], "bias": layer.bias}, (x,)))
    )
    layer = nn.Linear(3, 1).double().requires_grad_(False)
    return m, F.mse_loss, rows(), goals()


@model("nonconvex", refusable=True)
def a_step_of_learning_inside(fix: Fix) -> Parts:
    def forward(m: Any, x: Tensor, y: Tensor) -> Tensor:
        inner = (torch.tanh(x @ m.w) - y[:, 0]).square().mean()
        (g,) = torch.autograd.grad(inner, [m.w], create_graph=True)
        return (torch.tanh(x @ (m.w - 0.1 * g)) - y[:, 0]).square().mean()

    return fix(Forward(forward)), None, (rows(), goals()), None


@model()
def lstm(fix: Fix) -> Parts:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTM(3, 2, batch_first=True, bidirectional=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.cell(x)[0].sum(1)

    return fix(Net()), F.mse_loss, rows(18).reshape(6, 6, 3), goals(4)


@model()
def gru(fix: Fix) -> Parts:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRU(3, 2, num_layers=2, dropout=0.5)

        def forward(self, x: Tensor) -> Tensor:
            return self.cell(x)[0].sum(0)

    return fix(Net()), F.mse_loss, rows(18).reshape(6, 6, 3), goals(2)


# modes and state --------------------------------------------------------------------------------------------------
@model("nonconvex", mode="train")
def batch_norm_depends_on_the_batch(fix: Fix) -> Parts:
    return fix(nn.Sequential(nn.Linear(3, 2, bias=False), nn.BatchNorm1d(2))), F.mse_loss, rows(), goals(2)


@model(mode="eval")
def batch_norm_with_its_statistics(fix: Fix) -> Parts:
    m = fix(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, affine=False)))
    m[1].running_mean.copy_(torch.tensor([1.0, -1.0]))
    m[1].running_var.copy_(torch.tensor([4.0, 0.25]))
    return m, F.mse_loss, rows(), goals(2)


@model(mode="train")
def a_train_method_that_keeps_batch_norm_fixed(fix: Fix) -> Parts:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.norm = nn.Linear(3, 2), nn.BatchNorm1d(2, affine=False)

        def train(self, mode: bool = True) -> Net:
            super().train(mode)
            self.norm.eval()
            return self

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.fc(x))

    return fix(Net()), F.mse_loss, rows(), goals(2)


@model("convex", mode="train")
def a_running_mean_that_is_only_kept(fix: Fix) -> Parts:
    def forward(m: Any, x: Tensor) -> Tensor:
        out = x @ m.w
        m.mean.mul_(0.9).add_(0.1 * out.detach().mean())
        return out

    m = fix(Forward(forward))
    m.register_buffer("mean", torch.zeros((), dtype=torch.float64))
    return m, lambda o, y: F.mse_loss(o, y[:, 0]), rows(), goals()


@model("nonconvex")
def weights_clamped_in_forward(fix: Fix) -> Parts:
    def forward(m: Any, x: Tensor) -> Tensor:
        with torch.no_grad():
            m.w.clamp_(-0.7, 0.7)
        return x @ m.w

    return fix(Forward(forward)), lambda o, y: F.mse_loss(o, y[:, 0]), rows(), goals()


@model("concave")
def weights_loaded_into_another_model(fix: Fix) -> Parts:
    m = fix(nn.Linear(3, 1))
    teacher, x = nn.Linear(3, 1).double(), rows()

    def loss(o: Tensor, y: Tensor) -> Tensor:
        teacher.load_state_dict(m.state_dict())
        return F.mse_loss(o, y) - 2 * (teacher(x) ** 2).mean()

    return m, loss, x, goals()


@model()
def targets_computed_without_gradients(fix: Fix) -> Parts:
    def forward(m: Any, x: Tensor) -> Tensor:
        with torch.no_grad():
            target = 2 * (x @ m.w) ** 3
        return (x @ m.w - target).square().mean()

    return fix(Forward(forward)), None, rows(), None


@model("convex")
def a_branch_on_the_data(fix: Fix) -> Parts:
    return (
        fix(Forward(lambda m, x: x @ m.w if x.sum() > 0 else (-2 * x) @ m.w)),
        lambda o, y: F.mse_loss(o, y[:, 0]),
        rows(),
        goals(),
    )


@model("convex")
def lengths_read_from_the_data(fix: Fix) -> Parts:
    return (
        fix(Forward(lambda m, x, n: x[: int(n.max())] @ m.w)),
        lambda o: (o**2).sum(),
        (rows(), torch.tensor([2, 4])),
        None,
    )


@model("convex")
def rows_chosen_by_a_list_from_the_data(fix: Fix) -> Parts:
    return (
        fix(Forward(lambda m, x, n: torch.stack([x[i] @ m.w for i in n.tolist()]))),
        lambda o: (o**2).sum(),
        (rows(), torch.tensor([2, 4])),
        None,
    )


@model("convex")
def features_by_numpy(fix: Fix) -> Parts:
    return (
        fix(Forward(lambda m, x: torch.from_numpy(x.numpy() ** 2) @ m.w)),
        lambda o, y: F.mse_loss(o, y[:, 0]),
        rows(),
        goals(),
    )


# functions --------------------------------------------------------------------------------------------------------
@function("concave")
def a_function_whose_backward_says_another_thing() -> Any:
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return -x * x

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            return grads[0]

    return lambda w: Square.apply(w).sum(), vector()


@function()
def straight_through_rounding() -> Any:
    return lambda w: ((w + (w.round() - w).detach()) ** 2).sum(), vector()


@function("convex")
def a_detached_factor_counts() -> Any:
    return lambda w: (w * w.detach()).sum(), vector()


@function("affine")
def a_constant_that_lies_where_the_parameter_lies() -> Any:
    w0 = vector()["w"]
    return lambda w: (w * w0).sum(), {"w": w0}


@function("concave")
def in_place_under_a_view() -> Any:
    def f(w: Tensor) -> Tensor:
        y = w * 1
        seen = y.view_as(y)
        y.mul_(-3)
        return (seen * w).sum()

    return f, vector()


@function("concave")
def in_place_under_a_slice() -> Any:
    def f(w: Tensor) -> Tensor:
        y = w * 1
        first, rest = y[:1], y[1:]
        y.neg_()
        rest.mul_(2)
        return (first * w[:1]).sum() + (y[1:] * w[1:]).sum() + (rest * w[1:]).sum()

    return f, vector()


@function("concave")
def in_place_twice_through_what_comes_back() -> Any:
    def f(w: Tensor) -> Tensor:
        y = w * 1
        again = y.neg_()
        again.mul_(3)
        return (y * w).sum()

    return f, vector()


@function("concave")
def in_place_after_contiguous_and_to() -> Any:
    def f(w: Tensor) -> Tensor:
        y = w * 1
        one, two = y.contiguous(), y.to(torch.float64)
        y.mul_(-1)
        return (one * w).sum() + (two * w).sum()

    return f, vector()


@function("concave")
def results_written_into_an_argument() -> Any:
    def f(w: Tensor) -> Tensor:
        out = torch.zeros(3, dtype=torch.float64)
        with torch.no_grad():
            torch.mul(w.detach(), -2.0, out=out)
        return (w * out).sum()

    return f, vector()


@function()
def many_written_at_once() -> Any:
    def f(w: Tensor) -> Tensor:
        y, z = w * 1, w * 2
        torch._foreach_mul_([y, z], -2.0)
        return (y * z).sum() - (w * y).sum()

    return f, vector()


@function("concave")
def accumulated_in_a_tensor_outside() -> Any:
    total = torch.zeros(3, dtype=torch.float64)

    def f(w: Tensor) -> Tensor:
        total.zero_()
        total.add_(w**2)
        return -total.sum()

    return f, vector()


@function("convex")
def summed_in_a_loop() -> Any:
    def f(w: Tensor) -> Tensor:
        out = torch.zeros((), dtype=torch.float64)
        for i in range(5):
            out += (w[i % 3] - i) ** 2
        return out

    return f, vector()


@function("convex")
def gradients_are_on() -> Any:
    return lambda w: (w**2).sum() if torch.is_grad_enabled() else -(w**2).sum(), vector()


@function()
def a_number_read_and_multiplied() -> Any:
    def f(w: Tensor) -> Tensor:
        c = w.sum().item()
        return (w * c).sum()

    return f, vector()


@function("convex")
def a_look_that_always_gives_the_same() -> Any:
    return lambda w: (w**2).sum() if (w**2).sum() >= 0 else -w.sum(), vector()


@function("convex")
def a_power_from_a_number_that_cannot_vary() -> Any:
    return lambda w: (w ** int(w.detach().abs().sum() * 0 + 2)).sum(), vector()


@function()
def a_whole_number_inside() -> Any:
    return lambda w: (w * w).sum() + w.long().sum() * w[0], vector()


@function()
def a_sum_of_whole_numbers() -> Any:
    return lambda w: (w * w).sum() + torch.sum(w, dtype=torch.int64), vector()


@function()
def where_guards_a_logarithm() -> Any:
    return lambda w: torch.where(w > 0, w.log(), torch.zeros((), dtype=torch.float64)).sum() + (w**2).sum(), vector()


@function()
def vmap_inside() -> Any:
    return lambda w: torch.func.vmap(lambda v: v**3)(w).sum(), vector()


@function("affine")
def scripted_loop() -> Any:
    @torch.jit.script
    def g(w):
        y = w
        for _ in range(3):
            y = 2 * y + 1
        return y.sum()

    return lambda w: g(w), vector()


@function("convex")
def compiled_function() -> Any:
    return torch.compile(lambda w: (w**2).sum(), backend="eager"), vector()


@function("nonconvex")
def operator_of_the_user() -> Any:
    if not hasattr(torch.ops, "epigraph_tests") or not hasattr(torch.ops.epigraph_tests, "cube"):

        @torch.library.custom_op("epigraph_tests::cube", mutates_args=())
        def cube(x: Tensor) -> Tensor:
            return x * x * x

        cube.register_fake(torch.empty_like)
    return lambda w: torch.ops.epigraph_tests.cube(w).sum(), vector()


@function("convex", refusable=True)
def copies_of_the_argument() -> Any:
    return lambda w: (copy.copy(w) ** 2).sum() + math.pi * (w.clone() ** 2).sum(), vector()
