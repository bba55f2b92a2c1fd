"""What a node is configured with, where its files are, and which nodes of this user run.

settings        NodeConfig: every setting of a node, as data
values          readers of single values: text, numbers, paths, host:port
multiaddrs      readers of the addresses to listen on, to announce, and of bootstrap peers
loading         flags, environment variables and a TOML file, put together into a NodeConfig
certificates    the files of TLS, when a reload reads them again
changes         what differs between two configurations, and what of it needs a restart
effective       a loaded configuration, printed with the source of each value
paths           the data directory, the runtime directory, a node's folder in it
control_socket  the Unix socket on which a node listens for its clients
node_sockets    the listening sockets of a node, which outlive its actors
running_nodes   the register of this user's running nodes, and which of them a command means
"""
