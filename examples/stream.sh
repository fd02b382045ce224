#!/usr/bin/env bash
# Server-sent events with curl: two subscriptions on one stream, as they come. Ctrl-C ends it.
#
#   examples/stream.sh [URL [TOKEN [LAST_EVENT_ID]]]
#
# Give the last `id:` that you saw as LAST_EVENT_ID, and it goes on with what changed since.
set -euo pipefail
url=${1:-http://127.0.0.1:8083/v1/stream}
headers=(--header "Authorization: Bearer ${2:-demo-session-token}")
if [ $# -gt 2 ]; then headers+=(--header "Last-Event-ID: $3"); fi

# A single subscription can stand in the address: ?marketTypes=MATCH_ODDS&fields=EX_BEST_OFFERS,EX_LTP&conflateMs=500
exec curl --silent --show-error --no-buffer --fail-with-body "${headers[@]}" --data @- "$url" <<'JSON'
[
  {"id": 1, "marketFilter": {"marketTypes": ["MATCH_ODDS"]},
   "marketDataFilter": {"fields": ["EX_BEST_OFFERS", "EX_LTP"], "ladderLevels": 1}, "conflateMs": 500},
  {"id": 2, "marketFilter": {"marketTypes": ["MATCH_ODDS"]}, "marketDataFilter": {"fields": ["EX_MARKET_DEF"]}}
]
JSON
