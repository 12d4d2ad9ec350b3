"""Rows of the operators that move, select and write entries."""

from __future__ import annotations

import torch
from lowering_case import NUMBER, ROW, VECTOR, V, X, Y, data, row, whole

CUBE = V((2, 3, 4))
MOVES = [
    *[row(f"{n}.default", X, [2, -1]) for n in ("view", "reshape", "_unsafe_view")],
    row("_reshape_alias.default", X, [2, 6], [6, 1]),
    row("view_as.default", X, data(4, 3)),
    row("reshape_as.default", X, data(2, 6)),
    row("flatten.using_ints", CUBE),
    row("flatten.using_ints", CUBE, 1, -1),
    row("flatten.using_ints", NUMBER),
    row("unflatten.int", CUBE, -1, [2, -1]),
    row("ravel.default", X),
    row("squeeze.default", V((1, 3, 1, 2))),
    row("squeeze.dim", V((1, 3, 1)), -1),
    row("squeeze.dim", X, 0),
    row("squeeze.dim", NUMBER, 0),
    row("squeeze.dims", V((1, 3, 1)), [0, 2]),
    row("unsqueeze.default", X, -1),
    row("unsqueeze.default", X, 1),
    row("permute.default", CUBE, [2, 0, -2]),
    row("transpose.int", CUBE, 0, -1),
    row("transpose.int", NUMBER, 0, -1),
    row("transpose_.default", CUBE, 0, 1, export=False),
    row("swapaxes.default", CUBE, 1, 2),
    row("swapdims.default", CUBE, 1, 0),
    row("movedim.int", CUBE, 0, -1),
    row("moveaxis.int", CUBE, 2, 0),
    row("movedim.intlist", CUBE, [0, 1], [2, 0]),
    row("moveaxis.intlist", CUBE, [2], [0]),
    row("t.default", X),
    row("t.default", VECTOR),
    row("mT.default", CUBE),
    row("mH.default", CUBE),
    row("matrix_H.default", X),
    row("adjoint.default", CUBE),
    row("numpy_T.default", X),
    row("numpy_T.default", CUBE, export=False),
    row("expand.default", V((3, 1)), [2, -1, 4]),
    row("broadcast_to.default", ROW, [3, 4]),
    row("expand_as.default", ROW, data(3, 4)),
    row("broadcast_tensors.default", [X, ROW, NUMBER]),
    row("repeat.default", X, [2, 1, 3]),
    row("tile.default", X, [2]),
    row("tile.default", X, [2, 1, 3]),
    row("repeat_interleave.self_int", X, 2, 1),
    row("repeat_interleave.self_int", X, 3),
    row("repeat_interleave.self_Tensor", X, whole(1, 0, 2), 0, export=False),
    row("slice.Tensor", CUBE, 1, 1, None),
    row("slice.Tensor", CUBE, -1, -3, 100, 2),
    row("slice.Tensor", CUBE),
    row("narrow.default", CUBE, 2, -3, 2),
    row("select.int", CUBE, 1, -1),
    *[
        row(n, V((7, 2)), 3)
        for n in (
            "split.Tensor",
            "unsafe_split.Tensor",
            "chunk.default",
            "unsafe_chunk.default",
            "tensor_split.sections",
        )
    ],
    row("split.Tensor", CUBE, 2, -1),
    *[
        row(n, V((7, 2)), [3, 4])
        for n in ("split_with_sizes.default", "split.sizes", "unsafe_split_with_sizes.default")
    ],
    row("tensor_split.indices", V((7, 2)), [1, 5]),
    row("hsplit.int", X, 2),
    row("vsplit.int", V((4, 2)), 2),
    row("dsplit.int", CUBE, 2),
    row("unbind.int", CUBE, 1),
    *[row(n, [X, Y, V((2, 4))]) for n in ("cat.default", "concat.default", "concatenate.default")],
    row("cat.default", [X, torch.zeros(0), Y], -1),
    row("stack.default", [X, Y], -1),
    row("stack.default", [NUMBER, NUMBER]),
    row("hstack.default", [X, V((3, 1))]),
    row("hstack.default", [NUMBER, VECTOR]),
    row("vstack.default", [X, VECTOR]),
    row("row_stack.default", [X, Y]),
    row("column_stack.default", [X, V((3,))]),
    row("dstack.default", [X, Y]),
    *[row(f"atleast_{n}d.default", VECTOR) for n in (1, 2, 3)],
    row("atleast_1d.default", NUMBER),
    row("block_diag.default", [X, V((2, 2))]),
    row("cartesian_prod.default", [VECTOR, V((2,))]),
    row("flip.default", CUBE, [0, -1]),
    row("fliplr.default", X),
    row("flipud.default", X),
    row("roll.default", CUBE, [1, -2], [0, 2]),
    row("roll.default", X, [5]),
    row("rot90.default", X, 1, [0, 1]),
    row("rot90.default", CUBE, 3, [1, 2]),
    row("unfold.default", CUBE, 2, 2, 1),
    row("diagonal.default", CUBE, 1, 1, 2),
    row("diagonal.default", X, -1),
    row("linalg_diagonal.default", CUBE),
    row("diag.default", X, 1),
    row("diag.default", VECTOR, -1),
    row("diagflat.default", X, 1),
    row("diag_embed.default", X),
    row("diag_embed.default", X, 1, 0, -1),
    *[row(f"{n}.default", CUBE, d) for n in ("tril", "triu") for d in (-1, 0, 1)],
]

