"""A real betfairlightweight that logs in at an identity service of ours: only the addresses are set, everything else is the library's.

Does --steps one after another (login_interactive, login, keep_alive, logout, stream, sleep:SECONDS) and prints one JSON line:
[{"step", "error", "token", "result"}, …], `error` null where the step went well, `token` what the client holds after it.
Certificates are verified: REQUESTS_CA_BUNDLE names the authority.
"""

import argparse
import json
import time

from betfairlightweight import APIClient, StreamListener
from betfairlightweight.exceptions import BetfairError

from esa_client import RedirectedStream


class FirstUpdate(StreamListener):
    """Stops its stream when something of the subscription has come."""

    def on_data(self, raw_data):
        if super().on_data(raw_data) is False:
            return False
        if self.updates_processed:
            self.running.stop()


def main():
    options = _options()
    client = APIClient(
        options.username,
        options.password,
        app_key=options.app_key,
        cert_files=tuple(options.cert) if options.cert else (),
        lightweight=options.lightweight,
    )
    client.identity_uri = options.identity
    client.identity_cert_uri = options.cert_identity or options.identity
    print(json.dumps([_outcome(client, step, options) for step in options.steps.split(",")]))


def _outcome(client, step, options):
    error, result = None, None
    try:
        result = _do(client, step, options)
    except BetfairError as problem:
        error = f"{type(problem).__name__}: {problem}"
    if not isinstance(result, (dict, int, type(None))):
        result = result._data
    return {"step": step, "error": error, "token": client.session_token, "result": result}


def _do(client, step, options):
    if step.startswith("sleep:"):
        return time.sleep(float(step.split(":")[1]))
    if step == "stream":
        return _stream(client, options)
    return getattr(client, step)()


def _stream(client, options):
    """Subscribes to everything with the client's own token; how many updates had come by the first."""
    listener = FirstUpdate(lightweight=True)
    stream = RedirectedStream(
        ("127.0.0.1", options.esa_port),
        unique_id=1,
        listener=listener,
        app_key=client.app_key,
        session_token=client.session_token,
        timeout=10,
        buffer_size=1024,
        host=None,
    )
    listener.running = stream
    stream.subscribe_to_markets(market_filter={}, market_data_filter={}, heartbeat_ms=500)
    stream.start()
    return listener.updates_processed


def _options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--identity", required=True, help="base address, with /api/ at its end")
    parser.add_argument("--cert-identity", help="the same for certificate logins, where it is another")
    parser.add_argument("--cert", nargs=2, metavar=("CERT", "KEY"), help="PEM files of a client certificate")
    parser.add_argument("--esa-port", type=int, required=True)
    parser.add_argument("--username", required=True)
    parser.add_argument("--password", required=True)
    parser.add_argument("--app-key", required=True)
    parser.add_argument("--lightweight", action="store_true")
    parser.add_argument("--steps", required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
