"""Where the bytes go: a bucket of a Supabase project, or a folder of this machine."""

from typing import TYPE_CHECKING

from consumer.errors import UsageError
from consumer.storage.base import Storage
from consumer.storage.local import LocalStorage

if TYPE_CHECKING:
    from consumer.settings import Settings


def open_storage(settings: "Settings") -> Storage:
    """The storage that the settings name; nothing is connected yet. Raises UsageError where a setting is missing."""
    if settings.storage == "local":
        return LocalStorage(settings.storage_dir, settings.bucket)
    from consumer.storage.supabase import SupabaseStorage  # noqa: PLC0415 it takes half a second

    assert settings.supabase_url
    if settings.supabase_secret_key is None:
        raise UsageError(
            "SUPABASE_SECRET_KEY is not set: set it to a secret key of the project (sb_secret_... or the service_role "
            "key), or set CONSUMER_STORAGE=local."
        )
    key = settings.supabase_secret_key.get_secret_value()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError("SUPABASE_SECRET_KEY holds a character that no key has: copy it again, in one line.")
    try:
        return SupabaseStorage(settings.supabase_url, key, settings.bucket, settings.upload_seconds)
    except ValueError:
        # Whose text would quote the address.
        raise UsageError("SUPABASE_URL must be an address like https://project.supabase.co.") from None
