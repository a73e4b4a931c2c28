"""Torch's fused optimizers on the same arrays, as contestants."""

import time
from typing import Any

import jax
import torch  # pyright: ignore[reportMissingImports]

from benchmarks.arrays import Shapes


class TorchContestant:
    """torch.optim.Adam(fused=True), with or without AMSGrad, on the device of JAX."""

    moved_bytes = None  # A kernel written by hand; its program lists no bytes.

    def __init__(self, shapes: Shapes, amsgrad: bool):
        self._shapes, self._amsgrad = shapes, amsgrad
        self._on_gpu = jax.default_backend() == "gpu"
        self.floor_bytes = 36 if amsgrad else 28

    def turn(self, steps: int) -> float:
        """Seconds of a step."""
        params: list[Any] = []
        device = "cuda" if self._on_gpu else "cpu"
        for shape in self._shapes.values():
            param = torch.nn.Parameter(torch.randn(shape, device=device))
            param.grad = torch.randn(shape, device=device)
            params.append(param)
        optimizer: Any = torch.optim.Adam(
            params, lr=1e-3, amsgrad=self._amsgrad, fused=True
        )
        optimizer.step()
        self._wait()
        began = time.perf_counter()
        for _ in range(steps):
            optimizer.step()
        self._wait()
        return (time.perf_counter() - began) / steps

    def _wait(self) -> None:
        if self._on_gpu:
            torch.cuda.synchronize()


def torch_contestants(shapes: Shapes) -> dict[str, TorchContestant]:
    """Both, by name."""
    return {
        "torch Adam, fused": TorchContestant(shapes, amsgrad=False),
        "torch AMSGrad, fused": TorchContestant(shapes, amsgrad=True),
    }