INDEXING = [
    row("index_select.default", CUBE, 1, whole(2, 0, 0)),
    row("index_select.default", VECTOR, 0, whole(1, 3)),
    row("gather.default", X, 1, torch.tensor([[0, 3], [1, 1], [2, 0]])),
    row("gather.default", X, 0, torch.tensor([[2, 0, 1, 1]])),
    row("take.default", X, torch.tensor([[0, -1], [5, 2]])),
    row("take_along_dim.default", X, torch.tensor([[1], [0], [3]]), 1),
    row("take_along_dim.default", X, whole(3, 11)),
    row("masked_select.default", X, data(3, 4) > 0, export=False),
    row("masked_select.default", X, torch.tensor([True, False, True, False]), export=False),
    *[
        row(n, CUBE, i)
        for n in ("index.Tensor", "_unsafe_index.Tensor")
        for i in ([None, whole(2, 0)], [whole(0, 1), whole(2, 2)], [None, torch.tensor([[0], [-1]]), whole(1, 3)])
    ],
    row("index.Tensor", CUBE, [data(2, 3) > 0]),
    row("index.Tensor", VECTOR, [torch.tensor([True, False, True, True])]),
    row("index.Tensor", CUBE, [whole(1, 0), None, whole(0, 3)]),
    row("embedding.default", V((5, 3)), torch.tensor([[0, 4], [2, 2]])),
    row("embedding.default", V((5, 3)), torch.tensor(3), 1),
    row("embedding_renorm.default", V((5, 3)), whole(0, 3, 3), 1.0, 2.0, smooth=False, export=False),
    *[
        row("embedding_bag.default", V((6, 3)), whole(0, 5, 2, 2, 1), offsets, False, mode, export=False)
        for mode in (0, 1, 2)
        for offsets in (whole(0, 2), whole(0, 0, 3))
    ],
    row("embedding_bag.default", V((6, 3)), whole(0, 5, 2, 2), whole(0, 1), False, 0, False, V((4,)), export=False),
    row(
        "embedding_bag.default", V((6, 3)), whole(0, 5, 2, 2), whole(0, 1, 4), False, 0, False, None, True, export=False
    ),
    row(
        "embedding_bag.padding_idx",
        V((6, 3)),
        whole(0, 5, 2, 2),
        whole(0, 1),
        False,
        1,
        False,
        None,
        False,
        2,
        export=False,
    ),
    row("_embedding_bag.default", V((6, 3)), whole(0, 5, 2, 2), whole(0, 1), False, 1, export=False),
    row("_embedding_bag_forward_only.default", V((6, 3)), whole(0, 5, 2, 2), whole(0, 1), False, 2, export=False),
]
TWICE = torch.tensor([[0, 0, 2, 1], [0, 1, 2, 0]])
ONCE = torch.tensor([[0, 1, 2, 1], [1, 0, 0, 2]])
WRITES = [
    row("scatter.src", X, 0, ONCE, V((2, 4))),
    row("scatter.src", X, 1, torch.tensor([[3, 0]]), V((3, 4))),
    row("scatter.value", X, 0, TWICE, 0.7),
    row("scatter_add.default", X, 0, TWICE, Y),
    row("scatter_add.default", X, 1, torch.tensor([[0, 0, 1], [3, 3, 3]]), V((2, 3))),
    row("scatter_add.default", NUMBER, 0, torch.tensor(0), NUMBER, export=False),
    *[
        row("scatter_reduce.two", X, 0, TWICE, V((2, 4)), how, include_self=own)
        for how in ("sum", "mean", "amax", "amin")
        for own in (True, False)
    ],
    row("index_add.default", CUBE, 1, whole(0, 2, 0), V((2, 3, 4)), alpha=0.5),
    row("index_copy.default", CUBE, 1, whole(2, 0), V((2, 2, 4))),
    row("index_fill.int_Scalar", CUBE, -1, whole(3, 0), 1.5),
    row("index_fill.int_Tensor", CUBE, 0, whole(1).reshape(1), NUMBER),
    *[row(n, CUBE, [None, whole(2, 0)], V((2, 2, 4))) for n in ("index_put.default", "_unsafe_index_put.default")],
    row("index_put.default", CUBE, [whole(0, 1), whole(2, 2)], ROW, True),
    row("index_put.default", CUBE, [whole(0, 0), whole(2, 2)], V((2, 4)), True),
    row("index_put.default", X, [data(3, 4) > 0], NUMBER),
    row("masked_scatter.default", X, data(3, 4) > 0, V((3, 4))),
    row("select_scatter.default", CUBE, V((2, 4)), 1, -1),
    row("slice_scatter.default", CUBE, V((2, 2, 4)), 1, 0, 2),
    row("slice_scatter.default", CUBE, V((2, 3, 2)), -1, 0, None, 2),
    row("diagonal_scatter.default", X, V((3,)), 1),
]

