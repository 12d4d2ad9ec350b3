"""Objectives that must be refused: what the user did, the code that says so, and words that the message must hold."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import epigraph
from epigraph import Objective

Scene = tuple[list[Any], Callable[[], Any]]  # what must stay as it is, and the call that must raise


@dataclass(frozen=True)
class Refusal:
    """One refused objective; ``code`` is the error's, ``words`` must occur in its message."""

    name: str
    make: Callable[[], Scene]
    code: str
    words: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        return 2 if self.code.startswith("E0") else 3


CASES: list[Refusal] = []


def refused(code: str, *words: str) -> Callable[[Callable[[], Scene]], Callable[[], Scene]]:
    def register(make: Callable[[], Scene]) -> Callable[[], Scene]:
        CASES.append(Refusal(make.__name__, make, code, words))
        return make

    return register


def graph(*things: Any, **options: Any) -> Scene:
    """The usual scene: build the objective of (model, loss, inputs, targets) and ask for its graph."""
    keep = [t for t in things if isinstance(t, nn.Module | Tensor) and not getattr(t, "is_meta", False)]
    return keep, lambda: Objective(*things, **options).graph()


def function(f: Callable[..., Any], *keep: Any, **options: Any) -> Scene:
    """The graph of a function of one vector of three numbers."""
    return list(keep), lambda: Objective.from_function(f, {"w": torch.tensor([0.5, -1.0, 2.0])}, **options).graph()


def line() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def rows() -> Tensor:
    return torch.arange(18.0).reshape(6, 3) / 10


def goals() -> Tensor:
    return torch.arange(6.0).reshape(6, 1)


def poisoned(tensor: Tensor, value: float = float("nan")) -> Tensor:
    out = tensor.clone()
    out.view(-1)[1] = value
    return out


class Forward(nn.Module):
    """A model with one weight and the forward that a case wants."""

    def __init__(self, forward: Callable[[Forward, Tensor], Any], weight: Tensor | None = None):
        super().__init__()
        self.w = nn.Parameter(
            torch.tensor([0.5, -1.0, 2.0]) if weight is None else weight,
            requires_grad=weight is None or weight.is_floating_point(),
        )
        self.steps = 0
        self.run = forward

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


# data and weights -------------------------------------------------------------------------------------------------
@refused("E204", "inputs", "NaN")
def nan_in_the_inputs() -> Scene:
    return graph(line(), F.mse_loss, poisoned(rows()), goals())


@refused("E204", "targets", "infinite")
def infinity_in_the_targets() -> Scene:
    return graph(line(), F.mse_loss, rows(), poisoned(goals(), float("inf")))


@refused("E204", "NaN")
def nan_in_a_batch_of_a_loader() -> Scene:
    return graph(line(), nn.MSELoss(), DataLoader(TensorDataset(poisoned(rows()), goals()), batch_size=2))


@refused("E204", "nan")
def nan_as_a_plain_number() -> Scene:
    return graph(line(), lambda o, y: (o * y).sum(), rows(), float("nan"))


@refused("E202", "parameter weight", "NaN")
def nan_in_the_weights() -> Scene:
    model = line()
    with torch.no_grad():
        model.weight[0, 1] = float("nan")
    return graph(model, F.mse_loss, rows(), goals())


@refused("E202", "parameter bias", "infinite")
def infinity_in_a_frozen_weight() -> Scene:
    model = line()
    model.bias.requires_grad_(False).fill_(float("inf"))
    return graph(model, F.mse_loss, rows(), goals())


@refused("E202", "integer", ".double()")
def integer_parameters_of_a_function() -> Scene:
    return [], lambda: Objective.from_function(lambda w: (w**2).sum(), {"w": torch.arange(3)})


@refused("E202", "complex")
def complex_parameters() -> Scene:
    return [], lambda: Objective.from_function(lambda w: w.abs().sum(), {"w": torch.zeros(3, dtype=torch.complex64)})


@refused("E202", "sparse")
def sparse_parameters() -> Scene:
    return [], lambda: Objective.from_function(lambda w: w.to_dense().sum(), {"w": torch.eye(3).to_sparse()})


@refused("E202", "meta")
def parameters_on_the_meta_device() -> Scene:
    return [], lambda: Objective(nn.Linear(3, 1, device="meta"), F.mse_loss, rows(), goals())


