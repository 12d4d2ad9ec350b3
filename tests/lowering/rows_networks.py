"""Rows of losses, normalisations, attention and recurrent layers."""

from __future__ import annotations

import torch
from lowering_case import NUMBER, POSITIVE, UNIT, V, X, Y, data, row, whole

NONE, MEAN, SUM = 0, 1, 2
REDUCTIONS = (NONE, MEAN, SUM)
SIGNS = torch.tensor([[1.0, -1.0, 1.0, -1.0]] * 3).double()
BITS = torch.tensor([[1.0, 0.0, 0.3, 1.0]] * 3, dtype=torch.float64)
LABELS = whole(0, 3, 1)
REGRESSION = [
    *[
        row(f"{n}.default", X, other, r)
        for n in ("mse_loss", "l1_loss")
        for r in REDUCTIONS
        for other in (Y, data(3, 4))
    ],
    *[row("huber_loss.default", X, data(3, 4), r, d) for r, d in ((MEAN, 1.0), (NONE, 0.3), (SUM, 2.0))],
    *[row("smooth_l1_loss.default", X, data(3, 4), r, d) for r, d in ((MEAN, 1.0), (NONE, 0.3), (SUM, 0.0))],
    *[
        row("binary_cross_entropy_with_logits.default", X, y, w, p, r)
        for r in REDUCTIONS
        for y, w, p in (
            (BITS, None, None),
            (BITS, data(4, low=0.1), None),
            (BITS, None, data(4, low=0.1)),
            (V((3, 4), 0.0, 1.0), data(3, 1), V((4,), 0.1)),
        )
    ],
    *[
        row("binary_cross_entropy.default", UNIT, y, w, r)
        for r in REDUCTIONS
        for y, w in ((BITS, None), (BITS, data(4)), (V((3, 4), 0.0, 1.0), None))
    ],
    row(
        "binary_cross_entropy.default",
        V((3, 4), 0.0, 1.0),
        torch.tensor([0.0, 1.0, 1.0, 0.0]).double().expand(3, 4),
        smooth=False,
    ),
    *[
        row(f"{n}.default", X, SIGNS, *rest)
        for n, rest in (
            ("soft_margin_loss", (MEAN,)),
            ("soft_margin_loss", (NONE,)),
            ("hinge_embedding_loss", (1.0, SUM)),
            ("hinge_embedding_loss", (0.3, NONE)),
        )
    ],
    row("hinge_embedding_loss.default", X, torch.tensor([1.0, -1.0, 0.0, 1.0]), 1.0, MEAN),
    *[row("margin_ranking_loss.default", X, Y, SIGNS, m, r) for m, r in ((0.0, MEAN), (0.5, NONE), (0.5, SUM))],
    *[
        row("triplet_margin_loss.default", X, Y, V((3, 4)), m, p, eps, swap, r)
        for m, p, eps, swap, r in (
            (1.0, 2.0, 1e-6, False, MEAN),
            (0.5, 1.0, 1e-3, True, NONE),
            (2.0, 3.0, 1e-6, True, SUM),
        )
    ],
    *[row("cosine_embedding_loss.default", X, Y, whole(1, -1, 1), m, r) for m, r in ((0.0, MEAN), (0.3, NONE))],
    row("cosine_embedding_loss.default", V((4,)), V((4,)), torch.tensor(-1), 0.1, SUM),
    *[
        row("kl_div.default", X, q, r, log_target=log)
        for r in REDUCTIONS
        for q, log in (
            (data(3, 4, low=0.1), False),
            (torch.tensor([0.0, 1.0, 0.3, 0.7]).double(), False),
            (Y, True),
            (POSITIVE, False),
        )
    ],
    *[
        row("poisson_nll_loss.default", x, y, log, full, 1e-8, r)
        for r in REDUCTIONS
        for x, log in ((X, True), (V((3, 4), 0.5), False))
        for y, full in (
            (torch.tensor([0.0, 1.0, 2.0, 5.0]).double(), True),
            (torch.tensor([0.0, 1.0, 0.5, 7.0]).double(), False),
        )
    ],
]
W = data(4, low=0.1)
CLASSES = [
    *[
        row("cross_entropy_loss.default", X, LABELS, w, r, i, s)
        for r in REDUCTIONS
        for w in (None, W, V((4,), 0.1))
        for i, s in ((-100, 0.0), (3, 0.0), (3, 0.2), (-100, 0.1))
    ],
    *[
        row("cross_entropy_loss.default", X, y, w, r, -100, s)
        for r in REDUCTIONS
        for w in (None, W)
        for y in (data(3, 4, low=0.0), V((3, 4), 0.0, 1.0))
        for s in (0.0, 0.2)
    ],
    row("cross_entropy_loss.default", V((4,)), torch.tensor(2), W, MEAN, -100, 0.1),
    row("cross_entropy_loss.default", V((4,)), data(4, low=0.0), W, MEAN, -100, 0.1),
    *[
        row("cross_entropy_loss.default", V((2, 4, 3)), torch.tensor([[0, 1, 3], [2, 2, 1]]), W, r, 2, 0.1)
        for r in REDUCTIONS
    ],
    row("cross_entropy_loss.default", V((2, 3, 2, 2)), data(2, 3, 2, 2, low=0.0), None, NONE),
    row("cross_entropy_loss.default", X, whole(1, 1, 1), None, SUM, 1),
    *[
        row(n, X, LABELS, w, r, i)
        for n in ("nll_loss.default", "nll_loss_nd.default")
        for r in REDUCTIONS
        for w, i in ((None, -100), (W, 3))
    ],
    row("nll_loss_nd.default", V((4,)), torch.tensor(2)),
    row("nll_loss_forward.default", X, LABELS, W, MEAN, -100, export=False),
    *[
        row(
            n,
            V((2, 4, 3, 2)),
            torch.tensor([[[0, 1], [3, 3], [1, 1]], [[2, 2], [1, 0], [1, 2]]]),
            W,
            r,
            2,
            export=not n.startswith("nll_loss2d_f"),
        )
        for n in ("nll_loss2d.default", "nll_loss2d_forward.default", "nll_loss_nd.default")
        for r in REDUCTIONS
    ],
    *[
        row("multi_margin_loss.default", X, LABELS, p, m, w, r)
        for p, m, w, r in ((1, 1.0, None, MEAN), (2, 0.5, W, NONE), (1, 2.0, W, SUM))
    ],
    row("multi_margin_loss.default", V((4,)), torch.tensor(1), 2),
    *[
        row(n, X, torch.tensor([[3, 0, -1, 1], [-1, 0, 0, 0], [0, 1, 2, 3]]), r, export="forward" not in n)
        for n in ("multilabel_margin_loss.default", "multilabel_margin_loss_forward.default")
        for r in REDUCTIONS
    ],
    row("multilabel_margin_loss.default", V((4,)), whole(2, -1, 0, 0), MEAN),
]

