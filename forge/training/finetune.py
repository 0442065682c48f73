"""Train on whatever the forge has cut: an ONNX in, the same graph with other weights out.

    python finetune.py in.onnx out.onnx --data DIR --epochs 4 [--teacher original.onnx]
    python finetune.py in.onnx --data DIR --gradients gradients.safetensors

With --teacher, half of the loss is agreement with the original's answers. With --gradients nothing is trained: what is
written is what `espalier forge prune --score taylor --gradients` takes.
"""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F

from cifar import BATCH, accuracy_pct, fit, load_cifar, normalised
from onnx_net import OnnxNet
from tensor_file import write_safetensors

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


def write_gradients(model: Path, out: Path, data: Path, *, batches: int = 32, seed: int = 1) -> dict:
    """Of each weight, the root mean square over batches of the loss's gradient: at a minimum the mean itself is nearly zero,
    and |weight times gradient| is what Taylor's score sums (Molchanov et al. 2019)."""
    net = OnnxNet(model).eval()
    images, labels = load_cifar(data, "train")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    squares = {name: torch.zeros_like(weight) for name, weight in net.named_parameters()}
    for batch in order[: batches * BATCH].split(BATCH):
        net.zero_grad()
        F.cross_entropy(net(normalised(images[batch])), labels[batch]).backward()
        for name, weight in net.named_parameters():
            squares[name] += 0 if weight.grad is None else weight.grad**2 / batches
    names = {key: name for name, key in net.keys.items()}
    gradients = {names[key]: square.sqrt() for key, square in squares.items() if key in names}
    write_safetensors(out, gradients, {"of": "cross entropy", "batches": str(batches), "batch": str(BATCH)})
    return {"gradients": len(gradients), "batches": batches}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("model", type=Path)
    arguments.add_argument("out", type=Path, nargs="?")
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--epochs", type=int, default=4)
    arguments.add_argument("--rate", type=float, default=0.03)
    arguments.add_argument("--teacher", type=Path)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--gradients", type=Path)
    options = vars(arguments.parse_args())
    torch.set_num_threads(1)
    gradients = options.pop("gradients")
    if gradients is not None:
        print(json.dumps(write_gradients(options["model"], gradients, options["data"], seed=options["seed"])))
    elif options["out"] is None:
        arguments.error("give the file to write")
    else:
        print(json.dumps(finetune(**options)))


if __name__ == "__main__":
    main()
