"""Listening to what the database says to workers."""

from postgres import Database


class Ear:
    """A listener that knows when it has heard everything."""

    def __init__(self, db: Database) -> None:
        self._listener = db.connect()
        self._teller = db.connect()
        for channel in ("consumer_jobs", "consumer_cancel"):
            self._listener.execute(f"listen {channel}".encode())

    def heard(self) -> list[tuple[str, str]]:
        """(channel, payload) of what was sent since the last time; notifications come in the order of the commits."""
        self._teller.execute("select pg_notify('consumer_jobs', 'that is all')")
        heard = []
        for notification in self._listener.notifies(timeout=10):
            if notification.payload == "that is all":
                return heard
            heard.append((notification.channel, notification.payload))
        raise AssertionError("the listener hears nothing")
