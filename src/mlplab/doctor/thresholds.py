"""The limits between healthy and unhealthy measurements.

Source: scripts/doctor/study.py, whose results docs/doctor.md shows; the lecture's figures and
rules of thumb that they started from are named beside them.
"""

MAX_ROWS = 300
"""Training rows on which networks are probed: a share of units is known to a few percent."""
MAX_REFERENCE_ROWS = 500
"""Training rows of the reference models, whose time grows with the square."""

GOOD_SCORE = 0.97
"""Accuracy or R2 from which on a fit is good, whatever other models reach."""
DEFICIT = 0.06
"""How far below the reference the score of a run that does well may be."""
TRAIN_DEFICIT = 0.1
"""The same on the training rows alone; plateaus on the way to a good fit are above it."""

COLUMN_RMS = (0.02, 30.0)
"""Root mean squares of the largest feature column as the network sees it; scaled ones have 1."""
COLUMN_RATIO = 100.0
"""Largest deviation of a column / smallest one."""
TARGET_RMS = 10.0
"""Root mean square of the target as the network sees it; a scaled one has 1."""
RARE_CLASS = 0.12
"""Share of the rarest class below which classes are imbalanced."""
BALANCED_GAP = 0.15
"""Accuracy - balanced accuracy."""

SATURATED = 0.65
"""Share of flat slopes in a layer at the start, beyond what the activation has by nature."""
GRADIENT_RATIO = 2e-3
"""Gradient of the first layer / gradient of the last one at the start."""
LOSS_RATIO = 10.0
"""Loss at the start / loss of outputs that are all 0."""
START_GRADIENT = 100.0
"""Norm of the gradient at the start / loss of outputs that are all 0."""

RATIO_HIGH = 0.03
"""|update| / |weights| of a layer at the end of a training. Rule of thumb: about 1e-3."""
RATIO_JUMP = 0.1
"""The same, anywhere in the training, from which on one update can kill units."""
END_OVER_MIN = 1.2
"""Train loss at the end / its minimum."""
TRAVEL_LOW = 0.5
"""Median of |update| / |weights| times the number of updates: how often its own size the layer that
moves most could have moved.
"""
FIRST_RATIO_LOW = 1e-3
"""The same of the first update, from which on the learning rate is not to blame."""
RATIO_LOW = 3e-4
"""|update| / |weights| below which longer training is no answer."""

MIN_EVALUATIONS = 20
"""Evaluations from which on the last tenth of a training can be judged."""
DEAD = 0.3
"""Share of units of a hidden layer whose slope is 0 on all rows."""
MIN_UNITS = 4
"""Of fewer units in a layer, a share says little: one of two is dead by chance."""
DEAD_AT_START = 0.7
"""The same at the start and at the end, from which on nothing else need be asked."""
LAST_FALL = 2e-2
"""Relative fall of the train loss over the last tenth of the training."""
UNUSED = 0.02
"""Share of a unit's variance that the other units of its layer do not explain."""
WIDE_ENOUGH = 12
"""Units in the narrowest hidden layer from which on their number is not the first suspicion."""

NOISY_SCORE = 0.86
"""Accuracy of the neighbors and of the network from which on labels are not noisy."""
NOISY_GAP = 0.08
"""How far apart the scores of the network and of its neighbors are if labels are noisy."""
OVERFIT_GAP = 0.15
"""(val loss - train loss) at the end / loss of outputs that are all 0."""
OVERFIT_SCORE_GAP = 0.08
"""Score of the training rows - score of the val rows at the end."""
OVERFIT_RISE = 0.18
"""(val loss at the end - its minimum) / loss of outputs that are all 0."""
BY_HEART_GAP = 0.85
"""(val loss - train loss) as above, from which on the scores need not be asked."""
BY_HEART_RISE = 0.1
"""The rise of the val loss that suffices then."""
