// A go-libp2p peer for the interoperability tests. It speaks JSON lines on stdin and stdout, as ../README.md says.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/multiformats/go-multihash"
)

const (
	echoProtocol = protocol.ID("/spacedrive-interop/echo/1.0.0")
	maxEcho      = 16 << 20
	timeout      = 20 * time.Second
)

type command struct {
	ID      int    `json:"id"`
	Op      string `json:"op"`
	Address string `json:"address"`
	Peer    string `json:"peer"`
	Bytes   int    `json:"bytes"`
	Key     string `json:"key"`
}

type answer map[string]any

type peerProgram struct {
	host host.Host
	dht  *dht.IpfsDHT
	out  sync.Mutex
}

func (p *peerProgram) say(what answer) {
	p.out.Lock()
	defer p.out.Unlock()
	line, err := json.Marshal(what)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}

func echo(stream network.Stream) {
	defer stream.Close()
	if _, err := io.Copy(stream, io.LimitReader(stream, maxEcho)); err != nil {
		stream.Reset()
	}
}

// infoOf reads an address that ends with a peer id.
func infoOf(address string) (*peer.AddrInfo, error) {
	parsed, err := multiaddr.NewMultiaddr(address)
	if err != nil {
		return nil, err
	}
	return peer.AddrInfoFromP2pAddr(parsed)
}

func (p *peerProgram) connect(ctx context.Context, address string) (answer, error) {
	info, err := infoOf(address)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := p.host.Connect(ctx, *info); err != nil {
		return nil, err
	}
	return answer{"seconds": time.Since(began).Seconds(), "peer": info.ID.String()}, nil
}

// reserve makes a reservation at a relay, which checks its answer.
func (p *peerProgram) reserve(ctx context.Context, address string) (answer, error) {
	info, err := infoOf(address)
	if err != nil {
		return nil, err
	}
	got, err := client.Reserve(ctx, p.host, *info)
	if err != nil {
		return nil, err
	}
	return answer{
		"voucher": got.Voucher != nil, "bytes": got.LimitData, "seconds": got.LimitDuration.Seconds(),
	}, nil
}

