"""Where the bytes go: a folder of this machine now, a bucket on Supabase later."""

from typing import TYPE_CHECKING

from consumer.errors import UsageError
from consumer.storage.base import Storage
from consumer.storage.local import LocalStorage

if TYPE_CHECKING:
    from consumer.settings import Settings


def open_storage(settings: "Settings") -> Storage:
    """The storage that the settings name. Raises UsageError for one that this version does not have."""
    if settings.storage == "local":
        return LocalStorage(settings.storage_dir, settings.bucket)
    raise UsageError("This version stores on the local disk only; set CONSUMER_STORAGE=local.")
