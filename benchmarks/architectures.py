"""Named models as people load them, with random weights: each case builds its objective and names its linear head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Built = tuple[nn.Module, Any, Any, Any, tuple[str, ...]]  # model, loss, inputs, targets, the head's parameters
ARCHITECTURES: dict[str, Callable[[], Built]] = {}


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def objective(name: str) -> tuple[Any, tuple[str, ...]]:
    """The objective of a named model, and the parameters of its last linear layer."""
    from epigraph import Objective

    torch.manual_seed(0)
    model, loss, inputs, targets, head = ARCHITECTURES[name]()
    return Objective(model, loss, inputs, targets, name=name), head


# torchvision --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Vision:
    name: str
    pixels: int
    head: str
    images: int = 2

    def __call__(self) -> Built:
        from torchvision import models

        model = getattr(models, self.name)(weights=None, num_classes=10)
        images = torch.randn(self.images, 3, self.pixels, self.pixels, generator=_generator())
        head = (f"{self.head}.weight", f"{self.head}.bias")
        return model, nn.CrossEntropyLoss(), images, torch.arange(self.images) % 10, head


for _case in (
    _Vision("resnet18", 64, "fc"),
    _Vision("mobilenet_v3_small", 64, "classifier.3"),
    _Vision("efficientnet_b0", 64, "classifier.1"),
    _Vision("convnext_tiny", 64, "classifier.2"),
    _Vision("vit_b_16", 224, "heads.head", 1),
    _Vision("swin_t", 64, "head"),
):
    ARCHITECTURES[_case.name] = _case


# transformers -------------------------------------------------------------------------------------------------------
def _tokens(length: int, vocabulary: int, rows: int = 2) -> Tensor:
    return torch.randint(vocabulary, (rows, length), generator=_generator())


def _bert() -> Built:
    from transformers import BertConfig, BertForSequenceClassification

    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=100,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=32,
            num_labels=3,
        )
    )
    mask = torch.ones(2, 12, dtype=torch.int64)
    mask[1, 8:] = 0
    inputs = {"input_ids": _tokens(12, 100), "attention_mask": mask, "labels": torch.tensor([0, 2])}
    return model, None, inputs, None, ("classifier.weight", "classifier.bias")


def _gpt2() -> Built:
    from transformers import GPT2Config, GPT2LMHeadModel

    ids = _tokens(12, 100)
    config = GPT2Config(
        vocab_size=100, n_positions=32, n_embd=32, n_layer=2, n_head=4, tie_word_embeddings=False, use_cache=False
    )
    return GPT2LMHeadModel(config), None, {"input_ids": ids, "labels": ids}, None, ("lm_head.weight",)


def _gpt2_124m() -> Built:
    """The smallest published size; its head is the embedding table, so no block is its own linear layer."""
    from transformers import GPT2Config, GPT2LMHeadModel

    ids = _tokens(32, 50257, 1)
    return GPT2LMHeadModel(GPT2Config(use_cache=False)), None, {"input_ids": ids, "labels": ids}, None, ()


def _gpt2_124m_classifier() -> Built:
    from transformers import GPT2Config, GPT2ForSequenceClassification

    model = GPT2ForSequenceClassification(GPT2Config(use_cache=False, num_labels=3, pad_token_id=0))
    inputs = {"input_ids": _tokens(32, 50257, 1), "labels": torch.tensor([1])}
    return model, None, inputs, None, ("score.weight",)


def _llama() -> Built:
    from transformers import LlamaConfig, LlamaForCausalLM

    ids = _tokens(12, 100)
    config = LlamaConfig(
        vocab_size=100,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        use_cache=False,
    )
    return LlamaForCausalLM(config), None, {"input_ids": ids, "labels": ids}, None, ("lm_head.weight",)


def _t5() -> Built:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=100,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        use_cache=False,
        decoder_start_token_id=0,
    )
    config.tie_word_embeddings = False  # as later versions of T5 have it
    inputs = {"input_ids": _tokens(12, 100), "labels": _tokens(7, 100)}
    return T5ForConditionalGeneration(config), None, inputs, None, ("lm_head.weight",)


ARCHITECTURES |= {
    "bert": _bert,
    "gpt2": _gpt2,
    "llama": _llama,
    "t5": _t5,
    "gpt2-124m": _gpt2_124m,
    "gpt2-124m-classifier": _gpt2_124m_classifier,
}


# torch.nn -----------------------------------------------------------------------------------------------------------
class _Classifier(nn.Module):
    """A body, the mean over its second dimension where it has three, and a linear head."""

    def __init__(self, body: nn.Module, width: int):
        super().__init__()
        self.body, self.head = body, nn.Linear(width, 3)

    def forward(self, *x: Tensor) -> Tensor:
        out = self.body(*x)
        out = out[0] if isinstance(out, tuple) else out
        return self.head(out.flatten(2).mean(2) if out.ndim == 4 else out.mean(1) if out.ndim == 3 else out)


def _classifies(make: Callable[[], tuple[nn.Module, int]], *inputs: Tensor) -> Callable[[], Built]:
    def build() -> Built:
        body, width = make()
        targets = torch.arange(len(inputs[0])) % 3
        x = inputs if len(inputs) > 1 else inputs[0]
        return _Classifier(body, width), nn.CrossEntropyLoss(), x, targets, ("head.weight", "head.bias")

    return build


SEQUENCE = torch.randn(4, 6, 5, generator=_generator())
ROWS = torch.randn(4, 6, generator=_generator())
PICTURES = torch.randn(4, 6, 8, 8, generator=_generator())


class _SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x)[0]


class Lora(nn.Module):
    """A frozen linear layer and a trainable product of two thin matrices."""

    def __init__(self, base: nn.Linear, rank: int = 2):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, base.in_features) / 4)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + F.linear(F.linear(x, self.down), self.up)


def _peft() -> Built:
    from peft import LoraConfig, get_peft_model

    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    config = LoraConfig(r=2, target_modules=["0"], modules_to_save=["2"])
    wrapped = get_peft_model(model, config)
    head = tuple(n for n, p in wrapped.named_parameters() if p.requires_grad and ".2." in n)
    return wrapped, nn.CrossEntropyLoss(), ROWS, torch.tensor([0, 1, 2, 0]), head


def _recurrent(kind: Callable[..., nn.Module], **options: Any) -> Callable[[], Built]:
    return _classifies(lambda: (kind(5, 7, batch_first=True, **options), 7), SEQUENCE)


def _bag() -> Built:
    bags = torch.randint(20, (4, 5), generator=_generator())
    body = nn.Sequential(nn.EmbeddingBag(20, 6, mode="mean"), nn.Linear(6, 5), nn.ReLU())
    return _Classifier(body, 5), nn.CrossEntropyLoss(), bags, torch.tensor([0, 1, 2, 0]), ("head.weight", "head.bias")


def _normalised(norm: Callable[[int], nn.Module]) -> Callable[[], Built]:
    return _classifies(lambda: (nn.Sequential(nn.Conv2d(6, 4, 3), norm(4), nn.ReLU()), 4), PICTURES)


def _lora(layer: nn.Module) -> nn.Module:
    assert isinstance(layer, nn.Linear)
    return Lora(layer)


def _parametrised(wrap: Callable[[nn.Module], nn.Module]) -> Callable[[], Built]:
    return _classifies(lambda: (nn.Sequential(wrap(nn.Linear(6, 5)), nn.Tanh()), 5), ROWS)


ARCHITECTURES |= {
    "rnn": _recurrent(nn.RNN),
    "gru": _recurrent(nn.GRU),
    "lstm": _recurrent(nn.LSTM),
    "attention": _classifies(lambda: (_SelfAttention(), 6), torch.randn(4, 5, 6, generator=_generator())),
    "weight-norm": _parametrised(nn.utils.parametrizations.weight_norm),
    "spectral-norm": _parametrised(nn.utils.parametrizations.spectral_norm),
    "orthogonal": _parametrised(nn.utils.parametrizations.orthogonal),
    "lora": _parametrised(_lora),
    "peft": _peft,
    "embedding-bag": _bag,
    "group-norm": _normalised(lambda n: nn.GroupNorm(2, n)),
    "instance-norm": _normalised(lambda n: nn.InstanceNorm2d(n, affine=True)),
}
