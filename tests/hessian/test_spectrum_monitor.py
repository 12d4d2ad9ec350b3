"""Curvature along a training run: right numbers, an unchanged run, bounded time, and the trainers' own loggers."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import epigraph
from epigraph.errors import UsageError
from epigraph.hessian.trainers import logged


def _problem() -> tuple[nn.Module, Tensor, Tensor, epigraph.Objective]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 3)).double()
    x, y = torch.randn(60, 6, dtype=torch.float64), torch.randint(3, (60,))
    return model, x, y, epigraph.Objective(model, F.cross_entropy, x, y)


def _train(model: nn.Module, x: Tensor, y: Tensor, steps: int, after: Any = lambda lr: None) -> list[Tensor]:
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        after(0.5)
    return [p.detach().clone() for p in model.parameters()]


def test_records_are_the_eigenvalues_of_the_moment() -> None:
    model, x, y, J = _problem()
    monitor = epigraph.CurvatureMonitor(J, every=5, share=1.0, bottom=True, trace=True, tol=1e-3, most=60)
    seen: list[tuple[dict[str, Any], Tensor]] = []

    def after(lr: float) -> None:
        record = monitor.step(lr)
        if record is not None:
            seen.append((record, torch.linalg.eigvalsh(epigraph.hessian(J).to_dense())))

    _train(model, x, y, 60, after)
    assert len(seen) == 12 and [r["step"] for r, _ in seen] == list(range(0, 60, 5)) and model.training
    for record, exact in seen:
        assert record["lambda_max"] == pytest.approx(float(exact[-1]), abs=record["lambda_max_error"], rel=2e-3)
        assert record["lambda_min"] == pytest.approx(
            float(exact[0]), abs=record["lambda_min_error"] + 2e-3 * abs(float(exact[0]))
        )
        assert record["lambda_max_lr"] == pytest.approx(0.5 * record["lambda_max"])
        assert abs(record["trace"] - float(exact.sum())) < 6 * record["trace_error"] + 1e-9


def test_a_warm_start_takes_fewer_products() -> None:
    model, x, y, J = _problem()
    monitor = epigraph.CurvatureMonitor(J, every=1, share=1.0, tol=1e-6)
    _train(model, x, y, 20, monitor.step)
    fresh = [r["products"] for k, r in enumerate(monitor.records) if k % 10 == 0]
    warm = [r["products"] for k, r in enumerate(monitor.records) if k % 10]
    assert sum(warm) / len(warm) < sum(fresh) / len(fresh)


def test_the_run_is_the_same_with_and_without() -> None:
    plain = _train(*_problem()[:3], steps=12)
    model, x, y, J = _problem()
    monitor = epigraph.CurvatureMonitor(J, every=2, share=1.0, trace=True)
    watched = _train(model, x, y, 12, monitor.step)
    assert len(monitor.records) == 6 and all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))


def test_the_share_of_time_is_kept() -> None:
    monitor = epigraph.CurvatureMonitor(_problem()[3], every=1, share=0.2)
    start = time.perf_counter()
    for _ in range(150):
        monitor.step()
        time.sleep(0.001)
    whole = time.perf_counter() - start
    assert monitor.skipped > 0 and len(monitor.records) >= 2
    assert monitor.spent <= 0.2 * whole + 3 * max(
        monitor._last, monitor.spent / len(monitor.records)
    )  # the load varies


def test_wrong_calls() -> None:
    J = _problem()[3]
    for wrong in ({"share": 0.0}, {"share": 2.0}, {"every": 0}):
        with pytest.raises(UsageError):
            epigraph.CurvatureMonitor(J, **wrong)


def test_a_lightning_run_logs_curvature(tmp_path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")
    from lightning.pytorch.loggers import CSVLogger

    net, x, y, J = _problem()

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def training_step(self, batch: Any, _: int) -> Tensor:
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    monitor = epigraph.CurvatureMonitor(J, every=3, share=1.0)
    logger = CSVLogger(tmp_path)
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=10)
    trainer = lightning.Trainer(
        max_epochs=2, logger=logger, callbacks=[monitor.lightning()], accelerator="cpu", log_every_n_steps=1,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(Module(), data)
    assert [r["step"] for r in monitor.records] == [0, 3, 6, 9]
    text = next(tmp_path.rglob("metrics.csv")).read_text()
    assert "curvature/lambda_max" in text.splitlines()[0] and monitor.records[1]["lambda_max_lr"] > 0


def test_a_transformers_run_logs_curvature(tmp_path) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    config = transformers.GPT2Config(
        vocab_size=20, n_positions=8, n_embd=8, n_layer=1, n_head=2, attn_implementation="eager"
    )
    model = transformers.GPT2LMHeadModel(config)
    tokens = torch.randint(20, (12, 8), generator=torch.Generator().manual_seed(0))
    rows = [{"input_ids": t, "labels": t} for t in tokens]
    J = epigraph.Objective(model, None, {"input_ids": tokens[:4], "labels": tokens[:4]})
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=6, per_device_train_batch_size=4, report_to=[], use_cpu=True, save_strategy="no",
        disable_tqdm=True,
    )  # fmt: skip
    monitor = epigraph.CurvatureMonitor(J, every=2, share=1.0)
    trainer = transformers.Trainer(model=model, args=arguments, train_dataset=rows)
    trainer.add_callback(monitor.transformers(trainer))
    trainer.train()
    found = [entry for entry in trainer.state.log_history if "curvature/lambda_max" in entry]
    assert len(found) == len(monitor.records) == 3


def test_what_is_logged() -> None:
    assert logged({"step": 1, "lambda_max": 2.0, "products": 3}) == {"curvature/lambda_max": 2.0}


def test_a_missing_framework_is_said(monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    with pytest.raises(UsageError, match="not installed"):
        epigraph.CurvatureMonitor(_problem()[3]).lightning()


@pytest.mark.parametrize("most", [0, -1, 2.5])
def test_a_monitor_without_products_is_an_error(most: int) -> None:
    J = epigraph.Objective(torch.nn.Linear(2, 1), torch.nn.MSELoss(), torch.randn(4, 2), torch.randn(4, 1))
    with pytest.raises(epigraph.EpigraphError, match="E025"):
        epigraph.CurvatureMonitor(J, most=most)


def test_a_model_that_does_not_run_is_said_in_its_own_words() -> None:
    J = epigraph.Objective(torch.nn.Linear(3, 1), torch.nn.MSELoss(), torch.randn(4, 2), torch.randn(4, 1))
    with pytest.raises(epigraph.EpigraphError, match="E206"):
        epigraph.CurvatureMonitor(J).measure()
