"""Train the kodo family.

    python train_kodo.py anchor  --photos DIR --out runs/kodo --minutes 60
    python train_kodo.py adapter --photos DIR --out runs/kodo --minutes 20

Each stage checkpoints every two minutes and resumes from its own checkpoint; time already spent
counts, so an interrupted run ends with the same schedule. `adapter` freezes the finished anchor.
With --workers N, N single-threaded processes share each batch and average their gradients: on a
few cores that is faster than one process with N threads.
"""

import argparse
import json
import math
import os
import time
from pathlib import Path

import torch
from torch import distributed, multiprocessing, nn

from kodo_data import Crops, load_photos, validation_set
from kodo_model import Kodo, start_from_klt

ANCHOR_LAMBDA = 0.05
LOWEST_LAMBDA = 0.0025
ADAPTER_RANK = 16
CHECKPOINT_EVERY_S = 120
STAGES = {
    # The context model and the gains learn four times faster than the convolutions.
    "anchor": {"rate": 3.5e-4, "final": 1.5e-5, "fast": 4.0},
    "adapter": {"rate": 1.0e-3, "final": 3e-5, "fast": 2.0},
}


def lagrangian(alpha: float) -> float:
    """lambda(alpha), geometric between the anchor's and the lowest rate's (CALICE, section 3)."""
    return math.exp((1 - alpha) * math.log(ANCHOR_LAMBDA) + alpha * math.log(LOWEST_LAMBDA))


def step_loss(model: Kodo, x: torch.Tensor, alpha: float) -> torch.Tensor:
    """bpp + lambda * 255^2 * MSE, divided by what it typically is at this alpha so that steps compare."""
    model.rate.alpha = alpha
    picture, bits = model(x)
    rate = bits / (x.shape[0] * x.shape[2] * x.shape[3])
    distortion = (picture - x).square().mean()
    return (rate + lagrangian(alpha) * 65025 * distortion) * math.sqrt(ANCHOR_LAMBDA / lagrangian(alpha))


@torch.no_grad()
def validate(model: Kodo, images: torch.Tensor, alpha: float) -> dict[str, float]:
    model.rate.alpha = alpha
    bits, squared = 0.0, []
    for image in images.split(1):
        y = model.encoder(image - 0.5).round()
        bits += model.context.bits(y, y).item()
        picture = (model.decoder(y) + 0.5).clamp(0, 1)
        squared.append((picture - image).square().mean().item())
    bpp = bits / (images.shape[0] * images.shape[2] * images.shape[3])
    psnr = sum(-10 * math.log10(s) for s in squared) / len(squared)
    cost = bpp + lagrangian(alpha) * 65025 * sum(squared) / len(squared)
    return {"alpha": alpha, "bpp": round(bpp, 4), "psnr": round(psnr, 3), "cost": round(cost, 4)}


