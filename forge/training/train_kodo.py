"""Train the kodo family, one stage after another; each starts from what the one before left in --out.

    python train_kodo.py joint   --photos DIR --minutes 120   # encoder, decoder, contexts, every alpha at once
    python train_kodo.py context --photos DIR --minutes 10    # contexts alone, and those of inter frames
    python train_kodo.py encoder --photos DIR --variant small --minutes 6
    python train_kodo.py light   --photos DIR --minutes 6     # the light decoder
    python train_kodo.py tune    --photos DIR --alpha 0.5 --minutes 5   # one rate alone, to compare with
    python train_kodo.py gains   --photos DIR --minutes 5     # alpha scales the latents and no more, to compare with

Each stage checkpoints every few minutes and resumes from its own checkpoint; time already spent
counts, so an interrupted run ends with the same schedule. With --workers N, N single-threaded
processes train side by side and average their weights now and then.
"""

import argparse
import copy
import json
import math
import os
import time
from pathlib import Path

import torch
from torch import distributed, multiprocessing, nn

from kodo_data import Crops, load_photos, validation_set
from kodo_model import ENCODERS, LIGHT_DECODER, Decoder, Kodo, slice_decoder, slice_encoder, start_from_klt
from kodo_video import next_frames

ANCHOR_LAMBDA = 0.05
LOWEST_LAMBDA = 0.0025
ADAPTER_RANK = 8
CHECKPOINT_EVERY_S = 240
AVERAGE_EVERY_S = 20
ADAPTER_VALUES = 24_000
"""What all low-rank pairs of the full encoder and decoder together may hold: 60 KB in float16 with gains and biases."""
STAGES = ("joint", "context", "encoder", "light", "tune", "gains")


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
    """Processes of one run that train alone and average their weights every few seconds (local SGD,
    Stich 2019): on a shared machine none waits for another's slower step."""

    def __init__(self, rank: int, count: int, meeting_point: Path):
        self.rank, self.count, self.last = rank, count, time.time() // AVERAGE_EVERY_S
        if count > 1:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
            distributed.init_process_group("gloo", init_method=f"file://{meeting_point.absolute()}", rank=rank, world_size=count)

    def meet(self, parameters: list[nn.Parameter], spent: float) -> float:
        """Average when the wall clock enters a new interval. Returns the time spent that all agree on."""
        now = time.time() // AVERAGE_EVERY_S
        if self.count == 1 or now == self.last:
            return spent
        self.last = now
        with torch.no_grad():
            flat = torch.cat([p.reshape(-1) for p in parameters] + [torch.tensor([spent])])
            distributed.all_reduce(flat)
            flat /= self.count
            offset = 0
            for parameter in parameters:
                parameter.copy_(flat[offset : offset + parameter.numel()].view_as(parameter))
                offset += parameter.numel()
        return flat[-1].item()


class Average:
    """Exponential moving average of the weights: what is validated and exported."""

    def __init__(self, model: nn.Module, keep: float = 0.999):
        self.keep = keep
        self.values = {name: p.detach().clone() for name, p in model.named_parameters()}
        self.steps = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.steps += 1
        share = 1 - min(self.keep, (1 + self.steps) / (10 + self.steps))
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                self.values[name].lerp_(parameter.detach(), share)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("stage", choices=STAGES)
    arguments.add_argument("--photos", type=Path, required=True, help="folder of photographs")
    arguments.add_argument("--out", type=Path, default=Path("runs/kodo"))
    arguments.add_argument("--minutes", type=float, default=60)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--batch", type=int, default=3, help="crops a step of one worker")
    arguments.add_argument("--crop", type=int, default=192)
    arguments.add_argument("--rate", type=float, default=3.5e-4, help="learning rate at the start")
    arguments.add_argument("--final", type=float, default=1.5e-5, help="learning rate at the end")
    arguments.add_argument("--fast", type=float, default=4.0, help="the context model's and the gains' rate, relative")
    arguments.add_argument("--start", type=Path, help="checkpoint whose weights to start from, where shapes agree")
    arguments.add_argument("--variant", choices=sorted(ENCODERS), default="small", help="of stage encoder")
    arguments.add_argument("--alpha", type=float, default=0.0, help="of stage tune")
    arguments.add_argument("--truncate", action="store_true", help="cut the adapters to what ships before training on")
    arguments.add_argument("--workers", type=int, default=1)
    options = arguments.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    meeting_point = options.out / "peers"
    meeting_point.unlink(missing_ok=True)
    if options.workers == 1:
        train(0, options, meeting_point)
    else:
        multiprocessing.spawn(train, (options, meeting_point), nprocs=options.workers)


