"""Losses of class scores and of probabilities."""

from __future__ import annotations

from typing import Any

from loss_regression import BOTH, PARTS, flat, one
from table_case import Case, Group

CLASSES = "labels(0, 2, 1)"
SIGNS = "tensor([1, -1, -1, 1])"
PROBABILITIES = "tensor([[0.5, 0.25, 0.25], [0, 0, 1], [0.125, 0.75, 0.125]])"
LOGITS = "tensor([[1, 0, 0.5], [0, 2, 0], [-1, 0, 1]])"
LOGS = "tensor([[-1, -2, -0.5], [-3, -0.125, -2], [-1, -1, -1]])"
TAGS = "tensor([[1, 0, 0], [0, 1, 1], [0, 0.5, 0]])"
ROWS = {"x": (3, 3)}
MATRIX = "tensor([[1, 0.5, 0.25], [0, 2, 1], [3, 0, 0.5]])"
INSIDE = {"x": (1e-6, 1 - 1e-6)}
WIDE = {"x": (-4.0, 4.0)}


def rows(name: str, loss: str, when: str, y: str = CLASSES, **more: Any) -> Case:
    """A loss of three samples with three classes."""
    return Case(name, loss, when, ROWS, {"y": y}, **more)


# fmt: off
CROSS = Group(
    "CrossEntropyLoss", "log Σ eˣ − x_y, or s·log Σ eˣ − Σ t x with s = Σ t", "class indices with weights ≥ 0; targets t whose every row sums to s ≥ 0",
    "What decides is not the sign of the single target but that of the row's sum: the curvature comes from s·log Σ eˣ alone, the rest is affine. "
    "So probabilities may be unnormalised, and some may be negative; with s = 0 the loss is affine, with s < 0 concave. A negative class "
    "weight makes the terms of that class concave. Smoothing lies in [0, 1] and keeps all that. The loss is constant along (1, …, 1), so there is "
    "no strong convexity. Applying a softmax first, which the loss does itself, is a common slip that loses convexity.",
    (
        rows("ce", "nn.CrossEntropyLoss()", "class indices"),
        rows("ce_weight", "nn.CrossEntropyLoss(weight=tensor([1, 0, 3]))", "class weights ≥ 0"),
        rows("ce_weight_negative", "nn.CrossEntropyLoss(weight=tensor([1, -0.5, 2]))", "a negative class weight"),
        rows("ce_ignore", "nn.CrossEntropyLoss(ignore_index=2)", "ignore_index among the targets"),
        rows("ce_smoothing", "nn.CrossEntropyLoss(label_smoothing=0.1)", "label_smoothing=0.1"),
        rows("ce_smoothing_one", "nn.CrossEntropyLoss(label_smoothing=1.0)", "label_smoothing=1.0"),
        rows("ce_smoothing_weight", "nn.CrossEntropyLoss(weight=tensor([1, 2, 3]), label_smoothing=0.1)", "smoothing, class weights ≥ 0"),
        rows("ce_soft", "nn.CrossEntropyLoss()", "class probabilities", PROBABILITIES),
        rows("ce_soft_weight", "nn.CrossEntropyLoss(weight=tensor([1, 2, 3]))", "class probabilities, weights ≥ 0", PROBABILITIES),
        rows("ce_soft_sum", "nn.CrossEntropyLoss()", "targets ≥ 0, not normalised", "tensor([[2, 0, 1], [0, 0, 0], [1, 1, 4]])"),
        rows("ce_soft_negative", "nn.CrossEntropyLoss()", "some targets < 0, row sums ≥ 0", "tensor([[2, -1, 0.5], [-1, 0, 1], [1, -0.5, 0.5]])"),
        rows("ce_soft_zero", "nn.CrossEntropyLoss()", "all row sums 0", "tensor([[1, -1, 0], [0, 0, 0], [0.5, 0.5, -1]])"),
        rows("ce_soft_below", "nn.CrossEntropyLoss()", "all row sums < 0", "tensor([[1, -2, 0], [0, -1, 0], [0, 0, -1]])"),
        rows("ce_soft_mixed", "nn.CrossEntropyLoss()", "row sums of both signs", "tensor([[1, -2, 0], [0, 1, 0], [0, 0, 1]])"),
        rows("ce_temperature", "nn.CrossEntropyLoss()", "scores divided by a temperature", call="loss(x / 0.5, y)"),
        rows("ce_softmax", "nn.CrossEntropyLoss()", "after a softmax: the softmax twice", call="loss(torch.softmax(x, 1), y)"),
        rows("ce_self", "nn.CrossEntropyLoss()", "its own softmax as the target: the entropy", call="loss(x, torch.softmax(x, 1))"),
        Case("ce_joint", "nn.CrossEntropyLoss()", "scores and targets ≥ 0 together", {"x": (3, 3), "y": (3, 3)}, bounds={"y": (0.0, None)}, linear=False),
    ),
)

