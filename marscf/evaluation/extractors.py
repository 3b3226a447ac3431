"""Feature extractors of the fidelity metrics: Inception, and digits-net where Inception makes no sense.

In Python:

    extractor = load_extractor("digits-net", "digits", grey_levels=17, device="cpu")
    features, logits = extractor(images)               # uint8 (N,C,H,W) of the dataset's grey levels
    probabilities = extractor.probabilities(images)    # float64 (N,classes)

and `marscf.evaluation.fidelity.inception_score(images, extractor) -> (mean, stderr)`.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from marscf.environment import given, switch
from marscf.errors import CheckpointError, ConfigError, MarscfError, nearest
from marscf.evaluation.digits_net import ROOT, load_digits_net, three_channels
from marscf.files import sha256_file

INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
INCEPTION_SHA256 = "6726825d"  # how the published file's hash begins; its name says so
INCEPTION_FOLDER = Path("data/extractors/inception")
INCEPTION_LAYERS = ["2048", "logits_unbiased"]


@dataclass(frozen=True)
class Extractor:
    """A network that turns images into features and class logits.

    `label` is the word that metrics carry in brackets: none for the published Inception weights alone.
    `card` says in the protocol what the network is; `weights_sha256` identifies its weights.
    """

    name: str
    label: str
    card: str
    weights_sha256: str
    network: Callable[[Tensor], tuple[Tensor, Tensor]]  # uint8 (B,3,H,W) -> (B,F), (B,classes) float32
    grey_levels: int
    device: torch.device
    batch_size: int

    def metric(self, name: str) -> str:
        """Return a metric's name as measured by this extractor: `fid`, `fid[digits-net]`."""
        return f"{name}[{self.label}]" if self.label else name

    @torch.no_grad()
    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Map `uint8 (N,C,H,W)` images to features `(N,F)` and logits `(N,classes)`, float32.

        Grey levels are stretched to 0 … 255, and a single channel is repeated to three.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ConfigError(
                f"expected uint8 images (N,1 or 3,H,W), got {images.dtype} {tuple(images.shape)}"
            )
        features, logits = [], []
        for start in range(0, len(images), self.batch_size):
            batch = three_channels(images[start : start + self.batch_size], self.grey_levels)
            found = self.network(torch.from_numpy(np.ascontiguousarray(batch)).to(self.device))
            features.append(found[0].cpu().numpy())
            logits.append(found[1].cpu().numpy())
        return np.concatenate(features), np.concatenate(logits)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return class probabilities `(N,classes)`, float64, of `uint8 (N,C,H,W)` images."""
        logits = torch.from_numpy(self(images)[1]).double()
        return logits.softmax(1).numpy()


def load_extractor(
    name: str,
    dataset: str,
    *,
    grey_levels: int = 256,
    device: torch.device | str = "cpu",
    inception_weights: str | Path | None = None,
    mirror: str | None = None,
    offline: bool | None = None,
    root: Path = ROOT,
) -> Extractor:
    """Load `inception` or a dataset's `digits-net`.

    Raises `CheckpointError` saying how to come by weights that are missing, and `ConfigError` for another
    name. `inception_weights`, `mirror` and `offline` are as in `find_inception`.
    """
    device = torch.device(device)
    if name == "digits-net":
        net, receipt = load_digits_net(dataset, root)
        sha256, accuracy = receipt["weights_sha256"], receipt["test_accuracy"]
        card = f"digits-net {sha256[:8]} (test accuracy {accuracy:.3f}, no resize, 64 features)"
        return Extractor(name, name, card, sha256, net.to(device), grey_levels, device, 250)
    if name == "inception":
        path = find_inception(inception_weights, mirror, offline)
        sha256 = sha256_file(path)
        published = sha256.startswith(INCEPTION_SHA256)
        label = "" if published else f"inception-{sha256[:8]}"
        whose = "" if published else ", not the published weights"
        card = f"Inception v3 (2015-12-05) {sha256[:8]}{whose}, bilinear resize to 299 as in TensorFlow 1"
        network = load_inception(path).to(device)
        return Extractor(name, label, card, sha256, network, grey_levels, device, 50)
    raise ConfigError(f"extractor {name!r} is unknown{nearest(name, ['inception', 'digits-net'])}")


def load_inception(path: Path) -> torch.nn.Module:
    """Return torch-fidelity's Inception v3 with the weights at `path`, giving 2048 features and 1008 logits.

    Raises `CheckpointError` where the file holds anything but such weights; nothing in it can run code.
    """
    from torch_fidelity.utils import create_feature_extractor

    try:
        # torch-fidelity would unpickle anything: what this refuses never gets there.
        torch.load(path, map_location="cpu", weights_only=True)
        return create_feature_extractor(
            "inception-v3-compat",
            list(INCEPTION_LAYERS),
            cuda=False,
            feature_extractor_weights_path=str(path),
            verbose=False,
        )
    except Exception as error:  # damaged files fail in many ways
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise CheckpointError(
            f"{path} holds no Inception weights as torch-fidelity has them ({reason}); get {INCEPTION_FILE}"
        ) from error


def find_inception(
    weights: str | Path | None = None, mirror: str | None = None, offline: bool | None = None
) -> Path:
    """Return the file with Inception's weights, downloading it from torch-fidelity's address if need be.

    Looked for in this order: `weights` or the environment's MARSCF_INCEPTION; `mirror` (MARSCF_MIRROR)
    `/inception/<file>`, a folder or any fsspec address; `data/extractors/inception`. `offline`
    (MARSCF_OFFLINE) forbids the download. Raises `CheckpointError` naming the file and these ways.
    """
    if named := weights or given("MARSCF_INCEPTION"):
        if not Path(named).is_file():
            raise CheckpointError(f"no Inception weights at {named} (--inception-weights, MARSCF_INCEPTION)")
        return Path(named)
    mirror = mirror or given("MARSCF_MIRROR")
    if offline is None:
        offline = switch("MARSCF_OFFLINE")
    local = Path(mirror.removeprefix("file://")) if mirror and _is_local(mirror) else None
    target = INCEPTION_FOLDER / INCEPTION_FILE
    for path in (*([local / "inception" / INCEPTION_FILE] if local else []), target):
        if path.is_file():
            return path
    reason = "--offline forbids to download it"
    if not offline:
        from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

        remote = [f"{mirror.rstrip('/')}/inception/{INCEPTION_FILE}"] if mirror and not local else []
        try:
            return _download([*remote, URL_INCEPTION_V3], target)
        except MarscfError as error:
            reason = str(error).partition("; check the network")[0]
    raise CheckpointError(
        f"no Inception weights {INCEPTION_FILE} ({reason}); give the file by --inception-weights FILE, "
        f"by the environment's MARSCF_INCEPTION=FILE, or as MIRROR/inception/{INCEPTION_FILE}"
    )


def _is_local(mirror: str) -> bool:
    return "://" not in mirror or mirror.startswith("file://")


def _download(urls: list[str], target: Path) -> Path:
    from marscf.data.download import Expected, download

    incoming = target.with_name(f"incoming-{target.name}")
    download(urls, incoming, Expected())
    sha256 = sha256_file(incoming)
    if not sha256.startswith(INCEPTION_SHA256):
        incoming.unlink()
        raise CheckpointError(f"what was downloaded has SHA-256 {sha256[:8]}…, not {INCEPTION_SHA256}…")
    os.replace(incoming, target)
    return target
