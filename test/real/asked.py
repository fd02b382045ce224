"""A program that is asked things on standard input, a JSON object a line ({"do": …}), and answers in the same order: {"answer"} or {"error"}."""

import json
import sys


def answer_forever(does):
    """`does`: what can be asked → the function that is called with the rest of the request."""
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = {"answer": does[request.pop("do")](**request)}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)
