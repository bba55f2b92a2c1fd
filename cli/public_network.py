"""What people read of the public network: what it is for, and what strangers there are told.

Texts only, without an import, because the help of `sdnode up` needs them.
"""

PUBLIC_HELP = "Join the public libp2p network, whose servers see who and where this device is. [no]"
PUBLIC_IS_USED = (
    "joins the public libp2p network, so that devices anywhere find each other: its servers see "
    "this device's peer id and addresses and when it shows or enters a code, never the words"
)
NOT_FOUND_ELSEWHERE = (
    "if the devices are in different networks: sdnode up --public on both joins the public libp2p network, "
    "whose servers then see their peer ids and addresses, never the words"
)
