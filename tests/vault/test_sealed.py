"""The sealed identity file: what opens it, what it says when nothing does, and dying while it is made."""

import errno
import os
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from spacedrive_node.actors.base import FatalActorError
from spacedrive_node.actors.vault import actor, identity_file, passphrase_seal
from spacedrive_node.actors.vault.database import DATABASE_FILE
from spacedrive_node.actors.vault.identity_file import would_seal
from spacedrive_node.actors.vault.passphrase_seal import (
    Argon2Costs,
    WrongPassphraseError,
    parse,
    seal,
    unseal,
)
from spacedrive_node.actors.vault.waiting import WaitingVault
from spacedrive_node.messages.base import MalformedMessageError, encode
from spacedrive_node.messages.child_protocol import Start

CHEAP = Argon2Costs(memory=8, passes=1, lanes=1)
PHRASE = b"correct horse battery staple"


@pytest.fixture
def with_passphrase(new_host: Any) -> Iterator[Callable[..., Any]]:
    """Make a host of a data directory whose vault is given a passphrase, or none."""
    opened: list[Any] = []
    fds: list[int] = []

    def make(data_dir: Path, passphrase: bytes | None = PHRASE) -> Any:
        host = new_host(data_dir)
        host.costs = CHEAP
        if passphrase is not None:
            fds.append(os.memfd_create("passphrase"))
            os.write(fds[-1], passphrase)
            host.config = msgspec.structs.replace(host.config, passphrase_fd=fds[-1])
        opened.append(host)
        return host

    yield make
    for host in opened:
        host.close()
    for fd in fds:
        os.close(fd)


def _device(host: Any) -> bytes:
    """Open, and return who the device is."""
    host.open()
    device: bytes = host.vault._identity.device_id
    host.close()
    return device


def _refused(host: Any, text: str) -> None:
    path = host.data_dir / "identity.key"
    before = path.read_bytes()
    with pytest.raises(FatalActorError, match=text) as caught:
        host.open()
    host.close()
    assert PHRASE.decode() not in str(caught.value)
    assert path.read_bytes() == before, "the file was changed"
    assert not path.with_name("identity.key.new").exists()


def test_a_new_identity_is_sealed_from_the_beginning(tmp_path: Path, with_passphrase: Any) -> None:
    """Only its passphrase opens it, again and again; the file holds no seed and is private."""
    host = with_passphrase(tmp_path)
    host.open()
    seeds = (host.vault._identity.storage_key, host.vault._identity.transport_seed)
    first = host.restart()  # the descriptor is read from its beginning each time
    assert first.out
    path = tmp_path / "identity.key"
    host.close()
    assert all(seed not in path.read_bytes() for seed in seeds)
    assert PHRASE not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert _device(with_passphrase(tmp_path)) == host.vault._identity.device_id


def test_without_or_with_another_passphrase_it_says_what_to_do(tmp_path: Path, with_passphrase: Any) -> None:
    """Both refusals are clear and leave the file alone."""
    _device(with_passphrase(tmp_path))
    _refused(
        with_passphrase(tmp_path, None), "sealed with a passphrase: start the node with --ask-passphrase"
    )
    _refused(with_passphrase(tmp_path, PHRASE[:-1]), "does not open")
    _refused(with_passphrase(tmp_path, b""), "empty")


def test_the_same_text_typed_otherwise_opens_it(tmp_path: Path, with_passphrase: Any) -> None:
    """Composed and decomposed accents are one passphrase; bytes that are no text are taken as they are."""
    for phrase in ("grün", "\ufb01lé"):
        path = tmp_path / phrase
        forms = [unicodedata.normalize(form, phrase).encode() for form in ("NFD", "NFC")]
        assert len({_device(with_passphrase(path, form)) for form in forms}) == 1
    assert unseal(seal(b"x", b"\xff\xfe", CHEAP), b"\xff\xfe") == b"x"


