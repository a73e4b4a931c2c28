"""Ctrl-C and SIGTERM as a request to stop soon."""

import signal
import threading
from types import FrameType, TracebackType

from arsg_optax.demos.training.processes import is_alone, largest

_WATCHED = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Notes SIGINT and SIGTERM inside a `with` block.

    The first is only noted; a second SIGINT raises `KeyboardInterrupt` at once. In
    other threads than the main one, where Python takes no signals, nothing is noted.
    Of several processes one may get it; it counts once all know, see :meth:`agree`.
    """

    def __init__(self) -> None:
        self._noted: int | None = None
        self._agreed: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in _WATCHED:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    @property
    def signal(self) -> int | None:
        """The one that came, None so far."""
        return self._noted if is_alone() else self._agreed

    def agree(self) -> None:
        """Asks all processes whether one has a signal; all must ask."""
        self._agreed = largest(self._noted or 0) or None

    def __bool__(self) -> bool:
        return self.signal is not None

    def _note(self, number: int, frame: FrameType | None) -> None:
        # It may interrupt JAX while that holds its locks: nothing is asked of JAX here.
        del frame
        if self._noted is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._noted = number
