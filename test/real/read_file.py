"""Reads recordings with the real betfairlightweight (lightweight mode, historical generator stream).

usage: read_file.py FILE...
Prints a JSON line for each: {"file", "states": [{"messages", "books"}]}, the books after each tenth of the messages; the last are the final ones.
"""

import bz2
import json
import shutil
import sys
import tempfile

import betfairlightweight
from betfairlightweight import StreamListener

from books import books

STATES = 10


class WatchedListener(StreamListener):
    """Takes down the books after the messages it was told to."""

    def __init__(self, at):
        super().__init__(max_latency=None, lightweight=True)
        self.states = []
        self._at = at
        self._messages = 0

    def on_data(self, raw_data):
        result = super().on_data(raw_data)
        self._messages += 1
        if self._messages in self._at:
            self.states.append({"messages": self._messages, "books": books(self.stream)})
        return result


def main(paths):
    client = betfairlightweight.APIClient("nobody", "nothing", app_key="none", lightweight=True)
    for path in paths:
        with _plain(path) as plain:
            with open(plain.name) as file:
                total = sum(1 for _ in file)
            listener = WatchedListener({max(1, total * i // STATES) for i in range(1, STATES + 1)})
            stream = client.streaming.create_historical_generator_stream(file_path=plain.name, listener=listener)
            for _ in stream.get_generator()():
                pass
        print(json.dumps({"file": path, "states": listener.states}), flush=True)


def _plain(path):
    """The file itself, or an unpacked copy that goes when it is closed: betfairlightweight opens by name and reads text only."""
    if not path.endswith(".bz2"):
        return open(path, "rb")
    copy = tempfile.NamedTemporaryFile()
    with bz2.open(path) as packed:
        shutil.copyfileobj(packed, copy)
    copy.flush()
    return copy


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1:])