CHANNELS, IMAGE = V((4,)), V((3, 4, 5))
SPREAD = V((4,), 0.2)
NORMALISATIONS = [
    *[
        row("batch_norm.default", x, w, c, m, v, t, 0.1, 1e-5, False, export=False)
        for x in (X, IMAGE)
        for w, c, m, v, t in (
            (CHANNELS, CHANNELS, data(4), data(4, low=0.3), False),
            (None, None, data(4), data(4, low=0.3), False),
            (CHANNELS, CHANNELS, None, None, True),
        )
    ],
    row("batch_norm.default", X, CHANNELS, None, CHANNELS, SPREAD, False, 0.1, 1e-3, False, export=False),
    row(
        "_native_batch_norm_legit_no_training.default",
        IMAGE,
        CHANNELS,
        CHANNELS,
        data(4),
        data(4, low=0.3),
        0.1,
        1e-5,
        export=False,
    ),
    *[
        row(
            f"{n}.default",
            IMAGE,
            CHANNELS,
            CHANNELS,
            None if n == "native_batch_norm" else torch.zeros(4).double(),
            None if n == "native_batch_norm" else torch.ones(4).double(),
            True,
            0.1,
            1e-5,
            export=False,
        )
        for n in ("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_functional")
    ],
    row(
        "native_batch_norm.default",
        IMAGE,
        CHANNELS,
        CHANNELS,
        data(4),
        data(4, low=0.3),
        False,
        0.1,
        1e-5,
        export=False,
    ),
    row("_native_batch_norm_legit.no_stats", IMAGE, CHANNELS, None, True, 0.1, 1e-5, export=False),
    row("layer_norm.default", X, [4]),
    row("layer_norm.default", IMAGE, [4, 5], V((4, 5)), V((4, 5)), 1e-3),
    row("native_layer_norm.default", IMAGE, [5], V((5,)), V((5,)), 1e-5, export=False),
    row("group_norm.default", IMAGE, 2, CHANNELS, CHANNELS),
    row("group_norm.default", X, 4),
    row("group_norm.default", V((2, 6, 2, 2)), 3, V((6,))),
    row("native_group_norm.default", IMAGE, CHANNELS, CHANNELS, 3, 4, 5, 2, 1e-5, export=False),
    row("instance_norm.default", IMAGE, CHANNELS, CHANNELS, None, None, True, 0.1, 1e-5, False, export=False),
    row("instance_norm.default", IMAGE, None, None, data(4), data(4, low=0.3), False, 0.1, 1e-5, False, export=False),
    row("rms_norm.default", X, [4]),
    row("rms_norm.default", IMAGE, [4, 5], V((4, 5)), 1e-3),
    row("rms_norm.default", X, [4], V((4,)), None),
    *[row("_weight_norm.default", V((3, 4, 2)), g, d) for g, d in ((V((3, 1, 1)), 0), (V((1, 1, 2)), 2))],
    row("_weight_norm_interface.default", V((3, 4)), V((3, 1)), 0, export=False),
]