@refused("E204", "meta")
def data_on_the_meta_device() -> Scene:
    return graph(line(), F.mse_loss, rows().to("meta"), goals())


@refused("E204", "complex")
def complex_data() -> Scene:
    return graph(line(), F.mse_loss, rows().to(torch.complex64), goals())


@refused("E202", "not initialised", "one batch")
def a_lazy_module() -> Scene:
    model = nn.LazyLinear(1)
    return [], lambda: Objective(model, F.mse_loss, rows(), goals())


@refused("E202", "expanded")
def a_parameter_of_expanded_memory() -> Scene:
    model = Forward(lambda m, x: x @ m.w)
    model.w = nn.Parameter(torch.zeros(1).expand(3))
    return [], lambda: Objective(model, lambda o: o.sum(), rows())


@refused("E210", "share memory")
def two_parameters_over_one_memory() -> Scene:
    model = Forward(lambda m, x: (x @ (m.w * m.v)).sum())
    model.v = nn.Parameter(model.w.data)
    return graph(model, None, rows())


@refused("E202", "inference")
def parameters_made_in_inference_mode() -> Scene:
    with torch.inference_mode():
        model = line()
    return [], lambda: Objective(model, F.mse_loss, rows(), goals())


@refused("E203", "empty")
def an_empty_dataset() -> Scene:
    return graph(line(), F.mse_loss, rows()[:0], goals()[:0])


@refused("E203", "no batch")
def an_empty_loader() -> Scene:
    return graph(line(), F.mse_loss, DataLoader(TensorDataset(rows()[:3], goals()[:3]), batch_size=4, drop_last=True))


# the loss ---------------------------------------------------------------------------------------------------------
@refused("E205", "not a scalar", "(6, 1)")
def a_loss_per_sample() -> Scene:
    return graph(line(), nn.MSELoss(reduction="none"), rows(), goals())


@refused("E205", "float", ".item()")
def a_loss_as_a_python_number() -> Scene:
    return graph(line(), lambda o, y: F.mse_loss(o, y).item(), rows(), goals())


@refused("E205", "NoneType")
def a_loss_that_returns_nothing() -> Scene:
    return graph(line(), lambda o, y: None, rows(), goals())


@refused("E205", "tuple")
def a_model_that_returns_two_tensors_and_no_loss() -> Scene:
    return graph(Forward(lambda m, x: (x @ m.w, m.w)), None, rows())


@refused("E205", "int64")
def an_integer_loss() -> Scene:
    return graph(line(), lambda o, y: (o > y).sum(), rows(), goals())


@refused("E205", "complex64")
def a_complex_loss() -> Scene:
    return graph(line(), lambda o, y: o.sum() * 1j, rows(), goals())


@refused("E209", "does not depend")
def a_constant_loss() -> Scene:
    return graph(line(), lambda o, y: torch.tensor(1.0), rows(), goals())


@refused("E209", "does not depend")
def a_loss_of_the_targets_alone() -> Scene:
    return graph(line(), lambda o, y: (y**2).sum(), rows(), goals())


@refused("E208", "nan")
def a_loss_without_a_value_at_the_weights() -> Scene:
    return graph(line(), lambda o, y: (o - 100).log().sum(), rows(), goals())


@refused("E211", "before this call", ".detach()")
def a_penalty_computed_beforehand() -> Scene:
    model = line()
    penalty = model.weight.abs().sum()
    return graph(model, lambda o, y: F.mse_loss(o, y) + penalty, rows(), goals())


@refused("E211", "before this call")
def a_penalty_that_is_kept_from_the_first_call() -> Scene:
    model, kept = line(), {}

    def loss(o: Tensor, y: Tensor) -> Tensor:
        if "penalty" not in kept:
            kept["penalty"] = (model.weight**2).sum()
        return F.mse_loss(o, y) - kept["penalty"]

    return graph(model, loss, rows(), goals())


@refused("E211", "before this call")
def a_number_that_is_kept_from_the_first_call() -> Scene:
    model, kept = line(), []

    def loss(o: Tensor, y: Tensor) -> Tensor:
        if not kept:
            kept.append((model.weight**2).sum().item())
        return F.mse_loss(o, y) * kept[0]

    return graph(model, loss, rows(), goals())


