"""The fidelity of a run's samples, and its floor: which images are compared, and what is written."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from marscf.config import Fidelity
from marscf.data.arrays import dataset_of, read_manifest
from marscf.devices import choose_device
from marscf.evaluation.extractors import Extractor, load_extractor
from marscf.evaluation.fidelity import compare, extract, reference_images
from marscf.evaluation.measurements import trial, weights_hash, write_measurements
from marscf.evaluation.sampling import draw_samples
from marscf.files import sha256_file
from marscf.models import load
from marscf.runs import Run, run_config

REAL = "real"  # the system of the floor


@dataclass(frozen=True)
class Call:
    """How a measurement is made, apart from what the scale says."""

    seed: int = 0
    device: str = "auto"
    inception_weights: str | None = None
    mirror: str | None = None
    offline: bool | None = None
    images: int | None = None  # at most so many samples and real images; None: what the settings say
    progress: bool = False

    def samples(self, settings: Fidelity) -> int:
        """Return how many images are compared."""
        return min(settings.samples, self.images or settings.samples)

    def extractor(self, settings: Fidelity, dataset: str) -> Extractor | None:
        """Return the extractor that a scale names, None where it names none."""
        if settings.extractor == "none":
            return None
        return load_extractor(
            settings.extractor,
            dataset,
            grey_levels=read_manifest(dataset)["grey_levels"],
            device=choose_device(self.device),
            inception_weights=self.inception_weights,
            mirror=self.mirror,
            offline=self.offline,
        )


def measure_fidelity(
    path: Path, settings: Fidelity, call: Call, temperature: float = 1.0, is_trial: bool = False
) -> list[dict[str, Any]]:
    """Compare a run's samples with real images, and write RUN/fidelity.json, or a trial beside it."""
    manifest = dataset_of(run_config(path))
    dataset = manifest["name"]
    entries: list[dict[str, Any]] = []
    weights = weights_hash(path)
    if extractor := call.extractor(settings, dataset):
        model = load(path, choose_device(call.device))
        count = call.samples(settings)
        real, real_identity, real_card = reference_images(dataset, settings.reference, call.images, call.seed)
        drawn = draw_samples(
            model,
            weights,
            count,
            batch_size=settings.batch_size,
            seed=call.seed,
            temperature=temperature,
            progress=call.progress,
        )
        images = np.load(drawn, mmap_mode="r")
        samples = extract(images, sha256_file(drawn), extractor, progress=call.progress)
        how = f"seed {call.seed}, temperature {temperature:g}, batches of {settings.batch_size}"
        how += f", {model.sampling}" * bool(model.sampling)
        entries = compare(
            samples,
            extract(real, real_identity, extractor, progress=call.progress),
            extractor,
            samples_card=f"{count} samples ({how})",
            reference_card=real_card,
            seed=call.seed,
        )
        samples.discard()  # large, and quickly made again from the samples, which stay
    origin = {"weights_sha256": weights, "data_digest": manifest["digest"]}
    out = path / "fidelity.json"
    write_measurements(trial(out) if is_trial else out, Run.from_path(path), entries, **origin)
    return entries


def measure_floor(
    folder: Path, settings: Fidelity, call: Call, is_trial: bool = False
) -> list[dict[str, Any]]:
    """Compare real images with real images: FOLDER/floor.json, or a trial; what a perfect model would get."""
    names = Run.from_path(folder / REAL / "seed0")
    entries: list[dict[str, Any]] = []
    if extractor := call.extractor(settings, names.dataset):
        other = "train" if settings.reference == "test" else "test"
        count, seed = call.samples(settings), call.seed
        some, some_identity, some_card = reference_images(names.dataset, other, count, seed)
        real, real_identity, real_card = reference_images(
            names.dataset, settings.reference, call.images, seed
        )
        entries = compare(
            extract(some, some_identity, extractor, progress=call.progress),
            extract(real, real_identity, extractor, progress=call.progress),
            extractor,
            samples_card=some_card,
            reference_card=real_card,
            seed=call.seed,
        )
    data = read_manifest(names.dataset)["digest"]
    out = folder / "floor.json"
    write_measurements(trial(out) if is_trial else out, names, entries, data_digest=data)
    return entries