Q, K, E = V((2, 2, 3, 4)), V((2, 2, 5, 4)), V((2, 2, 5, 3))
SEEN = data(3, 5) > -1.0
INF = torch.where(SEEN, 0.0, -torch.inf).double()
BLANK = SEEN.clone()
BLANK[1] = False
ATTENTION = [
    row("scaled_dot_product_attention.default", Q, K, E),
    row("scaled_dot_product_attention.default", V((3, 4)), V((5, 4)), V((5, 2)), scale=0.3),
    row("scaled_dot_product_attention.default", V((1, 3, 5)), V((1, 5, 5)), V((1, 5, 2))),
    row("scaled_dot_product_attention.default", Q, K, E, V((3, 5))),
    row("scaled_dot_product_attention.default", Q, K, E, SEEN),
    row("scaled_dot_product_attention.default", Q, K, E, BLANK),
    row("scaled_dot_product_attention.default", Q, K, E, INF),
    row("scaled_dot_product_attention.default", Q, K, E, INF + data(2, 1, 3, 5)),
    row("scaled_dot_product_attention.default", Q, K, E, SEEN.double()),
    row("scaled_dot_product_attention.default", Q, V((2, 2, 3, 4)), V((2, 2, 3, 2)), None, 0.0, True),
    row("scaled_dot_product_attention.default", V((2, 4, 3, 4)), K, E, None, 0.0, False, enable_gqa=True),
    row("_scaled_dot_product_flash_attention_for_cpu.default", Q, K, K, export=False),
    row(
        "_scaled_dot_product_flash_attention_for_cpu.default",
        Q,
        V((2, 2, 3, 4)),
        V((2, 2, 3, 4)),
        0.0,
        True,
        export=False,
    ),
]

STEPS, BATCH, WIDTH = 3, 2, 2


def _cells(gates: int, layers: int = 1, directions: int = 1) -> list[V]:
    """Weights and biases of a recurrent network of width 2 over inputs of width 3."""
    out = []
    for layer in range(layers):
        for _ in range(directions):
            inner = 3 if layer == 0 else WIDTH * directions
            out += [V((gates * WIDTH, inner)), V((gates * WIDTH, WIDTH)), V((gates * WIDTH,)), V((gates * WIDTH,))]
    return out


S = V((STEPS, BATCH, 3))
RECURRENT = [
    *[
        row(f"{n}.input", S, V((1, BATCH, WIDTH)), _cells(g), True, 1, 0.0, False, False, False, export=False)
        for n, g in (("rnn_tanh", 1), ("rnn_relu", 1), ("gru", 3))
    ],
    row(
        "gru.input",
        S,
        torch.zeros(4, BATCH, WIDTH).double(),
        _cells(3, 2, 2),
        True,
        2,
        0.0,
        False,
        True,
        False,
        export=False,
    ),
    row(
        "lstm.input",
        S,
        [V((1, BATCH, WIDTH)), V((1, BATCH, WIDTH))],
        _cells(4),
        True,
        1,
        0.0,
        False,
        False,
        False,
        export=False,
    ),
    row(
        "lstm.input",
        V((BATCH, STEPS, 3)),
        [V((2, BATCH, WIDTH)), V((2, BATCH, WIDTH))],
        _cells(4, 1, 2),
        True,
        1,
        0.0,
        False,
        True,
        True,
        export=False,
    ),
    *[
        row(f"{n}.default", V((BATCH, 3)), V((BATCH, WIDTH)), *_cells(g))
        for n, g in (("rnn_tanh_cell", 1), ("rnn_relu_cell", 1), ("gru_cell", 3))
    ],
    row("lstm_cell.default", V((BATCH, 3)), [V((BATCH, WIDTH)), V((BATCH, WIDTH))], *_cells(4)),
]
ROWS = [*REGRESSION, *CLASSES, *NORMALISATIONS, *ATTENTION, *RECURRENT, row("mse_loss.default", NUMBER, NUMBER)]