# randomness and state ---------------------------------------------------------------------------------------------
@refused("E207", "random", 'mode="eval"')
def dropout_in_training_mode() -> Scene:
    return graph(nn.Sequential(line(), nn.Dropout(0.5)), F.mse_loss, rows(), goals(), mode="train")


@refused("E207", "random")
def rrelu_in_training_mode() -> Scene:
    return graph(nn.Sequential(nn.Linear(3, 5), nn.RReLU()), lambda o: (o**2).sum(), rows(), mode="train")


@refused("E207", "random")
def functional_dropout_that_forgets_the_mode() -> Scene:
    return graph(Forward(lambda m, x: F.dropout(x @ m.w).sum()), None, rows())


@refused("E207", "random")
def noise_inside_a_function() -> Scene:
    return function(lambda w: (w * torch.randn(3)).sum())


@refused("E207", "draws random numbers")
def noise_that_is_seeded_inside() -> Scene:
    def f(w: Tensor) -> Tensor:
        torch.manual_seed(0)
        return ((w * torch.randn(3)) ** 2).sum()

    return function(f)


@refused("E207", "random")
def noise_from_a_generator_of_the_user() -> Scene:
    generator = torch.Generator().manual_seed(7)
    return function(lambda w: ((w * torch.randn(3, generator=generator)) ** 2).sum())


@refused("E207", "random")
def noise_from_numpy() -> Scene:
    return function(lambda w: (w**2).sum() * float(np.random.rand()))


@refused("E207", "random")
def noise_from_a_numpy_generator() -> Scene:
    generator = np.random.default_rng(3)
    return function(lambda w: (w**2).sum() * float(generator.random()))


@refused("E207", "random")
def noise_from_python() -> Scene:
    return function(lambda w: (w**2).sum() * (1 + random.random()))


@refused("E207", "counts its calls")
def a_counter_in_a_buffer() -> Scene:
    def forward(m: Forward, x: Tensor) -> Tensor:
        m.n += 1
        return (x @ m.w).sum() * m.n

    model = Forward(forward)
    model.register_buffer("n", torch.zeros(()))
    return graph(model, None, rows())


@refused("E207", "counts its calls")
def a_counter_in_an_attribute() -> Scene:
    def forward(m: Forward, x: Tensor) -> Tensor:
        m.steps += 1
        return (x @ m.w).sum() * m.steps

    return graph(Forward(forward), None, rows())


@refused("E207", "two calls")
def data_that_every_call_changes() -> Scene:
    return graph(Forward(lambda m, x: (x.mul_(2) @ m.w).sum()), None, rows())


@refused("E212", "(1100000, 1)", "new tensor")
def large_data_that_the_program_writes_into() -> Scene:
    x = torch.ones(1_100_000, 1)
    model = nn.Linear(1, 1)
    return graph(model, lambda o, y: F.mse_loss(o, y.mul_(2)), x[:2], x)


# the call of the program ------------------------------------------------------------------------------------------
@refused("E206", "ValueError", "not today")
def a_model_that_raises() -> Scene:
    def forward(m: Forward, x: Tensor) -> Tensor:
        raise ValueError("not today")

    return graph(Forward(forward), None, rows())


@refused("E206", "SystemExit")
def a_model_that_exits() -> Scene:
    def forward(m: Forward, x: Tensor) -> Tensor:
        raise SystemExit(3)

    return graph(Forward(forward), None, rows())


@refused("E206", "RecursionError")
def a_model_that_never_returns() -> Scene:
    def forward(m: Forward, x: Tensor) -> Tensor:
        return forward(m, x)

    return graph(Forward(forward), None, rows())


@refused("E206", "RuntimeError", "mat1 and mat2")
def inputs_of_the_wrong_shape() -> Scene:
    return graph(line(), F.mse_loss, torch.ones(6, 4), goals())


@refused("E206", "RuntimeError", "dtype")
def inputs_of_another_type() -> Scene:
    return graph(line(), F.mse_loss, rows().double(), goals().double())


@refused("E206", "TypeError")
def too_many_inputs() -> Scene:
    return graph(line(), F.mse_loss, (rows(), rows()), goals())


@refused("E206", "TypeError", "nonsense")
def inputs_under_a_wrong_name() -> Scene:
    return graph(line(), F.mse_loss, {"nonsense": rows()}, goals())


@refused("E206", "TypeError", "target")
def missing_targets() -> Scene:
    return graph(line(), F.mse_loss, rows())


