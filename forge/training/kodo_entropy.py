"""The context model in integers, as the product evaluates it, and the coder that writes golden streams.

shared/codec/context-model.ts and shared/codec/rans.ts are the same arithmetic in TypeScript; a golden
stream written here must come out of them byte for byte. Fixed point: Qn is an integer times 2^-n.
"""

import math

import numpy as np
import torch

from kodo_model import BESIDE, ENERGY_MAPS, GROUPS, LATENTS, NEIGHBOURS, Kodo

MAX_MAGNITUDE = 255
LEVEL = np.array([round(64 * math.log1p(i)) for i in range(MAX_MAGNITUDE + 1)], dtype=np.int64)  # Q6
LOG_SCALE_MIN, LOG_SCALES_PER_UNIT, LOG_SCALE_COUNT = -3.0, 8, 57
MEAN_FRACTIONS = 4
PROBABILITY_BITS = 16
MAX_TABLE_REACH = 255
INT32 = 2**31


class IntegerContext:
    """Integer weights: base + round-to-zero(alpha255 * delta / 255), each Q10 or Q16."""

    def __init__(self, model: Kodo):
        def pair(parameter, bits):
            base = torch.round(parameter.base.detach().double() * 2**bits).long().numpy()
            delta = parameter.delta
            moved = np.zeros_like(base) if delta is None else torch.round(delta.detach().double() * 2**bits).long().numpy()
            return base, moved

        context = model.context
        self.mean_bias, self.mean_taps = pair(context.mean_bias, 16), pair(context.mean_taps, 16)
        self.scale_bias, self.scale_taps = pair(context.scale_bias, 16), pair(context.scale_taps, 10)
        self.beside = pair(context.beside, 10)
        self.reference_mean, self.reference_scale = pair(context.reference_mean, 16), pair(context.reference_scale, 10)
        self.reference_bias = pair(context.reference_bias, 16)
        self.maps = [pair(p, 10) for p in context.maps]
        self.hidden = [pair(p, 10) for p in context.hidden]
        self.hidden_bias = [pair(p, 16) for p in context.hidden_bias]
        # How many powers of two a channel's symbols shrink from alpha 0 to 1: what its gain says.
        gains = model.encoder.gain.delta.detach().double().flatten().numpy() / math.log(2)
        self.step_log2 = np.round(-gains * 256).astype(np.int64)
        self.spreads = [pair(p, 10) for p in context.spreads]
        self.reads = [pair(p, 10) for p in context.reads]
        self.check_range()

    def check_range(self) -> None:
        """No accumulator can leave 32 bits at any alpha, whatever the symbols."""
        top = int(LEVEL[-1])
        for alpha in (0, 255):

            def most(pair):
                return int(np.abs(self.at(pair, alpha)).reshape(pair[0].shape[0], -1).sum(1).max())

            units, reads = [], []
            for i in range(len(self.maps)):
                energy = most(self.maps[i]) * top
                spread = most(self.spreads[i]) * (energy >> 10)
                hidden = most(self.hidden[i]) * (spread >> 10) + most(self.hidden_bias[i])
                units += [energy, spread, hidden]
                read = np.abs(self.at(self.reads[i], alpha))
                reads.append(int((read[:, :ENERGY_MAPS].sum(1) * (spread >> 10) + read[:, ENERGY_MAPS:].sum(1) * (hidden >> 10)).max()))
            scale = most(self.scale_taps) * top + most(self.beside) * top + most(self.scale_bias) + max(reads)
            scale += most(self.reference_scale) * top + most(self.reference_bias)
            mean = (most(self.mean_taps) + most(self.reference_mean)) * MAX_MAGNITUDE + most(self.mean_bias)
            worst = max(*units, scale, mean)
            if worst >= INT32 // 2:
                raise SystemExit(f"Cannot export the context model: an accumulator reaches {worst}, expected under {INT32 // 2}")

    @staticmethod
    def at(pair: tuple[np.ndarray, np.ndarray], alpha255: int) -> np.ndarray:
        base, delta = pair
        moved = np.sign(delta) * (np.abs(delta) * alpha255 // 255)
        return base + moved

    def indices(
        self, q: np.ndarray, alpha255: int, prediction: np.ndarray | None = None, predicted: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Symbols (in an inter frame: differences from the prediction) [C, h, w] -> mean in quarters and
        log-scale index, each [C, h, w]. `predicted` is [h, w] of 0 and 1."""
        _, height, width = q.shape
        clamped = np.clip(q, -MAX_MAGNITUDE, MAX_MAGNITUDE).astype(np.int64)
        level = LEVEL[np.abs(clamped)]
        mean = np.broadcast_to(self.at(self.mean_bias, alpha255)[:, None, None], q.shape).copy()
        scale = np.broadcast_to(self.at(self.scale_bias, alpha255)[:, None, None], q.shape).copy()
        pad = ((0, 0), (2, 0), (2, 2))
        padded_q, padded_level = np.pad(clamped, pad), np.pad(level, pad)
        mean_taps, scale_taps = self.at(self.mean_taps, alpha255), self.at(self.scale_taps, alpha255)
        for k, (dy, dx) in enumerate(NEIGHBOURS):
            window = (slice(None), slice(2 + dy, 2 + dy + height), slice(2 + dx, 2 + dx + width))
            mean += mean_taps[:, k, None, None] * padded_q[window]
            scale += scale_taps[:, k, None, None] * padded_level[window]
        beside = self.at(self.beside, alpha255)
        for k in range(BESIDE):
            scale[k + 1 :] += beside[k + 1 :, k, None, None] * level[: LATENTS - k - 1]
        if prediction is not None:
            bounded = np.clip(prediction, -MAX_MAGNITUDE, MAX_MAGNITUDE).astype(np.int64)
            around_q, around_level = (np.pad(a, ((0, 0), (1, 1), (1, 1))) for a in (bounded, LEVEL[np.abs(bounded)]))
            scale += self.at(self.reference_bias, alpha255)[:, None, None] * predicted
            for k in range(9):
                dy, dx = divmod(k, 3)
                window = (slice(None), slice(dy, dy + height), slice(dx, dx + width))
                mean += self.at(self.reference_mean, alpha255)[:, k, None, None] * around_q[window]
                scale += self.at(self.reference_scale, alpha255)[:, k, None, None] * around_level[window]
        before = GROUPS[0]
        for i, size in enumerate(GROUPS[1:]):
            energy = np.tensordot(self.at(self.maps[i], alpha255), level[:before], 1) >> 10
            padded = np.pad(energy, ((0, 0), (1, 1), (1, 1)))
            weights = self.at(self.spreads[i], alpha255)
            blurred = np.zeros_like(energy)
            for k in range(9):
                dy, dx = divmod(k, 3)
                blurred += weights[:, k, None, None] * padded[:, dy : dy + height, dx : dx + width]
            blurred >>= 10
            units = np.tensordot(self.at(self.hidden[i], alpha255), blurred, 1)
            units = np.maximum(0, (units + self.at(self.hidden_bias[i], alpha255)[:, None, None]) >> 10)
            scale[before : before + size] += np.tensordot(self.at(self.reads[i], alpha255), np.concatenate([blurred, units]), 1)
            before += size
        quarter_mean = (mean + (1 << 13)) >> 14
        shift = 16 - int(math.log2(LOG_SCALES_PER_UNIT))
        index = (scale - int(LOG_SCALE_MIN * 65536) + (1 << (shift - 1))) >> shift
        return quarter_mean, np.clip(index, 0, LOG_SCALE_COUNT - 1)


def logistic_mass(log_scale: float, fraction: float, reach: int) -> np.ndarray:
    """Probabilities of residuals -reach..reach+1 around a mean of fraction quarters, then of all others."""
    inverse = math.exp(-log_scale)
    edges = np.arange(-reach, reach + 3) - 0.5 - fraction / MEAN_FRACTIONS
    cumulative = 1 / (1 + np.exp(-np.clip(edges * inverse, -700, 700)))
    inside = np.diff(cumulative)
    return np.append(inside, max(1e-9, 1 - inside.sum()))


def to_frequencies(mass: np.ndarray) -> np.ndarray:
    """Integers >= 1 that sum to 2^16, as close to the masses as possible; the largest takes the remainder."""
    total = 1 << PROBABILITY_BITS
    frequencies = np.maximum(1, np.floor(mass / mass.sum() * (total - len(mass)) + 1)).astype(np.int64)
    frequencies[np.argmax(frequencies)] += total - frequencies.sum()
    return frequencies


def table_reach(index: int) -> int:
    scale = math.exp(LOG_SCALE_MIN + index / LOG_SCALES_PER_UNIT)
    return min(MAX_TABLE_REACH, math.ceil(scale * 9) + 1)


class Tables:
    """One frequency table for each log-scale index and mean fraction: the logistic, corrected by counts."""

    PRIOR_SYMBOLS = 400.0

    def __init__(self):
        self.counts = [
            [np.zeros(2 * table_reach(i) + 3) for _ in range(MEAN_FRACTIONS)] for i in range(LOG_SCALE_COUNT)
        ]

    def count(self, q: np.ndarray, quarter_mean: np.ndarray, index: np.ndarray) -> None:
        for i in range(LOG_SCALE_COUNT):
            reach = table_reach(i)
            for f in range(MEAN_FRACTIONS):
                chosen = (index == i) & ((quarter_mean & 3) == f)
                residual = (q[chosen] - (quarter_mean[chosen] >> 2)) + reach
                residual[(residual < 0) | (residual > 2 * reach + 1)] = 2 * reach + 2
                self.counts[i][f] += np.bincount(residual, minlength=2 * reach + 3)

    def finish(self) -> list[list[np.ndarray]]:
        out = []
        for i in range(LOG_SCALE_COUNT):
            log_scale = LOG_SCALE_MIN + i / LOG_SCALES_PER_UNIT
            row = []
            for f in range(MEAN_FRACTIONS):
                prior = logistic_mass(log_scale, f, table_reach(i))
                row.append(to_frequencies(prior / prior.sum() * self.PRIOR_SYMBOLS + self.counts[i][f]))
            out.append(row)
        return out


def symbol_bits(tables: list[list[np.ndarray]], q: np.ndarray, quarter_mean: np.ndarray, index: np.ndarray) -> float:
    """What the coder will write for these symbols, escapes charged 12 bits, without the container."""
    bits = 0.0
    for i in np.unique(index):
        reach = table_reach(i)
        for f in range(MEAN_FRACTIONS):
            chosen = (index == i) & ((quarter_mean & 3) == f)
            residual = (q[chosen] - (quarter_mean[chosen] >> 2)) + reach
            escaped = (residual < 0) | (residual > 2 * reach + 1)
            residual[escaped] = 2 * reach + 2
            bits -= np.log2(tables[i][f][residual] / 65536).sum() - 12 * escaped.sum()
    return float(bits)


def encode_symbols(tables: list[list[np.ndarray]], q: np.ndarray, quarter_mean: np.ndarray, index: np.ndarray) -> bytes:
    """rANS, 32-bit state, 16-bit words; channel by channel, each in raster order."""
    steps: list[tuple[int, int]] = []
    starts = [[np.concatenate([[0], np.cumsum(f)]) for f in row] for row in tables]
    for symbol, mean, i in zip(q.ravel().tolist(), quarter_mean.ravel().tolist(), index.ravel().tolist()):
        reach, f = table_reach(i), mean & 3
        residual = symbol - (mean >> 2)
        slot = residual + reach
        escaped = slot < 0 or slot > 2 * reach + 1
        if escaped:
            slot = 2 * reach + 2
        steps.append((int(starts[i][f][slot]), int(tables[i][f][slot])))
        if escaped:
            excess = 2 * (residual - reach - 2) + 1 if residual > 0 else 2 * (-reach - 1 - residual)
            steps += [(32768 * bit, 32768) for bit in exp_golomb(excess)]
    state, words = 1 << 16, []
    for start, frequency in reversed(steps):
        if state >= frequency << 16:
            words.append(state & 0xFFFF)
            state >>= 16
        state = ((state // frequency) << 16) + state % frequency + start
    words += [state & 0xFFFF, state >> 16]
    return np.array(words[::-1], dtype="<u2").tobytes()


def exp_golomb(value: int) -> list[int]:
    digits = [int(b) for b in bin(value + 1)[2:]]
    return [0] * (len(digits) - 1) + digits


def entropy_document(context: IntegerContext, tables: list[list[np.ndarray]]) -> dict:
    def both(pair):
        return {"base": pair[0].ravel().tolist(), "delta": pair[1].ravel().tolist()}

    return {
        "format": "espalier-entropy/2",
        "channels": LATENTS,
        "groups": list(GROUPS),
        "energyMaps": ENERGY_MAPS,
        "besideChannels": BESIDE,
        "levels": LEVEL.tolist(),
        "logScale": {"min": LOG_SCALE_MIN, "perUnit": LOG_SCALES_PER_UNIT, "count": LOG_SCALE_COUNT},
        "meanBias": both(context.mean_bias),
        "meanTaps": both(context.mean_taps),
        "scaleBias": both(context.scale_bias),
        "scaleTaps": both(context.scale_taps),
        "beside": both(context.beside),
        "maps": [both(p) for p in context.maps],
        "spreads": [both(p) for p in context.spreads],
        "hidden": [both(p) for p in context.hidden],
        "hiddenBias": [both(p) for p in context.hidden_bias],
        "reads": [both(p) for p in context.reads],
        "referenceMean": both(context.reference_mean),
        "referenceScale": both(context.reference_scale),
        "referenceBias": both(context.reference_bias),
        "stepLog2": context.step_log2.tolist(),
        "exp2": [round(65536 * 2 ** (i / 256)) for i in range(256)],
        "tables": [[f.tolist() for f in row] for row in tables],
    }
