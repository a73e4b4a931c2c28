"""Compiles the trainer's step for TPU slices you need not own, and counts what it does.

    python -m scripts.compile_for_topology --task transformer-124m
    python -m scripts.compile_for_topology --task transformer-1b --fsdp 0

Needs libtpu (`pip install -e ".[tpu]"`) and no data: every array is only a shape.
Prints a Markdown row for each topology. Numbers are for one chip and one step; nothing
is measured but the time to compile. The compiler's estimate is the sum of the cycles
that it notes at its kernels; `optimal_seconds` of its cost analysis is left out, since
it counts loops once and can be negative.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import tyro
from jax.experimental import topologies

from arsg_optax.demos.errors import UsageError, find_named
from arsg_optax.demos.models import Transformer
from arsg_optax.demos.tasks import Task, find_task
from arsg_optax.demos.training.advance import jit_step
from arsg_optax.demos.training.layout import AXES, Layout
from arsg_optax.demos.training.optimizers import find_optimizer
from arsg_optax.demos.training.problems import ClassificationProblem
from arsg_optax.demos.training.steps import TrainState, init_state, make_step
from scripts.compiled_step import Counts, count

# Of a TPU v5e chip: https://cloud.google.com/tpu/docs/v5e, read in November 2026. Its
# four links together send 1,600 Gbit/s. The cycles are those at which four units of
# 128 x 128 multiply and add as often as the page says.
_FLOPS, _MEMORY_RATE, _MEMORY, _LINK_RATE = 197e12, 819e9, 16e9, 200e9
_CYCLES = _FLOPS / (2 * 4 * 128 * 128)
# What a ring sends of an array, when there are many chips.
_SENT = {"all-reduce": 2.0}
# A run's length, which the schedules and the record of losses ask for.
_STEPS = 1000


class Subject(NamedTuple):
    """What is compiled.

    Attributes:
        task: with its model, clipping, schedule and decay.
        preset: whose settings the optimizer takes.
        batch: makes shapes of a batch from its size.
        batch_size: on each chip.
    """

    task: Task
    preset: str
    batch: Callable[[int], Any]
    batch_size: int


def _images(size: int) -> Any:
    images = jax.ShapeDtypeStruct((size, 224, 224, 3), jnp.float32)
    return images, jax.ShapeDtypeStruct((size,), jnp.int32)


def transformer(
    width: int,
    depth: int,
    heads: int,
    length: int,
    batch_size: int,
    vocabulary: int = 50304,
) -> Subject:
    """Of stacked layers, whose activations are computed again in the backward pass.

    The vocabulary is GPT-2's, rounded up to a multiple of 128.
    """
    model = partial(Transformer, vocabulary, width, depth, heads, scan=True, remat=True)
    task = replace(find_task("python-transformer"), make_model=model)

    def windows(size: int) -> Any:
        tokens = jax.ShapeDtypeStruct((size, length), jnp.int32)
        return tokens, tokens

    return Subject(task, "gpt2-small", windows, batch_size)


def subjects() -> Mapping[str, Subject]:
    """What can be compiled, by name; the transformers have 124 and 1135 million."""
    resnet = find_task("imagenet-resnet50")
    resnet = replace(resnet, make_model=partial(resnet.make_model, classes=1000))
    return {
        "resnet50": Subject(resnet, "fine", _images, 128),
        "transformer-124m": transformer(768, 12, 12, 1024, 8),
        "transformer-1b": transformer(2304, 16, 18, 2048, 2),
    }


@dataclass(frozen=True)
class Options:
    """Compile a step for TPU slices."""

    task: str = "transformer-124m"
    """resnet50, transformer-124m or transformer-1b."""
    optimizer: str = "orsg"
    """Name of the optimizer."""
    topologies: tuple[str, ...] = ("v5e:2x4", "v5e:8x8", "v5e:16x16")
    """Slices of TPU v5e."""
    fsdp: int = 1
    """Chips that split the parameters (0: all); the axis data has the others."""
    split_state: bool = False
    """Split the optimizer's arrays over data, too (ZeRO-1)."""
    batch_size: int | None = None
    """Of each chip (None: 128 images, or 8 or 2 windows)."""
    dump: str | None = None
    """Write the last program's text into this file."""


class Compiled(NamedTuple):
    """A step for a slice.

    Attributes:
        layout: on the slice's chips.
        state: shapes and shardings of what the step changes.
        parameters: how many numbers the network has.
        program: the compiled step.
        seconds: that the compiler took, all its threads together, and on the clock.
    """

    layout: Layout
    state: TrainState
    parameters: int
    program: Any
    seconds: tuple[float, float]

    @property
    def text(self) -> str:
        """Of the compiled program."""
        return self.program.as_text()


def described(topology: str) -> Any:
    """The slice of that name, such as v5e:2x4, for which libtpu compiles."""
    # libtpu asks a metadata server for these unless they are set.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-8")
    # Several processes may load it; nothing here opens a device.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    return topologies.get_topology_desc(platform="tpu", topology_name=topology)