def test_an_open_identity_is_sealed_in_place(tmp_path: Path, with_passphrase: Any, other: Any) -> None:
    """It stays the same device with the same devices; from then on it needs the passphrase."""
    host = with_passphrase(tmp_path, None)
    host.open()
    pairing = other.pairing()
    host.admit(pairing)
    host.request(pairing.sender, pairing.store())
    host.close()
    device, storage_key = host.vault._identity.device_id, host.vault._identity.storage_key
    sealed = with_passphrase(tmp_path)
    sealed.open()
    assert sealed.vault._identity.device_id == device
    assert len(sealed.devices()) == 1
    sealed.close()
    assert storage_key not in (tmp_path / "identity.key").read_bytes()
    _refused(with_passphrase(tmp_path, None), "--passphrase-file")


@pytest.mark.parametrize("call", ["write", "fsync", "rename", "sync_directory"])
@pytest.mark.parametrize("exists", [True, False])
def test_dying_while_it_is_sealed(
    tmp_path: Path, with_passphrase: Any, monkeypatch: pytest.MonkeyPatch, call: str, exists: bool
) -> None:
    """Dying at any call leaves the open file or the sealed one, whole, and the next start goes on from it."""
    device = _device(with_passphrase(tmp_path, None)) if exists else None
    host = with_passphrase(tmp_path)

    def die(*_args: Any) -> None:
        raise KeyboardInterrupt  # nothing of ours takes that for an answer

    where = "spacedrive_node.actors.vault.data_directory"
    with monkeypatch.context() as patch:
        if call == "fsync":
            patch.setattr(f"{where}.sync_directory", lambda _path: None)
        if call == "write":
            patch.setattr(f"{where}.os.fdopen", die)
        else:
            patch.setattr(f"{where}.{call}" if call == "sync_directory" else f"{where}.os.{call}", die)
        with pytest.raises(KeyboardInterrupt):
            host.open()
    host.close()
    path = tmp_path / "identity.key"
    if not exists and call != "sync_directory":
        assert not path.exists()
    else:
        assert would_seal(tmp_path) == (call != "sync_directory")
    again = _device(with_passphrase(tmp_path))
    assert device in (None, again)
    assert not would_seal(tmp_path)
    assert not path.with_name("identity.key.new").exists()


def test_dying_leaves_half_a_file_beside_the_whole_one(tmp_path: Path, with_passphrase: Any) -> None:
    """A process killed in the middle of writing leaves `.new`; it is thrown away and the open file sealed."""
    device = _device(with_passphrase(tmp_path, None))
    (tmp_path / "identity.key.new").write_bytes(b"half of a")
    assert _device(with_passphrase(tmp_path)) == device
    assert sorted(path.name for path in tmp_path.glob("identity*")) == ["identity.key"]


