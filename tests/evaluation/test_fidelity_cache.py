"""Features and samples are kept on disk: never taken for others, and completed after an interruption."""

import numpy as np
import pytest
import torch

from marscf.errors import CheckpointError
from marscf.evaluation import digits_net
from marscf.evaluation import fidelity as module
from marscf.evaluation.extractors import Extractor, load_extractor
from marscf.evaluation.fidelity import extract
from marscf.evaluation.sampling import draw_samples


@pytest.fixture
def extractor(extractor_at_hand):
    return load_extractor("digits-net", "digits", grey_levels=17)


def test_other_images_or_other_weights_never_meet_a_stale_entry(digits, extractor, tmp_path):
    images = digits[0][:64]
    first = extract(images, "one", extractor, cache=tmp_path)
    calls = []

    def counting(batch):
        calls.append(len(batch))
        return extractor.network(batch)

    def variant(**changes):
        return Extractor(**{**vars(extractor), "network": counting, **changes})

    again = extract(images, "one", variant(), cache=tmp_path)
    assert calls == [1]  # the width alone; the rest is from the cache
    np.testing.assert_array_equal(again.values, first.values)
    other = extract(255 - images, "two", variant(), cache=tmp_path)
    assert not np.array_equal(other.values, first.values)

    torch.manual_seed(0)
    stranger = digits_net.DigitsNet(8, 10).eval()
    changed = extract(images, "one", variant(network=stranger, weights_sha256="f" * 64), cache=tmp_path)
    np.testing.assert_allclose(
        changed.values,
        stranger(torch.from_numpy(digits_net.three_channels(images, 17)))[0].detach().numpy(),
        rtol=1e-5,
        atol=1e-6,
    )
    assert not np.array_equal(changed.values, first.values)


def test_other_code_never_meets_a_stale_entry(digits, extractor, tmp_path, monkeypatch):
    images = digits[0][:16]
    extract(images, "one", extractor, cache=tmp_path)
    monkeypatch.setattr(module, "behind", lambda stage: "another version of the code")
    extract(images, "one", extractor, cache=tmp_path)
    assert len(list((tmp_path / "features").glob("*.npy"))) == 2
    monkeypatch.setattr(digits_net, "behind", lambda stage: "another version of the code")
    with pytest.raises(CheckpointError, match="marscf evaluate extractor digits"):
        load_extractor("digits-net", "digits")


def test_interrupted_sampling_loses_one_batch_at_most(model, tmp_path, monkeypatch):
    whole = np.load(draw_samples(model, "w", 10, batch_size=4, cache=tmp_path / "a"))
    sample, drawn = model.sample, []

    def breaking(count, **kwargs):
        if len(drawn) == 2:
            raise KeyboardInterrupt
        drawn.append(count)
        return sample(count, **kwargs)

    model.sample = breaking
    with pytest.raises(KeyboardInterrupt):
        draw_samples(model, "w", 10, batch_size=4, cache=tmp_path / "b")
    assert drawn == [4, 4]
    model.sample = sample
    model.draw_eps, draw = None, model.draw_eps
    drawn_after = []

    def counting(count, *rest):
        drawn_after.append(count)
        return draw(count, *rest)

    model.draw_eps = counting
    path = draw_samples(model, "w", 10, batch_size=4, cache=tmp_path / "b")
    assert drawn_after == [2]
    np.testing.assert_array_equal(np.load(path), whole)
    others = [
        draw_samples(model, "v", 10, batch_size=4, cache=tmp_path / "b"),
        draw_samples(model, "w", 10, batch_size=4, cache=tmp_path / "b", seed=1),
        draw_samples(model, "w", 10, batch_size=4, cache=tmp_path / "b", temperature=0.5),
    ]
    assert len({path, *others}) == 4
