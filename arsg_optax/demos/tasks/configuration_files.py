"""A run's configuration from JSON and TOML, which may hold anything."""

import json
import tomllib
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints

from arsg_optax.demos.errors import UsageError, find_named
from arsg_optax.demos.tasks.configuration import RunConfig
from arsg_optax.demos.tasks.settings import LARGEST, MOST_STEPS, decode_option

# Of a configuration's file.
FORMAT = 1


def decode(held: Any) -> RunConfig:
    """The configuration that `encode` wrote, or a part of one.

    Raises:
        UsageError: for a name that is unknown or a value of another type.
    """
    if not isinstance(held, dict):
        raise UsageError(f"a configuration must be a table of names, got {held!r:.80}")
    hints, held = get_type_hints(RunConfig), dict(held)
    for name, value in held.items():
        kind = find_named(hints, "field of a configuration", name)
        if name != "options" and not _is_a(value, kind):
            raise UsageError(f"{name} must be {kind}, got {value!r:.80}")
        words = value if isinstance(value, dict) else [value]
        # A terminal takes some characters for commands.
        if not all(f"{word}".isprintable() for word in words):
            raise UsageError(f"{name} must be printable, got {value!r:.80}")
        if float in get_args(kind) and isinstance(value, int) and value > MOST_STEPS:
            held[name] = float(value)  # JAX takes no such int.
    try:
        options = {k: decode_option(v) for k, v in held.get("options", {}).items()}
        return RunConfig(**{**held, "options": options})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"options must be numbers, ramps or epochs by name, got "
            f"{held['options']!r:.80}"
        ) from error


def read_config(path: Path) -> RunConfig:
    """The configuration of a TOML or JSON file.

    Raises:
        UsageError: if there is none that can be read.
    """
    try:
        text = path.read_text()
        held = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
        if isinstance(held, dict) and (form := held.pop("format", FORMAT)) != FORMAT:
            raise ValueError(
                f"its format is {form!r:.80}, this version reads {FORMAT}: go on with "
                "the version of arsg_optax that wrote it"
            )
        return decode(held)
    # A UsageError of `decode` is a ValueError, too.
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} holds no configuration of a run: {error}") from error


def _is_a(value: Any, kind: Any) -> bool:
    kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int) and abs(value) > LARGEST:
        return False
    return isinstance(value, kinds) or (float in kinds and isinstance(value, int))