def test_damage_is_told_from_a_wrong_passphrase(
    tmp_path: Path, with_passphrase: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every flipped byte and every cut is damage, with a passphrase or without; no work is done for it."""
    _device(with_passphrase(tmp_path))
    path = tmp_path / "identity.key"
    whole = path.read_bytes()
    monkeypatch.setattr(
        passphrase_seal, "_key", lambda *_args: pytest.fail("work was done for a damaged file")
    )
    for at in range(len(whole)):
        flipped = bytearray(whole)
        flipped[at] ^= 0x40
        with pytest.raises(MalformedMessageError):
            unseal(bytes(flipped), PHRASE)
        with pytest.raises(MalformedMessageError):
            unseal(whole[:at], PHRASE)
    for content in (b"", whole[:-1], whole[:100], whole + b"\0", b"\x80"):
        path.write_bytes(content)
        for passphrase in (PHRASE, None):
            _refused(with_passphrase(tmp_path, passphrase), "damaged; restore it from a backup")


def test_a_damaged_open_identity_is_not_sealed(tmp_path: Path, with_passphrase: Any) -> None:
    """A passphrase does not turn a damaged file into a whole one."""
    _device(with_passphrase(tmp_path, None))
    path = tmp_path / "identity.key"
    whole = path.read_bytes()
    for content in (whole[:-1], b"", whole.replace(b"\xa4none", b"\xa4nope")):
        path.write_bytes(content)
        _refused(with_passphrase(tmp_path), "damaged")
    path.write_bytes(whole.replace(b"\xa7version\x01", b"\xa7version\x03"))
    _refused(with_passphrase(tmp_path), "version 3, made by a newer program")
    path.write_bytes(whole.replace(b"\xa7version\x01", b"\xa7version\x00"))
    _refused(with_passphrase(tmp_path), "damaged")
    path.write_bytes(whole)
    path.chmod(0o644)
    _refused(with_passphrase(tmp_path), "chmod 600")
    path.chmod(0o600)


@pytest.mark.parametrize(
    "costs",
    [
        {"memory": 1 << 30, "passes": 1, "lanes": 1},
        {"memory": 512 * 1024 + 1, "passes": 1, "lanes": 1},
        {"memory": 8, "passes": 1 << 31, "lanes": 1},
        {"memory": 8, "passes": 0, "lanes": 1},
        {"memory": 64, "passes": 1, "lanes": 1 << 20},
        {"memory": 64, "passes": 1, "lanes": 16},
        {"memory": 0, "passes": 1, "lanes": 1},
    ],
)
def test_a_hostile_file_asks_for_nothing(costs: dict[str, int]) -> None:
    """Costs beyond the bounds, in a file that is whole otherwise, are refused before any work is done."""
    file, header = parse(seal(b"x", PHRASE, CHEAP))
    forged = encode(msgspec.structs.replace(header, costs=msgspec.convert(costs, _AnyCosts)))
    content = encode(
        msgspec.structs.replace(file, header=forged, digest=passphrase_seal._digest(forged, file.payload))
    )
    with pytest.raises(MalformedMessageError):
        unseal(content, PHRASE)


class _AnyCosts(msgspec.Struct):
    memory: int
    passes: int
    lanes: int


def test_the_header_is_bound_to_what_is_sealed() -> None:
    """Another salt, nonce or cost with a fitting digest opens nothing."""
    file, header = parse(seal(b"x", PHRASE, CHEAP))
    for change in ({"salt": bytes(16)}, {"nonce": bytes(12)}, {"costs": Argon2Costs(16, 1, 1)}):
        forged = encode(msgspec.structs.replace(header, **change))
        digest = passphrase_seal._digest(forged, file.payload)
        with pytest.raises(WrongPassphraseError):
            unseal(encode(msgspec.structs.replace(file, header=forged, digest=digest)), PHRASE)
    # By itself, not only through the key: the same values in another order.
    fields = msgspec.structs.asdict(header)
    forged = msgspec.msgpack.encode(dict(reversed(fields.items())))
    content = encode(
        msgspec.structs.replace(file, header=forged, digest=passphrase_seal._digest(forged, file.payload))
    )
    assert parse(content)[1] == header
    with pytest.raises(WrongPassphraseError):
        unseal(content, PHRASE)


def test_salt_and_nonce_are_never_the_same() -> None:
    """Two files of one identity and passphrase have nothing in common."""
    headers = [parse(seal(b"x", PHRASE, CHEAP))[1] for _ in range(8)]
    assert len({header.salt for header in headers}) == len({header.nonce for header in headers}) == 8


def test_the_recommended_costs_are_within_the_bounds() -> None:
    """What this version writes it also reads; RFC 9106, section 4, second recommendation."""
    assert Argon2Costs(memory=65536, passes=3, lanes=4) == passphrase_seal.DEFAULT_COSTS
    assert unseal(seal(b"x", PHRASE), PHRASE) == b"x"


def test_too_little_memory_has_its_own_message(
    tmp_path: Path, with_passphrase: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is neither a wrong passphrase nor damage."""
    _device(with_passphrase(tmp_path))

    def none_left(*_args: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(passphrase_seal, "_key", none_left)
    _refused(with_passphrase(tmp_path), "not enough memory")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_disk_that_takes_nothing(
    tmp_path: Path, with_passphrase: Any, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Full, read-only, not ours: one message; the open identity stays, a new one is not half made."""
    device = _device(with_passphrase(tmp_path / "old", None))

    def fail(*_args: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr("spacedrive_node.actors.vault.data_directory.os.fsync", fail)
        _refused(with_passphrase(tmp_path / "old"), f"{os.strerror(number)}; nothing was changed")
        patch.setattr("spacedrive_node.actors.vault.data_directory.sync_directory", lambda _path: None)
        new = with_passphrase(tmp_path / "new")
        with pytest.raises(FatalActorError, match="nothing was changed"):
            new.open()
        new.close()
        assert [path.name for path in new.data_dir.iterdir()] == ["lock"]
    assert _device(with_passphrase(tmp_path / "old", None)) == device


def test_a_disk_that_cannot_be_read(
    tmp_path: Path, with_passphrase: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An identity that cannot be read is not taken for one that is missing."""
    _device(with_passphrase(tmp_path))
    host = with_passphrase(tmp_path)

    def fail(*_args: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr("spacedrive_node.actors.vault.data_directory.os.read", fail)
        with pytest.raises(FatalActorError, match=r"cannot read .*Input/output error"):
            host.open()


def test_a_passphrase_that_cannot_be_read(tmp_path: Path, with_passphrase: Any) -> None:
    """A descriptor that cannot be read at an offset, or is none: said, and nothing is made."""
    readable, writable = os.pipe()
    try:
        for fd in (readable, 1 << 20):
            host = with_passphrase(tmp_path / "data", None)
            host.config = msgspec.structs.replace(host.config, passphrase_fd=fd)
            with pytest.raises(FatalActorError, match="cannot read the passphrase"):
                host.open()
    finally:
        os.close(readable)
        os.close(writable)
    assert not (tmp_path / "data").exists()


def test_would_seal_reads_no_secret(
    tmp_path: Path, with_passphrase: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tells open, sealed, missing and unknown files apart by the bytes before the first secret."""
    path = tmp_path / "identity.key"
    assert would_seal(tmp_path)
    _device(with_passphrase(tmp_path, None))
    seen: list[bytes] = []
    read = os.read

    def watched(fd: int, size: int) -> bytes:
        seen.append(read(fd, size))
        return seen[-1]

    with monkeypatch.context() as patch:
        patch.setattr(identity_file.os, "read", watched)
        assert would_seal(tmp_path)
    assert path.read_bytes().startswith(seen[0])
    assert len(seen[0]) <= path.read_bytes().index(b"payload")
    _device(with_passphrase(tmp_path))
    assert not would_seal(tmp_path)
    for content in (b"", b"junk"):
        path.write_bytes(content)
        assert not would_seal(tmp_path)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    assert not would_seal(tmp_path)


def test_nothing_shows_what_is_secret(tmp_path: Path, with_passphrase: Any) -> None:
    """Neither the configuration nor the file's parts nor the wrong passphrase's error show it."""
    host = with_passphrase(tmp_path)
    host.open()
    file, _ = parse((tmp_path / "identity.key").read_bytes())
    shown = repr(host.config) + repr(file) + repr(WrongPassphraseError())
    assert PHRASE.decode() not in shown
    assert repr(file.payload) not in shown
    assert PHRASE not in encode(host.config)


def test_a_vault_that_waits_for_its_store_derives_its_key_once(
    tmp_path: Path, with_passphrase: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tries every other second; a file that was put in place of the identity is looked at again."""
    host = with_passphrase(tmp_path)
    device = _device(host)
    derived: list[int] = []

    def counted(content: bytes, passphrase: bytes) -> bytes:
        derived.append(len(derived))
        return unseal(content, passphrase)

    monkeypatch.setattr(identity_file, "unseal", counted)
    database = host.data_dir / DATABASE_FILE
    away = database.rename(tmp_path / "away")
    database.mkdir()
    start = Start("vault", 2, msgspec.Raw(encode(host.config)), host.checkpoint)
    with actor._opened(start) as machine:
        assert isinstance(machine, WaitingVault)
        machine.first(0.0)
        for _ in range(5):
            machine.tick(machine.wake_at())
        assert len(derived) == 1
        key = host.data_dir / identity_file.KEY_FILE
        key.write_bytes(seal(unseal(key.read_bytes(), PHRASE), PHRASE, CHEAP))
        for _ in range(5):
            machine.tick(machine.wake_at())
        assert len(derived) == 2
        database.rmdir()
        away.rename(database)
        machine.tick(machine.wake_at())
        assert machine._vault is not None
        assert machine._vault._identity.device_id == device
    assert len(derived) == 2
