"""The typed loader: what it accepts, what it refuses, and in which words."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from marscf.config import System as SystemSchema
from marscf.config import load_config, loading, option_schema, parse, provenance, resolve
from marscf.errors import ConfigError
from marscf.models import build
from marscf.runs import config_hash

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    return tmp_path / "config"


def edit(path, **changes):
    value = yaml.safe_load(path.read_text())
    value.update(changes)
    path.write_text(yaml.safe_dump(value))


def add_scale(folder, name="mine", **values):
    values = {"name": name, "description": "", "datasets": ["cifar10"], **values}
    (folder / "scales" / f"{name}.yaml").write_text(yaml.safe_dump(values))


def test_every_scale_dataset_and_system_resolves():
    config = load_config(REPOSITORY / "config")
    assert set(config.scales) == {"quick", "laptop", "cpu-hours", "gpu-hour", "paper", "published"}
    for scale in config.scales.values():
        for dataset in scale.datasets:
            for system in [] if scale.published else config.systems:
                run = resolve(config, scale.name, dataset, system, 0)
                assert run.data.shape == config.dataset(dataset).shape


def test_a_scale_that_is_like_another_takes_its_models_and_trains_them_longer(folder):
    add_scale(folder, like="laptop", longer=3, systems=["pixelcnn", "glow"], training={"batch_size": 24})
    config = load_config(folder)
    assert config.systems_of("mine") == ["glow", "pixelcnn"]  # in the order of tables
    assert config.systems_of("laptop") == list(config.systems)
    for system in config.systems:
        there, here = (resolve(config, scale, "cifar10", system, 0) for scale in ("laptop", "mine"))
        assert here.options == there.options and here.training.steps == 3 * there.training.steps
        assert here.training.batch_size == 24 and here.training.learning_rate == there.training.learning_rate
        source = provenance(config, here)["training.steps"]
        assert source == f"{folder}/scales/mine.yaml: longer"


def test_where_no_file_says_how_many_steps_the_default_is_taken_so_many_times(folder):
    add_scale(folder, "short")
    add_scale(folder, "mine", like="short", longer=2)
    add_scale(folder, "same", like="short")
    config = load_config(folder)
    runs = {name: resolve(config, name, "cifar10", "glow", 0) for name in ("short", "mine", "same")}
    assert runs["mine"].training.steps == 2 * runs["short"].training.steps
    assert runs["same"].training == runs["short"].training
    assert "training.steps" not in provenance(config, runs["same"])


def test_what_a_system_says_of_a_scale_wins_over_what_that_is_like(folder):
    add_scale(folder, like="laptop", longer=3)
    glow = yaml.safe_load((folder / "systems" / "glow.yaml").read_text())
    glow["scales"]["mine"] = {"training": {"steps": 7}, "options": {"channels": 5}}
    (folder / "systems" / "glow.yaml").write_text(yaml.safe_dump(glow))
    run = resolve(load_config(folder), "mine", "cifar10", "glow", 0)
    assert (run.training.steps, run.options["channels"], run.options["steps"]) == (7, 5, 4)


def test_a_scale_may_be_like_one_that_is_like_a_third(folder):
    add_scale(folder, "middle", like="laptop", longer=3)
    add_scale(folder, like="middle", longer=2)
    config = load_config(folder)
    first, last = (resolve(config, scale, "cifar10", "glow", 0) for scale in ("laptop", "mine"))
    assert last.training == replace(first.training, steps=6 * first.training.steps)
    assert last.options == first.options


@pytest.mark.parametrize(
    ("scale", "dataset"), [("laptop", "mnist"), ("laptop", "cifar10"), ("cpu-hours", "cifar10")]
)
def test_the_affine_control_is_glow_with_the_images_of_mar_scf(scale, dataset):
    config = load_config(REPOSITORY / "config")
    systems = ("gaussian-affine", "glow", "marscf-affine")
    control, glow, ours = (resolve(config, scale, dataset, system, 0) for system in systems)
    assert (control.model, control.options) == (glow.model, glow.options)
    assert control.training == replace(glow.training, steps=ours.training.steps)
    assert control.training == ours.training


@pytest.mark.parametrize(
    ("scale", "dataset"),
    [("quick", "digits"), ("laptop", "mnist"), ("laptop", "cifar10"), ("gpu-hour", "mnist")],
)
@pytest.mark.parametrize("coupling", ["affine", "mixlogcdf"])
def test_controls_have_as_many_parameters_and_images_as_mar_scf(scale, dataset, coupling):
    config = load_config(REPOSITORY / "config")
    runs = [resolve(config, scale, dataset, f"{prior}-{coupling}", 0) for prior in ("gaussian", "marscf")]
    control, ours = (sum(value.numel() for value in build(run).parameters()) for run in runs)
    assert control == pytest.approx(ours, rel=0.05)
    assert runs[0].training == runs[1].training


def test_scales_that_are_like_each_other_are_refused(folder):
    add_scale(folder, "one", like="other")
    add_scale(folder, "other", like="one")
    with pytest.raises(ConfigError, match=r"scales/other\.yaml: like: in a circle: one, other, one"):
        load_config(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"like": "lapto"}, "did you mean 'laptop'"),
        ({"like": "mine"}, "scales/mine.yaml: like: in a circle: mine, mine"),
        ({"like": "published"}, "'published' trains nothing"),
        ({"training": {"stepz": 3}}, "scales/mine.yaml: training: unknown key 'stepz'"),
        ({"training": {"steps": -3}}, "scales/mine.yaml: training"),
        ({"longer": 3}, "longer: than which scale? like: names it"),
        ({"systems": ["glo"]}, "did you mean 'glow'"),
        ({"systems": []}, "at least 1"),
    ],
)
def test_a_scale_that_names_what_there_is_not_is_refused(folder, change, words):
    add_scale(folder, **change)
    with pytest.raises(ConfigError, match=re.escape(words)):
        load_config(folder)


def test_all_flows_see_a_dataset_through_the_same_logit():
    config = load_config(REPOSITORY / "config")
    flows = [name for name in config.systems if name not in ("pixelcnn", "histogram")]
    for scale, dataset in (("laptop", "mnist"), ("gpu-hour", "mnist"), ("paper", "mnist-rgb")):
        margins = [resolve(config, scale, dataset, s, 0).options["logit_margin"] for s in flows]
        assert margins == [1e-6] * len(flows)
        assert "logit_margin" not in resolve(config, scale, dataset, "pixelcnn", 0).options


@pytest.mark.parametrize(
    ("system", "dataset", "training", "options"),
    [
        (
            *("glow", "cifar10"),
            {"optimizer": "adamax", "learning_rate": 1e-3, "batch_size": 512, "warmup_images": 500_000},
            {"levels": 3, "steps": 32, "channels": 512, "logit_margin": None},
        ),
        ("glow", "imagenet32", {"augment": "none"}, {"steps": 48}),
        (
            *("flowpp", "cifar10"),
            {"optimizer": "adam", "betas": [0.9, 0.999], "learning_rate": 3e-4, "warmup_images": 2000 * 64}
            | {"batch_size": 64, "gradient_clip": 1.0, "gradient_clip_unit": "nats/image"}
            | {"augment": "none", "average_decay": 0.999},
            {"actnorm": "position", "positions": "learned", "context": "halves", "context_blocks": 3},
        ),
        (
            *("flowpp", "imagenet32"),
            {"optimizer": "adam", "batch_size": 32},
            {"channels": 128, "blocks": 20, "dropout": 0.0, "checkerboard": 7, "channelwise": 3}
            | {"checkerboard_after": 3, "dequantiser_couplings": 8, "dequantiser_blocks": 8},
        ),
        (
            *("residual-flow", "cifar10"),
            {"optimizer": "adam", "betas": [0.9, 0.99], "learning_rate": 1e-3, "warmup_images": 1000 * 64}
            | {"augment": "flip", "gradient_clip": 1.0, "gradient_clip_unit": "bits/dim"}
            | {"average_decay": 0.999, "steps": 781_000},
            {"blocks": 16, "fc_blocks": 4, "fc_channels": 128},
        ),
        ("residual-flow", "imagenet32", {"augment": "none"}, {"blocks": 32}),
        (
            *("marscf-affine", "cifar10"),
            {"optimizer": "adamax", "learning_rate": 8e-4, "batch_size": 128, "warmup_images": 10_000},
            {"levels": 3, "steps": 32, "channels": 512, "logit_margin": None},
        ),
    ],
)
def test_scale_paper_has_the_settings_of_each_systems_own_code(system, dataset, training, options):
    run = resolve(load_config(REPOSITORY / "config"), "paper", dataset, system, 0).to_json()
    assert run["training"] | {"augment": run["data"]["augment"]} | training == run["training"] | {
        "augment": run["data"]["augment"]
    }
    assert run["options"] | options == run["options"]
    assert run["training"]["validation_images"] == 0  # all training images, the last averaged weights


def test_the_sweep_at_scale_paper_has_a_budget_for_all_but_mar_scf():
    sweep = load_config(REPOSITORY / "config").scale("paper").studies.sampling_speed
    systems = load_config(REPOSITORY / "config").systems
    assert {name for name in systems if sweep.budget(name) is None} == {"marscf-affine", "marscf-mixlogcdf"}


def test_what_a_system_says_of_augmentation_wins_over_the_dataset(folder):
    assert resolve(load_config(folder), "laptop", "cifar10", "glow", 0).data.augment == "flip-shift"
    edit(folder / "systems" / "glow.yaml", training={"augment": "flip"})
    loading._load.cache_clear()
    assert resolve(load_config(folder), "laptop", "cifar10", "glow", 0).data.augment == "flip"


def test_seed_depends_on_the_names_alone():
    config = load_config(REPOSITORY / "config")
    runs = [resolve(config, "quick", "digits", s, k) for s in config.systems for k in range(3)]
    assert len({run.seed_value for run in runs}) == len(runs)
    assert len({config_hash(run) for run in runs}) == len(runs)
    assert resolve(config, "quick", "digits", "glow", 0).seed_value == 205098673


def test_loading_does_not_import_torch():
    code = (
        "import sys; from marscf.config import load_config, resolve; "
        "resolve(load_config(), 'quick', 'digits', 'glow', 0); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ({"titel": "Glow"}, "unknown key 'titel'; did you mean 'title'"),
        ({"model": "multiscale_flo.MultiScaleFlow"}, "did you mean 'multiscale_flow'"),
        ({"model": "multiscale_flow.Glow"}, "no class 'Glow'"),
        ({"options": {"coupling": "affin"}}, "'affine' or 'mixlogcdf'"),
        ({"options": {"coupling": "affine", "stepz": 4}}, "unknown key 'stepz'; did you mean 'steps'"),
        ({"options": {"steps": 0}}, "steps: Input should be greater than 0, got 0"),
        ({"options": {"steps": 2, "levels": 4}, "scales": {}}, "4 levels need sides divisible by 16"),
        ({"training": {"learning_rate": -1}}, "learning_rate: Input should be greater than 0, got -1"),
        ({"training": {"learning_rate": float("inf")}}, "learning_rate: Input should be a finite number"),
        ({"name": "marscf-affine"}, "is that of another file"),
        ({"training": {"learning_rat": 1}}, "unknown key 'learning_rat'; did you mean 'learning_rate'"),
        ({"scales": {"quik": {}}}, "'quik'; did you mean 'quick'"),
        ({"scales": {"quick": {"datasets": {"mnst": {}}}}}, "'mnst'; did you mean 'mnist'"),
    ],
)
def test_bad_input_is_refused_in_one_line(folder, edits, words):
    edit(folder / "systems" / "glow.yaml", **edits)
    with pytest.raises(ConfigError) as error:
        resolve(load_config(folder), "quick", "digits", "glow", 0)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_misspelt_key_that_is_needed_is_called_misspelt(folder):
    path = folder / "systems" / "glow.yaml"
    path.write_text(path.read_text().replace("title:", "titel:"))
    with pytest.raises(ConfigError, match=r"glow.yaml: unknown key 'titel'; did you mean 'title'\?"):
        load_config(folder)
    path.write_text(path.read_text().replace("titel: Glow\n", ""))
    with pytest.raises(ConfigError, match=r"glow.yaml: title: Field required$"):
        load_config(folder)


def test_a_file_that_is_no_text_is_named_and_what_a_system_leaves_is_not_read(folder):
    (folder / "datasets" / "._digits.yaml").write_bytes(b"\x00\x05\x16\x07\x00\xff\xfe")
    load_config(folder)
    loading._load.cache_clear()
    (folder / "datasets" / "latin.yaml").write_bytes(b"title: Gem\xe4lde")
    with pytest.raises(ConfigError, match=r"latin.yaml is not UTF-8; save it as UTF-8"):
        load_config(folder)


@pytest.mark.parametrize("key", ["datasets", "seeds"])
def test_empty_lists_that_would_run_nothing(folder, key):
    edit(folder / "scales" / "quick.yaml", **{key: []})
    with pytest.raises(ConfigError, match=f"quick.yaml: {key}: List should have at least 1 item"):
        load_config(folder)


@pytest.mark.parametrize(("kind", "name"), [("scale", "quack"), ("system", "glo"), ("dataset", "minst")])
def test_unknown_names_get_the_nearest(kind, name):
    config = load_config(REPOSITORY / "config")
    with pytest.raises(ConfigError, match=f"unknown {kind} '{name}'; did you mean"):
        getattr(config, kind)(name)


def test_numbers_and_duplicate_keys(folder):
    text = (folder / "scales" / "quick.yaml").read_text()
    (folder / "scales" / "quick.yaml").write_text(text.replace("2.0e-3", "2e-3"))
    assert resolve(load_config(folder), "quick", "digits", "histogram", 0).training.learning_rate == 2e-3
    loading._load.cache_clear()
    (folder / "scales" / "quick.yaml").write_text(text + "\nseeds: [1]\n")
    with pytest.raises(ConfigError, match="'seeds' stands twice"):
        load_config(folder)


def test_a_model_outside_the_package_declares_its_own_options(tmp_path, monkeypatch):
    (tmp_path / "own_model.py").write_text(
        "import torch_is_never_imported_here\n"
        "class Own:\n"
        "    def __init__(self, shape, *, width: PositiveInt = 8, kind: Literal['a', 'b'] = 'a'): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    schema = option_schema("own_model.Own")
    assert parse(schema, {"kind": "b"}, "here").model_dump() == {"width": 8, "kind": "b"}
    with pytest.raises(ConfigError, match="width"):
        parse(schema, {"width": "wide"}, "here")


def test_system_names_are_safe_as_folders():
    with pytest.raises(ConfigError, match="name"):
        parse(SystemSchema, {"name": "../x", "title": "", "model": "", "cite": "", "options": {}}, "here")