@refused("E206", "TypeError")
def inputs_as_an_array() -> Scene:
    return graph(line(), F.mse_loss, rows().numpy(), goals())


@refused("E206", "AssertionError", "CUDA")
def a_model_on_a_device_that_is_missing() -> Scene:
    if torch.cuda.is_available():
        return graph(Forward(lambda m, x: (x.to("cuda:99") @ m.w).sum()), None, rows())
    return graph(Forward(lambda m, x: (x.cuda() @ m.w).sum()), None, rows())


@refused("E201", "requires_grad")
def a_frozen_model() -> Scene:
    return graph(line().requires_grad_(False), F.mse_loss, rows(), goals())


@refused("E201", "no trainable parameter")
def a_model_without_parameters() -> Scene:
    return graph(nn.ReLU(), lambda o: o.sum(), rows())


@refused("E201", "no trainable parameter")
def a_function_of_nothing() -> Scene:
    return [], lambda: Objective.from_function(lambda: torch.zeros(()), {})


# what capture cannot follow ---------------------------------------------------------------------------------------
@refused("E301", "branches")
def a_branch_on_the_parameters() -> Scene:
    return function(lambda w: w.sum() if w.sum() > 3 else (w**2).sum())


@refused("E301", "branches")
def a_loop_as_long_as_the_parameters_say() -> Scene:
    def f(w: Tensor) -> Tensor:
        out = (w**2).sum()
        for _ in range(int(w.abs().sum())):
            out = out * 1.5
        return out

    return function(f)


@refused("E301", "branches")
def a_branch_on_a_weight_in_the_loss() -> Scene:
    model = line()
    weight = model.weight
    return graph(
        model, lambda o, y: F.mse_loss(o, y) * (1.0 if weight.abs().max().item() < 100 else -5.0), rows(), goals()
    )


@refused("E301", "out of PyTorch")
def numbers_that_leave_by_tolist() -> Scene:
    model = line()
    weight = model.weight
    return graph(model, lambda o, y: F.mse_loss(o, y) + 1e-4 * weight.tolist()[0][0] ** 3, rows(), goals())


@refused("E301", "out of PyTorch")
def numbers_that_leave_by_numpy() -> Scene:
    return function(lambda w: (w**2).sum() + float(np.sin(w.detach().numpy()).sum()))


