"""Training batches: drawn and augmented on the device, each a pure function of (seed, step)."""

import numpy as np
import torch
from torch import Tensor

from marscf.data.arrays import Joined
from marscf.errors import ConfigError

SHIFT = 3  # pixels, at most
AUGMENT = {"none": (), "flip": ("flip",), "shift": ("shift",), "flip-shift": ("flip", "shift")}


class Batches:
    """An endless sequence of batches of `images`, uint8 `(N,C,H,W)`, that can be entered at any step.

    Epochs are permutations that depend on (seed, epoch) alone; they follow each other without a gap, so a
    batch may span two and no image is ever dropped. `augment` is "none"; "flip": half of the images
    mirrored; "shift": each shifted by up to 3 pixels along one axis, its edge repeated; or "flip-shift":
    both, as the mAR-SCF authors do for CIFAR-10. On a GPU the images lie in its memory where they take less
    than half of what is free.
    """

    def __init__(
        self,
        images: np.ndarray | Joined,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        augment: str = "none",
    ):
        if len(images) == 0 or batch_size < 1:
            raise ConfigError(f"batch_size: {batch_size} images from {len(images)}; both must be at least 1")
        if augment not in AUGMENT:
            raise ConfigError(f"augment: {augment!r} is not one of {', '.join(AUGMENT)}")
        self.images = images
        self.batch_size = batch_size
        self.seed = seed
        self.device = torch.device(device)
        self.augment = augment
        self._permutations: dict[int, np.ndarray] = {}
        self._resident = self._load() if self._fits() else None

    def __len__(self) -> int:
        """Number of images in an epoch."""
        return len(self.images)

    def epoch_of(self, step: int) -> int:
        """The epoch, from 0, in which the batch of `step` begins."""
        return step * self.batch_size // len(self.images)

    def indices(self, step: int) -> np.ndarray:
        """Which images make up the batch of `step`, int64 `(B,)`: a pure function of (seed, step)."""
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, places = np.divmod(positions, len(self.images))
        parts = [self._permutation(epoch)[places[epochs == epoch]] for epoch in np.unique(epochs)]
        return np.concatenate(parts)

    def at(self, step: int) -> Tensor:
        """The batch of `step`, from 0: uint8 `(B,C,H,W)` on the device."""
        indices = self.indices(step)
        if self._resident is None:
            order = np.argsort(indices, kind="stable")  # read the file forwards
            batch = np.empty((len(indices), *self.images.shape[1:]), np.uint8)
            batch[order] = self.images[indices[order]]
            x = torch.from_numpy(batch).to(self.device, non_blocking=True)
        else:
            x = self._resident[torch.from_numpy(indices).to(self.device, non_blocking=True)]
        return x if self.augment == "none" else self._flip_shift(x, step)

    def _permutation(self, epoch: int) -> np.ndarray:
        if epoch not in self._permutations:
            if len(self._permutations) > 1:
                self._permutations.clear()
            # Sorted raw words: numpy guarantees its bit streams for ever, but not its shuffles.
            words = _words(self.seed, "epoch", epoch, len(self.images))
            self._permutations[epoch] = np.argsort(words, kind="stable")
        return self._permutations[epoch]

    def _flip_shift(self, x: Tensor, step: int) -> Tensor:
        batch, channels, height, width = x.shape
        words = _words(self.seed, "augment", step, 3 * batch).reshape(3, batch) >> np.uint64(16)
        flip, vertical = words[0] % 2, words[1] % 2
        shift = (words[2] % np.uint64(2 * SHIFT + 1)).astype(np.int64) - SHIFT
        kinds = AUGMENT[self.augment]
        flip, shift = flip * ("flip" in kinds), shift * ("shift" in kinds)
        down, right = np.where(vertical, shift, 0), np.where(vertical, 0, shift)
        draws = torch.from_numpy(np.stack([flip.astype(np.int64), down, right])).to(
            x.device, non_blocking=True
        )
        flip, down, right = draws[:, :, None]
        rows = (torch.arange(height, device=x.device) + down).clamp(0, height - 1)  # clamped: edges repeat
        columns = (torch.arange(width, device=x.device) + right).clamp(0, width - 1)
        columns = torch.where(flip.bool(), width - 1 - columns, columns)
        image = torch.arange(batch, device=x.device)[:, None, None, None]
        channel = torch.arange(channels, device=x.device)[:, None, None]
        return x[image, channel, rows[:, None, :, None], columns[:, None, None, :]]

    def _fits(self) -> bool:
        if self.device.type != "cuda":
            return False
        free, _ = torch.cuda.mem_get_info(self.device)
        return self.images.nbytes < free // 2

    def _load(self) -> Tensor:
        resident = torch.empty(self.images.shape, dtype=torch.uint8, device=self.device)
        for start in range(0, len(self.images), 50_000):
            part = np.array(self.images[start : start + 50_000])
            resident[start : start + len(part)] = torch.from_numpy(part).to(self.device)
        return resident


def _words(seed: int, purpose: str, number: int, count: int) -> np.ndarray:
    """`count` random 64-bit words that are a pure function of the other arguments."""
    entropy = [seed, {"epoch": 0, "augment": 1}[purpose], int(number)]
    return np.random.PCG64(np.random.SeedSequence(entropy)).random_raw(count)
