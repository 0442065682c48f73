"""Train on whatever the forge has cut: an ONNX in, the same graph with other weights out.

    python finetune.py in.onnx out.onnx --data DIR --epochs 4 [--teacher original.onnx]

With --teacher, half of the loss is agreement with the original's answers.
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


def judge(path: Path, data: Path) -> dict[str, float]:
    """Top-1 in per cent of a model file on the held-out and the test pictures."""
    net = OnnxNet(path).eval()
    return {f"{split}Pct": round(accuracy_pct(net, *load_cifar(data, split))[0], 2) for split in ("val", "test")}


def hold_slopes(net: OnnxNet) -> None:
    with torch.no_grad():
        for slope in net.slopes.values():
            slope.clamp_(0, 1)


def finetune(
    model: Path,
    out: Path,
    data: Path,
    *,
    epochs: int,
    rate: float = 0.03,
    adam: bool = False,
    teacher: Path | None = None,
    slopes: float = 0.0,
    seed: int = 1,
) -> dict:
    """Train `model` on CIFAR-10 and write it to `out`. Resumes; a finished run is not repeated.

    slopes: weight of Layer Folding's penalty (Dror et al. 2021, methods.md 2); every rectifier then gets a slope.
    """
    report_path = out.with_suffix(".json")
    if out.exists() and report_path.exists():
        return json.loads(report_path.read_text())
    torch.manual_seed(seed)
    net = OnnxNet(model)
    if slopes:
        net.add_slopes()
    trained = net if teacher is None else Distilled(net, OnnxNet(teacher))

    def penalty(m: torch.nn.Module) -> torch.Tensor:
        loss = m.disagreement if teacher else torch.zeros(())
        return loss + slopes * sum((1 - a * a).abs() for a in net.slopes.values())

    fit(
        trained,
        load_cifar(data, "train"),
        out.with_suffix(""),
        epochs=epochs,
        rate=rate,
        adam=adam,
        penalty=penalty,
        after_step=lambda _: hold_slopes(net),
        seed=seed,
    )
    net.eval()
    net.save(out)
    report = {"name": out.stem, "epochs": epochs, **judge(out, data)}
    if slopes:
        report["slopes"] = {name: round(slope.item(), 3) for name, slope in net.slopes.items()}
    report_path.write_text(json.dumps(report, indent=2))
    return report


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("model", type=Path)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--epochs", type=int, default=4)
    arguments.add_argument("--rate", type=float, default=0.03)
    arguments.add_argument("--teacher", type=Path)
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(finetune(**vars(options))))


if __name__ == "__main__":
    main()
