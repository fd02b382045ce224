"""A market book as a short hash of what it holds, so that long runs can be compared."""

import hashlib

import orjson


def market_id(book):
    return book["marketId"] if isinstance(book, dict) else book.market_id


def plain(book):
    """What the book holds; of how it came (ids, latency) nothing."""
    data = book if isinstance(book, dict) else book._data
    return {key: value for key, value in data.items() if not key.startswith("streaming_")}


def hash_of(book):
    return hashlib.sha1(orjson.dumps(plain(book), option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
