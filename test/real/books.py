"""The books that a real betfairlightweight holds, in the normal form of `BookState` in src/sim/naive.ts.

Read from its cache and not from its output: there spb, spl and two of each three ladders for a side are hidden or renamed.
"""

import collections
import logging


def books(stream):
    """Every market of a MarketStream, sorted by id."""
    return [_market(cache) for _, cache in sorted(stream._caches.items())]


def _market(cache):
    return {
        "market": cache.market_id,
        "status": cache._definition_status,
        "inPlay": cache._definition_in_play,
        "version": cache._definition_version,
        "totalMatched": cache.total_matched,
        "runners": sorted((_runner(runner) for runner in cache.runners), key=lambda r: (r["id"], r["hc"])),
    }


def _runner(runner):
    state = {
        "id": runner.selection_id,
        "hc": runner.handicap,
        "status": runner._definition_status,
        "ltp": runner.last_price_traded,
        "tv": runner.total_matched,
        "atb": _ladder(runner.available_to_back, reverse=True),
        "atl": _ladder(runner.available_to_lay),
        "trd": _ladder(runner.traded),
    }
    when_not_empty = {
        "batb": _ladder(runner.best_available_to_back),
        "batl": _ladder(runner.best_available_to_lay),
        "bdatb": _ladder(runner.best_display_available_to_back),
        "bdatl": _ladder(runner.best_display_available_to_lay),
        "spb": _ladder(runner.starting_price_back),
        "spl": _ladder(runner.starting_price_lay),
    }
    when_known = {
        "spn": runner.starting_price_near,
        "spf": runner.starting_price_far,
        "bsp": runner._definition_bsp,
        "adjustmentFactor": runner._definition_adjustment_factor,
        "removalDate": runner._definition_removal_date,
    }
    state.update({name: ladder for name, ladder in when_not_empty.items() if ladder})
    state.update({name: value for name, value in when_known.items() if value is not None})
    return state


def _ladder(available, reverse=False):
    """Its rows without the {price, size} that betfairlightweight appends to each."""
    return sorted((row[:-1] for row in available.order_book.values()), key=lambda row: row[0], reverse=reverse)


class Complaints(logging.Handler):
    """Counts what betfairlightweight warns of, by kind; a drop-in server gives it no reason to."""

    KINDS = ("value error", "Unwanted data", "Missing marketDefinition", "Latency high", "unexpected conflation", "status: 503")

    def __init__(self):
        super().__init__(logging.WARNING)
        self.counts = collections.Counter()

    def emit(self, record):
        text = record.getMessage()
        self.counts[next((kind for kind in self.KINDS if kind in text), text[:200])] += 1
