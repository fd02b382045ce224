"""Times the real betfairlightweight over recordings, for the rows beside ours in `npm run bench -- apply`.

usage: bflw.py [--mode light|full] [--seconds S] FILE...
Prints a JSON line for each file: {"file", "mode", "messages", "bytes", "cpuSeconds", "messagesPerSecond",
"megabytesPerSecond", "orjson", "betfairlightweight", "python"}.

The lines are in memory beforehand, as text, so neither disk nor decoding counts. Each is handed to a fresh listener, which gives every
update to a sink that drops it. Whole rounds over the file are timed by the process's own user+sys time until S seconds are used; cpuSeconds holds every round,
in order (the first one warms up), and the rates are those of the fastest: other load on the machine only ever makes a round slower.
"""

import argparse
import bz2
import json
import logging
import platform
import time

import betfairlightweight
from betfairlightweight.compat import json as json_in_use
from betfairlightweight.streaming import StreamListener


class Sink:
    """Stands in for the output queue and drops everything."""

    def put(self, _):
        pass


def main():
    logging.disable(logging.CRITICAL)
    options = _options()
    for path in options.files:
        lines = _lines(path)
        rounds = _rounds(lines, options.mode == "light", options.seconds)
        size = sum(len(line.encode()) for line in lines)
        best = min(rounds)
        print(
            json.dumps(
                {
                    "file": path,
                    "mode": options.mode,
                    "messages": len(lines),
                    "bytes": size,
                    "cpuSeconds": [round(seconds, 6) for seconds in rounds],
                    "messagesPerSecond": round(len(lines) / best),
                    "megabytesPerSecond": round(size / best / 1e6, 3),
                    "orjson": json_in_use.__name__ == "orjson",
                    "betfairlightweight": betfairlightweight.__version__,
                    "python": platform.python_version(),
                }
            ),
            flush=True,
        )


def _rounds(lines, lightweight, seconds):
    """CPU seconds of each whole round; at least two, since the first one warms up."""
    rounds = []
    while len(rounds) < 2 or sum(rounds) < seconds:
        listener = StreamListener(output_queue=Sink(), max_latency=None, lightweight=lightweight)
        listener.register_stream(0, "marketSubscription")
        started = time.process_time()
        for line in lines:
            listener.on_data(line)
        rounds.append(time.process_time() - started)
    return rounds


def _lines(path):
    opener = bz2.open if path.endswith(".bz2") else open
    with opener(path, "rt", encoding="utf-8") as file:
        return [line for line in file if line.strip()]


def _options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=("light", "full"), default="light")
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("files", nargs="+")
    return parser.parse_args()


if __name__ == "__main__":
    main()
