"""betfairlightweight, which knows nothing of Oddswire, with its stream pointed at the ESA door: only the address differs.

    pip install betfairlightweight
    python examples/exchange_client.py [--host 127.0.0.1] [--port 8082] [--tls-ca FILE] [--books N]

Without --tls-ca it speaks plain TCP, as at the demo's port; with it TLS, trusting that certificate.
"""

import argparse
import queue
import socket
import ssl
import threading

from betfairlightweight import StreamListener
from betfairlightweight.filters import streaming_market_data_filter, streaming_market_filter
from betfairlightweight.streaming import BetfairStream


class OddswireStream(BetfairStream):
    """The library's stream, connected to another address than the exchange's."""

    def __init__(self, address, tls_ca, **rest):
        super().__init__(**rest)
        self._address = address
        self._tls_ca = tls_ca

    def _create_socket(self):
        plain = socket.create_connection(self._address, timeout=self.timeout)
        if self._tls_ca is None:
            return plain
        return ssl.create_default_context(cafile=self._tls_ca).wrap_socket(plain, server_hostname=self._address[0])


def main():
    options = _options()
    books = queue.Queue()
    stream = OddswireStream(
        (options.host, options.port),
        options.tls_ca,
        unique_id=1,
        listener=StreamListener(output_queue=books, max_latency=None),
        app_key=options.app_key,
        session_token=options.session,
        timeout=64,
        buffer_size=1024,
        host=None,
    )
    stream.subscribe_to_markets(
        market_filter=streaming_market_filter(market_types=["MATCH_ODDS"]),
        market_data_filter=streaming_market_data_filter(fields=["EX_BEST_OFFERS", "EX_MARKET_DEF"], ladder_levels=3),
        conflate_ms=500,
    )
    threading.Thread(target=stream.start, daemon=True).start()
    shown = 0
    while options.books is None or shown < options.books:
        for book in books.get(timeout=30):
            print(_line(book), flush=True)
            shown += 1
    stream.stop()


def _line(book):
    names = {runner.selection_id: runner.name for runner in book.market_definition.runners}
    best = [f"{names.get(r.selection_id) or r.selection_id} {_price(r.ex.available_to_back)}/{_price(r.ex.available_to_lay)}" for r in book.runners]
    return " | ".join([book.market_definition.event_name or book.market_id, book.status, *best])


def _price(offers):
    return offers[0].price if offers else "-"


def _options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8082)
    parser.add_argument("--tls-ca", help="PEM certificate to trust; turns TLS on")
    parser.add_argument("--app-key", default="demo-app-key")
    parser.add_argument("--session", default="demo-session-token")
    parser.add_argument("--books", type=int, help="end after so many books")
    return parser.parse_args()


if __name__ == "__main__":
    main()
