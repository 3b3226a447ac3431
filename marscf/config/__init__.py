"""The one typed loader of `config/`, for the command line and the Snakefile alike.

Unknown keys are refused with the nearest name, values out of range with their place. Nothing here imports
torch: a model's options are read from its constructor's signature as text (see `marscf.options`). A run's
config itself is `marscf.settings.RunConfig`, which needs no pydantic.
"""

from marscf.config.declared import option_schema
from marscf.config.loading import Config, load_config
from marscf.config.parsing import parse, read_yaml
from marscf.config.resolving import provenance, resolve
from marscf.config.schemas import (
    Checkpoint,
    Dataset,
    Evaluation,
    Fidelity,
    Interpolation,
    SamplingSpeed,
    Scale,
    Source,
    Strict,
    System,
)

__all__ = [
    "Checkpoint",
    "Config",
    "Dataset",
    "Evaluation",
    "Fidelity",
    "Interpolation",
    "SamplingSpeed",
    "Scale",
    "Source",
    "Strict",
    "System",
    "load_config",
    "option_schema",
    "parse",
    "provenance",
    "read_yaml",
    "resolve",
]
