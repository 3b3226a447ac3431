"""digits-net: a small classifier, trained on a dataset's own classes, as the feature extractor of FID and IS.

It serves where Inception makes no sense (8×8 digits, MNIST). Its numbers compare systems on one
dataset with one another; beside published FIDs they mean nothing.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from marscf import __version__
from marscf.code import behind
from marscf.errors import CheckpointError
from marscf.files import digest, replacing, seed_from, sha256_file, write_json
from marscf.images import stretched
from marscf.runs import signed, sound_receipt

ROOT = Path("data/extractors/digits-net")
FEATURES = 64

#: How it is trained; part of its identity.
RECIPE: dict[str, Any] = {
    "widths": [24, 48, 64, 64],
    "features": FEATURES,  # SiLU, of mean square 1
    "images": 100_000,  # seen in training, at most
    "epochs": 20,  # at most
    "batch_size": 128,
    "learning_rate": 3e-3,  # peak of a one-cycle schedule, AdamW
    "weight_decay": 1e-2,
}


class DigitsNet(nn.Module):
    """Four 3×3 convolutions, each halving sides above 4, then 64 features and the class logits."""

    def __init__(self, side: int, classes: int):
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for index, width in enumerate(RECIPE["widths"]):
            stride = 2 if index and side > 4 else 1
            layers += [nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            before, side = width, side // stride
        self.trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())
        # SiLU: no feature is constant, covariances keep rank. RMSNorm: KID's cubic kernel stays small.
        norm = nn.RMSNorm(FEATURES, elementwise_affine=False)
        self.features = nn.Sequential(nn.Linear(4 * before, FEATURES), nn.SiLU(), norm)
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map `uint8 (B,3,H,W)` images, 0 to 255, to features `(B,64)` and logits `(B,classes)`."""
        features = self.features(self.trunk(images.float() / 127.5 - 1))
        return features, self.head(features)


def three_channels(images: np.ndarray, grey_levels: int) -> np.ndarray:
    """Stretch grey levels to 0 … 255, and repeat a single channel: `uint8 (N,3,H,W)`."""
    images = stretched(np.asarray(images), grey_levels)
    return images.repeat(3, axis=1) if images.shape[1] == 1 else images


def identity(data_digest: str) -> str:
    """What a trained extractor depends on, hashed: the data, the recipe and the code."""
    return digest({"data": data_digest, "recipe": RECIPE, "code": behind("extractor")})


def train_extractor(
    dataset: str, device: torch.device | str = "cpu", root: Path = ROOT, progress: bool = False
) -> dict[str, Any]:
    """Train digits-net on a dataset's labelled training images; returns and writes its receipt.

    Leaves `weights.safetensors` and `receipt.json` (with the accuracy on the test images) in `root/dataset`.
    A finished one of the same data and recipe is left as it is. On a CPU the weights are the same whatever
    its number of cores. Raises `DataError` for a dataset without labels.
    """
    from marscf.data.arrays import open_labels, open_split, read_manifest

    manifest = read_manifest(dataset)
    wanted = identity(manifest["digest"])
    folder = Path(root) / dataset
    receipt, weights = folder / "receipt.json", folder / "weights.safetensors"
    if receipt.is_file() and weights.is_file():
        found = sound_receipt(receipt) or {}
        if found.get("identity") == wanted and found.get("weights_sha256") == sha256_file(weights):
            return found
    images, labels = open_split(dataset, "train"), open_labels(dataset, "train").astype(np.int64)
    test, test_labels = open_split(dataset, "test"), open_labels(dataset, "test").astype(np.int64)
    started = time.monotonic()
    with reproducible(seed_from("digits-net", dataset)) as generator:
        net = DigitsNet(images.shape[2], int(labels.max()) + 1).to(device)
        steps = fit(net, images, labels, manifest["grey_levels"], generator, progress)
        accuracy = evaluate(net, test, test_labels, manifest["grey_levels"])
    shape = {"side": images.shape[2], "classes": int(labels.max()) + 1}
    save(net, weights, {"dataset": dataset, "identity": wanted, **shape})
    summary = {
        "extractor": "digits-net",
        "dataset": dataset,
        "data_digest": manifest["digest"],
        "identity": wanted,
        "weights_sha256": sha256_file(weights),
        "test_accuracy": accuracy,
        "test_images": len(test),
        "steps": steps,
        "seconds": round(time.monotonic() - started, 2),
        "code_version": __version__,
    }
    summary = signed(summary)
    write_json(receipt, summary)
    return summary


