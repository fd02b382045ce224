"""A real betfairlightweight (lightweight mode) with only its socket redirected to a plain TCP port.

Subscribes, follows the stream until no update came for --quiet-seconds, and prints one JSON line:
{"end", "connectionId", "reads", "updates", "complaints", "books"}. `end` says why it stopped: quiet, timeout, or the error.
"""

import argparse
import json
import logging
import socket
import threading
import time

from betfairlightweight import StreamListener
from betfairlightweight.exceptions import BetfairError
from betfairlightweight.filters import streaming_market_data_filter, streaming_market_filter
from betfairlightweight.streaming import BetfairStream

from books import Complaints, books


class RedirectedStream(BetfairStream):
    """Goes to an address of ours; everything else is betfairlightweight's."""

    def __init__(self, address, **rest):
        super().__init__(**rest)
        self._address = address

    def _create_socket(self):
        return socket.create_connection(self._address, timeout=self.timeout)


def main():
    options = _options()
    complaints = Complaints()
    logging.getLogger("betfairlightweight").addHandler(complaints)
    listener = StreamListener(lightweight=True)
    stream = RedirectedStream(
        (options.host, options.port),
        unique_id=1000,
        listener=listener,
        app_key=options.app_key,
        session_token=options.session,
        timeout=64,
        buffer_size=options.buffer_size,
        host=None,
    )
    end = _follow(stream, listener, options)
    report = {
        "end": end,
        "connectionId": listener.connection_id,
        "reads": stream.receive_count,
        "updates": listener.updates_processed or 0,
        "complaints": complaints.counts,
        "books": books(listener.stream) if listener.stream is not None else [],
    }
    print(json.dumps(report))


def _follow(stream, listener, options):
    """Reads on a thread of its own, as betfairlightweight's users do; returns why it ended."""
    failure = []

    def read():
        try:
            stream.subscribe_to_markets(
                market_filter=streaming_market_filter(**json.loads(options.filter)),
                market_data_filter=streaming_market_data_filter(fields=options.fields, ladder_levels=options.ladder_levels),
                conflate_ms=options.conflate_ms,
                heartbeat_ms=options.heartbeat_ms,
            )
            stream.start()
        except BetfairError as error:
            failure.append(str(error))
        except OSError as error:
            failure.append(f"{type(error).__name__}: {error}")

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    deadline = time.monotonic() + options.timeout_seconds
    updates, quiet_since = 0, time.monotonic()
    while time.monotonic() < deadline and reader.is_alive():
        time.sleep(0.05)
        now = listener.updates_processed or 0
        if now != updates:
            updates, quiet_since = now, time.monotonic()
        if updates > 0 and time.monotonic() - quiet_since > options.quiet_seconds:
            stream.stop()
            reader.join()
            return "quiet"
    if failure:
        return failure[0]
    stream.stop()
    return "timeout"


def _options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--app-key", required=True)
    parser.add_argument("--session", required=True)
    parser.add_argument("--filter", default="{}", help="keywords of streaming_market_filter, as JSON")
    parser.add_argument("--fields", type=lambda text: text.split(","), default=None, help="comma-separated; all when absent")
    parser.add_argument("--ladder-levels", type=int, default=None)
    parser.add_argument("--conflate-ms", type=int, default=None)
    parser.add_argument("--heartbeat-ms", type=int, default=500)
    parser.add_argument("--buffer-size", type=int, default=1024)
    parser.add_argument("--quiet-seconds", type=float, default=3)
    parser.add_argument("--timeout-seconds", type=float, default=60)
    return parser.parse_args()


if __name__ == "__main__":
    main()
