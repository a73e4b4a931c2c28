"""Descriptions of accelerators to compile for, without owning one."""

import importlib.util
from typing import Any

import pytest
from jax.experimental import topologies

from scripts.compile_for_topology import described

# What XLA asks an H100 (SXM, 80 GB) for, from NVIDIA's data sheet and programming
# guide, compute capability 9.0.
_H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 minor: 0 }
  core_count: 132
  fpus_per_core: 128
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  registers_per_block_limit: 65536
  registers_per_core_limit: 65536
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  clock_rate_ghz: 1.98
  l2_cache_size: 52428800
  memory_bandwidth: 3352320000000
  device_memory_size: 85899345920
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 1 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


def v5e() -> list[Any]:
    """The eight chips of a TPU v5e slice of 2 x 4; skips without libtpu."""
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip('needs libtpu: pip install -e ".[tpu]"')
    return list(described("v5e:2x4").devices)


def h100() -> list[Any]:
    """One H100; skips without JAX's CUDA plugin."""
    if importlib.util.find_spec("jax_cuda12_plugin") is None:
        pytest.skip('needs JAX\'s CUDA plugin: pip install -e ".[cuda-aot]"')
    description = topologies.get_topology_desc(
        platform="cuda", topology_name="", topology="1x1x1", target_config=_H100
    )
    return list(description.devices)