IMAGE = V((2, 2, 5, 6))
PADS = [
    row("constant_pad_nd.default", X, [1, 2], 0.5),
    row("constant_pad_nd.default", CUBE, [1, -1, 0, 2]),
    row("pad.default", X, [1, 1, 2, 0]),
    row("pad.default", X, [1, 1], "constant", 0.3),
    row("pad.default", V((2, 3, 5)), [2, 1], "reflect"),
    row("pad.default", IMAGE, [1, 2, 2, 1], "replicate"),
    row("pad.default", IMAGE, [1, 2, 0, 1], "circular"),
    row("_pad_circular.default", IMAGE, [1, 2, 0, 1], export=False),
    row("reflection_pad1d.default", V((2, 3, 5)), [2, 1]),
    row("reflection_pad2d.default", V((2, 5, 5)), [2, 1, 0, 3]),
    row("reflection_pad3d.default", V((1, 1, 3, 3, 3)), [1] * 6),
    row("replication_pad1d.default", V((2, 3, 5)), [2, 1]),
    row("replication_pad2d.default", V((2, 5, 5)), [2, 1, 0, 3]),
    row("replication_pad3d.default", V((1, 1, 3, 3, 3)), [1] * 6),
]
BLOCKS = [
    row("pixel_shuffle.default", V((1, 8, 2, 3)), 2),
    row("pixel_unshuffle.default", V((2, 1, 4, 6)), 2),
    row("channel_shuffle.default", V((1, 6, 2, 2)), 3),
    row("native_channel_shuffle.default", V((1, 6, 2, 2)), 3, export=False),
    row("im2col.default", IMAGE, [2, 3], [1, 1], [0, 0], [1, 1]),
    row("im2col.default", IMAGE, [2, 2], [2, 1], [1, 1], [2, 1]),
    row("im2col.default", V((2, 5, 6)), [2, 2], [1, 1], [0, 0], [1, 1]),
    row("col2im.default", V((2, 8, 9)), [4, 4], [2, 2], [1, 1], [0, 0], [1, 1]),
    row("col2im.default", V((2, 8, 4)), [4, 4], [2, 2], [1, 1], [1, 1], [3, 3]),
    row("col2im.default", V((8, 4)), [4, 4], [2, 2], [1, 1], [0, 0], [2, 2]),
]