def parameter_groups(model: Kodo, fast: float, rate: float) -> list[dict]:
    slow_names = (".weight", ".bias", ".down", ".up", ".bias_delta")
    groups = {True: [], False: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[not name.startswith("context") and name.endswith(slow_names)].append(parameter)
    return [{"params": groups[True], "lr": rate, "scale": 1.0}, {"params": groups[False], "lr": rate, "scale": fast}]


def write_atomically(state: dict, path: Path) -> None:
    aside = path.with_suffix(".tmp")
    torch.save(state, aside)
    aside.rename(path)


class Peers:
    """Averages gradients, and the time spent, over the processes of one run."""

    def __init__(self, rank: int, count: int, meeting_point: Path):
        self.rank, self.count = rank, count
        if count > 1:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
            distributed.init_process_group("gloo", init_method=f"file://{meeting_point.absolute()}", rank=rank, world_size=count)

    def average(self, parameters: list[nn.Parameter], spent: float) -> float:
        if self.count == 1:
            return spent
        flat = torch.cat([p.grad.reshape(-1) for p in parameters] + [torch.tensor([spent])])
        distributed.all_reduce(flat)
        flat /= self.count
        offset = 0
        for parameter in parameters:
            parameter.grad.copy_(flat[offset : offset + parameter.numel()].view_as(parameter.grad))
            offset += parameter.numel()
        return flat[-1].item()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("stage", choices=sorted(STAGES))
    arguments.add_argument("--photos", type=Path, required=True, help="folder of photographs")
    arguments.add_argument("--out", type=Path, default=Path("runs/kodo"))
    arguments.add_argument("--minutes", type=float, default=60)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--batch", type=int, default=4, help="crops a step, over all workers")
    arguments.add_argument("--crop", type=int, default=160)
    arguments.add_argument("--workers", type=int, default=1)
    options = arguments.parse_args()
    if options.batch % options.workers:
        arguments.error(f"--batch {options.batch} does not divide among {options.workers} workers")
    options.out.mkdir(parents=True, exist_ok=True)
    meeting_point = options.out / "peers"
    meeting_point.unlink(missing_ok=True)
    if options.workers == 1:
        train(0, options, meeting_point)
    else:
        multiprocessing.spawn(train, (options, meeting_point), nprocs=options.workers)


def train(rank: int, options: argparse.Namespace, meeting_point: Path) -> None:
    peers = Peers(rank, options.workers, meeting_point)
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    settings = STAGES[options.stage]
    training, held_out = load_photos(options.photos)
    validation = validation_set(held_out)
    checkpoint = options.out / f"{options.stage}.pt"
    log = (options.out / f"{options.stage}.jsonl").open("a")

    model = Kodo()
    if options.stage == "adapter":
        anchor = torch.load(options.out / "anchor.pt", weights_only=False)
        model.load_state_dict(anchor["model"])
        model.add_adapters(ADAPTER_RANK)
    model = model.to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(parameter_groups(model, settings["fast"], settings["rate"]), betas=(0.9, 0.98))
    step, spent, skipped, typical_norm = 0, 0.0, 0, None
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=False)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent, skipped, typical_norm = state["step"], state["spent"], state["skipped"], state["typical_norm"]
    elif options.stage == "anchor":
        start_from_klt(model, Crops(training, 128, options.seed).batch(400) - 0.5)
    torch.manual_seed(options.seed * 1000 + step + rank)
    crops = Crops(training, options.crop, (options.seed * 1000 + step) * 16 + rank)
    alphas = torch.Generator().manual_seed(options.seed * 1000 + step)

    def save(done: bool) -> None:
        state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step, "spent": spent,
                 "skipped": skipped, "typical_norm": typical_norm, "done": done}
        write_atomically(state, checkpoint)
        for alpha in [0.0] if options.stage == "anchor" else [0.0, 0.25, 0.5, 0.75, 1.0]:
            row = {"stage": options.stage, "step": step, "minutes": round(spent / 60, 2), "loss": round(average, 4),
                   "skipped": skipped, **validate(model, validation, alpha)}
            print(json.dumps(row), file=log, flush=True)

    trained = [p for p in model.parameters() if p.requires_grad]
    average, last_save, clock = float("nan"), spent, time.monotonic()
    while spent < options.minutes * 60:
        progress = spent / (options.minutes * 60)
        cosine = settings["final"] + (settings["rate"] - settings["final"]) * 0.5 * (1 + math.cos(math.pi * progress))
        for group in optimiser.param_groups:
            group["lr"] = group["scale"] * cosine * min(1.0, (step + 1) / 200)
        alpha = 0.0
        if options.stage == "adapter":
            draw = torch.rand(2, generator=alphas)
            alpha = 1.0 if draw[1] < 0.12 else 0.02 + 0.98 * draw[0].item()
        loss = step_loss(model, crops.batch(options.batch // peers.count).contiguous(memory_format=torch.channels_last), alpha)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        now = time.monotonic()
        spent, clock = peers.average(trained, spent + now - clock), now
        norm = nn.utils.clip_grad_norm_(trained, 2.0).item()
        if math.isfinite(norm) and (typical_norm is None or step < 50 or norm < 3 * typical_norm):
            optimiser.step()
        else:
            skipped += 1
        if math.isfinite(norm):
            typical_norm = norm if typical_norm is None else 0.98 * typical_norm + 0.02 * min(norm, 4 * typical_norm)
            average = loss.item() if math.isnan(average) else 0.99 * average + 0.01 * loss.item()
        step += 1
        if spent - last_save > CHECKPOINT_EVERY_S:
            if rank == 0:
                save(done=False)
            last_save, clock = spent, time.monotonic()
    if rank == 0:
        save(done=True)


if __name__ == "__main__":
    main()
