"""Twelve transformer layers of width 64 with a linear head, on four sequences of ten tokens.

Try::

    epigraph check examples/transformer_encoder.py:objective --effort quick
    epigraph check examples/transformer_encoder.py:objective --block head.weight
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import epigraph


class Classifier(nn.Module):
    """An encoder, the mean over the tokens, and a linear head."""

    def __init__(self, width: int = 64, heads: int = 4, depth: int = 12, classes: int = 5):
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, heads, dim_feedforward=128, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        encoded = self.encoder(tokens)
        pooled = encoded.mean(1)
        return self.head(pooled)


def objective() -> epigraph.Objective:
    generator = torch.Generator().manual_seed(0)
    model = Classifier()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter, generator=generator)
        elif parameter.ndim == 1:
            nn.init.normal_(parameter, std=0.1, generator=generator)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
    tokens = torch.randn(4, 10, 64, generator=generator)
    classes = torch.tensor([0, 1, 2, 4])
    return epigraph.Objective(model, nn.CrossEntropyLoss(), tokens, classes, name="transformer encoder, 12 layers")