POOLS = []
for _n in (1, 2, 3):
    _x, _small = V((2, 2, *[6, 7, 5][:_n])), V((2, *[5, 4, 6][:_n]))
    _box = [3, 2, 3][:_n]
    for _name in (f"max_pool{_n}d.default", f"max_pool{_n}d_with_indices.default"):
        POOLS += [
            row(_name, _x, _box),
            row(_name, _x, _box, [2] * _n, [1] * _n, [1] * _n, True),
            row(_name, _x, _box, [1] * _n, [0] * _n, [2] * _n),
            row(_name, _small, [2] * _n),
        ]
    POOLS += [row(f"avg_pool{_n}d.default", _x, _box), row(f"avg_pool{_n}d.default", _small, [2] * _n)]
    POOLS += [
        row(f"avg_pool{_n}d.default", _x, _box, [2] * _n, [1] * _n, ceil, include)
        for ceil in (True, False)
        for include in (True, False)
    ]
    if _n > 1:
        POOLS += [row(f"avg_pool{_n}d.default", _x, _box, [2] * _n, [1] * _n, True, True, 5)]
    for _name in [f"adaptive_avg_pool{_n}d.default", f"adaptive_max_pool{_n}d.default"] + (
        [f"_adaptive_avg_pool{_n}d.default"] if _n > 1 else []
    ):
        POOLS += [row(_name, x, size) for x, size in ((_x, [3] * _n), (_x, [1] * _n), (_small, [4, 2, 5][:_n]))]

UPSAMPLES = []
for _n, _smooth in ((1, "linear1d"), (2, "bilinear2d"), (3, "trilinear3d"), (2, "bicubic2d")):
    _x = V((1, 2, *[4, 5, 3][:_n]))
    _size = [7, 3, 5][:_n]
    for _aligned in (False, True):
        UPSAMPLES += [
            row(f"upsample_{_smooth}.vec", _x, _size, _aligned, None),
            row(f"upsample_{_smooth}.vec", _x, None, _aligned, [2.0] * _n),
            row(f"upsample_{_smooth}.default", _x, _size, _aligned),
        ]
    UPSAMPLES += [
        row(f"upsample_{_smooth}.vec", _x, None, False, [1.5] * _n),
        row(f"upsample_{_smooth}.default", _x, [1] * _n, True),
    ]
for _n in (1, 2, 3):
    for _name in (f"upsample_nearest{_n}d", f"_upsample_nearest_exact{_n}d"):
        _x = V((1, 2, *[4, 5, 3][:_n]))
        UPSAMPLES += [
            row(f"{_name}.vec", _x, [7, 3, 5][:_n], None),
            row(f"{_name}.vec", _x, None, [2.0] * _n),
            row(f"{_name}.default", _x, [7, 3, 5][:_n]),
        ]
ROWS = [*MOVES, *INDEXING, *WRITES, *PADS, *BLOCKS, *POOLS, *UPSAMPLES]