@refused("E301", "out of PyTorch")
def a_function_of_numpy_under_autograd() -> Scene:
    class Sine(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return torch.from_numpy(np.sin(x.detach().numpy()))

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            return grads[0]

    return function(lambda w: (w**2).sum() + 1e-3 * Sine.apply(w).sum())


@refused("E307", "shape")
def a_shape_that_depends_on_the_parameters() -> Scene:
    return function(lambda w: (w[w > 0] ** 2).sum())


@refused("E307", "shape")
def a_count_of_positive_parameters() -> Scene:
    return function(lambda w: (w**2).sum() * (w > 0).nonzero().shape[0])


@refused("E309", "sparse", ".to_dense()")
def a_sparse_tensor_in_a_closure() -> Scene:
    matrix = torch.eye(3).to_sparse()
    return function(lambda w: torch.sparse.mm(matrix, w[:, None]).square().sum())


@refused("E307", "register_fake")
def an_operator_without_a_shape_rule() -> Scene:
    if not hasattr(torch.ops, "epigraph_tests") or not hasattr(torch.ops.epigraph_tests, "shapeless"):

        @torch.library.custom_op("epigraph_tests::shapeless", mutates_args=())
        def shapeless(x: Tensor) -> Tensor:
            return x * 2

    return function(lambda w: torch.ops.epigraph_tests.shapeless(w).sum())


@refused("E304", "torch.where")
def a_conditional_operator() -> Scene:
    return function(lambda w: torch.cond(w.sum() > 100, lambda v: -v.sum(), lambda v: (v**2).sum(), (w,)))


# the call of epigraph ---------------------------------------------------------------------------------------------
@refused("E021", "from_function")
def a_function_in_the_place_of_the_model() -> Scene:
    return [], lambda: Objective(lambda x: x, F.mse_loss, rows(), goals())  # type: ignore[arg-type]


@refused("E022", "cannot be called")
def a_loss_that_is_a_name() -> Scene:
    return graph(line(), "mse", rows(), goals())


@refused("E023", "'evaluate'", "eval")
def an_unknown_mode() -> Scene:
    return graph(line(), F.mse_loss, rows(), goals(), mode="evaluate")


@refused("E024", "names to tensors")
def parameters_as_numbers() -> Scene:
    return [], lambda: Objective.from_function(lambda w: w, {"w": 1.0})  # type: ignore[dict-item]


@refused("E025", "nan")
def a_weight_decay_of_nan() -> Scene:
    return graph(line(), F.mse_loss, rows(), goals(), weight_decay=float("nan"))


@refused("E025", "str")
def a_weight_decay_of_text() -> Scene:
    return graph(line(), F.mse_loss, rows(), goals(), weight_decay="much")


@refused("E012", "'wieght'", "weight")
def a_weight_decay_for_an_unknown_name() -> Scene:
    return graph(line(), F.mse_loss, rows(), goals(), weight_decay={"wieght": 0.1})


@refused("E012", "no parameter of this model")
def the_optimiser_of_another_model() -> Scene:
    return graph(
        line(), F.mse_loss, rows(), goals(), weight_decay=torch.optim.SGD(line().parameters(), lr=0.1, weight_decay=0.1)
    )


@refused("E012", "'wieght'")
def a_domain_for_an_unknown_name() -> Scene:
    return graph(line(), F.mse_loss, rows(), goals(), domain={"wieght": (0.0, None)})


@refused("E014", "empty")
def a_domain_upside_down() -> Scene:
    return function(lambda w: (w**2).sum(), domain={"w": (1.0, 0.0)})


@refused("E014", "empty")
def a_domain_above_infinity() -> Scene:
    return function(lambda w: (w**2).sum(), domain={"w": (float("inf"), None)})


@refused("E013", "NaN")
def a_domain_of_nan() -> Scene:
    return function(lambda w: (w**2).sum(), domain={"w": (float("nan"), 1.0)})


@refused("E013", "(3,)")
def bounds_of_the_wrong_shape() -> Scene:
    return function(lambda w: (w**2).sum(), domain={"w": (torch.zeros(4), None)})


@refused("E013", "pair")
def a_bound_that_is_no_pair() -> Scene:
    return function(lambda w: (w**2).sum(), domain={"w": 0.0})


@refused("E013", "not a dict")
def a_domain_that_is_no_dict() -> Scene:
    return function(lambda w: (w**2).sum(), domain=[("w", (0.0, None))])


@refused("E026", "'none'", "mean")
def an_unknown_reduction() -> Scene:
    return graph(line(), F.mse_loss, DataLoader(TensorDataset(rows(), goals()), batch_size=4), reduction="none")


@refused("E029", "DataLoader")
def targets_beside_a_loader() -> Scene:
    return graph(line(), F.mse_loss, DataLoader(TensorDataset(rows(), goals()), batch_size=4), goals())


@refused("E011", "'wieght'", "weight")
def an_unknown_block() -> Scene:
    model = line()
    return [model], lambda: epigraph.check(Objective(model, F.mse_loss, rows(), goals()), blocks=["wieght"])


@refused("E011", "frozen")
def a_frozen_block() -> Scene:
    model = line()
    model.bias.requires_grad_(False)
    return [model], lambda: epigraph.check(Objective(model, F.mse_loss, rows(), goals()), blocks=["bias"])


@refused("E011", "no block")
def no_block_at_all() -> Scene:
    model = line()
    return [model], lambda: epigraph.check(Objective(model, F.mse_loss, rows(), goals()), blocks=[])


@refused("E027", "'extreme'", "thorough")
def an_unknown_effort() -> Scene:
    model = line()
    return [model], lambda: epigraph.check(Objective(model, F.mse_loss, rows(), goals()), effort="extreme")


@refused("E020", "Objective")
def a_model_in_the_place_of_an_objective() -> Scene:
    model = line()
    return [model], lambda: epigraph.check(model)  # type: ignore[arg-type]


@refused("E011", "'bios'")
def a_point_with_an_unknown_name() -> Scene:
    model = line()
    return [model], lambda: Objective(model, F.mse_loss, rows(), goals()).value({"bios": torch.zeros(1)})


@refused("E024", "shape")
def a_point_of_the_wrong_shape() -> Scene:
    model = line()
    return [model], lambda: Objective(model, F.mse_loss, rows(), goals()).value({"weight": torch.zeros(1)})
