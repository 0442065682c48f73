"""The kodo codec: a light analysis transform, a heavier synthesis transform, and a context model
whose inputs are small integers, so that it can be evaluated in exact integer arithmetic.

Only Conv, PReLU, Add, Mul and DepthToSpace are used. Every convolution can carry a low-rank pair of
1x1 convolutions on its output, y + alpha * up(down(y)), which merges exactly into
(I + alpha * up @ down) @ W (ALICE, Spadaro et al. 2024; one set over a continuous alpha: CALICE, 2026).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

LATENTS = 192
STRIDE = 16
"""Channels are coded in groups; a group sees the energy of all earlier ones."""
GROUPS = (16, 16, 32, 64, 64)
ENERGY_MAPS = 12
"""A symbol sees the levels of this many channels before its own at the same place."""
BESIDE = 16
"""Twelve causal neighbours of the same channel: two rows of five above, two to the left."""
NEIGHBOURS = [(dy, dx) for dy in (-2, -1) for dx in (-2, -1, 0, 1, 2)] + [(0, -2), (0, -1)]


@dataclass
class Rate:
    """The one scalar that every adapted layer reads; 0 is the anchor, 1 the lowest rate."""

    alpha: float = 0.0


class AdaptedConv(nn.Module):
    """A convolution whose weight and bias take a low-rank update scaled by the shared alpha."""

    def __init__(self, rate: Rate, cin: int, cout: int, kernel: int, stride: int = 1, padding: int = 0):
        super().__init__()
        self.rate, self.stride, self.padding = rate, stride, padding
        self.weight = nn.Parameter(torch.empty(cout, cin, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(cout))
        nn.init.kaiming_normal_(self.weight, a=0.25)
        self.down = self.up = self.bias_delta = None

    def add_adapter(self, rank: int) -> None:
        cout = self.weight.shape[0]
        self.down = nn.Parameter(torch.randn(rank, cout) / cout**0.5)
        self.up = nn.Parameter(torch.zeros(cout, rank))
        self.bias_delta = nn.Parameter(torch.zeros(cout))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, bias = self.weight, self.bias
        if self.down is not None and self.rate.alpha > 0:
            weight = weight + self.rate.alpha * (self.up @ (self.down @ weight.flatten(1))).view_as(weight)
            bias = bias + self.rate.alpha * self.bias_delta
        return F.conv2d(x, weight, bias, self.stride, self.padding)


class ResidualBlock(nn.Module):
    """x + Conv1x1(PReLU(Conv3x3(x)))."""

    def __init__(self, rate: Rate, channels: int, hidden: int | None = None):
        super().__init__()
        hidden = hidden or channels
        self.conv1 = AdaptedConv(rate, channels, hidden, 3, 1, 1)
        self.act = nn.PReLU(hidden)
        self.conv2 = AdaptedConv(rate, hidden, channels, 1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv2(self.act(self.conv1(x)))


class LogGain(nn.Module):
    """One factor a channel, exp(gain + alpha * delta): the quantiser's step, geometric in alpha."""

    def __init__(self, rate: Rate, channels: int):
        super().__init__()
        self.rate = rate
        self.gain = nn.Parameter(torch.zeros(channels))
        self.delta = None

    def add_adapter(self) -> None:
        self.delta = nn.Parameter(torch.zeros_like(self.gain))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gain = self.gain if self.delta is None else self.gain + self.rate.alpha * self.delta
        return x * gain.exp()[None, :, None, None]


@dataclass(frozen=True)
class EncoderShape:
    """Widths at 1/4 and 1/8 of the picture's sides, and hidden widths of their blocks; 0 removes the blocks."""

    first: int = 64
    second: int = 96
    hidden1: int = 64
    hidden2: int = 96


"""What ships. The first width stays at 32 or more: a 4x4 patch of RGB is 48 numbers."""
ENCODERS = {
    "full": EncoderShape(),
    "medium": EncoderShape(hidden1=32, hidden2=48),
    "small": EncoderShape(32, 48, 32, 48),
    "tiny": EncoderShape(32, 40, 0, 0),
}