def make_layout(topology: str, fsdp: int, split_state: bool) -> Layout:
    """The trainer's layout on chips that are only described.

    Raises:
        UsageError: if `fsdp` does not divide their number.
    """
    found = described(topology)
    chips = len(found.devices)
    fsdp = fsdp or chips
    if chips % fsdp:
        raise UsageError(
            f"fsdp must divide the {chips} chips of {topology}, got {fsdp}"
        )
    return Layout(topologies.make_mesh(found, (chips // fsdp, fsdp), AXES), split_state)


def compile_step(
    subject: Subject, optimizer: str, layout: Layout, batch_size: int
) -> Compiled:
    """Compiles a step of the trainer; a batch has `batch_size` examples on each chip.

    Raises:
        UsageError: if the task has no settings for the optimizer.
    """
    task, registered = subject.task, find_optimizer(optimizer)
    settings = find_named(task.preset(subject.preset), "optimizer", optimizer)
    transform = task.transform(registered, settings, _STEPS)
    make_model = partial(task.make_model, dtype=jnp.bfloat16)
    problem = ClassificationProblem(lambda rngs: make_model(rngs=rngs))
    points = registered.points
    shapes = jax.eval_shape(
        lambda: init_state(transform, points, *problem.init(0), _STEPS)
    )
    state = _placed(shapes, layout.of_state(shapes))
    batch = subject.batch(batch_size * layout.devices)
    batch = _placed(batch, jax.tree.map(lambda _: layout.rows(), batch))
    index, key = jax.ShapeDtypeStruct((), jnp.int32), jax.eval_shape(jax.random.key, 0)
    step = jit_step(make_step(problem, transform, points, layout), layout)
    lowered = step.lower(state, batch, index, key)
    began, worked = time.perf_counter(), time.process_time()
    program = lowered.compile()
    seconds = time.process_time() - worked, time.perf_counter() - began
    params = jax.eval_shape(points.gradient_point, shapes.held)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
    return Compiled(layout, state, parameters, program, seconds)


def _placed(shapes: Any, shardings: Any) -> Any:
    def placed(leaf: Any, sharding: Any) -> Any:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(placed, shapes, shardings)


def row(compiled: Compiled) -> list[str]:
    """The cells of a table's row, as `_COLUMNS` names them."""
    memory, counts = compiled.program.memory_analysis(), count(compiled.text)
    arguments, temporaries = memory.argument_size_in_bytes, memory.temp_size_in_bytes
    # Donated arguments become outputs.
    outputs = memory.output_size_in_bytes - memory.alias_size_in_bytes
    held = arguments + outputs + temporaries + memory.generated_code_size_in_bytes
    sizes = compiled.layout.mesh.shape
    sent = sum(
        _SENT.get(kind, 1.0) * each.bytes for kind, each in counts.exchanges.items()
    )
    floors = counts.flops / _FLOPS, counts.bytes / _MEMORY_RATE, sent / _LINK_RATE
    return [
        str(compiled.layout.devices),
        f"data={sizes['data']},fsdp={sizes['fsdp']}"
        + (", split state" if compiled.layout.split_state else ""),
        f"{compiled.parameters / 1e6:.1f}",
        *(f"{each / 1e9:.2f}" for each in (arguments, outputs, temporaries)),
        "yes" if held < _MEMORY else "**no**",
        _exchanged(counts),
        f"{counts.flops / 1e12:.2f}",
        f"{counts.bytes / 1e9:.1f}",
        *(f"{1e3 * each:.1f}" for each in floors),
        f"{1e3 * counts.cycles / _CYCLES:.1f}",
        *(f"{each:.0f}" for each in compiled.seconds),
    ]


_COLUMNS = (
    ("chips", "mesh", "parameters, M", "arguments, GB", "new outputs, GB")
    + ("temporaries, GB", "fits 16 GB", "collectives: number, GB", "TFLOP")
    + ("GB moved", "ms at 197 TFLOP/s", "ms at 819 GB/s", "ms at 200 GB/s")
    + ("compiler, kernels, ms", "compile, CPU s", "s")
)


def _exchanged(counts: Counts) -> str:
    rows = sorted(counts.exchanges.items(), key=lambda item: -item[1].bytes)
    return "; ".join(
        f"{kind} {each.count}, {each.bytes / 1e9:.3g}" for kind, each in rows
    )


def main(options: Options) -> None:
    """Prints the table, a row when it is there."""
    subject = find_named(subjects(), "task", options.task)
    batch_size = options.batch_size or subject.batch_size
    versions = f"jax {jax.__version__}, libtpu {version('libtpu')}"
    size = f"{batch_size} examples on each chip"
    print(f"{options.task}, {options.optimizer}, {size}, {versions}\n")
    print(f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}")
    for topology in options.topologies:
        layout = make_layout(topology, options.fsdp, options.split_state)
        compiled = compile_step(subject, options.optimizer, layout, batch_size)
        print(f"| {' | '.join(row(compiled))} |", flush=True)
        if options.dump:
            with open(options.dump, "w") as file:
                file.write(compiled.text)


if __name__ == "__main__":
    main(tyro.cli(Options))
