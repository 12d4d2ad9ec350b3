"""The monitor as a callback of training frameworks; each is imported when its callback is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from epigraph.errors import UsageError

if TYPE_CHECKING:
    from epigraph.hessian.monitor import CurvatureMonitor


def logged(record: dict[str, Any]) -> dict[str, float]:
    """What a logger is given: numbers, as ``curvature/...``."""
    kept = ("lambda_max", "lambda_max_error", "lambda_min", "lambda_min_error", "lambda_max_lr", "trace", "trace_error")
    return {f"curvature/{name}": float(record[name]) for name in kept if name in record}


def lightning_callback(monitor: CurvatureMonitor) -> Any:
    """A callback for ``lightning.pytorch.Trainer``.

    Raises:
        UsageError: Lightning is not installed.
    """
    try:
        from lightning.pytorch import Callback  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise _missing("lightning") from None

    class Curvature(Callback):
        """Measures after optimiser steps and logs through the module's own loggers."""

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            lr = trainer.optimizers[0].param_groups[0]["lr"] if trainer.optimizers else None
            record = monitor.step(lr, trainer.global_step - 1)
            if record is not None:
                pl_module.log_dict(logged(record), on_step=True, on_epoch=False)

    return Curvature()


def transformers_callback(monitor: CurvatureMonitor, trainer: Any) -> Any:
    """A callback for ``transformers.Trainer``, which logs through it.

    Raises:
        UsageError: transformers is not installed.
    """
    try:
        from transformers import TrainerCallback  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise _missing("transformers") from None

    class Curvature(TrainerCallback):
        """Measures after optimiser steps."""

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            optimizer = kwargs.get("optimizer")
            lr = optimizer.param_groups[0]["lr"] if optimizer is not None else None
            record = monitor.step(lr, state.global_step - 1)
            if record is not None:
                trainer.log(logged(record))

    return Curvature()


def _missing(package: str) -> UsageError:
    return UsageError("E086", f"{package} is not installed", hint="pip install 'epigraph[trainers]'")