def initial_model(options: argparse.Namespace, training: list[torch.Tensor]) -> Kodo:
    """The model that a stage starts from, with only what it trains open to change."""
    start = options.start or (options.out / ("context.pt" if options.stage in ("encoder", "light") else "joint.pt"))
    if options.stage == "joint" and options.start is None:
        model = Kodo()
        start_from_klt(model, Crops(training, 128, options.seed).batch(400) - 0.5)
        model.add_adapters(ADAPTER_RANK)
        return model
    model = Kodo.from_state(torch.load(start, weights_only=False)["model"])
    if options.truncate:
        model.truncate_adapters(ADAPTER_VALUES)
    opened: nn.Module = model
    if options.stage == "encoder":
        # Not a module of the model: it is neither trained nor saved.
        model.teachers = [model.encoder]
        opened = model.encoder = slice_encoder(model.encoder, model.rate, ENCODERS[options.variant])
    elif options.stage == "light":
        opened = model.decoder = slice_decoder(model.decoder, model.rate, **LIGHT_DECODER)
    elif options.stage == "context":
        opened = model.context
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for parameter in opened.parameters():
        parameter.requires_grad_(True)
    if options.stage == "gains":
        keep_gains(model)
    return model


def keep_gains(model: Kodo) -> None:
    """Of everything that follows alpha, leave what scales the latents."""
    for name, parameter in model.named_parameters():
        scales = name.endswith("gain.delta")
        if not scales and name.endswith((".up", ".down", ".bias_delta", ".delta")):
            parameter.data.zero_()
        parameter.requires_grad_(scales)


def finished(run: Path, name: str) -> dict[str, torch.Tensor] | None:
    path = run / f"{name}.pt"
    return torch.load(path, weights_only=False)["model"] if path.exists() else None


def load_variants(run: Path) -> dict[str, Kodo]:
    """Every encoder that was trained, in a model with the one decoder and the one context model; "full" first."""
    state = finished(run, "context") or finished(run, "joint")
    if state is None:
        raise SystemExit(f'Cannot load models from "{run}": it has neither context.pt nor joint.pt')
    variants = {}
    for name, shape in ENCODERS.items():
        model = Kodo.from_state(state)
        if name != "full":
            own = finished(run, f"encoder-{name}")
            if own is None:
                continue
            model.encoder = slice_encoder(model.encoder, model.rate, shape)
            model.encoder.load_state_dict({k[8:]: v for k, v in own.items() if k.startswith("encoder.")})
        variants[name] = model.eval()
    return variants


def load_light(run: Path) -> Decoder | None:
    state = finished(run, "light")
    if state is None:
        return None
    model = load_variants(run)["full"]
    light = slice_decoder(model.decoder, model.rate, **LIGHT_DECODER)
    light.load_state_dict({k[8:]: v for k, v in state.items() if k.startswith("decoder.")})
    return light.eval()


