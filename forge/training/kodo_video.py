"""Frames that might follow a photograph, had a fixed camera taken it: the contexts of inter frames learn
from these, because no video may train weights that ship."""

import torch
import torch.nn.functional as F


def next_frames(x: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """[N, 3, H, W] in [0, 1] -> the same scenes a moment later: something moved across part of the picture,
    the light and the sensor's noise changed a little."""

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=random)

    n, _, height, width = x.shape
    after = []
    for i in range(n):
        frame = x[i]
        for _ in range(int(draw(1).item() * 4)):
            h, w = (int(size * (0.1 + 0.5 * draw(1).item())) for size in (height, width))
            top, left = int(draw(1).item() * (height - h)), int(draw(1).item() * (width - w))
            # What covers the place now: something of another picture, or the same a few pixels on.
            if draw(1).item() < 0.5:
                patch = x[(i + 1) % n][:, top : top + h, left : left + w]
            else:
                down, right = (int((draw(1).item() - 0.5) * 24) for _ in range(2))
                patch = torch.roll(x[i], (down, right), (1, 2))[:, top : top + h, left : left + w]
            mask = F.avg_pool2d(F.pad(torch.ones(1, h - 4, w - 4), (2, 2, 2, 2))[None], 5, 1, 2)[0]
            frame = frame.clone()
            frame[:, top : top + h, left : left + w] += mask * (patch - frame[:, top : top + h, left : left + w])
        light = 1 + 0.02 * (draw(1).item() - 0.5) * (draw(1).item() < 0.3)
        noise = torch.randn(frame.shape, generator=random) * 0.012 * draw(1).item() ** 2
        after.append((frame * light + noise).clamp(0, 1))
    return torch.stack(after)
