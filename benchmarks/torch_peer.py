"""Torch's fused optimizers on the same arrays, as contestants."""

import time
from typing import Any

import torch  # pyright: ignore[reportMissingImports]

from benchmarks.arrays import Shapes


class TorchContestant:
    """torch.optim.Adam(fused=True), with or without AMSGrad."""

    moved_bytes = None  # A kernel written by hand; its program lists no bytes.

    def __init__(self, shapes: Shapes, amsgrad: bool):
        self._shapes, self._amsgrad = shapes, amsgrad
        self.floor_bytes = 36 if amsgrad else 28

    def turn(self, steps: int) -> float:
        """Seconds of a step."""
        params: list[Any] = []
        for shape in self._shapes.values():
            param = torch.nn.Parameter(torch.randn(shape))
            param.grad = torch.randn(shape)
            params.append(param)
        optimizer: Any = torch.optim.Adam(
            params, lr=1e-3, amsgrad=self._amsgrad, fused=True
        )
        optimizer.step()
        began = time.perf_counter()
        for _ in range(steps):
            optimizer.step()
        return (time.perf_counter() - began) / steps


def torch_contestants(shapes: Shapes) -> dict[str, TorchContestant]:
    """Both, by name."""
    return {
        "torch Adam, fused": TorchContestant(shapes, amsgrad=False),
        "torch AMSGrad, fused": TorchContestant(shapes, amsgrad=True),
    }
