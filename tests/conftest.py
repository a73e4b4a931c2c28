"""What every test runs under: strict promotion, float32, eight CPU devices."""

import importlib.metadata
import os
import tempfile

_DEVICES = "--xla_force_host_platform_device_count"
if _DEVICES not in os.environ.get("XLA_FLAGS", ""):
    # XLA reads its flags once, so this must come before jax is imported.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_DEVICES}=8".strip()
# An accelerator would hide the eight devices; JAX_PLATFORMS=cuda,cpu brings it back.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
_jax_version = tuple(map(int, importlib.metadata.version("jax").split(".")[:2]))
# Compiling dominates, and XLA's older way of compiling for a CPU, without LLVM's
# optimizations, takes a third of the time; see the fixture `optimized`. As for a user:
# XLA_FLAGS=--xla_cpu_use_fusion_emitters=true JAX_DISABLE_MOST_OPTIMIZATIONS=0 pytest.
# Only with 0.10: XLA ends the process at a flag that it does not know.
_EMITTERS = "--xla_cpu_use_fusion_emitters"
if _jax_version >= (0, 10) and os.environ["JAX_PLATFORMS"] == "cpu":
    if _jax_version < (0, 11) and _EMITTERS not in os.environ["XLA_FLAGS"]:
        os.environ["XLA_FLAGS"] += f" {_EMITTERS}=false"
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# Many tests build the same program anew: one cache for the workers and for the commands
# that tests start, which inherit this environment. Not on old versions: with it, jax
# 0.6.0 computes wrong sums across devices of the CPU.
if _jax_version >= (0, 10) and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _cache = tempfile.TemporaryDirectory(prefix="arsg-compiled-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

from collections.abc import Iterator
from typing import Any

import hypothesis
import jax
import pytest

jax.config.update("jax_enable_x64", False)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# A property's first example compiles, so a time limit for one example means nothing.
hypothesis.settings.register_profile("arsg", deadline=None, derandomize=True)
hypothesis.settings.load_profile("arsg")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def _configured(name: str, value: Any) -> Iterator[None]:
    before = getattr(jax.config, name)
    jax.config.update(name, value)
    try:
        yield
    finally:
        jax.config.update(name, before)


@pytest.fixture
def x64() -> Iterator[None]:
    """float64 for one test."""
    yield from _configured("jax_enable_x64", True)


@pytest.fixture
def relaxed_promotion() -> Iterator[None]:
    """Standard dtype promotion, for tests that run Optax's own solvers."""
    yield from _configured("jax_numpy_dtype_promotion", "standard")


@pytest.fixture(scope="module")
def optimized() -> Iterator[None]:
    """LLVM's optimizations, for one file.

    Without them a product and a sum may be one instruction in one loop and two in
    another, so that a number computed in both loops is two numbers.
    """
    name = "jax_disable_most_optimizations"  # No attribute of jax.config.
    jax.config.update(name, False)
    yield
    jax.config.update(name, os.environ.get(name.upper()) == "1")
