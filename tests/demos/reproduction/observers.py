"""An observer of runs that tests can ask."""


class Told:
    """Remembers what it was told, and interrupts after some epochs."""

    def __init__(self, stop_after=None):
        self.heard, self.stop_after = [], stop_after

    def __getattr__(self, name):
        return lambda *arguments: self._hear(name, *arguments)

    def _hear(self, *message):
        self.heard.append(message)
        if self.count("epoch_finished") == self.stop_after:
            raise KeyboardInterrupt

    def count(self, name):
        return sum(heard[0] == name for heard in self.heard)