LINEAR_CROSS = Group(
    "LinearCrossEntropyLoss", "cross-entropy of H Wᵀ", "in the weight, the features given; not in both",
    "A linear layer and CrossEntropyLoss in one (PyTorch 2.13). Convex in its weight for fixed features, and in the features for a fixed weight.",
    (
        Case("linear_ce", "None", "in the weight", {"w": (3, 3)}, {"h": MATRIX, "y": CLASSES}, "F.linear_cross_entropy(h, w, y)", linear=False),
        Case("linear_ce_features", "None", "in the features", {"h": (3, 3)}, {"w": MATRIX, "y": CLASSES}, "F.linear_cross_entropy(h, w, y)", linear=False),
        Case("linear_ce_joint", "None", "in both", {"h": (3, 3), "w": (3, 3)}, {"y": CLASSES}, "F.linear_cross_entropy(h, w, y)", linear=False),
    ),
)

NLL = Group(
    "NLLLoss", "−x_y", "always: it is affine; after a log-softmax: weights ≥ 0",
    "Affine in its input, whatever the weights, for it only picks entries. It expects log-probabilities: after `log_softmax` it is the cross-entropy, "
    "with the same conditions. After a softmax without the logarithm it is not convex; for one sample it is still quasi-convex.",
    (
        rows("nll", "nn.NLLLoss()", "in log-probabilities"),
        rows("nll_weight", "nn.NLLLoss(weight=tensor([1, -1, 3]))", "class weights of any sign"),
        rows("nll_log_softmax", "nn.NLLLoss()", "after a log-softmax", call="loss(torch.log_softmax(x, 1), y)"),
        rows("nll_log_softmax_ignore", "nn.NLLLoss(ignore_index=0)", "after a log-softmax, ignore_index", call="loss(torch.log_softmax(x, 1), y)"),
        rows("nll_log_softmax_negative", "nn.NLLLoss(weight=tensor([1, -0.5, 2]))", "after a log-softmax, a weight < 0",
             call="loss(torch.log_softmax(x, 1), y)"),
        rows("nll_softmax", "nn.NLLLoss()", "after a softmax, no logarithm", call="loss(torch.softmax(x, 1), y)"),
        Case("nll_softmax_one", "nn.NLLLoss()", "after a softmax, no logarithm, one sample", {"x": (1, 3)}, {"y": "labels(1)"}, "loss(torch.softmax(x, 1), y)"),
    ),
)

BATCH = "nn.KLDivLoss(reduction='batchmean')"
KL = Group(
    "KLDivLoss", "t (log t − x), x = log q", "always: it is affine in log q; after a log-softmax: targets ≥ 0",
    "Affine in its input, the logarithm of q, with `log_target` or without. In the scores before a log-softmax it is convex. In the other direction, as a "
    "function of the target's probabilities, it is convex too (negative entropy), but not in the target's scores. Distillation scales scores by "
    "a temperature, which changes nothing.",
    (
        rows("kl", BATCH, "in log-probabilities", PROBABILITIES),
        rows("kl_log_target", "nn.KLDivLoss(reduction='batchmean', log_target=True)", "in log-probabilities, log_target=True", LOGS),
        rows("kl_log_softmax", BATCH, "after a log-softmax", PROBABILITIES, call="loss(torch.log_softmax(x, 1), y)"),
        rows("kl_log_softmax_log", "nn.KLDivLoss(reduction='batchmean', log_target=True)", "after a log-softmax, log_target=True", LOGS,
             call="loss(torch.log_softmax(x, 1), y)"),
        rows("kl_distillation", BATCH, "distillation at temperature 4", LOGITS, call="loss(torch.log_softmax(x / 4, 1), torch.softmax(y / 4, 1)) * 16"),
        rows("kl_reverse", BATCH, "in the scores of the target", LOGITS, call="loss(torch.log_softmax(y, 1), torch.softmax(x, 1))"),
        rows("kl_target", BATCH, "in the target's probabilities ≥ 0", LOGS, call="loss(y, x)", bounds={"x": (0.0, None)}, linear="positive"),
        Case("kl_both", BATCH, "q and t in [0.001, 1] together", {"q": (3, 3), "t": (3, 3)}, {}, "loss(torch.log(q), t)",
             {"q": (0.001, 1.0), "t": (0.001, 1.0)}, False),
    ),
)

