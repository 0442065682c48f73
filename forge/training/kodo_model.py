"""The kodo codec: a light analysis transform, a heavier synthesis transform, and a context model
whose inputs are small integers, so that it can be evaluated in exact integer arithmetic.

Only Conv, PReLU, Add, Mul and DepthToSpace are used. Every convolution can carry a low-rank update
W + alpha * up @ down (ALICE, Spadaro et al. 2024; one set over a continuous alpha: CALICE, 2026).
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
        cout, fan_in = self.weight.shape[0], self.weight[0].numel()
        rank = min(rank, cout, fan_in)
        self.down = nn.Parameter(torch.randn(rank, fan_in) / fan_in**0.5)
        self.up = nn.Parameter(torch.zeros(cout, rank))
        self.bias_delta = nn.Parameter(torch.zeros(cout))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, bias = self.weight, self.bias
        if self.down is not None and self.rate.alpha > 0:
            weight = weight + self.rate.alpha * (self.up @ self.down).view_as(weight)
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


class Encoder(nn.Module):
    """RGB minus 0.5, [N, 3, H, W] with H and W multiples of 16 -> scaled latents [N, 192, H/16, W/16]."""

    def __init__(self, rate: Rate, widths: tuple[int, int] = (64, 96)):
        super().__init__()
        first, second = widths
        self.conv1 = AdaptedConv(rate, 3, first, 8, 4, 2)
        self.act1 = nn.PReLU(first)
        self.block1 = ResidualBlock(rate, first)
        self.conv2 = AdaptedConv(rate, first, second, 4, 2, 1)
        self.block2 = ResidualBlock(rate, second)
        self.block3 = ResidualBlock(rate, second)
        self.conv3 = AdaptedConv(rate, second, LATENTS, 4, 2, 1)
        self.gain = LogGain(rate, LATENTS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.block1(self.act1(self.conv1(x)))
        x = self.block3(self.block2(self.conv2(x)))
        return self.gain(self.conv3(x).float())


class Decoder(nn.Module):
    """Rounded latents -> RGB minus 0.5, not clipped."""

    def __init__(self, rate: Rate, widths: tuple[int, int] = (96, 64)):
        super().__init__()
        first, second = widths
        self.gain = LogGain(rate, LATENTS)
        self.conv1 = AdaptedConv(rate, LATENTS, first * 4, 3, 1, 1)
        self.block1 = ResidualBlock(rate, first)
        self.block2 = ResidualBlock(rate, first)
        self.conv2 = AdaptedConv(rate, first, second * 4, 3, 1, 1)
        self.block3 = ResidualBlock(rate, second)
        self.conv3 = AdaptedConv(rate, second, 48, 3, 1, 1)

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        x = F.pixel_shuffle(self.conv1(self.gain(y)), 2)
        x = F.pixel_shuffle(self.conv2(self.block2(self.block1(x))), 2)
        return F.pixel_shuffle(self.conv3(self.block3(x)), 4)


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


class ContextModel(nn.Module):
    """Each symbol ~ logistic(mu, s). mu: bias + 12 causal neighbours of q. log s: bias + the same
    neighbours of log(1+|q|) + energy maps of the earlier channel groups spread by 3x3.
    shared/codec/context-model.ts is the integer form of this.
    """

    def __init__(self, rate: Rate):
        super().__init__()
        taps = torch.zeros(LATENTS, len(NEIGHBOURS))
        scale_taps = torch.full((LATENTS, len(NEIGHBOURS)), 0.04)
        self.mean_bias = AlphaLinear(rate, torch.zeros(LATENTS))
        self.mean_taps = AlphaLinear(rate, taps)
        self.scale_bias = AlphaLinear(rate, torch.zeros(LATENTS))
        self.scale_taps = AlphaLinear(rate, scale_taps)
        self.maps, self.spreads, self.reads = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        before = 0
        for size in GROUPS:
            if before:
                spread = torch.full((ENERGY_MAPS, 9), 0.03)
                spread[:, 4] = 0.5
                self.maps.append(AlphaLinear(rate, torch.rand(ENERGY_MAPS, before) * 2 / before))
                self.spreads.append(AlphaLinear(rate, spread))
                self.reads.append(AlphaLinear(rate, torch.full((size, ENERGY_MAPS), 0.05)))
            before += size

    def parameters_of(self, q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log-scale of each symbol from the rounded latents q, [N, 192, h, w]."""
        level = torch.log1p(q.abs())
        padded = (2, 2, 2, 0)
        mean = self.mean_bias()[None, :, None, None] + F.conv2d(
            F.pad(q, padded), causal_kernel(self.mean_taps()), groups=LATENTS
        )
        scale = self.scale_bias()[None, :, None, None] + F.conv2d(
            F.pad(level, padded), causal_kernel(self.scale_taps()), groups=LATENTS
        )
        parts, before = [scale[:, : GROUPS[0]]], GROUPS[0]
        for size, maps, spread, read in zip(GROUPS[1:], self.maps, self.spreads, self.reads):
            energy = F.conv2d(level[:, :before], maps()[:, :, None, None])
            energy = F.conv2d(energy, spread().view(ENERGY_MAPS, 1, 3, 3), padding=1, groups=ENERGY_MAPS)
            parts.append(scale[:, before : before + size] + F.conv2d(energy, read()[:, :, None, None]))
            before += size
        return mean, torch.cat(parts, dim=1)

    def bits(self, y: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """Bits of values y (noisy or rounded) given contexts from q, summed over the batch."""
        mean, log_scale = self.parameters_of(q.detach())
        centred = (y - mean).abs()
        inverse = torch.exp(-log_scale.clamp(-5.0, 7.0))
        # The symmetric form keeps both sigmoids in their accurate half.
        likelihood = torch.sigmoid((0.5 - centred) * inverse) - torch.sigmoid((-0.5 - centred) * inverse)
        return -torch.log2(likelihood.clamp_min(1e-7)).sum()


class Kodo(nn.Module):
    def __init__(self, encoder_widths: tuple[int, int] = (64, 96)):
        super().__init__()
        self.rate = Rate()
        self.encoder = Encoder(self.rate, encoder_widths)
        self.decoder = Decoder(self.rate)
        self.context = ContextModel(self.rate)

    def add_adapters(self, rank: int) -> None:
        """Freeze the anchor and give every layer an update; alpha 0 stays the anchor exactly."""
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        for module in self.modules():
            if isinstance(module, AdaptedConv):
                module.add_adapter(rank)
            elif isinstance(module, (LogGain, AlphaLinear)):
                module.add_adapter()
        # At high rate the best step goes as lambda^-1/2: start the gains near there, the rest follows.
        self.encoder.gain.delta.data.fill_(-1.2)
        self.decoder.gain.delta.data.fill_(1.2)
        self.context.scale_bias.delta.data.fill_(-0.5)

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
