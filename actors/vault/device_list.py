"""Answers who asks for the list of devices: a page of it, or why there is none. Changes nothing."""

import sqlite3

from ...messages.to_gateway import Devices, VaultError
from ...messages.to_vault import ListDevices
from .device_store import DeviceStore

_DEVICES_PER_PAGE = 64
_MAX_REASON_CHARACTERS = 200


def page_of_devices(store: DeviceStore, request: ListDevices) -> Devices | VaultError:
    """Return the devices that follow the one that the request names, in order of their ids."""
    try:
        records, more = store.page(request.after, _DEVICES_PER_PAGE)
    except sqlite3.OperationalError as error:  # the disk fails; the store's health says so at its next look
        reason = f"the store cannot be read: {error}"[:_MAX_REASON_CHARACTERS]
        return VaultError(request.request, "not_stored", reason)
    return Devices(request.request, tuple(record.as_device() for record in records), more)
