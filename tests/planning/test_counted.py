"""The record of counts: what it holds is what counting gives, and it is of today's code."""

import pytest
import torch

from marscf import models
from marscf.bench.work import noise_batch
from marscf.cli import main
from marscf.config import load_config, resolve
from marscf.planning import counted, probe, recorded

CONFIG = load_config()


def small(system="marscf-affine", **options):
    """The config of a system on digits, a small one."""
    values = resolve(CONFIG, "quick", "digits", system, 0).to_json()
    values["options"] |= options
    return counted.RunConfig.from_json(values)


@pytest.mark.parametrize("system", CONFIG.systems)
def test_the_record_holds_what_counting_gives(system):
    config = small(system)
    torch.manual_seed(0)  # as the probe does
    model = models.build(config)
    if not model.closed_form:
        model.initialise(*noise_batch(model, 2))
    found = counted.count(model)
    kept = counted.known(config)
    assert (kept.parameters, kept.gflops_per_image) == (found.parameters, found.gflops_per_image)
    if not model.closed_form:  # storages are told apart by their addresses, which may be used again
        assert kept.kept_bytes == pytest.approx(found.kept_bytes, rel=0.1, abs=4096)
        assert kept.kept_if_recomputed == pytest.approx(found.kept_if_recomputed, rel=0.1, abs=4096)


@pytest.mark.parametrize("scale", [name for name, scale in CONFIG.scales.items() if not scale.published])
def test_every_model_of_the_shipped_scales_is_in_the_record(scale):
    """If not: `marscf plan --scale SCALE --device h200 --keep-counts`, which at scale paper takes minutes."""
    missing = [
        f"{dataset} {system}"
        for dataset in CONFIG.scale(scale).datasets
        for system in CONFIG.systems
        if counted.known(resolve(CONFIG, scale, dataset, system, 0)) is None
    ]
    assert not missing


def test_counts_of_other_options_or_other_code_are_not_taken(tmp_path, monkeypatch):
    record, counts = tmp_path / "counted.json", counted.Counts(5, 1.0, 2.0, None)
    counted.keep([(small(channels=4), counts)], record)
    assert counted.known(small(channels=4), record) == counts
    assert counted.known(small(channels=5), record) is None
    counted.keep([(small(channels=5), counts)], record)
    assert counted.known(small(channels=4), record) == counts
    monkeypatch.setattr(counted, "behind", lambda *names: "another")
    assert counted.known(small(channels=4), record) is None


def test_what_is_known_is_not_counted_again(monkeypatch):
    def refused(model):
        raise AssertionError("counted again")

    monkeypatch.setattr(probe, "count", refused)
    counts = counted.Counts(5, 1.0, 2.0, None)
    values = small(channels=4, steps=1).to_json()
    found = probe.probe(values, 16, 16, "cpu", counts, recorded.find("h200"))
    assert found.counts == counts and found.step.seconds > 0
    with pytest.raises(AssertionError, match="counted again"):
        probe.probe(values, 16, 16, "cpu", None, recorded.find("h200"))


def test_the_plan_of_a_machine_that_is_not_here_needs_no_counting(capsys):
    """Two processes build the paper's models, and run none of them."""
    main(["plan", "--scale", "paper", "--device", "h200", "--systems", "marscf-affine,tarflow"])
    assert "cifar10 tarflow" in capsys.readouterr().out
