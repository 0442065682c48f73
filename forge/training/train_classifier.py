"""Train a classifier of CIFAR-10 and export it; with --lacoot, under LaCoOT's regulariser.

    python train_classifier.py resnet    --data DIR --epochs 30
    python train_classifier.py resnet    --data DIR --epochs 30 --lacoot 5
    python train_classifier.py mobilenet --data DIR --epochs 30
    python train_classifier.py vit       --data DIR --epochs 60

Resumes where it was interrupted. Ends in OUT/NAME.onnx and a line of accuracies in OUT/NAME.json.
"""

import argparse
import json
from pathlib import Path

import torch
from torch import nn

from cifar import accuracy_pct, fit, load_cifar
from classifiers import CLASSIFIERS, export

DIRECTIONS = 50
"""Random directions of the sliced distance, as POT's default (methods.md 5.1)."""


def max_sliced_wasserstein(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Largest Wasserstein-2 distance over random directions between two batches [B, D] (LaCoOT, eq. of methods.md 5.1)."""
    directions = torch.randn(x.shape[1], DIRECTIONS)
    directions = directions / directions.norm(dim=0, keepdim=True)
    a, b = (x @ directions).sort(0).values, (y @ directions).sort(0).values
    return (a - b).square().mean(0).amax().clamp_min(1e-12).sqrt()


class BlockDistances:
    """Notes what goes into and out of each block that keeps its shape, and measures how far apart the two are."""

    def __init__(self, model: nn.Module):
        self.pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
        for block in model.blocks:
            if getattr(block, "keeps_shape", True):
                block.register_forward_hook(self.note)

    def note(self, block: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        if block.training:
            self.pairs.append((inputs[0].flatten(1), output.flatten(1)))

    def penalty(self, _model: nn.Module) -> torch.Tensor:
        distances = [max_sliced_wasserstein(x, y) for x, y in self.pairs]
        self.pairs = []
        return torch.stack(distances).mean()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("model", choices=sorted(CLASSIFIERS))
    arguments.add_argument("--data", type=Path, required=True, help="folder of CIFAR-10 sheets")
    arguments.add_argument("--out", type=Path, default=Path("runs/classifiers"))
    arguments.add_argument("--epochs", type=int, default=30)
    arguments.add_argument("--lacoot", type=float, default=0.0, help="weight of LaCoOT's regulariser; 0: none")
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)

    model = CLASSIFIERS[options.model]()
    name = f"{options.model}-lacoot" if options.lacoot else options.model
    penalty = None
    if options.lacoot:
        distances = BlockDistances(model)
        penalty = lambda m: options.lacoot * distances.penalty(m)  # noqa: E731
    transformer = options.model == "vit"
    fit(
        model,
        load_cifar(options.data, "train"),
        options.out / name,
        epochs=options.epochs,
        rate=1e-3 if transformer else 0.2,
        adam=transformer,
        decay=0.05 if transformer else 5e-4,
        penalty=penalty,
        mix=0.4 if transformer else 0.0,
        seed=options.seed,
    )
    export(model, options.out / f"{name}.onnx")
    report = {"name": name, "epochs": options.epochs, "lacoot": options.lacoot}
    for split in ("val", "test"):
        report[f"{split}Pct"], report[f"{split}Loss"] = accuracy_pct(model, *load_cifar(options.data, split))
    (options.out / f"{name}.json").write_text(json.dumps(report, indent=2))
    print(json.dumps(report))


if __name__ == "__main__":
    main()
