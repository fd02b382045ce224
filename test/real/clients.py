"""Real betfairlightweight clients, as their users have them: nothing of the library is touched, no host, no port, no socket.

Asked as `asked.py` says.
"""

import json
import os
import queue
import threading
import time

import betfairlightweight
from betfairlightweight import StreamListener
from betfairlightweight.filters import streaming_market_data_filter, streaming_market_filter, streaming_order_filter

from asked import answer_forever
from books import books
from complaints import Complaints
from hashes import hash_of, market_id, plain

CLIENT = betfairlightweight.APIClient(
    os.environ["ODDSWIRE_TEST_USERNAME"],
    os.environ["ODDSWIRE_TEST_PASSWORD"],
    app_key=os.environ["ODDSWIRE_TEST_APP_KEY"],
    cert_files=(os.environ["ODDSWIRE_TEST_CERT"], os.environ["ODDSWIRE_TEST_KEY"]),
)
WAIT_SECONDS_MAX = 15


class Watched(StreamListener):
    """Also writes down which messages came, once the library has taken them in."""

    def __init__(self, **options):
        super().__init__(**options)
        self.heartbeats = []
        self.changes = {}
        self.replies = []
        self.accepted = None
        self.late = 0
        self.length = 0

    def on_data(self, raw_data):
        result = super().on_data(raw_data)
        try:
            self._note(json.loads(raw_data))
            self.length = len(raw_data)
        except ValueError:
            pass  # of which the library complains
        return result

    def _note(self, message):
        if message["op"] == "status":
            self.replies.append(message)
            if "connectionsAvailable" not in message:
                self.accepted = message["id"]
        if message["op"] in ("mcm", "ocm"):
            kind = message.get("ct", "UPDATE")
            self.late += message["id"] != self.accepted
            self.changes[kind] = self.changes.get(kind, 0) + 1
            if kind == "HEARTBEAT":
                self.heartbeats.append(message.get("clk"))


class Stream:
    """One stream with its subscription, read on a thread of its own, its output drained on another."""

    def __init__(self, options, predecessor=None):
        self.options = options
        self.end = None
        self.hashes = predecessor.hashes if predecessor else {}
        if predecessor:
            self.output, self.listener = predecessor.output, predecessor.listener
        else:
            self.output = queue.Queue()
            self.listener = Watched(
                output_queue=self.output, lightweight=options.get("lightweight", False), max_latency=options.get("maxLatency", 0.5)
            )
            threading.Thread(target=self._drain, daemon=True).start()
        create = {name: options[name] for name in ("timeout", "buffer_size", "host") if name in options}
        self.stream = CLIENT.streaming.create_stream(unique_id=options.get("uniqueId", 1000), listener=self.listener, **create)
        threading.Thread(target=self._read, daemon=True).start()

    def subscribe(self, options):
        if "orders" in options:
            return self.stream.subscribe_to_orders(order_filter=streaming_order_filter(**options["orders"]))
        data = streaming_market_data_filter(fields=options.get("fields"), ladder_levels=options.get("ladderLevels"))
        more = {name: options[name] for name in ("conflate_ms", "heartbeat_ms", "segmentation_enabled", "initial_clk", "clk") if name in options}
        return self.stream.subscribe_to_markets(
            market_filter=streaming_market_filter(**options.get("filter", {})), market_data_filter=data, **more
        )

    def _read(self):
        try:
            self.subscribe(self.options)
            self.stream.start()
            self.end = "stopped"
        except Exception as error:  # whatever ends a user's thread
            self.end = f"{type(error).__name__}: {error}"

    def _drain(self):
        while True:
            for book in self.output.get():
                if not self.options.get("hashed"):
                    continue
                self.hashes.setdefault(market_id(book), []).append(hash_of(book))


streams = {}
complaints = Complaints()


def login(how):
    resource = CLIENT.login() if how == "certificate" else CLIENT.login_interactive()
    return {"status": resource.login_status, "token": CLIENT.session_token}


