import pytest

from marscf.config.declared import _TYPES, option_schema
from marscf.config.parsing import parse
from marscf.errors import ConfigError
from marscf.options import _KINDS, check_options

FLOW = "multiscale_flow.MultiScaleFlow"
GOOD = [
    (FLOW, {}),
    (FLOW, {"logit_margin": None, "coupling": "mixlogcdf", "levels": 1, "dropout": 0}),
    (FLOW, {"logit_margin": 1e-6, "dropout": 0.999}),
    ("flowpp.FlowPP", {"checkerboard": 0, "context_blocks": None, "exit_elu": True}),
    ("flowpp.FlowPP", {"context_blocks": 1}),
    ("histogram.PixelHistogram", {"smoothing": 1}),
]
OUT_OF_RANGE = [
    *((FLOW, "logit_margin", margin, r"in \(0,0.5\), or null") for margin in (0.0, 0.5, -0.1, "none")),
    (FLOW, "coupling", "additive", "'additive' is not one of affine, mixlogcdf"),
    (FLOW, "prior", None, "None is not one of gaussian, mar"),
    (FLOW, "levels", 0, "0 is not a whole number of at least 1"),
    (FLOW, "steps", 1.5, "whole number"),
    (FLOW, "channels", True, "whole number"),
    (FLOW, "dropout", 1.0, r"in \[0,1\)"),
    (FLOW, "dropout", float("nan"), r"in \[0,1\)"),
    ("flowpp.FlowPP", "checkerboard", -1, "at least 0"),
    ("flowpp.FlowPP", "exit_elu", 1, "true or false"),
    ("flowpp.FlowPP", "context_blocks", 0, "a whole number of at least 1 or null"),
    ("histogram.PixelHistogram", "smoothing", 0.0, "above 0"),
]


@pytest.mark.parametrize("model, options", GOOD)
def test_options_in_range(model, options):
    check_options(model, options)


@pytest.mark.parametrize("model, name, value, words", OUT_OF_RANGE)
def test_options_out_of_range_are_refused(model, name, value, words):
    with pytest.raises(ConfigError, match=rf"options.{name}: .*{words}"):
        check_options(model, {name: value})


def test_an_unknown_option_is_refused():
    with pytest.raises(ConfigError, match="no option 'chanels'; did you mean 'channels'"):
        check_options(FLOW, {"chanels": 4})


def test_an_annotation_that_is_not_known_is_named(tmp_path, monkeypatch):
    (tmp_path / "odd_model.py").write_text("class Odd:\n    def __init__(self, *, width: 'Wide' = 8): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"odd_model\.Odd: option 'width': annotation"):
        check_options("odd_model.Odd", {"width": 8})


@pytest.mark.parametrize(
    "annotation, good, bad",
    [
        ("list", [1, "a"], 1),
        ("list[PositiveInt]", [3, 1], [3, 0]),
        ("list[int | None]", [None, 2], ["a"]),
        ("tuple", [1, 2], "ab"),
        ("tuple[int, float]", [1, 2.5], [1]),
        ("tuple[int, float]", [1, 2.5], [1.5, 2.5]),
        ("tuple[PositiveInt, ...]", [1, 2, 3], [0]),
    ],
)
def test_lists_are_checked_as_the_files_of_config_are(annotation, good, bad, tmp_path, monkeypatch):
    """What `config/` accepts, a model can be built with."""
    name = tmp_path.name  # another one for each case: what a module declares is remembered
    text = f"class Listed:\n    def __init__(self, *, sizes: {annotation}): ...\n"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    option_schema(f"{name}.Listed").model_validate({"sizes": good})
    check_options(f"{name}.Listed", {"sizes": good})
    with pytest.raises(ConfigError, match=r"options.sizes: .* is not a list"):
        check_options(f"{name}.Listed", {"sizes": bad})


def test_every_type_that_the_files_of_config_know_is_known():
    assert set(_KINDS) | {"Literal"} == set(_TYPES) | {"Dequantiser"}


@pytest.mark.parametrize(
    "read", [check_options, lambda model, given: parse(option_schema(model), given, "it")]
)
def test_the_options_of_a_dequantiser_are_checked_like_a_models_own(read):
    for model in ("multiscale_flow.MultiScaleFlow", "residual_flow.ResidualFlow"):
        for right in (None, {}, {"couplings": 2, "dropout": 0.1}):
            read(model, {"dequantiser": right})
        for wrong in ("yes", {"couplings": 0}, {"coupling": 1}, {"shape": [1, 2, 2]}, [2]):
            with pytest.raises(ConfigError, match=r"dequantiser|coupling|shape"):
                read(model, {"dequantiser": wrong})
