"""CIFAR-10 (the subset in data/cifar10) and MNIST as tensors, and the one loop that trains on them."""

import gzip
import json
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

MEAN = torch.tensor([0.4914, 0.4822, 0.4465]).view(3, 1, 1)
STD = torch.tensor([0.2471, 0.2435, 0.2616]).view(3, 1, 1)
BATCH = 128
CHECKPOINT_EVERY_S = 120


def normalised(images: torch.Tensor) -> torch.Tensor:
    """[N, 3, 32, 32] bytes -> what every model here takes: (value / 255 - mean) / deviation."""
    return (images.float() / 255 - MEAN) / STD


def load_cifar(folder: Path, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """split "train" (10,000), "val" (2,000) or "test" (1,000) -> bytes [N, 3, 32, 32] and labels [N]."""
    sheets = sorted(folder.glob(f"{split}_*.png"))
    if not sheets:
        raise SystemExit(f'Cannot load CIFAR-10 from "{folder}": found no {split}_*.png')
    images = np.concatenate([np.asarray(Image.open(sheet)).reshape(-1, 32, 32, 3) for sheet in sheets])
    labels = [int(line) for sheet in sheets for line in sheet.with_suffix(".labels.txt").read_text().split()]
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels)


def load_mnist(folder: Path, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """split "train" (the first 9,000 of t10k) or "test" (its last 1,000), as bytes [N, 3, 32, 32]: zeros around, grey as colour."""
    with gzip.open(folder / "t10k-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    with gzip.open(folder / "t10k-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    part = slice(0, 9000) if split == "train" else slice(9000, 10000)
    padded = np.pad(images[part], ((0, 0), (0, 0), (2, 2), (2, 2))).repeat(3, 1)
    return torch.from_numpy(padded), torch.from_numpy(labels[part].astype(np.int64))


def augmented(images: torch.Tensor, flips: bool = True) -> torch.Tensor:
    """Shift by up to four pixels, mirror half."""
    n = images.shape[0]
    padded = F.pad(images.float(), (4, 4, 4, 4), mode="reflect")
    top, left = torch.randint(0, 9, (2, n))
    rows = top[:, None] + torch.arange(32)
    columns = left[:, None] + torch.arange(32)
    if flips:
        columns = torch.where(torch.rand(n, 1) < 0.5, columns.flip(1), columns)
    picked = torch.arange(n)[:, None, None]
    return padded.permute(0, 2, 3, 1)[picked, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


@torch.no_grad()
def accuracy_pct(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Top-1 in per cent, and the mean cross entropy."""
    model.eval()
    logits = torch.cat([model(normalised(images[i : i + 250])) for i in range(0, len(images), 250)])
    return (logits.argmax(1) == labels).float().mean().item() * 100, F.cross_entropy(logits, labels).item()


def fit(
    model: torch.nn.Module,
    train: tuple[torch.Tensor, torch.Tensor],
    run: Path,
    *,
    epochs: int,
    rate: float,
    adam: bool = False,
    decay: float = 5e-4,
    penalty=None,
    after_step=None,
    seed: int = 1,
    flips: bool = True,
    mix: float = 0.0,
) -> None:
    """Train in place, one cycle of the learning rate, resuming from run.pt where it was interrupted.

    penalty(model, inputs) is added to the loss after the forward pass of each batch.
    mix: the Beta parameter of mixup, which a transformer on 10,000 images needs.
    """
    images, labels = train
    # Convolutions train a third faster with channels last.
    model.to(memory_format=torch.channels_last)
    parameters = [p for p in model.parameters() if p.requires_grad]
    if adam:
        optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
    else:
        matrices = [p for p in parameters if p.dim() > 1]
        others = [p for p in parameters if p.dim() <= 1]
        groups = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
        optimiser = torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True)
    steps = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * steps, pct_start=0.2, anneal_strategy="cos")
    run.parent.mkdir(parents=True, exist_ok=True)
    checkpoint, start = run.with_suffix(".pt"), 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=False)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        start = state["epoch"]
    saved = time.time()
    for epoch in range(start, epochs):
        # Seeded by epoch, so that an interrupted run goes on as it would have.
        torch.manual_seed(seed * 1000 + epoch)
        random.seed(seed * 1000 + epoch)
        model.train()
        order, total, started = torch.randperm(len(images)), 0.0, time.time()
        for step in range(steps):
            chosen = order[step * BATCH : (step + 1) * BATCH]
            inputs, targets = augmented(images[chosen], flips).contiguous(memory_format=torch.channels_last), labels[chosen]
            if mix:
                share = float(np.random.default_rng(seed * 10**6 + epoch * steps + step).beta(mix, mix))
                other = torch.randperm(len(chosen))
                inputs = share * inputs + (1 - share) * inputs[other]
                logits = model(normalised(inputs))
                loss = share * F.cross_entropy(logits, targets, label_smoothing=0.1)
                loss = loss + (1 - share) * F.cross_entropy(logits, targets[other], label_smoothing=0.1)
            else:
                loss = F.cross_entropy(model(normalised(inputs)), targets, label_smoothing=0.1)
            if penalty is not None:
                loss = loss + penalty(model)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 5.0)
            optimiser.step()
            schedule.step()
            if after_step is not None:
                after_step(model)
            total += loss.item()
        line = {"epoch": epoch + 1, "loss": round(total / steps, 4), "seconds": round(time.time() - started, 1)}
        with run.with_suffix(".jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        if time.time() - saved > CHECKPOINT_EVERY_S or epoch + 1 == epochs:
            aside = run.with_suffix(".tmp")
            torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict(), "epoch": epoch + 1}, aside)
            aside.rename(checkpoint)
            saved = time.time()
