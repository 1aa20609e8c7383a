"""A reporter that remembers what it is told to say."""

from mpqbench.core.progress import Reporter


class Lines(Reporter):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)

    @property
    def text(self):
        return "\n".join(self.lines)
