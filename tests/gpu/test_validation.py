"""What training says of the validation images is what the kept weights give, on a GPU too."""

import math

import numpy as np
import pytest
import torch

import marscf
from marscf.data.arrays import open_split
from marscf.files import seed_from, write_json
from marscf.runs import DATASETS
from marscf.training.run import train_run

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("coupling", ["affine", "mixlogcdf"])
def test_validation_is_of_the_weights_as_they_are(workplace, coupling):
    from marscf.config import load_config
    from marscf.data.prepare import prepare

    prepare(load_config().dataset("digits"), root=DATASETS)
    options = {"coupling": coupling, "levels": 2, "steps": 2, "channels": 16, "components": 4, "blocks": 1}
    options |= {"dropout": 0.0, "lstm_channels": 8, "lstm_layers": 2, "logit_margin": 1e-3}
    settings = {"steps": 60, "learning_rate": 0.01, "warmup_images": 64, "average_decay": 0.9}
    settings |= {"validate_every": 10, "validation_images": 180}
    config = {
        **{"scale": "quick", "dataset": "digits", "system": "x", "seed": 0, "seed_value": 7},
        "model": "multiscale_flow.MultiScaleFlow",
        "options": options,
        "training": settings,
        "data": {"shape": [1, 8, 8], "grey_levels": 17, "dims": 64, "augment": "none"},
    }
    folder = workplace / "data/runs/quick/digits/x/seed0"
    folder.mkdir(parents=True)
    write_json(folder / "config.json", config)
    receipt = train_run(folder, "cuda")
    model = marscf.load(folder, "cuda")
    x = torch.from_numpy(np.array(open_split("digits", "val"))).cuda()
    generator, nats = torch.Generator("cuda").manual_seed(seed_from(7, "validation")), 0.0
    with torch.no_grad():
        for batch in x.split(64):
            nats -= model.log_prob(batch, model.draw_noise(len(batch), generator)).sum().item()
    assert nats / len(x) / 64 / math.log(2) == pytest.approx(
        receipt["best_validation_bits_per_dim"], rel=2e-4
    )
