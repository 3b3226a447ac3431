import numpy as np
import pytest
import torch
from two_modes import TwoModes

from marscf.data.arrays import open_labels, open_split
from marscf.errors import ConfigError, EvaluationError
from marscf.studies.interpolation_pairs import choose_pairs, exact_latents, measure_units


def test_pairs_are_seeded_disjoint_and_of_two_classes(digits):
    for split, count, most in (("test", 20, 30), ("val", 5, 10)):
        pairs, classes = choose_pairs("digits", split, count), open_labels("digits", split)
        assert len(np.unique(pairs)) == 2 * count and pairs.max() < len(classes)
        assert (classes[pairs[:, 0]] != classes[pairs[:, 1]]).all()
        assert np.array_equal(choose_pairs("digits", split, 3), pairs[:3])
        with pytest.raises(ConfigError, match=f"{most + 1} are asked for"):
            choose_pairs("digits", split, most + 1)


def test_units_are_of_validation_images(digits):
    class Halved(TwoModes):
        def encode_continuous(self, y):
            return [y / 2], y.new_zeros(len(y))

    model = Halved((1, 8, 8), 17)
    units = measure_units(model, "digits", batch_size=7)
    deviation = (np.asarray(open_split("digits", "val"), dtype=np.float64) / 17).std(ddof=1)
    assert units.pixels == pytest.approx(deviation, rel=1e-6)
    assert units.latents == pytest.approx([deviation / 2], rel=1e-6)


def test_float64_serves_where_float32_does_not_give_the_images_back():
    class Coarse(TwoModes):
        def decode(self, latents):
            y = super().decode(latents)
            return y if y.dtype == torch.float64 else y + 0.1

    images = torch.randint(0, 17, (4, 1, 4, 4), dtype=torch.uint8)
    given = Coarse((1, 4, 4), 17)
    precision = {value.dtype for value in given.state_dict().values()}
    model, latents = exact_latents(given, images)
    assert latents[0].dtype == torch.float64 and torch.equal(model.to_discrete(model.decode(latents)), images)
    assert {value.dtype for value in given.state_dict().values()} == precision == {torch.float32}

    class Wrong(TwoModes):
        def decode(self, latents):
            return super().decode(latents) + 0.1

    with pytest.raises(EvaluationError, match="do not come back"):
        exact_latents(Wrong((1, 4, 4), 17), images)