def fit(
    net: DigitsNet,
    images: np.ndarray,
    labels: np.ndarray,
    grey_levels: int,
    generator: torch.Generator,
    progress: bool = False,
) -> int:
    """Minimise the cross-entropy; returns the number of steps taken."""
    size = min(RECIPE["batch_size"], len(images))
    per_epoch = len(images) // size
    steps = max(1, min(RECIPE["images"] // size, RECIPE["epochs"] * per_epoch))
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=RECIPE["weight_decay"])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RECIPE["learning_rate"], total_steps=steps)
    device = next(net.parameters()).device
    net.train()
    order = torch.empty(0, dtype=torch.long)
    for step in tqdm(range(steps), desc="digits-net", unit="step", disable=not progress):
        if step % per_epoch == 0:
            order = torch.randperm(len(images), generator=generator)
        rows = np.sort(order[(step % per_epoch) * size :][:size].numpy())
        x = torch.from_numpy(three_channels(images[rows], grey_levels)).to(device)
        loss = nn.functional.cross_entropy(net(x)[1], torch.from_numpy(labels[rows]).to(device))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    net.eval()
    return steps


@torch.no_grad()
def evaluate(net: DigitsNet, images: np.ndarray, labels: np.ndarray, grey_levels: int) -> float:
    """Return the share of images whose class is found."""
    device = next(net.parameters()).device
    right = 0
    for start in range(0, len(images), 500):
        x = torch.from_numpy(three_channels(images[start : start + 500], grey_levels)).to(device)
        right += int((net(x)[1].argmax(1).cpu().numpy() == labels[start : start + 500]).sum())
    return right / len(images)


def save(net: DigitsNet, path: Path, header: dict[str, Any]) -> None:
    """Write the weights as safetensors with `header` as their metadata."""
    import safetensors.torch

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    with replacing(path) as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata={"digits-net": json.dumps(header)})


def load_digits_net(dataset: str, root: Path = ROOT) -> tuple[DigitsNet, dict[str, Any]]:
    """Load a dataset's digits-net in eval mode, with its receipt.

    Raises `CheckpointError` where it is missing, damaged, or was trained on other data or by another recipe.
    """
    import safetensors
    import safetensors.torch

    from marscf.data.arrays import read_manifest

    folder = Path(root) / dataset
    path, receipt_path = folder / "weights.safetensors", folder / "receipt.json"
    advice = f"run: marscf evaluate extractor {dataset}"
    if not (path.is_file() and receipt_path.is_file()):
        raise CheckpointError(f"no digits-net for {dataset!r} in {folder}; {advice}")
    receipt = sound_receipt(receipt_path)
    if receipt is None:
        raise CheckpointError(f"{receipt_path} is damaged or was altered; delete it and {advice}")
    if receipt.get("identity") != identity(read_manifest(dataset)["digest"]):
        raise CheckpointError(f"{folder}: digits-net belongs to other data or another recipe; {advice}")
    if receipt.get("weights_sha256") != sha256_file(path):
        raise CheckpointError(f"{path} is not what {receipt_path.name} says; delete both and {advice}")
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            header = json.loads(file.metadata()["digits-net"])
        net = DigitsNet(header["side"], header["classes"])
        net.load_state_dict(safetensors.torch.load_file(path))
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); delete it and {advice}") from error
    return net.eval(), receipt


@contextlib.contextmanager
def reproducible(seed: int) -> Iterator[torch.Generator]:
    """One thread and deterministic kernels inside the block, so that a seed gives the same weights again."""
    threads, deterministic = torch.get_num_threads(), torch.backends.cudnn.deterministic
    torch.set_num_threads(1)
    torch.backends.cudnn.deterministic = True
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            yield torch.Generator().manual_seed(seed)
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.deterministic = deterministic