BCE = Group(
    "BCELoss", "−y log x − (1 − y) log(1 − x)", "input in (0, 1) away from the clamp, weights ≥ 0",
    "PyTorch clamps both logarithms at −100, and this is the function analysed. Between e⁻¹⁰⁰ and 1 − e⁻¹⁰⁰ it is the textbook's, and convex. "
    "At the clamp it goes flat, and convexity is lost: the textbook's −log σ(z) is convex on the whole line, `BCELoss` after a sigmoid is not, since "
    "it stops at 100. `BCEWithLogitsLoss` has no such end. Targets outside [0, 1] are refused by PyTorch.",
    (
        flat("bce", "nn.BCELoss()", "input in [10⁻⁶, 1 − 10⁻⁶]", PARTS, bounds=INSIDE, linear=False, modulus="1/4"),
        one("bce_one", "nn.BCELoss()", "one input in [10⁻⁶, 1 − 10⁻⁶], target 1", "tensor(1.0)", bounds=INSIDE, modulus="1"),
        flat("bce_weight", "nn.BCELoss(weight=tensor([1, 0, 2, 0.5]))", "weights ≥ 0", PARTS, bounds=INSIDE, linear=False),
        flat("bce_weight_negative", "nn.BCELoss(weight=tensor([1, -1, 2, 0.5]))", "a weight < 0", PARTS, bounds=INSIDE, linear=False),
        flat("bce_outside", "nn.BCELoss()", "a target outside [0, 1]", "tensor([0, 1, -0.5, 2])", bounds=INSIDE, linear=False),
        one("bce_clamp", "nn.BCELoss()", "input in [0, 10⁻⁴²], target 1: the clamp", "tensor(1.0)", bounds={"x": (0.0, 1e-42)}),
        flat("bce_sigmoid", "nn.BCELoss()", "after a sigmoid", PARTS, call="loss(torch.sigmoid(x), y)"),
        flat("bce_sigmoid_box", "nn.BCELoss()", "after a sigmoid, its input in [−20, 20]", PARTS, call="loss(torch.sigmoid(x), y)",
             bounds={"x": (-20.0, 20.0)}, linear=False),
    ),
)

BCE_LOGITS = Group(
    "BCEWithLogitsLoss", "(1 + (p − 1) y) log(1 + eˣ) − p y x, p = pos_weight", "weights ≥ 0 and 1 + (p − 1) y ≥ 0; without pos_weight any real targets",
    "log(1 + eˣ) − y x is convex for every real y: targets outside [0, 1] cost the probabilistic meaning and the lower bound, not the convexity. With "
    "`pos_weight` p the coefficient of log(1 + eˣ) is 1 + (p − 1) y, and its sign decides: p ≥ 0 is enough for targets in [0, 1], and p = −1 is still "
    "convex if no target exceeds ½. Strongly convex on a box only, by its curvature at the far end.",
    (
        flat("bce_logits", "nn.BCEWithLogitsLoss()", "targets in [0, 1]", PARTS),
        flat("bce_logits_real", "nn.BCEWithLogitsLoss()", "any real targets"),
        one("bce_logits_box", "nn.BCEWithLogitsLoss()", "one input in [−4, 4]", "tensor(0.25)", bounds=WIDE, modulus="0.0175"),
        flat("bce_logits_weight", "nn.BCEWithLogitsLoss(weight=tensor([1, 0, 2, 0.5]))", "weights ≥ 0, any real targets"),
        flat("bce_logits_weight_negative", "nn.BCEWithLogitsLoss(weight=tensor([1, -1, 2, 0.5]))", "a weight < 0", PARTS),
        flat("bce_logits_pos", "nn.BCEWithLogitsLoss(pos_weight=tensor([3, 0.5, 0, 10]))", "pos_weight ≥ 0, targets in [0, 1]", PARTS),
        flat("bce_logits_pos_real", "nn.BCEWithLogitsLoss(pos_weight=tensor(3.0))", "pos_weight = 3, targets ≥ −½", "tensor([-0.5, 0, 2, 4])"),
        flat("bce_logits_pos_below", "nn.BCEWithLogitsLoss(pos_weight=tensor(3.0))", "pos_weight = 3, a target < −½"),
        flat("bce_logits_pos_negative", "nn.BCEWithLogitsLoss(pos_weight=tensor(-1.0))", "pos_weight = −1, targets 0 and 1", "tensor([0, 1, 0, 1])"),
        flat("bce_logits_pos_half", "nn.BCEWithLogitsLoss(pos_weight=tensor(-1.0))", "pos_weight = −1, targets ≤ ½", "tensor([0, 0.5, 0.25, 0.125])"),
        Case("bce_logits_joint", "nn.BCEWithLogitsLoss()", "input and target in [0, 1] together", BOTH, bounds={"y": (0.0, 1.0)}, linear=False),
    ),
)

