"""The states that `oddswire verify --dump` should print, worked out from its description alone: standard library, nothing of ours.

usage: plain_states.py FILE
"""

import bz2
import gzip
import json
import math
import sys

PRICES = ["atb", "atl", "trd", "spb", "spl"]
LEVELS = ["batb", "batl", "bdatb", "bdatl"]
SCALARS = ["tv", "ltp", "spn", "spf"]


def messages(path):
    opened = {"bz2": bz2.open, ".gz": gzip.open}.get(path[-3:], open)
    with opened(path, "rt") as file:
        for line in file:
            message = json.loads(line)
            if message["op"] == "mcm":
                yield message


class Market:
    def __init__(self):
        self.definition, self.tv, self.runners = {}, None, {}

    def apply(self, change):
        if change.get("img"):
            self.__init__()
        if change.get("marketDefinition") is not None:
            self.definition = change["marketDefinition"]
        if change.get("tv") is not None:
            self.tv = change["tv"]
        for rc in change.get("rc") or []:
            runner = self.runners.setdefault((rc["id"], rc.get("hc") or 0), {})
            for name in SCALARS:
                if rc.get(name) is not None:
                    runner[name] = rc[name]
            for name in PRICES + LEVELS:
                if rc.get(name) is None:
                    continue
                ladder = runner.setdefault(name, {})
                if name == "trd" and rc[name] == []:
                    ladder.clear()
                for entry in rc[name]:
                    key, size = entry[0], entry[-1]
                    if size == 0:
                        ladder.pop(key, None)
                    else:
                        ladder[key] = entry

    def state(self):
        defined = {(r["id"], r.get("hc") or 0): r for r in self.definition.get("runners") or []}
        keys = sorted(set(defined) | set(self.runners))
        return {
            "status": self.definition.get("status"),
            "inPlay": self.definition.get("inPlay"),
            "version": self.definition.get("version"),
            "totalMatched": self.tv,
            "runners": [self.runner(key, defined.get(key, {})) for key in keys],
        }

    def runner(self, key, defined):
        held = self.runners.get(key, {})
        ladder = lambda name: [held.get(name, {})[k] for k in sorted(held.get(name, {}))]
        out = {"id": key[0], "hc": key[1], "status": defined.get("status"), "ltp": held.get("ltp"), "tv": held.get("tv")}
        out.update(atb=ladder("atb")[::-1], atl=ladder("atl"), trd=ladder("trd"))
        for name in LEVELS + ["spb", "spl"]:
            if ladder(name):
                out[name] = ladder(name)
        for name in ["spn", "spf"]:
            if held.get(name) is not None:
                out[name] = held[name]
        for name in ["bsp", "adjustmentFactor", "removalDate"]:
            if defined.get(name) is not None:
                out[name] = defined[name]
        return out


def main(path):
    of = {}
    for message in messages(path):
        for change in message["mc"]:
            of[change["id"]] = of.get(change["id"], 0) + 1
    due = {m: sorted({max(1, math.floor(n * i / 20 + 0.5)) for i in range(1, 20)} | {n}) for m, n in of.items()}
    markets, seen = {}, {}
    for message in messages(path):
        for change in message["mc"]:
            markets.setdefault(change["id"], Market()).apply(change)
            seen[change["id"]] = seen.get(change["id"], 0) + 1
        for market in dict.fromkeys(change["id"] for change in message["mc"]):
            n, reached = seen[market], False
            while due[market] and due[market][0] <= n:
                due[market].pop(0)
                reached = True
            if reached:
                head = {"market": market, "n": n, "of": of[market], "final": n == of[market], "publishTime": message["pt"]}
                print(json.dumps({**head, **markets[market].state()}))


main(sys.argv[1])
