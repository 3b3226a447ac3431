"""Altered inputs of every parser: decoded, or refused by a declared error, in bounded time and memory."""

import json
import random
import resource
import time
from pathlib import Path

import pytest
from counts import count, found
from damaged_files import CASES, mutated, npy_seed, parse

from marscf import models
from marscf.config import load_config, read_yaml, resolve
from marscf.config import parse as parse_config
from marscf.config.schemas import Dataset, Scale, System
from marscf.errors import MarscfError
from marscf.settings import RunConfig

MEMORY = 400 << 20  # bytes that the parsers may add to the process
SECONDS = 10.0  # for one input
CONFIG = Path(__file__).parents[2] / "config"
SCHEMAS = {"scales": Scale, "systems": System, "datasets": Dataset}


def tried(name, content, attempt, trials, seed=0):
    """Alter `content` so many times; `attempt` says whether an altered one was taken. Prints the counts."""
    dice, taken, slowest = random.Random(f"{name} {seed}"), 0, 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert attempt(content), "the sound one is taken"
    for _ in range(trials):
        began = time.perf_counter()
        taken += attempt(mutated(content, dice))
        slowest = max(slowest, time.perf_counter() - began)
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert slowest < SECONDS and grown < MEMORY
    found(f"{trials:,} {name}: {taken:,} taken, {trials - taken:,} refused, at most {slowest:.2f} s")


def refused_or_taken(read, place):
    """Whether an input is taken; the declared error is one line that names the place."""
    try:
        read()
    except MarscfError as error:
        assert str(place) in str(error) and "\n" not in str(error)
        return False
    return True


@pytest.mark.parametrize("name", CASES)
def test_files_of_datasets(name, tmp_path):
    content = CASES[name][4] or npy_seed(tmp_path)
    trials = -(-count(1300, 70_000) // len(CASES))
    tried(f"dataset files ({name})", content, lambda c: parse(name, c, tmp_path), trials)


@pytest.mark.parametrize("kind", SCHEMAS)
def test_yaml_of_config(kind, tmp_path):
    path = tmp_path / "x.yaml"

    def attempt(content):
        path.write_bytes(content)
        return refused_or_taken(lambda: parse_config(SCHEMAS[kind], read_yaml(path), str(path)), path)

    sound = min((CONFIG / kind).glob("*.yaml"), key=lambda file: file.stat().st_size)
    tried(f"YAML ({kind})", sound.read_bytes(), attempt, count(70, 4_000))


def test_config_of_a_run(tmp_path):
    path = tmp_path / "config.json"
    sound = json.dumps(resolve(load_config(CONFIG), "quick", "digits", "glow", 0).to_json()).encode()

    def attempt(content):
        path.write_bytes(content)

        def read():
            from marscf.runs import own_config

            own_config(tmp_path)

        return refused_or_taken(read, tmp_path)

    tried("configs of runs", sound, attempt, count(250, 10_000))


def test_weights(tmp_path):
    config = resolve(load_config(CONFIG), "quick", "digits", "glow", 0)
    path, name = tmp_path / "weights.safetensors", "weights"
    small = RunConfig.from_json(
        {**config.to_json(), "options": {**config.options, "levels": 1, "steps": 1, "channels": 2}}
    )
    models.save(models.build(small), small, path)

    def attempt(content):
        path.write_bytes(content)
        return refused_or_taken(lambda: models.load(path), "")

    sound = path.read_bytes()
    header = 8 + int.from_bytes(sound[:8], "little")
    tried(f"{name}, whole files", sound, attempt, count(150, 4_000))

    def header_alone(content):
        return attempt(len(content).to_bytes(8, "little") + content + sound[header:])

    tried(f"{name}, headers", sound[8:header], header_alone, count(150, 4_000), seed=1)