class Encoder(nn.Module):
    """RGB minus 0.5, [N, 3, H, W] with H and W multiples of 16 -> scaled latents [N, 192, H/16, W/16]."""

    def __init__(self, rate: Rate, shape: EncoderShape = ENCODERS["full"]):
        super().__init__()
        self.shape = shape
        self.conv1 = AdaptedConv(rate, 3, shape.first, 8, 4, 2)
        self.act1 = nn.PReLU(shape.first)
        self.conv2 = AdaptedConv(rate, shape.first, shape.second, 4, 2, 1)
        if shape.hidden1:
            self.block1 = ResidualBlock(rate, shape.first, shape.hidden1)
            self.block2 = ResidualBlock(rate, shape.second, shape.hidden2)
            self.block3 = ResidualBlock(rate, shape.second, shape.hidden2)
        else:
            self.act2 = nn.PReLU(shape.second, init=1.0)
        self.conv3 = AdaptedConv(rate, shape.second, LATENTS, 4, 2, 1)
        self.gain = LogGain(rate, LATENTS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act1(self.conv1(x))
        if self.shape.hidden1:
            x = self.block3(self.block2(self.conv2(self.block1(x))))
        else:
            x = self.act2(self.conv2(x))
        return self.gain(self.conv3(x).float())


class Decoder(nn.Module):
    """Rounded latents -> RGB minus 0.5, not clipped. `blocks`: how many at 1/16, 1/8 and 1/4 of the sides."""

    def __init__(self, rate: Rate, widths: tuple[int, int] = (96, 64), blocks: tuple[int, int, int] = (2, 4, 2)):
        super().__init__()
        first, second = widths
        self.gain = LogGain(rate, LATENTS)
        self.deep = nn.Sequential(*(ResidualBlock(rate, LATENTS) for _ in range(blocks[0])))
        self.conv1 = AdaptedConv(rate, LATENTS, first * 4, 3, 1, 1)
        self.middle = nn.Sequential(*(ResidualBlock(rate, first) for _ in range(blocks[1])))
        self.conv2 = AdaptedConv(rate, first, second * 4, 3, 1, 1)
        self.fine = nn.Sequential(*(ResidualBlock(rate, second) for _ in range(blocks[2])))
        self.conv3 = AdaptedConv(rate, second, 48, 3, 1, 1)

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        x = F.pixel_shuffle(self.conv1(self.deep(self.gain(y))), 2)
        x = F.pixel_shuffle(self.conv2(self.middle(x)), 2)
        return F.pixel_shuffle(self.conv3(self.fine(x)), 4)


LIGHT_DECODER = {"widths": (64, 32), "blocks": (0, 1, 1)}


@torch.no_grad()
def slice_encoder(full: Encoder, rate: Rate, shape: EncoderShape) -> Encoder:
    """A smaller encoder from the channels of the full one that carry most (L2 of what leaves them times
    L2 of what makes them); blocks are kept, narrowed or left out. Adapters are sliced with their layers:
    an update (I + alpha up down) W keeps the rows of up and the columns of down that stay."""
    pruned = Encoder(rate, shape)

    def strongest(made_by: AdaptedConv, read_by: list[AdaptedConv], keep: int) -> torch.Tensor:
        made = made_by.weight.flatten(1).norm(dim=1)
        read = sum(conv.weight.transpose(0, 1).flatten(1).norm(dim=1) for conv in read_by)
        return torch.sort(torch.topk(made * read, keep).indices).values

    def copy(to: AdaptedConv, conv: AdaptedConv, outputs: torch.Tensor, inputs: torch.Tensor) -> None:
        to.weight.copy_(conv.weight[outputs][:, inputs])
        to.bias.copy_(conv.bias[outputs])
        to.add_adapter(conv.down.shape[0])
        to.down = nn.Parameter(conv.down[:, outputs].clone())
        to.up = nn.Parameter(conv.up[outputs].clone())
        to.bias_delta.copy_(conv.bias_delta[outputs])

    every = torch.arange
    first = strongest(full.conv1, [full.conv2, full.block1.conv1], shape.first)
    second = strongest(full.conv2, [full.conv3, full.block2.conv1, full.block3.conv1], shape.second)
    copy(pruned.conv1, full.conv1, first, every(3))
    pruned.act1.weight.copy_(full.act1.weight[first])
    copy(pruned.conv2, full.conv2, second, first)
    copy(pruned.conv3, full.conv3, every(LATENTS), second)
    if shape.hidden1:
        for name, outer, width in (("block1", first, shape.hidden1), ("block2", second, shape.hidden2), ("block3", second, shape.hidden2)):
            block, to = getattr(full, name), getattr(pruned, name)
            inner = strongest(block.conv1, [block.conv2], width)
            copy(to.conv1, block.conv1, inner, outer)
            to.act.weight.copy_(block.act.weight[inner])
            copy(to.conv2, block.conv2, outer, inner)
    pruned.gain.add_adapter()
    pruned.gain.gain.copy_(full.gain.gain)
    pruned.gain.delta.copy_(full.gain.delta)
    return pruned


@torch.no_grad()
def slice_decoder(full: Decoder, rate: Rate, widths: tuple[int, int], blocks: tuple[int, int, int]) -> Decoder:
    """A light decoder from the strongest channels and the last blocks of the full one, without adapters in
    its layers yet: its own are trained."""
    light = Decoder(rate, widths, blocks)
    # A pixel shuffle makes channel c from four outputs in a row.
    def strongest(made_by: AdaptedConv, read_by: AdaptedConv, keep: int) -> tuple[torch.Tensor, torch.Tensor]:
        made = made_by.weight.flatten(1).norm(dim=1).view(-1, 4).norm(dim=1)
        read = read_by.weight.transpose(0, 1).flatten(1).norm(dim=1)
        channels = torch.sort(torch.topk(made * read, keep).indices).values
        return channels, (channels[:, None] * 4 + torch.arange(4)).flatten()

    first, first_rows = strongest(full.conv1, full.conv2, widths[0])
    second, second_rows = strongest(full.conv2, full.conv3, widths[1])
    for to, conv, outputs, inputs in (
        (light.conv1, full.conv1, first_rows, torch.arange(LATENTS)),
        (light.conv2, full.conv2, second_rows, first),
        (light.conv3, full.conv3, torch.arange(48), second),
    ):
        to.weight.copy_(conv.weight[outputs][:, inputs])
        to.bias.copy_(conv.bias[outputs])
    for to, block, keep in ((light.middle, full.middle, first), (light.fine, full.fine, second)):
        for i in range(len(to)):
            source = block[len(block) - len(to) + i]
            to[i].conv1.weight.copy_(source.conv1.weight[keep][:, keep])
            to[i].act.weight.copy_(source.act.weight[keep])
            to[i].conv2.weight.copy_(source.conv2.weight[keep][:, keep])
    light.gain.gain.copy_(full.gain.gain)
    for module in light.modules():
        if isinstance(module, AdaptedConv):
            module.add_adapter(2)
    light.gain.add_adapter()
    light.gain.delta.copy_(full.gain.delta)
    return light


class AlphaLinear(nn.Module):
    """A tensor of the context model: base + alpha * delta, evaluated in integers by the product."""

    def __init__(self, rate: Rate, initial: torch.Tensor):
        super().__init__()
        self.rate = rate
        self.base = nn.Parameter(initial)
        self.delta = None

    def add_adapter(self) -> None:
        self.delta = nn.Parameter(torch.zeros_like(self.base))

    def forward(self) -> torch.Tensor:
        return self.base if self.delta is None else self.base + self.rate.alpha * self.delta


def causal_kernel(taps: torch.Tensor) -> torch.Tensor:
    """[C, 12] neighbour weights -> depthwise kernel [C, 1, 3, 5] over rows y-2..y and columns x-2..x+2."""
    rows = torch.cat([taps, taps.new_zeros(taps.shape[0], 3)], dim=1)
    return rows.view(-1, 1, 3, 5)


def beside_kernel(weights: torch.Tensor) -> torch.Tensor:
    """[C, 16] weights of channels c-1, c-2, .. -> a strictly lower banded 1x1 convolution [C, C, 1, 1]."""
    channels, reach = weights.shape
    # Column c - 1 - k of row c, with 16 columns before the first channel that are cut off.
    columns = torch.arange(channels)[:, None] - 1 - torch.arange(reach) + reach
    wide = weights.new_zeros(channels, channels + reach).scatter(1, columns, weights)
    return wide[:, reach:, None, None]


class ContextModel(nn.Module):
    """Each symbol ~ logistic(mu, s). mu: bias + 12 causal neighbours of q. log s: bias + the same
    neighbours of log(1+|q|) + that of the 16 channels before at the same place + energy maps of the
    earlier channel groups spread by 3x3, read directly and through one layer of rectified units.
    shared/codec/context-model.ts is the integer form of this.
    """

    def __init__(self, rate: Rate):
        super().__init__()
        self.mean_bias = AlphaLinear(rate, torch.zeros(LATENTS))
        self.mean_taps = AlphaLinear(rate, torch.zeros(LATENTS, len(NEIGHBOURS)))
        self.scale_bias = AlphaLinear(rate, torch.zeros(LATENTS))
        self.scale_taps = AlphaLinear(rate, torch.full((LATENTS, len(NEIGHBOURS)), 0.04))
        self.beside = AlphaLinear(rate, torch.zeros(LATENTS, BESIDE))
        self.reference_mean = AlphaLinear(rate, torch.zeros(LATENTS, 9))
        self.reference_scale = AlphaLinear(rate, torch.zeros(LATENTS, 9))
        self.reference_bias = AlphaLinear(rate, torch.zeros(LATENTS))
        self.maps, self.spreads, self.reads = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        self.hidden, self.hidden_bias = nn.ModuleList(), nn.ModuleList()
        before = 0
        for size in GROUPS:
            if before:
                spread = torch.full((ENERGY_MAPS, 9), 0.03)
                spread[:, 4] = 0.5
                read = torch.cat([torch.full((size, ENERGY_MAPS), 0.05), torch.zeros(size, ENERGY_MAPS)], 1)
                self.maps.append(AlphaLinear(rate, torch.rand(ENERGY_MAPS, before) * 2 / before))
                self.spreads.append(AlphaLinear(rate, spread))
                self.hidden.append(AlphaLinear(rate, torch.randn(ENERGY_MAPS, ENERGY_MAPS) / ENERGY_MAPS**0.5))
                self.hidden_bias.append(AlphaLinear(rate, torch.zeros(ENERGY_MAPS)))
                self.reads.append(AlphaLinear(rate, read))
            before += size

    def parameters_of(
        self, q: torch.Tensor, prediction: torch.Tensor | None = None, predicted: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log-scale of each symbol from the rounded latents q, [N, 192, h, w].

        In an inter frame q is the difference from the prediction (the frame before, zero where not
        `predicted` [N, 1, h, w]), and the prediction's 3x3 surroundings add to both.
        """
        level = torch.log1p(q.abs())
        padded = (2, 2, 2, 0)
        mean = self.mean_bias()[None, :, None, None] + F.conv2d(
            F.pad(q, padded), causal_kernel(self.mean_taps()), groups=LATENTS
        )
        scale = self.scale_bias()[None, :, None, None] + F.conv2d(
            F.pad(level, padded), causal_kernel(self.scale_taps()), groups=LATENTS
        )
        scale = scale + F.conv2d(level, beside_kernel(self.beside()))
        if prediction is not None:
            around = self.reference_mean().view(-1, 1, 3, 3), self.reference_scale().view(-1, 1, 3, 3)
            mean = mean + F.conv2d(prediction, around[0], padding=1, groups=LATENTS)
            scale = scale + F.conv2d(torch.log1p(prediction.abs()), around[1], padding=1, groups=LATENTS)
            scale = scale + self.reference_bias()[None, :, None, None] * predicted
        parts, before = [scale[:, : GROUPS[0]]], GROUPS[0]
        for i, size in enumerate(GROUPS[1:]):
            energy = F.conv2d(level[:, :before], self.maps[i]()[:, :, None, None])
            energy = F.conv2d(energy, self.spreads[i]().view(ENERGY_MAPS, 1, 3, 3), padding=1, groups=ENERGY_MAPS)
            units = F.relu(F.conv2d(energy, self.hidden[i]()[:, :, None, None], self.hidden_bias[i]()))
            read = F.conv2d(torch.cat([energy, units], 1), self.reads[i]()[:, :, None, None])
            parts.append(scale[:, before : before + size] + read)
            before += size
        return mean, torch.cat(parts, dim=1)

    def bits(self, y: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """Bits of values y (noisy or rounded) given contexts from q, summed over the batch."""
        return self.symbol_bits(y, *self.parameters_of(q.detach())).sum()

    @staticmethod
    def symbol_bits(y: torch.Tensor, mean: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
        centred = (y - mean).abs()
        inverse = torch.exp(-log_scale.clamp(-5.0, 7.0))
        # The symmetric form keeps both sigmoids in their accurate half.
        likelihood = torch.sigmoid((0.5 - centred) * inverse) - torch.sigmoid((-0.5 - centred) * inverse)
        return -torch.log2(likelihood.clamp_min(1e-7))


class Kodo(nn.Module):
    def __init__(self):
        super().__init__()
        self.rate = Rate()
        self.encoder = Encoder(self.rate)
        self.decoder = Decoder(self.rate)
        self.context = ContextModel(self.rate)

    def add_adapters(self, rank: int) -> None:
        """Give every layer an update; at alpha 0 nothing changes."""
        for module in self.modules():
            if isinstance(module, AdaptedConv):
                module.add_adapter(rank)
            elif isinstance(module, (LogGain, AlphaLinear)):
                module.add_adapter()
        # At high rate the best step goes as lambda^-1/2: start the gains near there, the rest follows.
        self.encoder.gain.delta.data.fill_(-1.2)
        self.decoder.gain.delta.data.fill_(1.2)
        self.context.scale_bias.delta.data.fill_(-0.5)

    @staticmethod
    def from_state(state: dict[str, torch.Tensor]) -> "Kodo":
        """A model as it was saved, whatever the ranks of its adapters. What the state lacks stays as it starts."""
        model = Kodo()
        model.add_adapters(1)
        for name, module in model.named_modules():
            if isinstance(module, AdaptedConv) and f"{name}.down" in state:
                module.add_adapter(state[f"{name}.down"].shape[0])
        missing, unexpected = model.load_state_dict(state, strict=False)
        if unexpected or any(not name.startswith("context.reference") for name in missing):
            raise SystemExit(f"Cannot load model: it lacks {missing} and has {unexpected}")
        return model

    @torch.no_grad()
    def truncate_adapters(self, values: int) -> None:
        """Keep the strongest components of all updates that together take `values` numbers.

        The update U D W = (U D W's left singular vectors) (their shares): component i of a layer changes
        its weights by s_i; scored by s_i^2 relative to the layer's own energy, per number it costs (the
        sizing rule of MiMi, with singular values as the importance).
        """
        scored, parts = [], {}
        for name, module in self.named_modules():
            if not isinstance(module, AdaptedConv):
                continue
            weight = module.weight.flatten(1)
            delta = module.up @ (module.down @ weight)
            left, energy, _ = torch.linalg.svd(delta, full_matrices=False)
            left = left[:, : module.down.shape[0]]
            parts[name] = (module, left, (left.T @ module.up) @ module.down)
            for i in range(left.shape[1]):
                gain = (energy[i] ** 2 / weight.square().sum()).item() * weight.shape[0]
                scored.append((gain / (2 * weight.shape[0]), name, i, 2 * weight.shape[0]))
        kept, used = {name: 0 for name in parts}, 0
        for _, name, i, cost in sorted(scored, reverse=True):
            if used + cost <= values and kept[name] == i:
                kept[name], used = i + 1, used + cost
        for name, (module, left, down) in parts.items():
            module.up = nn.Parameter(left[:, : kept[name]].clone())
            module.down = nn.Parameter(down[: kept[name]].clone())
        print({name: rank for name, rank in kept.items()}, f"{used} numbers", flush=True)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Picture (RGB in [0, 1]) -> reconstruction and bits, both differentiable."""
        y = self.encoder(x - 0.5)
        q = y + (y.round() - y).detach()
        bits = self.context.bits(y + torch.rand_like(y) - 0.5, y.round())
        return self.decoder(q).float() + 0.5, bits


@torch.no_grad()
def start_from_klt(model: Kodo, patches: torch.Tensor) -> None:
    """Write a hierarchical PCA (4x4, then 2x2, then 2x2) into the centre taps; residual branches stay
    zero and the first PReLU is the identity. Training from here starts near 31 dB; from noise it needs hours.

    patches: [N, 3, 16 k, 16 k] RGB minus 0.5.
    """

    def principal(x: torch.Tensor, block: int, keep: int) -> tuple[torch.Tensor, torch.Tensor]:
        n, c, h, w = x.shape
        cells = x.view(n, c, h // block, block, w // block, block).permute(0, 2, 4, 1, 3, 5).reshape(-1, c * block * block)
        covariance = cells.T @ cells / cells.shape[0]
        _, vectors = torch.linalg.eigh(covariance.double())
        basis = vectors.flip(1)[:, :keep].T.float()
        kernel = basis.view(-1, c, block, block)
        return kernel, F.conv2d(x, kernel, stride=block)

    encoder, decoder = model.encoder, model.decoder
    first, second = encoder.conv1.weight.shape[0], encoder.conv2.weight.shape[0]
    k1, x1 = principal(patches, 4, min(first, 48))
    k2, x2 = principal(x1, 2, second)
    k3, x3 = principal(x2, 2, LATENTS)
    encoder.conv1.weight.mul_(0.05)
    encoder.conv1.weight[: k1.shape[0]] = 0
    encoder.conv1.weight[: k1.shape[0], :, 2:6, 2:6] = k1
    encoder.act1.weight.fill_(1.0)
    for conv, kernel in ((encoder.conv2, k2), (encoder.conv3, k3)):
        conv.weight.mul_(0.02)
        conv.weight[:, : kernel.shape[1]] = 0
        conv.weight[:, : kernel.shape[1], 1:3, 1:3] = kernel

    def transpose_into(conv: AdaptedConv, kernel: torch.Tensor, block: int) -> None:
        """PixelShuffle reads output channel c * block^2 + i * block + j into sub-position (i, j)."""
        conv.weight.mul_(0.02)
        outputs, inputs = kernel.shape[1], kernel.shape[0]
        rows = outputs * block * block
        conv.weight[:rows] = 0
        conv.weight[:rows, :inputs, 1, 1] = kernel.permute(1, 2, 3, 0).reshape(rows, inputs)

    transpose_into(decoder.conv1, k3, 2)
    transpose_into(decoder.conv2, k2[:, : min(first, 48)], 2)
    transpose_into(decoder.conv3, k1, 4)
    scale = 8.0
    encoder.gain.gain.fill_(torch.log(torch.tensor(scale)))
    decoder.gain.gain.fill_(-torch.log(torch.tensor(scale)))
    model.context.scale_bias.base.copy_(torch.log(x3.std(dim=(0, 2, 3)) * scale * 0.4 + 0.05) - 0.5)
