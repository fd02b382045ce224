"""Everything that a client logs as a warning or worse: a drop-in server gives it no reason to."""

import logging


class Complaints(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.texts = []
        logging.getLogger().addHandler(self)

    def emit(self, record):
        text = record.getMessage()[:300]
        if record.exc_info:
            text += f" ({record.exc_info[0].__name__}: {str(record.exc_info[1])[:300]})"
        for extra in ("market_id", "latency"):
            if hasattr(record, extra):
                text += f" {extra} {getattr(record, extra)}"
        self.texts.append(f"{record.levelname} {record.name}: {text}")

    def take(self):
        said, self.texts = self.texts, []
        return said
