"""Permutation groups of well-known architectures: found and expected, seconds of the pass, error of the joint check.

    python benchmarks/symmetry.py [NAME ...]

Needs torchvision and transformers.  Weights are random; VGG has no pooling to 7 x 7 and 64 in place of 4096 units,
the language models few dimensions: neither changes the number of groups.  ``expected`` is a count by hand: one group per
hidden layer or convolution whose channels are free, one per residual stream, and per attention layer one of the heads, one
of queries and keys within a head, one of values within a head, and for grouped queries one of the queries in a group.
"""

from __future__ import annotations

import gc
import sys
import time
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import epigraph
from epigraph.symmetry.discover import captured, discover
from epigraph.symmetry.verify import verify

Parts = tuple[nn.Module, Any, Tensor, Tensor]


def images(model: nn.Module, *shape: int) -> Parts:
    """A classifier of two random images."""
    return model.eval(), nn.CrossEntropyLoss(), torch.randn(2, *shape), torch.tensor([1, 0])


def vision(name: str) -> Callable[[], Parts]:
    """A model of torchvision on small images."""

    def make() -> Parts:
        from torchvision import models

        model = getattr(models, name)(num_classes=10)
        if name.startswith("vgg"):
            sizes = (512, 64, 64, 10)
            layers = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
            model.avgpool = nn.Identity()  # on 1 x 1 features it makes 49 equal pixels, which may be permuted
            model.classifier = nn.Sequential(*layers[:-1])
        return images(model, 3, 32, 32)

    return make


def mlp() -> Parts:
    net = nn.Sequential(nn.Linear(20, 32), nn.Tanh(), nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 10))
    return images(net, 20)


def lenet() -> Parts:
    return images(
        nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
            nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
        ),
        1, 28, 28,
    )  # fmt: skip


class UNet(nn.Module):
    """One level down, one up, a skip by concatenation; four layers with free channels."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.down = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.up, self.merge = nn.ConvTranspose2d(8, 4, 2, 2), nn.Conv2d(8, 5, 3, padding=1)
        self.leave = nn.Conv2d(5, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.enter(x).relu()
        b = self.down(F.max_pool2d(a, 2)).relu()
        return self.leave(self.merge(torch.cat([a, self.up(b)], 1)).relu())


class Recurrent(nn.Module):
    """An LSTM of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTM(3, 4, 2, batch_first=True), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x)[0][:, -1])


class Encoder(nn.Module):
    """Two encoder layers between linear maps."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(12, 2, 20, dropout=0.0, batch_first=True)
        self.enter, self.leave = nn.Linear(5, 12), nn.Linear(12, 3)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.layers(self.enter(x))[:, 0])


class Logits(nn.Module):
    """A language model's logits, one row per token."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        return self.model(input_ids=tokens, use_cache=False).logits.flatten(0, 1)


def language(model: nn.Module) -> Parts:
    return Logits(model.eval()), nn.CrossEntropyLoss(), torch.randint(0, 20, (2, 6)), torch.randint(0, 20, (12,))


def gpt2(layers: int) -> Callable[[], Parts]:
    def make() -> Parts:
        from transformers import GPT2Config, GPT2LMHeadModel

        return language(
            GPT2LMHeadModel(
                GPT2Config(
                    n_layer=layers, n_head=2, n_embd=12, vocab_size=20, n_positions=8, bos_token_id=0, eos_token_id=0
                )
            )
        )

    return make


def llama() -> Parts:
    from transformers import LlamaConfig, LlamaForCausalLM

    return language(
        LlamaForCausalLM(
            LlamaConfig(
                hidden_size=24,
                num_hidden_layers=2,
                num_attention_heads=6,
                num_key_value_heads=3,
                head_dim=4,
                intermediate_size=20,
                vocab_size=20,
                max_position_embeddings=16,
            )
        )
    )


CASES: dict[str, tuple[int, Callable[[], Parts]]] = {
    "mlp": (2, mlp),
    "lenet": (4, lenet),
    "vgg11": (10, vision("vgg11")),
    "vgg11_bn": (10, vision("vgg11_bn")),
    "resnet18": (12, vision("resnet18")),
    "resnet50": (37, vision("resnet50")),
    "densenet121": (120, vision("densenet121")),
    "mobilenet_v3_small": (27, vision("mobilenet_v3_small")),
    "shufflenet_v2_x0_5": (80, vision("shufflenet_v2_x0_5")),
    "unet": (4, lambda: (UNet(), nn.MSELoss(), torch.randn(2, 1, 8, 8), torch.randn(2, 1, 8, 8))),
    "lstm, 2 layers": (2, lambda: (Recurrent(), nn.MSELoss(), torch.randn(2, 5, 3), torch.randn(2, 1))),
    "encoder, 2 layers": (9, lambda: (Encoder().eval(), nn.MSELoss(), torch.randn(2, 7, 5), torch.randn(2, 3))),
    "gpt2, 2 layers": (9, gpt2(2)),
    "gpt2, 12 layers": (49, gpt2(12)),
    "llama, grouped queries": (9, llama),
}


def row(name: str, expected: int, make: Callable[[], Parts]) -> str:
    """One line of the table; seconds are the process's own."""
    torch.manual_seed(0)
    J = epigraph.Objective(*make())
    start = time.process_time()
    moved, buffers, _ = captured(J)
    graph = moved.graph()
    gc.collect()  # what the capture left behind is not collected during the pass
    middle = time.process_time()
    group = discover(graph, moved.domain, buffers)
    end = time.process_time()
    kept, seen = verify(graph, moved.domain, buffers, group, trials=1)
    tensors = {p["tensor"] for g in kept.permutations for p in kept.places(g)}
    error = "-" if seen.error is None else f"{seen.error:.1e}"
    return (
        f"| {name} | {len(graph)} | {len(kept.permutations)} | {expected} | {len(tensors)} | {kept.dimension} | "
        f"{len(seen.dropped)} | {error} | {middle - start:.1f} | {end - middle:.3f} |"
    )


def main(names: list[str]) -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    print("| model | nodes | groups | expected | tensors moved | rescalings | dropped | error | capture s | pass s |")
    print("|--|--|--|--|--|--|--|--|--|--|")
    for name, (expected, make) in CASES.items():
        if not names or name in names:
            print(row(name, expected, make), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
