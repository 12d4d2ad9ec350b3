"""The rows of the table of losses; each is a target of the command line.

epigraph check docs/tables/losses.py:mse           the loss in its input
epigraph check docs/tables/losses.py:mse_linear    the loss of a linear model, in its weight and bias
epigraph check docs/tables/losses.py:mse_strong    the loss less (modulus/2) |x|^2
epigraph check docs/tables/losses.py:mse_beyond    the loss less a little more than that

Rows without a linear model or a modulus have fewer.
"""

from __future__ import annotations

import loss_classes
import loss_others
import loss_pairs
import loss_regression

GROUPS = (*loss_regression.GROUPS, *loss_classes.GROUPS, *loss_pairs.GROUPS, *loss_others.GROUPS)

# What the table leaves out, with the reason.
LEFT_OUT = {"NLLLoss2d": "the former name of NLLLoss for images"}

globals().update({name: build for group in GROUPS for case in group.cases for name, build in case.targets().items()})
