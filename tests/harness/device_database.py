"""A vault's database as SQLite has it, with devices whose entries have only what a check looks at."""

import sqlite3
from pathlib import Path

from spacedrive_node.actors.vault.database import MIGRATIONS


class DeviceDatabase:
    """The database in a data directory. Every device of it is the same one, by another pairing."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.connection = sqlite3.connect(folder / "devices.db")
        for statement in (statement for step in MIGRATIONS for statement in step):
            self.connection.execute(statement)

    def add(self, session: str, state: str, *, th3: bytes, order: int, complete: bool = False) -> None:
        """Add the entry of one pairing; its fingerprint is "f" and its order."""
        entry = {
            "device_id": b"d", "state": state, "session": session, "th3": th3, "peer": b"p",
            "public_key": b"k", "name": "n", "os": "os", "app_version": "1", "fingerprint": f"f{order}",
            "stored_at": 0.0, "paired_at": 1.0 if complete else None, "order": order, "decision": b"",
            "expected_mac": b"", "peer_decision": b"", "reply": b"", "secret": b"",
        }  # fmt: skip
        columns = ", ".join(f'"{name}"' for name in entry)
        places = ", ".join("?" * len(entry))
        self.connection.execute(f"INSERT INTO devices ({columns}) VALUES ({places})", tuple(entry.values()))
        self.connection.commit()

    def close(self) -> None:
        """Close the database."""
        self.connection.close()
