"""MiMi (Marouf et al., WACV 2024): adapters that start large and shrink by neuron importance, on another task.

    python mimi.py --vit runs/classifiers/vit.pt --mnist DIR --rounds 4 --epochs 1

The transformer that learned CIFAR-10 stays frozen; adapters and a new head learn MNIST. Arm "mimi" trains wide
adapters, keeps the half of all neurons with the highest score (methods.md 9.2) and repeats; arm "small" trains
adapters of the final size from the start, for as many epochs. Ends in OUT/mimi.onnx, physically sliced, and both
arms' accuracies in OUT/mimi.json.
"""

import argparse
import json
from pathlib import Path

import torch
from torch import nn

from cifar import accuracy_pct, fit, load_mnist
from classifiers import VisionTransformer, export

WIDE = 24
KEEP = 0.5


class Adapter(nn.Module):
    """In series: h + up(gelu(down(h))); at the start nothing changes."""

    def __init__(self, width: int, neurons: int):
        super().__init__()
        self.down, self.up = nn.Linear(width, neurons, bias=False), nn.Linear(neurons, width, bias=False)
        nn.init.zeros_(self.up.weight)
        self.gelu = nn.GELU()

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return h + self.up(self.gelu(self.down(h))) if self.down.out_features else h

    def scores(self) -> torch.Tensor:
        """Per neuron: (||down row||_1 + ||up column||_1) / (2 d)."""
        return (self.down.weight.abs().sum(1) + self.up.weight.abs().sum(0)) / (2 * self.down.in_features)

    def keep(self, neurons: torch.Tensor) -> None:
        """Slice to the neurons that are kept; with none left it is the identity."""
        width = self.down.in_features
        down, up = self.down.weight.data[neurons], self.up.weight.data[:, neurons]
        self.down, self.up = nn.Linear(width, len(neurons), bias=False), nn.Linear(len(neurons), width, bias=False)
        self.down.weight.data, self.up.weight.data = down.clone(), up.clone()


def adapted(state: dict[str, torch.Tensor], neurons: int) -> tuple[VisionTransformer, list[Adapter]]:
    """The frozen transformer with adapters after attention and after the MLP of every block, and a new head."""
    model = VisionTransformer()
    model.load_state_dict(state)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    width, adapters = model.head.in_features, []
    for block in model.blocks:
        for name in ("attention", "down"):
            adapters.append(Adapter(width, neurons))
            setattr(block, name, nn.Sequential(getattr(block, name), adapters[-1]))
    model.head = nn.Linear(width, 10)
    return model, adapters


def shrink(adapters: list[Adapter], count: int) -> list[int]:
    """Keep the `count` best neurons of all adapters together. Returns how many each has left."""
    threshold = torch.cat([a.scores() for a in adapters]).sort(descending=True).values[count - 1]
    for adapter in adapters:
        adapter.keep(torch.nonzero(adapter.scores() >= threshold).flatten())
    return [a.down.out_features for a in adapters]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--vit", type=Path, default=Path("runs/classifiers/vit.pt"))
    arguments.add_argument("--mnist", type=Path, required=True)
    arguments.add_argument("--out", type=Path, default=Path("runs/classifiers"))
    arguments.add_argument("--rounds", type=int, default=4)
    arguments.add_argument("--epochs", type=int, default=1, help="of each round")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    state = torch.load(options.vit, weights_only=False)["model"]
    train, test = load_mnist(options.mnist, "train"), load_mnist(options.mnist, "test")
    settings = {"rate": 3e-3, "adam": True, "decay": 0.0, "flips": False}

    wide, adapters = adapted(state, WIDE)
    total, history = WIDE * len(adapters), []
    for turn in range(options.rounds):
        fit(wide, train, options.out / f"mimi-{turn}", epochs=options.epochs, **settings)
        history.append({"neurons": total, "testPct": accuracy_pct(wide, *test)[0]})
        print(json.dumps(history[-1]), flush=True)
        if turn + 1 < options.rounds:
            left = shrink(adapters, max(1, int(total * KEEP)))
            total = sum(left)
            history[-1]["left"] = left

    each = max(1, round(total / len(adapters)))
    small, small_adapters = adapted(state, each)
    fit(small, train, options.out / "mimi-small", epochs=options.epochs * options.rounds, **settings)
    frozen, none = adapted(state, 1)
    for adapter in none:
        adapter.keep(torch.tensor([], dtype=torch.long))
    fit(frozen, train, options.out / "mimi-head", epochs=options.epochs * options.rounds, **settings)
    export(wide, options.out / "mimi.onnx")
    report = {
        "mimi": history,
        "small": {"neurons": each * len(small_adapters), "testPct": accuracy_pct(small, *test)[0]},
        "headOnly": {"neurons": 0, "testPct": accuracy_pct(frozen, *test)[0]},
    }
    (options.out / "mimi.json").write_text(json.dumps(report, indent=2))
    print(json.dumps(report))


if __name__ == "__main__":
    main()
