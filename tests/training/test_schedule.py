"""The learning rate and the averaging's decay at known steps."""

import math
from dataclasses import replace

import pytest

from marscf.settings import TrainingSettings
from marscf.training.schedule import average_decay, learning_rate

SETTINGS = TrainingSettings(
    learning_rate=0.8, batch_size=10, warmup_images=100, steps=110, decay="constant", average_decay=0.99
)


def test_warm_up_is_linear_in_images():
    rates = [learning_rate(step, SETTINGS) for step in range(12)]
    assert rates[:3] == pytest.approx([0.08, 0.16, 0.24])
    assert rates[9:] == [0.8, 0.8, 0.8]
    doubled = replace(SETTINGS, batch_size=20)
    assert learning_rate(0, doubled) == pytest.approx(rates[1])


def test_without_warm_up():
    assert learning_rate(0, replace(SETTINGS, warmup_images=0)) == 0.8


def test_cosine():
    cosine = replace(SETTINGS, decay="cosine")
    assert learning_rate(10, cosine) == pytest.approx(0.8)
    assert learning_rate(60, cosine) == pytest.approx(0.4)
    assert learning_rate(85, cosine) == pytest.approx(0.4 * (1 + math.cos(0.75 * math.pi)))
    assert learning_rate(110, cosine) == pytest.approx(0, abs=1e-12)
    longer_warm_up_than_run = replace(cosine, warmup_images=5000)
    assert learning_rate(109, longer_warm_up_than_run) == pytest.approx(0.8 * 110 / 500)


def test_average_decay():
    assert average_decay(0, SETTINGS) == pytest.approx(0.1)
    assert average_decay(10_000, SETTINGS) == 0.99
    assert average_decay(500, replace(SETTINGS, average_decay=0.0)) == 0
