"""The web actor: a page in a browser for a node without a screen (docs/operations.md, "The page").

actor           the entry point: the parts below, around one mailbox
access          who may ask: Host, Origin, fetch metadata, token
routes          from a request of the page to what the node is asked, and to the answer
event_stream    what a page is sent while it is open
live_state      what all pages show: sessions, devices, processes, status
shown_sessions  sessions in it, and the QR codes of codes that stay
watcher         asks the node for all of it, while a page is open
page_json       sessions, devices, processes as the page reads them; QR codes as paths
gateway_client  the control protocol, over messages through the supervisor
page_files      the files of the page, read before the sandbox closes
"""

from .actor import main, warm_up

__all__ = ["main", "warm_up"]
