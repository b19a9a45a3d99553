"""Speed measurements of `san` against straightforward implementations."""

import os

# OpenMP reads this when torch loads it. Without it, idle OpenMP threads spin on the cores of the compiled operators.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
