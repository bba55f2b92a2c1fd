"""Where settings come from, which source wins, and how a wrong one is reported."""

import base64
import os
import tomllib
from pathlib import Path

import base58
import pytest

from spacedrive_node.actors.swarm.dial.addresses import usable
from spacedrive_node.cli import run
from spacedrive_node.config.effective import to_toml
from spacedrive_node.config.loading import ConfigError, load_config, reader_again
from spacedrive_node.config.multiaddrs import bootstrap_address, named_peers
from spacedrive_node.config.settings import DEFAULT_METRICS, PUBLIC_BOOTSTRAP, SETTINGS, NodeConfig
from spacedrive_node.messages.types import PeerAddresses
from spacedrive_node.protocol.peer_ids import peer_id_from_text

CERTHASH = "uEiDBSDhAV-RLwDbCp4VlWnpSHVYsVDhW0X7T2lrEl02_og"
WEBRTC = "/ip4/127.0.0.1/udp/1/webrtc-direct"
PEER = "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo"


def problems(flags=(), env=(), file=None):
    with pytest.raises(ConfigError) as caught:
        load_config(dict(flags), dict(env), file)
    return caught.value.problems


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "node.toml"
        path.write_text(text)
        return path

    return write


def test_read_again_a_file_is_the_same_from_everywhere(tmp_path, monkeypatch):
    """Who asks for it is in another directory: the path in what is wrong is a whole one."""
    monkeypatch.chdir(tmp_path)
    read = reader_again({}, {}, "node.toml")
    monkeypatch.chdir("/")
    file = tmp_path / "node.toml"
    file.write_text("max-sessions = 7\n")
    assert read().config.max_sessions == 7
    file.write_text("max-sessions = 0\n")
    with pytest.raises(ConfigError) as caught:
        read()
    assert caught.value.problems[0].startswith(f"{file}:1: max-sessions: ")


