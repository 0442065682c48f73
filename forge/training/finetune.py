"""Train on whatever the forge has cut: an ONNX in, the same graph with other weights out.

    python finetune.py in.onnx out.onnx --data DIR --epochs 4 [--teacher original.onnx] [--slopes 0.25]

With --teacher, half of the loss is agreement with the original's answers. With --slopes, Layer Folding
(Dror et al. 2021): every rectifier gets a slope that the penalty draws to 1, where `espalier forge fold` removes it.
"""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F

from cifar import accuracy_pct, fit, load_cifar
from onnx_net import OnnxNet

TEMPERATURE = 3.0


class Distilled(torch.nn.Module):
    """A student that adds its teacher's opinion to the loss."""

    def __init__(self, student: OnnxNet, teacher: OnnxNet):
        super().__init__()
        self.student = student
        # Not a module of this one: it neither trains nor is saved.
        self.teachers = [teacher.eval()]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.student(x)
        if self.training:
            with torch.no_grad():
                wanted = F.softmax(self.teachers[0](x) / TEMPERATURE, 1)
            self.disagreement = F.kl_div(F.log_softmax(logits / TEMPERATURE, 1), wanted, reduction="batchmean") * TEMPERATURE**2
        return logits


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("model", type=Path)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--epochs", type=int, default=4)
    arguments.add_argument("--rate", type=float, default=0.03)
    arguments.add_argument("--teacher", type=Path)
    arguments.add_argument("--slopes", type=float, default=0.0, help="weight of Layer Folding's penalty")
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    torch.set_num_threads(1)

    net = OnnxNet(options.model)
    if options.slopes:
        net.add_slopes()
    model = net if options.teacher is None else Distilled(net, OnnxNet(options.teacher))

    def penalty(m: torch.nn.Module) -> torch.Tensor:
        loss = 1.0 * m.disagreement if options.teacher else torch.zeros(())
        return loss + options.slopes * sum((1 - a * a).abs() for a in net.slopes.values())

    def hold_slopes(_model: torch.nn.Module) -> None:
        with torch.no_grad():
            for slope in net.slopes.values():
                slope.clamp_(0, 1)

    fit(
        model,
        load_cifar(options.data, "train"),
        options.out.with_suffix(""),
        epochs=options.epochs,
        rate=options.rate,
        penalty=penalty,
        after_step=hold_slopes,
        seed=options.seed,
    )
    net.eval()
    net.save(options.out)
    report = {"name": options.out.stem, "epochs": options.epochs}
    for split in ("val", "test"):
        report[f"{split}Pct"], report[f"{split}Loss"] = accuracy_pct(net, *load_cifar(options.data, split))
    if options.slopes:
        report["slopes"] = {name: round(slope.item(), 3) for name, slope in net.slopes.items()}
    options.out.with_suffix(".json").write_text(json.dumps(report, indent=2))
    print(json.dumps(report))


if __name__ == "__main__":
    main()
