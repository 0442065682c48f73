"""Tensors of float32 in one file, in the format that the forge reads; written by hand, because it is fifteen lines."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import torch


def write_safetensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Eight bytes of the header's length, the header as JSON, and all numbers after one another, little-endian."""
    header: dict = {"__metadata__": dict(metadata)}
    chunks, at = [], 0
    for name, tensor in tensors.items():
        chunks.append(tensor.detach().float().contiguous().numpy().astype("<f4").tobytes())
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, at + len(chunks[-1])]}
        at += len(chunks[-1])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(chunks))
