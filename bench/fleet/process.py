"""One process of the old way, for `npm run bench -- before-after`: a betfairlightweight stream of its own, and its own users on a WebSocket server.

Written as such platforms are: the stream on a thread, full MarketBook objects, a queue to the event loop; there each book that changed is written as JSON once, whole,
and goes to those of this process's users who asked for its market. betfairlightweight, orjson and `websockets` with their own defaults.

A user sends a JSON list of market ids, gets the books of them as they are, and then every change. Prints `users PORT` once all books have come. Ends when its
standard input does.
"""

import argparse
import asyncio
import json
import logging
import os
import random
import socket
import ssl
import sys
import threading

from betfairlightweight import StreamListener
from betfairlightweight.compat import json as json_in_use
from betfairlightweight.filters import streaming_market_data_filter, streaming_market_filter
from betfairlightweight.streaming import BetfairStream
from websockets.asyncio.server import broadcast, serve

PORTS = (20_000, 32_000)
PORT_TRIES = 50


class Stream(BetfairStream):
    """Goes to an address of ours; everything else is betfairlightweight's."""

    def __init__(self, address, **rest):
        super().__init__(**rest)
        self._address = address

    def _create_socket(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = context.wrap_socket(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        connection.settimeout(self.timeout)
        connection.connect(self._address)
        return connection


class LoopQueue:
    """What the stream's thread puts in, the event loop takes out."""

    def __init__(self):
        self._loop = asyncio.get_running_loop()
        self._queue = asyncio.Queue()

    def put(self, books):
        self._loop.call_soon_threadsafe(self._queue.put_nowait, books)

    async def get(self):
        return await self._queue.get()


class Users:
    """Who wants which market, and the last book of each."""

    def __init__(self):
        self.books = {}
        self._wanted = {}

    async def talk(self, connection):
        markets = json.loads(await connection.recv())
        for market in markets:
            self._wanted.setdefault(market, set()).add(connection)
            if market in self.books:
                await connection.send(self.books[market].json(), text=True)
        try:
            await connection.wait_closed()
        finally:
            for market in markets:
                self._wanted[market].discard(connection)

    def tell(self, books):
        for book in books:
            self.books[book.market_id] = book
            users = self._wanted.get(book.market_id)
            if users:
                broadcast(users, book.json(), text=True)


async def main(options):
    queue, users = LoopQueue(), Users()
    threading.Thread(target=_follow, args=(options, queue), daemon=True).start()
    while len(users.books) < options.markets:
        users.tell(await queue.get())
    server = await _serve(users.talk)
    print("users", server.sockets[0].getsockname()[1], flush=True)
    while True:
        users.tell(await queue.get())


async def _serve(talk):
    for _ in range(PORT_TRIES):
        try:
            return await serve(talk, "127.0.0.1", random.randrange(*PORTS))
        except OSError:
            continue
    sys.exit("no free port")


def _follow(options, queue):
    stream = Stream(
        ("127.0.0.1", options.port),
        unique_id=1000,
        listener=StreamListener(output_queue=queue, max_latency=None),
        app_key=options.app_key,
        session_token=options.session,
        timeout=64,
        buffer_size=1024,
        host=None,
    )
    stream.subscribe_to_markets(
        market_filter=streaming_market_filter(),
        market_data_filter=streaming_market_data_filter(fields=options.fields),
        conflate_ms=0,
        heartbeat_ms=5000,
    )
    try:
        stream.start()
    finally:
        os._exit(1)  # a platform would connect again; a measurement is over


def _end_with_input():
    sys.stdin.read()
    os._exit(0)


def _options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True, help="the exchange's, TLS")
    parser.add_argument("--app-key", required=True)
    parser.add_argument("--session", required=True)
    parser.add_argument("--fields", type=lambda text: text.split(","), required=True)
    parser.add_argument("--markets", type=int, required=True, help="how many there are")
    return parser.parse_args()


if __name__ == "__main__":
    if json_in_use.__name__ != "orjson":
        sys.exit("orjson is not installed")
    logging.disable(logging.CRITICAL)
    threading.Thread(target=_end_with_input, daemon=True).start()
    asyncio.run(main(_options()))
