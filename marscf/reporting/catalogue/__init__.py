"""Every table and figure of the report, each declared once.

The workflow, the notebook, the page and the tests read it from here. To add one, add its entry to the module
of its section, and write the function that draws it. The order here is the order of the page.
"""

from marscf.errors import ConfigError, MarscfError, nearest
from marscf.reporting.catalogue import (
    correlation,
    interpolation,
    likelihood,
    published,
    samples,
    speed,
    training,
)
from marscf.reporting.catalogue.product import Plan, Product

SECTIONS: dict[str, list[Product]] = {
    "Likelihood": likelihood.PRODUCTS,
    "Samples": samples.PRODUCTS,
    "Sampling speed": speed.PRODUCTS,
    "Interpolation": interpolation.PRODUCTS,
    "Why channels need each other": correlation.PRODUCTS,
    "Training": training.PRODUCTS,
    "Published numbers": published.PRODUCTS,
}


def products() -> dict[str, Product]:
    """Every table and figure, by name."""
    return {product.name: product for found in SECTIONS.values() for product in found}


def product(name: str) -> Product:
    """A table or figure by its name."""
    known = products()
    if name not in known:
        raise MarscfError(f"no table or figure {name!r}{nearest(name, known)}")
    return known[name]


def planned(plan: Plan) -> dict[str, Product]:
    """The tables and figures that a selection has data for, by name.

    Raises `ConfigError` where the scale lists a figure that is not in the catalogue.
    """
    known = products()
    for name in plan.scale.figures:
        if name not in known:
            place = f"scales/{plan.scale.name}.yaml: figures"
            raise ConfigError(f"{place}: {name!r} is not in the catalogue{nearest(name, known)}")
    return {name: product for name, product in known.items() if product.about(plan)}