def keep_alive():
    return {"status": CLIENT.keep_alive().status, "token": CLIENT.session_token}


def logout():
    return {"status": CLIENT.logout().status, "token": CLIENT.session_token}


def token(value):
    CLIENT.set_session_token(value)


def open_stream(name, options, after=None):
    """Opens a stream; `after`: goes on with the listener of an earlier one, as a reconnecting program does."""
    streams[name] = Stream(options, streams[after] if after else None)


def subscribe_again(name, options):
    return streams[name].subscribe(options)


def request_heartbeat(name):
    return streams[name].stream.heartbeat()


def state(name):
    stream = streams[name]
    listener = stream.listener
    return {
        "end": stream.end,
        "running": stream.stream.running,
        "host": stream.stream.host,
        "connectionId": listener.connection_id,
        "connectionsAvailable": listener.connections_available,
        "updates": listener.updates_processed or 0,
        "changes": listener.changes,
        "heartbeats": listener.heartbeats,
        "replies": listener.replies,
        "late": listener.late,
        "length": listener.length,
        "initialClk": listener.initial_clk,
        "clk": listener.clk,
    }


def wait(name, until, seconds=WAIT_SECONDS_MAX):
    """Until a stream's state has reached this, {"updates": 10} or {"end": true}; its state then. Never longer than `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not _reached(state(name), until):
        time.sleep(0.005)
    return state(name)


def _reached(now, until):
    if "end" in until and now["end"] is None:
        return False
    if "answered" in until and now["end"] is None and _answered(now) < until["answered"]:
        return False
    return now["updates"] >= until.get("updates", 0) and all(now["changes"].get(kind, 0) >= n for kind, n in until.get("changes", {}).items())


def orders(name):
    """The orders that the library holds, by market; markets without any left out. A stream of orders must be a lightweight one."""
    held = {}
    for market_id, cache in streams[name].listener.stream._caches.items():
        current = cache.create_resource(0, snap=True)["currentOrders"]
        if current:
            held[market_id] = sorted(current, key=lambda order: order["betId"])
    return held


def _answered(now):
    """Subscriptions that were served, or refused."""
    refused = sum(reply["statusCode"] == "FAILURE" for reply in now["replies"])
    return refused + now["changes"].get("SUB_IMAGE", 0) + now["changes"].get("RESUB_DELTA", 0)


def market_books(name):
    """What the cache holds, and what `snap` gives the user of it."""
    stream = streams[name]
    snapped = {market_id(book): _without_time(plain(book)) for book in stream.listener.snap()}
    return {"books": books(stream.listener.stream), "snap": snapped}


def _without_time(data):
    return {key: value for key, value in data.items() if key not in ("publishTime", "lastMatchTime")}


def updates():
    """Market changes taken in, over all streams: when that stands still, everything is there."""
    return sum(stream.listener.updates_processed or 0 for stream in streams.values())


def digests():
    """What each stream holds, as one short text; what there is to see in full is told by `books`."""
    return {name: hash_of({**market_books(name)}) for name in streams}


def hashes(name):
    stream = streams[name]
    while not stream.output.empty():
        time.sleep(0.01)
    time.sleep(0.05)
    return stream.hashes


def close(name):
    streams[name].stream.stop()


def close_all():
    for name in list(streams):
        streams.pop(name).stream.stop()


def betting(method, arguments, lightweight=True):
    result = getattr(CLIENT.betting, method)(lightweight=lightweight, **arguments)
    return result if lightweight else [type(each).__name__ for each in result]


DOES = {
    "login": login,
    "keepAlive": keep_alive,
    "logout": logout,
    "token": token,
    "open": open_stream,
    "subscribe": subscribe_again,
    "heartbeat": request_heartbeat,
    "state": state,
    "wait": wait,
    "books": market_books,
    "orders": orders,
    "updates": updates,
    "digests": digests,
    "hashes": hashes,
    "close": close,
    "closeAll": close_all,
    "betting": betting,
    "complaints": complaints.take,
}


if __name__ == "__main__":
    answer_forever(DOES)
