#!/usr/bin/env bash
# The REST door with curl: health, a list of markets, one book.
#
#   examples/rest.sh [URL [TOKEN]]
set -euo pipefail
url=${1:-http://127.0.0.1:8080}
token=${2:-demo-session-token}
get() { curl --silent --show-error --fail-with-body --header "Authorization: Bearer $token" "${url%/}$1"; echo; }

get /readyz
list=$(get '/v1/markets?marketTypes=MATCH_ODDS&status=OPEN&limit=2')
echo "$list"
# Ask again with cursor set to `next` for the following page, until it is null.
next=$(grep -o '"next":"[^"]*"' <<<"$list" | cut -d'"' -f4 || true)
if [ -n "$next" ]; then get "/v1/markets?marketTypes=MATCH_ODDS&status=OPEN&limit=2&cursor=$next"; fi
market=$(grep -o '"id":"[^"]*"' <<<"$list" | head -n 1 | cut -d'"' -f4)
get "/v1/markets/$market"
