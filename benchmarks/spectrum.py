"""Curvature beside other packages: products, eigenvalues, density, trace; each at its best correct setting, in turn, in one run.

    python benchmarks/spectrum.py                       every part but the large models
    python benchmarks/spectrum.py product top density   some of them
    python benchmarks/spectrum.py resnet18 gpt2         the large models, each in one gradient's memory and more

Peers, where they are installed: curvlinops-for-pytorch 3.0.1, hessian-eigenthings 1.0.0a5, PyHessian, nngeom 0.2.0.  What is missing is said.
Seconds are medians of processor time over runs that alternate between the tools; errors are true ones against the float64
spectrum.  A figure with a bar is shown as `12/30`, with an exclamation mark where it misses.

Problems: P1 MLP 20-40-20-10 tanh on 1000 points of 10 Gaussian clusters after 60 steps of Adam; P2 MLP 784-128-128-10 on 1000
points; P3 ResNet-20 in evaluation mode on 64 images of 32 pixels; P4 batches of 64 and 6; P5 a transformer decoder of 2 layers.
"""

from __future__ import annotations

import functools
import itertools
import os
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, TensorDataset

import epigraph
from epigraph.hessian.operator import Operator

warnings.filterwarnings("ignore")
Problem = tuple[nn.Module, Tensor, Tensor]
TARGET = 1e-6
STARTS = 5  # a setting of a peer whose start is random reaches the target if it does so this many times


