"""What the supervisor logs of each session: two lines, and at level debug each message because of it."""

import msgspec
import pytest

from spacedrive_node.messages import to_gateway, to_session
from spacedrive_node.messages.child_protocol import Outgoing, Step
from spacedrive_node.supervisor.child import Child
from spacedrive_node.supervisor.session_log import SessionLog
from spacedrive_node.tests.harness.tiny_node import OWN_IDENTITY, node, session_name, spec

ID, OTHER = f"{1:016x}", f"{2:016x}"


def about_sessions(logs):
    return [line for line in logs if line[2].startswith("session ") or line[2] == "message"]


async def test_a_session_that_is_given_up_has_a_beginning_and_an_end():
    async with node() as gateway:
        await gateway.open_session()
        await gateway.send(to_session.JoinPairing(ID, bytes(16), *OWN_IDENTITY, timeout=1.0))
        await gateway.next(to_gateway.SessionEnded)
        started, ended = about_sessions(gateway.logs)
    assert started == ("supervisor", "info", "session started", {"session": ID, "role": "initiator"})
    assert ended[:3] == ("supervisor", "info", "session ended")
    assert (ended[3].pop("seconds") > 0, ended[3]) == (
        True,
        {"session": ID, "role": "initiator", "outcome": "crashed"},
    )


async def test_a_session_that_the_node_stops_is_in_the_log():
    """It does not even start, so that it cannot say how it ends."""
    async with node(session="sleeper") as gateway:
        await gateway.send(to_session.StartPairing(ID, 60.0, *OWN_IDENTITY))
        assert session_name() in await gateway.actors()
    assert about_sessions(gateway.logs)[1:] == [("supervisor", "info", "session stopped", {"session": ID})]


@pytest.mark.parametrize("host", ["process", "task"])
async def test_at_level_debug_each_message_is_a_line(host):
    """Of whoever sends it, with what its kind shows; without that level there is none (above)."""
    async with node(host, debug=True) as gateway:
        await gateway.open_session()
        await gateway.send(to_session.Decide(True))
        await gateway.view(message="signed 1")
        lines = [(line[0], line[3]) for line in gateway.logs if line[2] == "message"]
    assert {fields["session"] for _actor, fields in lines} == {ID}
    said = [(actor, fields["kind"], fields["to"]) for actor, fields in lines]
    assert said[0] == ("gateway", "StartPairing", session_name())
    assert ("vault", "Signed", session_name()) in said
    views = [fields for _actor, fields in lines if fields["kind"] == "SessionView"]
    assert all(fields["stage"] for fields in views)


def test_what_a_session_claims_changes_no_name():
    """Its lines are about itself, whatever it writes beside a message; the swarm names whom it means."""
    lines = []
    log = SessionLog(lambda *_: None, lambda *line: lines.append(line), is_debug=True)
    note = {"session": OTHER, "kind": "Forged", "to": "nobody", "more": "x"}
    for name, to in ((session_name(1), "vault"), ("gateway", "vault"), ("gateway", session_name(1))):
        child = Child(name, spec("session", "counter"), lambda: 0.0)
        out = Outgoing(to, "Accept", bytes(16), msgspec.Raw(b"\x80"), note=note)
        log.sends(child, Step(0, (out, msgspec.structs.replace(out, to="metrics", note=None))))
    fields = [(child.name, fields) for child, _budget, _level, _event, fields in lines]
    assert [(name, said["session"], said["to"], said["kind"]) for name, said in fields] == [
        (session_name(1), ID, "vault", "Accept"),
        (session_name(1), ID, "metrics", "Accept"),
        ("gateway", OTHER, "vault", "Accept"),
        ("gateway", ID, session_name(1), "Accept"),
    ]


async def test_the_lines_of_messages_have_a_budget_of_their_own():
    """They may be dropped, and push out nothing else that an actor has to say."""
    async with node(debug=True) as gateway:
        await gateway.open_session()
        for _ in range(250):
            await gateway.send(to_session.Decide(True))
        await gateway.view(message="signed 250")
        lines = [line for line in gateway.logs if line[:3] == ("gateway", "debug", "message")]
    assert len(lines) == 200
