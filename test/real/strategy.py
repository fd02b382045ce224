"""A real flumine with a strategy that writes down every market book it is shown. Asked as `asked.py` says."""

import os
import threading

import betfairlightweight
from betfairlightweight.filters import streaming_market_data_filter, streaming_market_filter
from flumine import BaseStrategy, Flumine, clients
from flumine.events.events import TerminationEvent

from asked import answer_forever
from books import books
from complaints import Complaints
from hashes import hash_of

STOP_SECONDS_MAX = 25


class Sees(BaseStrategy):
    """Bets on nothing."""

    def __init__(self, **options):
        super().__init__(**options)
        self.seen = {}
        self.closed = {}
        self.catalogues = {}
        self.orders = {}

    def check_market_book(self, market, market_book):
        return True

    def process_market_book(self, market, market_book):
        self.seen.setdefault(market_book.market_id, []).append(hash_of(market_book))

    def process_closed_market(self, market, market_book):
        self.closed.setdefault(market_book.market_id, []).append(hash_of(market_book))

    def process_market_catalogue(self, market, market_catalogue):
        self.catalogues[market.market_id] = market_catalogue.market_name


complaints = Complaints()
running = {}


def start(filter={}, fields=None, ladder_levels=None, conflate_ms=None, client={}):
    """Logs in and streams; `state` says when it runs."""
    betting = betfairlightweight.APIClient(
        os.environ["ODDSWIRE_TEST_USERNAME"], os.environ["ODDSWIRE_TEST_PASSWORD"], app_key=os.environ["ODDSWIRE_TEST_APP_KEY"]
    )
    framework = Flumine(client=clients.BetfairClient(betting, interactive_login=True, **client))
    data = streaming_market_data_filter(fields=fields, ladder_levels=ladder_levels) if fields else None
    strategy = Sees(market_filter=streaming_market_filter(**filter), market_data_filter=data, conflate_ms=conflate_ms)
    framework.add_strategy(strategy)
    running.update(framework=framework, strategy=strategy, thread=threading.Thread(target=framework.run, daemon=True))
    running["thread"].start()


def state():
    framework, strategy = running["framework"], running["strategy"]
    listener = strategy.streams[0]._listener
    return {
        "running": framework._running and strategy.streams[0].stream_running,
        "updates": listener.updates_processed or 0,
        "handled": sum(len(hashes) for seen in (strategy.seen, strategy.closed) for hashes in seen.values()),
        "initialClk": listener.initial_clk,
        "clk": listener.clk,
        "markets": sorted(framework.markets.markets),
        "catalogues": strategy.catalogues,
        "threads": sorted(stream.__class__.__name__ for stream in framework.streams if stream.stream_running),
    }


def seen():
    """All that the strategy was shown, and the books that stand at the end."""
    strategy = running["strategy"]
    return {"seen": strategy.seen, "closed": strategy.closed, "books": books(strategy.streams[0]._listener.stream)}


def stop():
    """Leaves as flumine does when its program ends, logout included; its workers may take 4 s each. True when it is over."""
    running["framework"].handler_queue.put(TerminationEvent(None))
    running["thread"].join(STOP_SECONDS_MAX)
    return not running["thread"].is_alive()


if __name__ == "__main__":
    answer_forever({"start": start, "state": state, "seen": seen, "stop": stop, "complaints": complaints.take})
