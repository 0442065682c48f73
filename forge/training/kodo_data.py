"""Random crops of a folder of photographs, held in memory as bytes."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

HELD_OUT = 8
"""Every folder's last files (by name) are for validation and never train."""


def load_photos(folder: Path) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Training and held-out photos, each [H, W, 3] uint8."""
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in {".png", ".jpg", ".jpeg", ".webp"})
    if len(files) <= HELD_OUT:
        raise SystemExit(f'Cannot train on "{folder}": found {len(files)} photos, need more than {HELD_OUT}')
    photos = [torch.from_numpy(np.asarray(Image.open(p).convert("RGB")).copy()) for p in files]
    step = len(photos) // HELD_OUT
    held = set(range(step - 1, step * HELD_OUT, step))
    return (
        [p for i, p in enumerate(photos) if i not in held],
        [p for i, p in enumerate(photos) if i in held],
    )


def to_planar(crop: torch.Tensor) -> torch.Tensor:
    return crop.permute(2, 0, 1).float() / 255


class Crops:
    """Square crops, photos drawn in proportion to their area, flipped at random."""

    def __init__(self, photos: list[torch.Tensor], size: int, seed: int):
        self.photos, self.size = photos, size
        self.random = np.random.default_rng(seed)
        area = np.array([p.shape[0] * p.shape[1] for p in photos], dtype=np.float64)
        self.share = area / area.sum()

    def batch(self, count: int) -> torch.Tensor:
        """[count, 3, size, size] float32 in [0, 1]."""
        out = []
        for index in self.random.choice(len(self.photos), size=count, p=self.share):
            photo = self.photos[index]
            top = self.random.integers(photo.shape[0] - self.size + 1)
            left = self.random.integers(photo.shape[1] - self.size + 1)
            crop = to_planar(photo[top : top + self.size, left : left + self.size])
            out.append(crop.flip(2) if self.random.random() < 0.5 else crop)
        return torch.stack(out)


def validation_set(photos: list[torch.Tensor], size: int = 384) -> torch.Tensor:
    """The centre of each held-out photo."""
    crops = []
    for photo in photos:
        top, left = (photo.shape[0] - size) // 2, (photo.shape[1] - size) // 2
        crops.append(to_planar(photo[top : top + size, left : left + size]))
    return torch.stack(crops)
