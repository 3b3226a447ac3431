"""The types of model options.

A model's constructor signature is the schema of its `options` in `config/systems/`: `marscf.config` reads
the annotations (without importing torch) and checks every YAML against them. These names say which values
are in range; at run time they are plain numbers.
"""

from typing import Literal

PositiveInt = int  # 1, 2, …
NonNegativeInt = int  # 0, 1, …
PositiveFloat = float  # > 0
Probability = float  # 0 ≤ p < 1
Margin = float | None  # 0 < m < 1/2, or None

__all__ = ["Literal", "Margin", "NonNegativeInt", "PositiveFloat", "PositiveInt", "Probability"]
