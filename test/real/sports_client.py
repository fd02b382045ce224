"""A real betfairlightweight that follows races and cricket, each on a connection of its own.

Prints `ready` when both are subscribed; when its input ends, one JSON line: by sport {"updates", "resources", "clk", "games"}, and "complaints".
`games` is what its caches hold, by market, as the library itself serialises it; `resources` how many of its own objects it made of that on the way.
"""

import argparse
import json
import queue
import sys
import threading

from betfairlightweight import StreamListener

from complaints import Complaints
from esa_client import RedirectedStream

SPORTS = {"race": ("rcm", "subscribe_to_races"), "cricket": ("ccm", "subscribe_to_cricket_matches")}


class Watched(StreamListener):
    def __init__(self, op):
        super().__init__(output_queue=queue.Queue())
        self.op = op
        self.begun = threading.Event()

    def on_data(self, raw_data):
        going = super().on_data(raw_data)
        if f'"op":"{self.op}"' in raw_data:
            self.begun.set()
        return going


def main():
    options = _options()
    complaints = Complaints()
    listeners = {sport: _follow(options, *how) for sport, how in SPORTS.items()}
    for listener in listeners.values():
        if not listener.begun.wait(10):
            sys.exit("nothing came of a subscription")
    print("ready", flush=True)
    sys.stdin.read()
    print(json.dumps({**{sport: _report(listener) for sport, listener in listeners.items()}, "complaints": complaints.take()}))


def _follow(options, op, subscribe):
    listener = Watched(op)
    stream = RedirectedStream(
        ("127.0.0.1", options.port),
        unique_id=1000,
        listener=listener,
        app_key="k",
        session_token=options.session,
        timeout=64,
        buffer_size=1024,
        host=None,
    )

    def read():
        getattr(stream, subscribe)()
        stream.start()

    threading.Thread(target=read, daemon=True).start()
    return listener


def _report(listener):
    made = list(listener.output_queue.queue)
    games = {}
    for market, cache in listener.stream._caches.items():
        games[market] = {key: value for key, value in cache.serialise.items() if key not in ("pt", "streaming_update")}
    return {"updates": listener.updates_processed, "resources": sum(map(len, made)), "clk": listener.clk, "games": games}


def _options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--session", required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