def test_what_can_be_read_once_only_is_not_read_again(tmp_path):
    """A pipe, which would be waited for without end; a missing file is told as ever."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for file, why in (
        (pipe, "no regular file"),
        (tmp_path, "no regular file"),
        (tmp_path / "-", "cannot be read"),
    ):
        with pytest.raises(ConfigError) as caught:
            reader_again({}, {}, file)()
        assert why in caught.value.problems[0]


def test_nothing_given_is_the_default():
    """Without any source the configuration is NodeConfig()."""
    assert load_config({}, {}).config == NodeConfig()


def test_precedence(toml):
    """A flag beats the variable, the variable the file, the file the default; a list counts as a whole."""
    file = toml('name = "file"\nmax-sessions = 5\ndht-mode = "client"\nbootstrap = []\n')
    env = {"SDNODE_NAME": "variable", "SDNODE_MAX_SESSIONS": "6"}
    loaded = load_config({"name": "flag"}, env, file)
    config = loaded.config
    assert (config.name, config.max_sessions, config.dht_mode, config.log_level) == (
        "flag",
        6,
        "client",
        "info",
    )
    assert loaded.sources["name"] == "flag --name"
    assert loaded.sources["max-sessions"] == "environment SDNODE_MAX_SESSIONS"
    assert loaded.sources["dht-mode"] == f"{file}:3"


def test_every_problem_is_reported_with_its_place(toml):
    """One run names all that is wrong: the line of the file (of the item in a list), variable and flag."""
    file = toml(
        'metrics_listn = "x"\nlisten = [\n  "/ip4/127.0.0.1/tcp/1",\n'
        '  "/ip4/127.0.0/tcp/1",\n]\nmax-sessions = 0\n'
    )
    found = problems({"dht_mode": "both"}, {"SDNODE_LOG_LEVEL": "loud"}, file)
    assert [problem.split(": ")[0] for problem in found] == [
        f"{file}:1",
        f"{file}:4",
        f"{file}:6",
        "SDNODE_LOG_LEVEL",
        "--dht-mode",
    ]
    assert "did you mean 'metrics-listen'" in found[0]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("name = \n", 1, "Invalid value"),
        ('name = "a"\nname = "b"\n', 2, "overwrite"),
        ("[passphrase]\n", 1, "does not belong here"),
        ('name = "a"\n[nodes]\n', 2, "unknown table"),
        ("mdns = true\nno-mdns = true\n", 2, "same setting"),
        ("name = 5\n", 1, "text in quotes"),
        (f"max-sessions = 0x{'f' * 5000}\n", 1, "a whole number from"),
        (f"code-lifetime = 0x{'f' * 5000}\n", 1, "a number from"),
    ],
)
def test_errors_in_the_file_name_the_line(toml, text, line, words):
    """Whatever is wrong with the file, the message begins with its name and the line."""
    file = toml(text)
    (found,) = problems(file=file)
    assert found.startswith(f"{file}:{line}: ")
    assert words in found


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 5000])
def test_a_value_that_python_does_not_read_is_refused(toml, value):
    """As what it is, and not as a defect of the program."""
    file = toml(f"max-sessions = {value}\n")
    assert problems(file=file) == (f"{file}: has a value that is too large, this is no configuration",)


def test_a_byte_order_mark_is_nothing(toml):
    """Some editors write one, and nobody sees it."""
    assert load_config({}, {}, toml('\ufeffname = "desk"\n')).config.name == "desk"


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    """A missing file is an error with the path, never ignored."""
    assert str(tmp_path / "none.toml") in problems(file=tmp_path / "none.toml")[0]


def test_a_file_without_an_end_is_refused():
    """It is not read on until there is no memory left."""
    assert "no configuration" in problems(file=Path("/dev/zero"))[0]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"listen": ("127.0.0.1:7520",)}, "a multiaddr such as"),
        ({"listen": ("/",)}, "a host and a port"),
        ({"announce": ("//",)}, "a host and a port"),
        ({"listen": ("/dns4/example.org/tcp/1",)}, "address of this machine"),
        ({"listen": ("/ip4/127.0.0.1/udp/0",)}, "WebRTC only"),
        ({"listen": ("/ip4/127.0.0.1/udp/0/quic",)}, "WebRTC only"),
        ({"listen": ("/ip4/127.0.0.1/tcp/0/tls",)}, "WebRTC only"),
        ({"listen": ("/ip4/127.0.0.1/tcp/0/ws/http-path/x",)}, "nothing may follow the ws"),
        ({"listen": ("/ip4/127.0.0.1/tcp/0/tls/ws",)}, "tls-certificate"),
        ({"listen": ("/ip4/127.0.0.1/tcp/0/wss",), "tls_key": "/k"}, "belong together"),
        ({"listen": ("/ip4/127.0.0.1/tcp/7/ws", "/ip4/127.0.0.1/tcp/7")}, "cannot share tcp port 7"),
        ({"websocket_path": "p2p"}, "a path such as"),
        ({"websocket_path": "/a?b"}, "a path such as"),
        ({"websocket_proxies": ("10.0.0.1/8",)}, "a network such as"),
        ({"listen": ("/ip4/127.0.0.1/udp/0/quic-v1/webtransport",)}, "nothing may follow the quic-v1"),
        ({"listen": (f"/ip4/127.0.0.1/udp/1/quic-v1/p2p/{PEER}",)}, "this node's own"),
        ({"bootstrap": ("/ip4/127.0.0.1/udp/1/quic-v1",)}, "/p2p/"),
        ({"listen": (f"{WEBRTC}/certhash/{CERTHASH}",)}, "this node's own"),
        ({"announce": (f"/ip4/192.0.2.1/udp/1/webrtc-direct/certhash/{CERTHASH}",)}, "this node's own"),
        ({"listen": (f"{WEBRTC}/x",)}, "nothing may follow the webrtc-direct"),
        ({"bootstrap": (f"{WEBRTC}/p2p/{PEER}",)}, "/certhash/"),
        ({"listen": (f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}",)}, "this node's own"),
        ({"announce": ("/ip4/192.0.2.1/tcp/0",)}, "port 0"),
        ({"bootstrap": ("/ip4/192.0.2.1/tcp/1",)}, "/p2p/"),
        ({"bootstrap": (f"/ip4/192.0.2.1/tcp/1/p2p/{PEER}/p2p-circuit",)}, "name the relay itself"),
        ({"relay": ("/ip4/192.0.2.1/tcp/1",)}, "/p2p/"),
        ({"relay": (f"/ip4/192.0.2.1/tcp/1/p2p/{PEER}/p2p-circuit",)}, "name the relay itself"),
        ({"relay": (f"/ip4/192.0.2.1/tcp/1/p2p/{PEER}",), "lan_only": True}, "exclude each other"),
        ({"relay_service": True, "lan_only": True}, "exclude each other"),
        ({"relay_service": True, "offline": True}, "exclude each other"),
        ({"metrics_listen": "9464"}, "HOST:PORT"),
        ({"metrics_listen": "::1:9464"}, "HOST:PORT"),
        ({"metrics_listen": "127.0.0.1:99999"}, "0 to 65535"),
        ({"web": "7521"}, "HOST:PORT"),
        ({"web": "0.0.0.0:7521"}, "loopback only"),
        ({"web": "[2001:db8::1]:7521"}, "loopback only"),
        ({"web": "example.org:7521"}, "IP address or localhost"),
        ({"max_sessions": "many"}, "whole number"),
        ({"code_lifetime": "59"}, "from 60 to 3600"),
        ({"code_lifetime": "nan"}, "from 60 to 3600"),
        ({"name": "\x1b[31m"}, "cannot be printed"),
        ({"name": "x" * 65}, "64"),
        ({"name": "a\u200bb"}, "U+200B (ZERO WIDTH SPACE)"),
        ({"name": "a\u202eb"}, "U+202E (RIGHT-TO-LEFT OVERRIDE)"),
        ({"name": "a\u200db"}, "U+200D (ZERO WIDTH JOINER)"),
        ({"name": "a\x85b"}, "U+0085"),
        ({"name": "\u3164"}, "blank"),
        ({"name": "\u2800\u2800"}, "blank"),
        ({"name": "\u115f \u1160"}, "blank"),
        ({"name": "\u0301"}, "blank"),
        ({"name": "\u00a0\u3000"}, "empty"),
        ({"data_dir": "/tmp/a\u200bb"}, "U+200B (ZERO WIDTH SPACE)"),
        ({"control": "/" + "x" * 100}, "100 bytes"),
        ({"dht_protocol": "kad"}, "protocol id"),
        ({"bootstrap": ("/dnsaddr/boot.example",)}, "/p2p/"),
        ({"bootstrap": (f"/dnsaddr/a b/p2p/{PEER}",)}, "host and a port"),
        ({"listen": ("/dnsaddr/boot.example/tcp/1",)}, "must begin with"),
        ({"dns": ("name.example",)}, "HOST:PORT"),
        ({"dns": ("name.example:53",)}, "IP address of a name server"),
        ({"dns": ("192.0.2.1:0",)}, "IP address of a name server"),
        ({"public": True, "lan_only": True}, "exclude each other"),
        ({"public": True, "offline": True}, "exclude each other"),
        ({"public": True, "dht_protocol": "/x/kad/1.0.0"}, "exclude each other"),
    ],
)
def test_values_are_checked(flags, words):
    """Each kind of value is refused with a message that says what would be right."""
    (found,) = problems(flags)
    assert found.startswith("--")
    assert words in found


@pytest.mark.parametrize(
    "name", ["\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f3f3\ufe0f\u200d\U0001f308 desk", "é"]
)
def test_a_name_may_be_an_emoji_of_several(name):
    """The joiners between its parts are seen, as the one picture that they make."""
    assert load_config({"name": name}, {}).config.name == name


PEER_BYTES = peer_id_from_text(PEER)
CID_BYTES = bytes.fromhex("0172") + PEER_BYTES
BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"


def base36(data):
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 36)
        text = BASE36[digit] + text
    return text


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("/ip4/192.0.2.1/tcp/1/p2p/{}/", "/ip4/192.0.2.1/tcp/1"),
        ("/ip4/192.0.2.1/tcp/00001/p2p/{}", "/ip4/192.0.2.1/tcp/1"),
        ("/ip6/2001:DB8:0::1/tcp/1/ipfs/{}", "/ip6/2001:db8::1/tcp/1"),
        ("/dns4/boot.example.org/tcp/1/p2p/{}//", "/dns4/boot.example.org/tcp/1"),
    ],
)
@pytest.mark.parametrize(
    "peer",
    [
        PEER,
        "b" + base64.b32encode(CID_BYTES).decode().rstrip("=").lower(),
        "k" + base36(CID_BYTES),
        "z" + base58.b58encode(CID_BYTES).decode(),
        "f" + CID_BYTES.hex(),
    ],
)
def test_what_is_accepted_can_be_used(given, meant, peer):
    """Each way to write a bootstrap peer gives the one form that the swarm reads."""
    (text,) = load_config({"bootstrap": (given.format(peer),)}, {}).config.bootstrap
    assert text == f"{meant}/p2p/{PEER}"
    assert named_peers([text]) == (PeerAddresses(PEER_BYTES, (meant,)),)
    assert [str(endpoint) for endpoint in usable([meant])] == [meant]


@pytest.mark.parametrize("field", ["listen", "announce"])
def test_a_trailing_slash_is_nothing(field):
    """As libp2p has it."""
    loaded = load_config({field: ("/ip4/127.0.0.1/tcp/7520/",)}, {}).config
    assert getattr(loaded, field) == ("/ip4/127.0.0.1/tcp/7520",)


@pytest.mark.parametrize(
    "address",
    [
        "/ip4/192.0.2.1/tcp/1/p2p/QmWrong",
        f"/ip4/192.0.2.1/tcp/1/p2p/{PEER[:-1]}",
        "/ip4/192.0.2.1/tcp/1/p2p/16Uiu2HAmPR2TdiYmTPcvFrgWvFeoLa3CyRJuSJXkzPfEXDHUGNrp",
        f"/ip4/192.0.2.1/tcp/1/p2p/{PEER}/p2p/{PEER}",
        f"/ip4/192.0.2.1/tcp/1/p2p/b{PEER}",
        f"/ip4/192.0.2.1/tcp/0/p2p/{PEER}",
        f"/ip4/0.0.0.0/tcp/1/p2p/{PEER}",
        f"/ip4/192.0.2.1/tcp/65536/p2p/{PEER}",
        f"/ip4/192.0.2.1/tcp/١/p2p/{PEER}",
        f"/ip4/192.0.2.256/tcp/1/p2p/{PEER}",
        f"/ip6/fe80::1%eth0/tcp/1/p2p/{PEER}",
        f"/dns4/bücher.example/tcp/1/p2p/{PEER}",
        f"/dns4/a..example/tcp/1/p2p/{PEER}",
        f"/dns4/{'a' * 64}.example/tcp/1/p2p/{PEER}",
        f"//ip4/192.0.2.1/tcp/1/p2p/{PEER}",
        f"/ip4/192.0.2.1/tcp//1/p2p/{PEER}",
    ],
)
def test_a_bootstrap_peer_that_cannot_be_used_is_refused(address):
    """Before a node starts, and in one sentence."""
    (found,) = problems({"bootstrap": (address,)})
    assert found.startswith("--bootstrap: ")


def test_all_addresses_of_a_peer_are_used():
    """A peer that is named with several is one peer, whichever of them this host can dial."""
    addresses = ("/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.1/udp/1/quic-v1", "/ip6/2001:db8::1/tcp/1")
    texts = [f"{address}/p2p/{PEER}" for address in addresses]
    assert named_peers([*texts, texts[0]]) == (PeerAddresses(PEER_BYTES, addresses),)
    many = named_peers(f"/ip4/192.0.2.1/tcp/{port}/p2p/{PEER}" for port in range(1, 65))
    assert [len(one.addresses) for one in many] == [32]


def test_the_public_network_is_off_unless_it_is_asked_for():
    """Then it has its protocol id, and begins with its names unless others are given."""
    off = load_config({}, {}).config
    assert (off.used_dht_protocol, off.bootstrap_addresses) == ("/spacedrive/kad/1.0.0", ())
    on = load_config({}, {"SDNODE_PUBLIC": "1"}).config
    assert on.used_dht_protocol == "/ipfs/kad/1.0.0"
    assert on.bootstrap_addresses == PUBLIC_BOOTSTRAP
    assert [bootstrap_address(text) for text in PUBLIC_BOOTSTRAP] == list(PUBLIC_BOOTSTRAP)
    assert not on.uses_websocket
    own = load_config({"public": True, "bootstrap": (f"/dnsaddr/Boot.Example/p2p/{PEER}/",)}, {}).config
    assert own.bootstrap_addresses == (f"/dnsaddr/boot.example/p2p/{PEER}",)
    assert named_peers(own.bootstrap)[0].addresses == ("/dnsaddr/boot.example",)


def test_a_name_server_is_an_address_with_or_without_a_port():
    given = ("192.0.2.1", "192.0.2.1:5353", "2001:db8::1")
    found = load_config({"dns": given}, {}).config.dns
    assert found == ("192.0.2.1:53", "192.0.2.1:5353", "[2001:db8::1]:53")
    assert load_config({"dns": ("[::1]", "[::1]:5353")}, {}).config.dns == ("[::1]:53", "[::1]:5353")


def test_a_variable_nobody_knows_is_a_remark():
    """Container hosts set variables by themselves, so an unknown one is told and not fatal."""
    loaded = load_config({}, {"SDNODE_MAXSESSIONS": "1"})
    assert "SDNODE_MAX_SESSIONS" in loaded.remarks[0]


def test_a_default_port_is_a_wish_and_an_explicit_one_is_not():
    """The same metrics address given explicitly must not be replaced silently."""
    assert load_config({}, {}).config.metrics_endpoint == ("127.0.0.1", 9464, True)
    explicit = load_config({"metrics_listen": DEFAULT_METRICS}, {}).config
    assert explicit.metrics_endpoint == ("127.0.0.1", 9464, False)
    assert load_config({"metrics_listen": "off"}, {}).config.metrics_endpoint is None


def all_changed():
    flags = {
        "data_dir": "/tmp/data",
        "passphrase_file": "/tmp/passphrase",
        "name": "desk",
        "control": "/tmp/c",
        "metrics_listen": "[::1]:0",
        "web": "127.0.0.1:7521",
        "web_token_file": "/tmp/token",
        "listen": ("/ip4/127.0.0.1/tcp/0", "/ip6/::1/udp/0/quic-v1"),
        "quic": False,
        "websocket_path": "/p2p",
        "websocket_proxies": ("127.0.0.1/32", "fd00::/8"),
        "tls_certificate": "/tmp/certificate.pem",
        "tls_key": "/tmp/key.pem",
        "tls_ca": "/tmp/roots.pem",
        "announce": ("/dns4/example.org/tcp/7520",),
        "bootstrap": (f"/ip4/192.0.2.1/tcp/1/p2p/{PEER}",),
        "public": False,
        "dns": ("192.0.2.53:53", "[::1]:5353"),
        "relay": (),
        "relay_service": False,
        "dht_protocol": "/x/kad/1.0.0",
        "dht_mode": "server",
        "mdns": False,
        "same_host": False,
        "lan_only": True,
        "offline": False,
        "port_mapping": False,
        "max_sessions": 7,
        "code_lifetime": 60.0,
        "log_format": "json",
        "log_level": "debug",
    }
    assert set(flags) == {setting.field for setting in SETTINGS.values()}
    return load_config(flags, {})


@pytest.mark.parametrize(
    "make",
    [
        lambda: load_config({}, {}),
        all_changed,
        lambda: load_config({"metrics_listen": "off"}, {}),
        lambda: load_config({"offline": True}, {}),
        lambda: load_config({"relay": (f"/ip4/192.0.2.1/tcp/1/p2p/{PEER}",), "relay_service": True}, {}),
    ],
)
def test_argv_gives_the_same_configuration_again(make):
    """to_argv and the command line are inverse, so a child gets exactly what its parent was told."""
    import click

    from spacedrive_node.cli.up import up

    config = make().config
    context = up.make_context("up", config.to_argv())
    assert isinstance(context, click.Context)
    flags = {key: value for key, value in context.params.items() if key in NodeConfig.__struct_fields__}
    assert load_config(flags, {}).config == config


@pytest.mark.parametrize("make", [lambda: load_config({}, {}), all_changed])
def test_effective_configuration_is_a_file_that_gives_it_again(make, toml):
    """What --check-config prints can be kept as the file."""
    loaded = make()
    text = to_toml(loaded, {"data-dir": "/x"})
    tomllib.loads(text)
    assert load_config({}, {}, toml(text)).config == loaded.config


def test_a_passphrase_is_refused_where_others_could_read_it(toml):
    """In a variable or in the file: the refusal says what to use instead and never quotes it."""
    file = toml('passphrase = "correct horse"\n')
    for found in (problems((), {"SDNODE_PASSPHRASE": "correct horse"}), problems(file=file)):
        assert len(found) == 1
        assert "passphrase-file" in found[0]
        assert "horse" not in found[0]


@pytest.mark.parametrize("flag", ["--listen", "--announce", "--bootstrap"])
@pytest.mark.parametrize(
    ("host", "said"), [("/ip6/::ffff:192.0.2.1", "/ip4/192.0.2.1"), ("/ip4/255.255.255.255", "all hosts")]
)
def test_an_address_that_no_socket_takes(capfd, flag, host, said):
    """Refused before a node is started, and not called a port that is taken."""
    peer = "/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxTrANf8wXmmE7DWjhx5N" if flag == "--bootstrap" else ""
    assert run(["up", "--check-config", flag, f"{host}/tcp/7520{peer}"]) == 2
    assert said in capfd.readouterr().err


def test_check_config_exits_0_or_2(capfd, monkeypatch, folder):
    """--check-config prints values with their source; with a problem it prints that and exits 2."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    assert run(["up", "--check-config", "--max-sessions", "9"]) == 0
    out = capfd.readouterr().out
    assert "max-sessions = 9" in out
    assert "# flag --max-sessions" in out
    assert run(["up", "--check-config", "--max-sessions", "none"]) == 2
    assert "--max-sessions" in capfd.readouterr().err