func (p *peerProgram) identify(ctx context.Context, id peer.ID) (answer, error) {
	for ctx.Err() == nil {
		protocols, err := p.host.Peerstore().GetProtocols(id)
		if err == nil && len(protocols) > 0 {
			agent, _ := p.host.Peerstore().Get(id, "AgentVersion")
			return answer{"protocols": protocols, "agent": agent}, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, errors.New("not identified")
}

// direct waits for a connection that goes through no relay.
func (p *peerProgram) direct(ctx context.Context, id peer.ID) (answer, error) {
	for ctx.Err() == nil {
		for _, conn := range p.host.Network().ConnsToPeer(id) {
			if _, err := conn.RemoteMultiaddr().ValueForProtocol(multiaddr.P_CIRCUIT); err != nil {
				return answer{"address": conn.RemoteMultiaddr().String()}, nil
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, errors.New("no direct connection")
}

func (p *peerProgram) echoTo(ctx context.Context, id peer.ID, size int) (answer, error) {
	stream, err := p.host.NewStream(network.WithAllowLimitedConn(ctx, "echo"), id, echoProtocol)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	sent := make([]byte, size)
	if _, err := rand.Read(sent); err != nil {
		return nil, err
	}
	failed := make(chan error, 1)
	go func() {
		_, err := stream.Write(sent)
		if err == nil {
			err = stream.CloseWrite()
		}
		failed <- err
	}()
	got, err := io.ReadAll(io.LimitReader(stream, maxEcho))
	if err != nil {
		return nil, err
	}
	if err := <-failed; err != nil {
		return nil, err
	}
	if !bytes.Equal(sent, got) {
		return nil, fmt.Errorf("%d bytes came back, and not the same", len(got))
	}
	return answer{"bytes": len(got)}, nil
}

func keyOf(text string) (cid.Cid, error) {
	raw, err := hex.DecodeString(text)
	if err != nil {
		return cid.Undef, err
	}
	hash, err := multihash.Cast(raw)
	if err != nil {
		return cid.Undef, err
	}
	return cid.NewCidV1(cid.Raw, hash), nil
}

// kadOptions are those of a server of this project's DHT or, with INTEROP_KAD=/ipfs/kad/1.0.0, of the public one,
// which keeps values too; with INTEROP_FILTER=public also with the filters that servers there have.
func kadOptions() []dht.Option {
	options := []dht.Option{dht.Mode(dht.ModeServer), dht.AddressFilter(nil), dht.DisableAutoRefresh()}
	if os.Getenv("INTEROP_KAD") != "/ipfs/kad/1.0.0" {
		return append(options, dht.ProtocolPrefix("/spacedrive"), dht.DisableValues())
	}
	if os.Getenv("INTEROP_FILTER") == "public" {
		options = append(
			options,
			dht.QueryFilter(dht.PublicQueryFilter), dht.RoutingTableFilter(dht.PublicRoutingTableFilter),
			dht.AddressFilter(func(all []multiaddr.Multiaddr) []multiaddr.Multiaddr {
				return multiaddr.FilterAddrs(all, manet.IsPublicAddr)
			}),
		)
	}
	return options
}

func (p *peerProgram) findProviders(ctx context.Context, key cid.Cid) (answer, error) {
	found := []string{}
	for info := range p.dht.FindProvidersAsync(ctx, key, 1) {
		found = append(found, info.ID.String())
	}
	return answer{"providers": found}, nil
}

func (p *peerProgram) run(ctx context.Context, one command) (answer, error) {
	switch one.Op {
	case "connect":
		return p.connect(ctx, one.Address)
	case "relay":
		_, err := relay.New(p.host)
		return answer{}, err
	case "reserve":
		return p.reserve(ctx, one.Address)
	case "provide", "find_providers":
		key, err := keyOf(one.Key)
		if err != nil {
			return nil, err
		}
		if one.Op == "provide" {
			return answer{}, p.dht.Provide(ctx, key, true)
		}
		return p.findProviders(ctx, key)
	}
	id, err := peer.Decode(one.Peer)
	if err != nil {
		return nil, err
	}
	switch one.Op {
	case "identify":
		return p.identify(ctx, id)
	case "direct":
		return p.direct(ctx, id)
	case "ping":
		result := <-ping.Ping(ctx, p.host, id)
		return answer{"seconds": result.RTT.Seconds()}, result.Error
	case "echo":
		return p.echoTo(ctx, id, one.Bytes)
	case "close":
		return answer{}, p.host.Network().ClosePeer(id)
	}
	return nil, errors.New("no such command")
}

func main() {
	options := []libp2p.Option{libp2p.ListenAddrStrings(os.Args[1:]...), libp2p.EnableHolePunching()}
	if os.Getenv("INTEROP_SECURITY") == "tls" {
		options = append(options, libp2p.Security(libp2ptls.ID, libp2ptls.New))
	}
	node, err := libp2p.New(options...)
	if err != nil {
		panic(err)
	}
	node.SetStreamHandler(echoProtocol, echo)
	kad, err := dht.New(node, kadOptions()...)
	if err != nil {
		panic(err)
	}
	program := &peerProgram{host: node, dht: kad}
	addresses := []string{}
	for _, address := range node.Addrs() {
		addresses = append(addresses, address.String()+"/p2p/"+node.ID().String())
	}
	program.say(answer{"event": "ready", "peer": node.ID().String(), "addresses": addresses})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var one command
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			panic(err)
		}
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), timeout)
			defer cancel()
			result, err := program.run(ctx, one)
			if err != nil {
				result = answer{"error": err.Error()}
			}
			result["id"] = one.ID
			program.say(result)
		}()
	}
}