def context_loss(model: Kodo, x: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Bits of the rounded latents themselves: of key frames, and of frames that follow them."""
    with torch.no_grad():
        before, after = model.encoder(x - 0.5).round(), model.encoder(next_frames(x, random) - 0.5)
        # As the product's encoder decides: stay with the frame before where that is near enough.
        stays = (after - before).abs() < 0.5 + 0.25 * torch.rand(x.shape[0], 1, 1, 1, generator=random)
        after = torch.where(stays, before, after.round())
        change = (after - before).abs().sum(1, keepdim=True)
        predicted = (change <= after.abs().sum(1, keepdim=True)).float()
        skipped = change == 0
        prediction = before * predicted
        coded = after - prediction
    key = model.context.bits(before, before)
    mean, log_scale = model.context.parameters_of(coded, prediction, predicted)
    inter = model.context.symbol_bits(coded, mean, log_scale) * ~skipped
    return (key + inter.sum()) / (x.shape[0] * x.shape[2] * x.shape[3])


DISTILLED_SHARE = 0.6
"""Of an encoder's training: imitating the full one's latents costs a fifth of a step through the decoder."""


def stage_loss(
    stage: str, model: Kodo, x: torch.Tensor, alpha: float, random: torch.Generator, progress: float
) -> torch.Tensor:
    model.rate.alpha = alpha
    if stage == "encoder" and progress < DISTILLED_SHARE:
        with torch.no_grad():
            wanted = model.teachers[0](x - 0.5)
        return (model.encoder(x - 0.5) - wanted).square().mean() * 4
    if stage == "context":
        return context_loss(model, x, random)
    if stage == "light":
        with torch.no_grad():
            q = model.encoder(x - 0.5).round()
        distortion = (model.decoder(q) + 0.5 - x).square().mean()
        return distortion * 65025 * math.sqrt(ANCHOR_LAMBDA * lagrangian(alpha))
    return step_loss(model, x, alpha)


def train(rank: int, options: argparse.Namespace, meeting_point: Path) -> None:
    peers = Peers(rank, options.workers, meeting_point)
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    training, held_out = load_photos(options.photos)
    validation = validation_set(held_out)
    name = {"encoder": f"encoder-{options.variant}", "tune": f"tune-{options.alpha}"}.get(options.stage, options.stage)
    checkpoint = options.out / f"{name}.pt"
    log = (options.out / f"{name}.jsonl").open("a")

    model = initial_model(options, training).to(memory_format=torch.channels_last)
    state = torch.load(checkpoint, weights_only=False) if checkpoint.exists() else None
    optimiser = torch.optim.Adam(parameter_groups(model, options.fast, options.rate), betas=(0.9, 0.98))
    ema = Average(model)
    step, spent, skipped, typical_norm = 0, 0.0, 0, None
    if state is not None:
        model.load_state_dict(state["live"])
        ema.values, ema.steps = {name: state["model"][name].clone() for name in ema.values}, 1000
        optimiser.load_state_dict(state["optimiser"])
        step, spent, skipped, typical_norm = state["step"], state["spent"], state["skipped"], state["typical_norm"]
    torch.manual_seed(options.seed * 1000 + step + rank)
    crops = Crops(training, options.crop, (options.seed * 1000 + step) * 16 + rank)
    alphas = torch.Generator().manual_seed(options.seed * 1000 + step * 16 + rank)

    def save(done: bool) -> None:
        averaged = {**model.state_dict(), **ema.values}
        state = {"model": averaged, "live": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step,
                 "spent": spent, "skipped": skipped, "typical_norm": typical_norm, "done": done}
        write_atomically(state, checkpoint)
        judged = copy.deepcopy(model)
        judged.load_state_dict(averaged)
        for alpha in [0.0, 0.5, 1.0] if options.stage != "tune" else [options.alpha]:
            row = {"stage": name, "step": step, "minutes": round(spent / 60, 2), "loss": round(average, 4),
                   "skipped": skipped, **validate(judged, validation, alpha)}
            print(json.dumps(row), file=log, flush=True)

    trained = [p for p in model.parameters() if p.requires_grad]
    average, last_save, clock = float("nan"), spent, time.monotonic()
    while spent < options.minutes * 60:
        progress = spent / (options.minutes * 60)
        cosine = options.final + (options.rate - options.final) * 0.5 * (1 + math.cos(math.pi * progress))
        for group in optimiser.param_groups:
            group["lr"] = group["scale"] * cosine * min(1.0, (step + 1) / 200)
        draw = torch.rand(2, generator=alphas)
        alpha = draw[0].item() if draw[1] > 0.25 else (0.0 if draw[1] > 0.1 else 1.0)
        if options.stage == "tune":
            alpha = options.alpha
        x = crops.batch(options.batch).contiguous(memory_format=torch.channels_last)
        loss = stage_loss(options.stage, model, x, alpha, alphas, progress)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(trained, 2.0).item()
        if math.isfinite(norm) and (typical_norm is None or step < 50 or norm < 3 * typical_norm):
            optimiser.step()
        else:
            skipped += 1
        if math.isfinite(norm):
            typical_norm = norm if typical_norm is None else 0.98 * typical_norm + 0.02 * min(norm, 4 * typical_norm)
            average = loss.item() if math.isnan(average) else 0.99 * average + 0.01 * loss.item()
        step += 1
        now = time.monotonic()
        spent, clock = peers.meet(trained, spent + now - clock), now
        if rank == 0:
            ema.update(model)
        if spent - last_save > CHECKPOINT_EVERY_S:
            if rank == 0:
                save(done=False)
            last_save, clock = spent, time.monotonic()
    if rank == 0:
        save(done=True)


if __name__ == "__main__":
    main()