# problems ---------------------------------------------------------------------------------------------------------
def p1() -> Problem:
    torch.manual_seed(0)
    y = torch.randint(10, (1000,))
    x = (2 * torch.randn(10, 20))[y] + torch.randn(1000, 20)
    model = nn.Sequential(nn.Linear(20, 40), nn.Tanh(), nn.Linear(40, 20), nn.Tanh(), nn.Linear(20, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.eval(), x, y


def p2() -> Problem:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    return model.eval(), torch.randn(1000, 784), torch.randint(10, (1000,))


class _Block(nn.Module):
    def __init__(self, inside: int, width: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inside, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.short = nn.Sequential()
        if stride != 1:
            self.short = nn.Sequential(nn.Conv2d(inside, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        h = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(h + self.short(x))


def p3() -> Problem:
    torch.manual_seed(0)
    parts: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    inside = 16
    for width, stride in ((16, 1), (32, 2), (64, 2)):
        for k in range(3):
            parts.append(_Block(inside, width, stride if k == 0 else 1))
            inside = width
    model = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    return model.eval(), torch.randn(64, 3, 32, 32), torch.randint(10, (64,))


class _Decoder(nn.Module):
    """A small GPT; the last position's logits."""

    def __init__(self, words: int = 64, width: int = 64, length: int = 32):
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Parameter(0.02 * torch.randn(length, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(2)
        )
        self.head = nn.Linear(width, words)
        self.register_buffer("mask", torch.full((length, length), -torch.inf).triu(1))

    def forward(self, tokens: Tensor) -> Tensor:
        h = self.words(tokens) + self.places
        for layer in self.layers:
            h = layer(h, src_mask=self.mask)
        return self.head(h)[:, -1]


def p5() -> Problem:
    torch.manual_seed(0)
    return _Decoder().eval(), torch.randint(64, (16, 32)), torch.randint(64, (16,))


PROBLEMS: dict[str, Callable[[], Problem]] = {"P1": p1, "P2": p2, "P3": p3, "P5": p5}


# tools ------------------------------------------------------------------------------------------------------------
def objective(problem: Problem) -> epigraph.Objective:
    model, x, y = problem
    return epigraph.Objective(model, F.cross_entropy, x, y)


def _gradient(problem: Problem) -> tuple[Tensor, ...]:
    model, x, y = problem
    return torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters()))


def _peak() -> float:
    """The most memory that this process has held, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _import(name: str) -> Any:
    try:
        return __import__(name)
    except Exception as error:  # a peer that is missing or does not import is left out, and said so
        print(f"{name} is not measured: {type(error).__name__}: {str(error)[:80]}")
        return None


class Peers:
    """The packages that could be imported, and their operators on one problem."""

    def __init__(self) -> None:
        names = "hessian_eigenthings", "curvlinops", "pyhessian", "nngeom"
        self.he, self.co, self.ph, self.ng = map(_import, names)

    def eigenthings(self, problem: Problem) -> Any:
        model, x, y = problem
        return self.he.HessianOperator(model, [(x, y)], self.he.supervised_loss(F.cross_entropy))

    def curvlinops(self, problem: Problem) -> Any:
        model, x, y = problem
        params = list(model.parameters())
        return self.co.HessianLinearOperator(model, nn.CrossEntropyLoss(), params, [(x, y)], check_deterministic=False)

    def pyhessian(self, problem: Problem) -> Any:
        model, x, y = problem
        model.zero_grad()
        return self.ph.hessian(model, nn.CrossEntropyLoss(), data=(x, y), cuda=False)

    def products(self, problem: Problem) -> dict[str, Callable[[Tensor], Any]]:
        """One product with a flat vector."""
        out: dict[str, Callable[[Tensor], Any]] = {}
        if self.ph:
            from pyhessian.utils import hessian_vector_product

            h = self.pyhessian(problem)
            sizes = [p.numel() for p in h.params]

            def retained(v: Tensor) -> Tensor:
                parts = [s.view_as(p) for s, p in zip(v.split(sizes), h.params, strict=True)]
                return torch.cat([w.reshape(-1) for w in hessian_vector_product(h.gradsH, h.params, parts)])

            out["PyHessian"] = retained
        if self.he:
            out["eigenthings"] = self.eigenthings(problem).matvec
        if self.co:
            operator = self.curvlinops(problem)
            out["curvlinops"] = lambda v: operator @ v
        if self.ng:
            model, x, y = problem
            geometry = self.ng.Model(model, loss_fn=lambda m, batch: F.cross_entropy(m(batch[0]), batch[1]))
            out["nngeom"] = lambda v: torch.from_numpy(geometry.hvp((x, y), v.numpy())).float()
        return out


def alternating(calls: dict[str, Callable[[], Any]], repeats: int, warm: int = 1) -> dict[str, float]:
    """Median processor seconds of each call, one after the other in each round."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(warm + repeats):
        for name, call in calls.items():
            start = time.process_time()
            call()
            if round_ >= warm:
                spent[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in spent.items()}


def barred(value: float, bar: float, form: str = ".3g", least: bool = False) -> str:
    """The figure with its bar, and whether it misses it."""
    missed = value < bar if least else value > bar
    return f"{value:{form}}/{bar:g}{' !' if missed else ''}"


# parts ------------------------------------------------------------------------------------------------------------
@sdpa_kernel(SDPBackend.MATH)
def product(peers: Peers) -> None:
    """Milliseconds of a product, and the ratio to the best peer."""
    for name in ("P1", "P2", "P5", "P3"):
        problem = PROBLEMS[name]()
        H = epigraph.hessian(objective(problem), verify=False)
        v = torch.randn(H.n)
        tools: dict[str, Callable[[Tensor], Any]] = {"ours": H.multiply, **peers.products(problem)}
        exact = tools["ours"](v)
        apart = {k: float((f(v) - exact).norm() / exact.norm()) for k, f in tools.items()}
        calls: dict[str, Callable[[], Any]] = {k: (lambda f=f, v=v: f(v)) for k, f in tools.items()}
        calls["gradient"] = functools.partial(_gradient, problem)
        times = alternating(calls, 25 if name == "P1" else 9)
        best = min(t for k, t in times.items() if k not in ("ours", "gradient"))
        print(
            f"product {name} ({H.n:,} parameters, {H.engine.name}): "
            + ", ".join(f"{k} {1e3 * t:.2f} ms" for k, t in times.items())
        )
        others = ", ".join(f"{k} {e:.0e}" for k, e in apart.items() if k != "ours")
        print(f"    ours / best peer {barred(times['ours'] / best, 1.05)}; apart from ours: {others}")


def _exact(problem: Problem) -> np.ndarray:
    return torch.linalg.eigvalsh(epigraph.hessian(objective(problem), dtype="float64").to_dense()).numpy()


def _worst(found: Any, exact: np.ndarray) -> float:
    """The largest relative error of the top eigenvalues."""
    values = np.sort(np.array([float(v) for v in found]))[::-1]
    return float(np.max(np.abs(values - exact[::-1][: len(values)]) / np.abs(exact[::-1][: len(values)])))


def top(peers: Peers) -> None:
    """Top 5 to 1e-6: products, seconds, true error; each peer at the cheapest of a sweep that reaches it."""
    problem = p1()
    exact = _exact(problem)
    J = objective(problem)
    H = epigraph.hessian(J, verify=False)
    S = epigraph.spectrum(H)
    hits = [
        abs(p.value - e) <= p.error
        for p, e in [*zip(S.top, exact[::-1], strict=False), *zip(S.bottom, exact, strict=False)]
    ]
    print(
        f"top 5 and bottom 3 on P1 within their errors: {sum(hits)} of {len(hits)}; products {barred(S.products, 60, 'd')}"
    )
    double = epigraph.spectrum(epigraph.hessian(J, dtype="float64", verify=False))
    print(f"    in float64: worst relative error of the top {_worst([p.value for p in double.top], exact):.1e}")
    seeds = range(5)
    for copies in (False, True):
        counts = [epigraph.spectrum(H, bottom=0, copies=copies, seed=s).products for s in seeds]
        both = [epigraph.spectrum(H, copies=copies, seed=s).products for s in seeds]
        print(
            f"    products, copies={copies}: top 5 {counts} (mean {barred(float(np.mean(counts)), 30)}), both ends {both}"
        )
    calls: dict[str, Callable[[], Any]] = {
        "ours, copies looked for": lambda: [p.value for p in epigraph.spectrum(H, bottom=0).top],
        "ours, copies=False": lambda: [p.value for p in epigraph.spectrum(H, bottom=0, copies=False).top],
    }
    if peers.co:
        from scipy.sparse.linalg import eigsh

        operator = peers.curvlinops(problem).to_scipy()
        calls["curvlinops + eigsh"] = _cheapest(
            lambda t: eigsh(operator, k=5, which="LA", tol=t)[0], (1e-2, 1e-3, 1e-4, 1e-6), exact
        )
    if peers.he:
        he = peers.eigenthings(problem)
        calls["eigenthings"] = _cheapest(
            lambda m: peers.he.lanczos(he, k=5, which="LA", max_iter=m, reorthogonalize=True, seed=0).eigenvalues,
            (20, 24, 28, 32, 36, 40, 50, 60),
            exact,
        )
    if peers.ph:
        ph = peers.pyhessian(problem)
        calls["PyHessian"] = _cheapest(
            lambda t: ph.eigenvalues(maxIter=4000, tol=t, top_n=5)[0], (1e-4, 1e-6, 1e-8, 1e-10), exact
        )
    errors = {name: _worst(call(), exact) for name, call in calls.items()}
    times = alternating(calls, 5)
    for name, seconds in times.items():
        print(f"    {name}: {1e3 * seconds:.1f} ms, true relative error {errors[name]:.1e}")
    for name, bar in (("curvlinops + eigsh", 3.0), ("PyHessian", 8.0)):
        if name in times:
            print(f"    faster than {name}: {barred(times[name] / times['ours, copies looked for'], bar, least=True)} with the look for copies, "
                  f"{times[name] / times['ours, copies=False']:.3g} without")  # fmt: skip


def _cheapest(run: Callable[[Any], Any], settings: tuple[Any, ...], exact: np.ndarray) -> Callable[[], Any]:
    """The first setting whose true error is below the target from each of some starts, or the last one."""
    for setting in settings:
        if all(_worst(run(setting), exact) <= TARGET for _ in range(STARTS)):
            break
    return lambda: run(setting)


def _distance(nodes: np.ndarray, weights: np.ndarray, exact: np.ndarray) -> float:
    """The Wasserstein-1 distance of a discrete measure to the exact spectrum."""
    from scipy.stats import wasserstein_distance

    return float(wasserstein_distance(nodes, exact, weights))


def density(peers: Peers) -> None:
    """Seconds and products to the Wasserstein-1 error that a peer reaches."""
    problem = p1()
    exact = _exact(problem)
    H = epigraph.hessian(objective(problem), verify=False)

    at = np.linspace(1.05 * exact[0], 1.05 * exact[-1], 40_000)
    staircase = np.searchsorted(exact, at, side="right") / len(exact)

    def found(probes: int, steps: int, seed: int = 0) -> epigraph.Density:
        return epigraph.density(H, probes=probes, steps=steps, seed=seed)

    def ours(probes: int, steps: int, seed: int = 0) -> float:
        d = found(probes, steps, seed)
        return float(np.mean(np.abs(d.cumulative(at)[0] - staircase)) * (at[-1] - at[0]))

    def best(tool: Callable[..., float], settings: list[tuple[int, ...]], target: float) -> tuple[int, ...] | None:
        """The setting of fewest products whose mean error over twelve seeds is below the target."""
        for setting in settings:
            if np.mean([tool(*setting, seed=seed) for seed in range(12)]) <= target:
                return setting
        return None

    grids = sorted(itertools.product((1, 2, 3, 4, 6, 10), (20, 30, 40, 50, 60, 80)), key=lambda g: g[0] * g[1])
    if not peers.he:
        return
    he = peers.eigenthings(problem)

    def peer_found(probes: int, steps: int, seed: int = 0) -> Any:
        return peers.he.spectral_density(he, num_runs=probes, lanczos_steps=steps, num_grid_points=100, seed=seed)

    def theirs(probes: int, steps: int, seed: int = 0) -> float:
        d = peer_found(probes, steps, seed)
        nodes, weights = np.asarray(d.raw_eigenvalues).reshape(-1), np.asarray(d.raw_weights).reshape(-1)
        return _distance(nodes[np.isfinite(nodes)], weights[np.isfinite(nodes)], exact)

    for target in (2e-4, 1.3e-4, 9e-5):
        mine, peer = best(ours, grids, target), best(theirs, grids, target)
        print(f"density, W1 {target:.1e}: ours {mine}, eigenthings {peer} (probes, steps)")
        if mine and peer:
            times = alternating({"ours": lambda m=mine: found(*m), "theirs": lambda p=peer: peer_found(*p)}, 7)
            print(
                f"    {1e3 * times['ours']:.0f} ms and {1e3 * times['theirs']:.0f} ms: {barred(times['ours'] / times['theirs'], 0.5)}"
            )


def trace(peers: Peers) -> None:
    """Products to a standard error of 1 %, beside those that Hutchinson's estimator needs in the mean."""
    problem = p1()
    H = epigraph.hessian(objective(problem), verify=False)
    dense = epigraph.hessian(objective(problem), dtype="float64").to_dense()
    whole = float(dense.trace())
    variance = 2 * float((dense**2).sum() - (dense.diagonal() ** 2).sum())
    needed = variance / (0.01 * whole) ** 2
    found = [epigraph.trace(H, seed=s) for s in range(20)]
    errors = [(t.trace.value - whole) / t.trace.error for t in found]
    mean = float(np.mean([t.products for t in found]))
    print(f"trace: products {mean:.0f}, Hutchinson {needed:.0f}: share {barred(mean / needed, 0.5)}; "
          f"error / standard error: root mean square {np.sqrt(np.mean(np.square(errors))):.2f}, largest {np.max(np.abs(errors)):.2f}")  # fmt: skip
    if peers.co:
        operator = peers.curvlinops(problem)
        for name in ("hutchpp_trace", "xtrace"):
            estimates = [float(getattr(peers.co, name)(operator, 3 * (int(mean) // 3))) for _ in range(6)]
            print(
                f"    {name} with as many products: relative error {np.sqrt(np.mean((np.array(estimates) / whole - 1) ** 2)):.2e}"
            )


def uneven(peers: Peers) -> None:
    """P4: batches of 64 and 6; the relative error of a product."""
    torch.manual_seed(0)
    model, x, y = (
        nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 5)),
        torch.randn(70, 20),
        torch.randint(5, (70,)),
    )
    J = epigraph.Objective(model, nn.CrossEntropyLoss(), DataLoader(TensorDataset(x, y), batch_size=64))
    H = epigraph.hessian(epigraph.Objective(model, nn.CrossEntropyLoss(), x, y), dtype="float64")
    v = torch.randn(H.n, dtype=torch.float64)
    exact = H @ v
    error = float(((epigraph.hessian(J) @ v) - exact).norm() / exact.norm())
    print(f"uneven batches: relative error of a product {barred(error, 1e-6, '.1e')}")
    if peers.he:
        he = peers.he.HessianOperator(
            model, [(x[:64], y[:64]), (x[64:], y[64:])], peers.he.supervised_loss(F.cross_entropy)
        )
        print(f"    eigenthings {float((he.matvec(v.float()) - exact).norm() / exact.norm()):.1e}")


def monitor(_: Peers) -> None:
    """lambda_max every 50 steps of a digits training, as a share of the training's time."""
    from sklearn.datasets import load_digits

    x, y = (torch.as_tensor(v) for v in load_digits(return_X_y=True))
    x = x.float() / 16
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    watch = epigraph.CurvatureMonitor(epigraph.Objective(model, F.cross_entropy, x[:256], y[:256]), every=50, share=1.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(TensorDataset(x, y), batch_size=64, shuffle=True)
    spent = {"training": 0.0, "curvature": 0.0}
    for _epoch in range(100):
        start = time.process_time()
        for inputs, targets in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
            before = time.process_time()
            watch.step(lr=1e-3)
            spent["curvature"] += time.process_time() - before
        spent["training"] += time.process_time() - start
    share = spent["curvature"] / (spent["training"] - spent["curvature"])
    products = float(np.mean([r["products"] for r in watch.records]))
    print(f"monitor: {len(watch.records)} records of {products:.1f} products; share of training {barred(share, 0.1)}")


# large models -----------------------------------------------------------------------------------------------------
def _large(name: str, problem: tuple[nn.Module, Any, Any, Any]) -> None:
    model, loss, x, y = problem
    J = epigraph.Objective(model, loss, x, y)
    parameters = [p for p in model.parameters() if p.requires_grad]
    start = time.process_time()
    torch.autograd.grad(_loss(J), parameters)
    gradient, first = time.process_time() - start, _peak()
    print(
        f"{name}: {sum(p.numel() for p in parameters):,} parameters; one gradient {gradient:.1f} s, peak {first:.1f} GiB",
        flush=True,
    )
    start = time.process_time()
    H: Operator = epigraph.hessian(J)
    print(
        f"    operator {time.process_time() - start:.0f} s, engine {H.engine.name}, peak {_peak():.1f} GiB", flush=True
    )
    start = time.process_time()
    S = epigraph.spectrum(H, top=3, bottom=0, tol=1e-3, copies=False, most=40)
    spent = time.process_time() - start
    for pair in S.top:
        print(f"    {pair.value:.6g}  residual {pair.residual:.1e}  error {pair.error:.1e}  converged {pair.converged}")
    print(
        f"    {S.products} products, {spent:.0f} s, {spent / S.products / gradient:.2f} gradients each; peak {barred(_peak(), 24)} GiB"
    )


def _loss(J: epigraph.Objective) -> Tensor:
    from epigraph.objective.program import one_number, run_program

    (batch,) = J.batches()
    return one_number(run_program(J.model, J.loss, batch.inputs, batch.targets))  # type: ignore[arg-type]


def resnet18(_: Peers) -> None:
    """ResNet-18, 224 pixels, batch 32."""
    torchvision = _import("torchvision")
    if torchvision:
        torch.manual_seed(0)
        model = torchvision.models.resnet18().eval()
        _large("ResNet-18", (model, F.cross_entropy, torch.randn(32, 3, 224, 224), torch.randint(1000, (32,))))


def gpt2(_: Peers) -> None:
    """GPT-2 of 124 million parameters with random weights, two sequences of 128 tokens."""
    transformers = _import("transformers")
    if transformers:
        torch.manual_seed(0)
        config = transformers.GPT2Config(attn_implementation="eager", use_cache=False)
        model = transformers.GPT2LMHeadModel(config).eval()
        tokens = torch.randint(config.vocab_size, (2, 128))
        _large("GPT-2", (model, None, {"input_ids": tokens, "labels": tokens}, None))


PARTS: dict[str, Callable[[Peers], None]] = {
    "uneven": uneven, "top": top, "trace": trace, "density": density, "product": product, "monitor": monitor,
}  # fmt: skip
LARGE: dict[str, Callable[[Peers], None]] = {"resnet18": resnet18, "gpt2": gpt2}


def main() -> None:
    """Run the parts that are named, or all but the large models."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    names = sys.argv[1:] or list(PARTS)
    unknown = [n for n in names if n not in PARTS | LARGE]
    if unknown:
        sys.exit(f"unknown part {unknown[0]!r}: one of {', '.join(PARTS | LARGE)}")
    peers = Peers()
    for name in names:
        (PARTS | LARGE)[name](peers)


if __name__ == "__main__":
    main()
