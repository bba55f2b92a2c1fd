"""The files of TLS that a configuration names: whether they were written since, and can be used.

Only a reload asks. The swarm reads them at its start and says itself what is wrong, but it must not be
started again with files that were good and are broken now: its former settings would name the same files.
Never keeps a key: what was read goes at once.
"""

import os

from .settings import NodeConfig

FIELDS = ("tls_certificate", "tls_key", "tls_ca")


def states_of_files(config: NodeConfig) -> dict[str, object]:
    """Return what tells, of each file by its field, whether it was written since."""
    states: dict[str, object] = {}
    for name in FIELDS:
        path = getattr(config, name)
        try:
            found = os.stat(path) if path else None
        except OSError:
            found = None
        states[name] = found and (found.st_ino, found.st_mtime_ns, found.st_size)
    return states


def problems_of_files(config: NodeConfig) -> list[str]:
    """Return why the files cannot be used, for people; empty if they can, or are not used."""
    if not config.uses_websocket or not (config.tls_certificate or config.tls_ca):
        return []
    import ssl  # which only these few need

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    problems = []
    try:
        if config.tls_certificate and config.tls_key:
            context.load_cert_chain(config.tls_certificate, config.tls_key, password=lambda: "")
    except OSError as error:
        files = f"{config.tls_certificate} with the key {config.tls_key}"
        problems.append(f"cannot use the certificate {files}: {_reason(error)}")
    try:
        if config.tls_ca:
            context.load_verify_locations(config.tls_ca)
    except OSError as error:
        problems.append(f"cannot use the roots in {config.tls_ca}: {_reason(error)}")
    return problems


def _reason(error: OSError) -> str:
    text = getattr(error, "reason", None) or error.strerror or "it is not in PEM"
    return str(text).replace("_", " ").lower()