SOFT_MARGIN = Group(
    "SoftMarginLoss", "log(1 + e^(−y x))", "always",
    "For ±1 targets the logistic loss. Any real y only scales the argument. Not convex where y varies too.",
    (
        flat("soft_margin", "nn.SoftMarginLoss()", "y = ±1", SIGNS),
        flat("soft_margin_real", "nn.SoftMarginLoss()", "any real y"),
        one("soft_margin_box", "nn.SoftMarginLoss()", "one input in [−4, 4], y = 1", "tensor(1.0)", bounds=WIDE, modulus="0.0175"),
        Case("soft_margin_joint", "nn.SoftMarginLoss()", "input and y together", BOTH, linear=False),
    ),
)

MULTILABEL_SOFT = Group(
    "MultiLabelSoftMarginLoss", "mean over classes of log(1 + eˣ) − y x", "weights ≥ 0, any real targets",
    "BCEWithLogitsLoss for each class. PyTorch computes it as −y log σ(x) − (1 − y) log σ(−x), the same function.",
    (
        rows("multilabel_soft_margin", "nn.MultiLabelSoftMarginLoss()", "targets in [0, 1]", TAGS),
        rows("multilabel_soft_margin_real", "nn.MultiLabelSoftMarginLoss()", "any real targets", "tensor([[2, 0, -1], [0, 1, 1], [-3, 0.5, 0]])"),
        rows("multilabel_soft_margin_weight", "nn.MultiLabelSoftMarginLoss(weight=tensor([1, 0, 2]))", "weights ≥ 0", TAGS),
        rows("multilabel_soft_margin_negative", "nn.MultiLabelSoftMarginLoss(weight=tensor([1, -1, 2]))", "a weight < 0", TAGS),
    ),
)

MULTI_MARGIN = Group(
    "MultiMarginLoss", "mean over j ≠ y of max(0, m − x_y + x_j)ᵖ", "p = 1 and p = 2, any margin, weights ≥ 0",
    "Maxima of affine functions, squared for p = 2; the margin is only a shift. PyTorch allows no other p.",
    (
        rows("multi_margin", "nn.MultiMarginLoss()", "p = 1"),
        rows("multi_margin_square", "nn.MultiMarginLoss(p=2)", "p = 2"),
        rows("multi_margin_below", "nn.MultiMarginLoss(p=2, margin=-1.0)", "p = 2, margin < 0"),
        rows("multi_margin_weight", "nn.MultiMarginLoss(weight=tensor([1, 0, 2]))", "class weights ≥ 0"),
        rows("multi_margin_negative", "nn.MultiMarginLoss(weight=tensor([1, -1, 2]))", "a class weight < 0"),
        rows("multi_margin_three", "nn.MultiMarginLoss(p=3)", "p = 3", linear=False),
    ),
)

MULTILABEL_MARGIN = Group(
    "MultiLabelMarginLoss", "Σ max(0, 1 − x_j + x_i), j a label, i none", "always",
    "A sum of maxima of affine functions; there are no weights and no margin to set.",
    (rows("multilabel_margin", "nn.MultiLabelMarginLoss()", "labels up to the first −1", "labels([2, 0, -1], [1, -1, 0], [0, 1, 2])"),),
)

CTC = Group(
    "CTCLoss", "−log Σ over alignments of Π probabilities", "no verdict: the sum over alignments has no lowering",
    "In log-probabilities it is minus a log-sum-exp of affine functions, hence concave; the sum over alignments has no lowering yet, so that "
    "no verdict is given. Composed with a log-softmax it is a difference of log-sum-exps.",
    (
        Case("ctc", "nn.CTCLoss()", "in log-probabilities", {"x": (4, 3)}, {"y": "labels(1, 2)"}, "loss(x, y, (4,), (2,))", linear=False),
        Case("ctc_log_softmax", "nn.CTCLoss()", "after a log-softmax", {"x": (4, 3)}, {"y": "labels(1, 2)"}, "loss(torch.log_softmax(x, 1), y, (4,), (2,))",
             linear=False),
    ),
)
# fmt: on

GROUPS = (
    CROSS,
    LINEAR_CROSS,
    NLL,
    KL,
    BCE_LOGITS,
    BCE,
    SOFT_MARGIN,
    MULTILABEL_SOFT,
    MULTI_MARGIN,
    MULTILABEL_MARGIN,
    CTC,
)
