"""Names of DHT servers in DNS: /dnsaddr, which a TXT record leads to multiaddrs (libp2p specs, addressing).

In reading order:

txt_messages.py  questions for TXT records, and their answers (no I/O)
name_servers.py  asks the name servers of this host, or those that were configured
dnsaddr.py       from one name to the addresses of one peer, through names that lead to names (no I/O)
resolver.py      puts them together for the swarm
"""
