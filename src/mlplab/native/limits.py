"""The sizes that the kernel and the code around it agree on."""

LANES = 32
"""The number of examples in a block: LANE of functions.h."""
MAX_NUMBERS = 8
"""The most numbers that the function of a component takes: NUMBERS of kernel.c."""
LEARNED = MAX_NUMBERS - 1
"""The place among these of a parameter that an activation learns."""
MAX_STATES = 8
"""The most state tensors of an optimizer: STATES of kernel.c."""
MAX_SCRATCH_ROWS = 8
"""The most numbers that the function of a loss stores for each row: SCRATCH_ROWS of kernel.c."""
