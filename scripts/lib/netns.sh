# shellcheck shell=bash
# A network of namespaces on one bridge: <base>b holds the bridge, <base>s is the sender (10.77.0.1), <base>r1, <base>r2
# ... are receivers (10.77.0.11 ...). Nothing of it is visible outside. Frames are 1500 bytes and single (gso_max_segs 1),
# as on a wire: otherwise one lost "frame" would be 44 packets. Sourced by bash; needs root, iproute2 and nftables.

# netns_up BASE RECEIVERS
netns_up() {
  local base=$1 count=$2 i
  ip netns add "${base}b"
  ip -n "${base}b" link add br0 type bridge mcast_snooping 0
  ip -n "${base}b" link set br0 up
  netns_join "$base" s 10.77.0.1
  for ((i = 1; i <= count; i++)); do netns_join "$base" "r$i" "10.77.0.$((10 + i))"; done
}

# netns_join BASE NAME ADDRESS: the namespace <base>NAME, with its interface eth0 on the bridge.
netns_join() {
  local bridge=$1b name=$1$2 port=p$2 address=$3
  ip netns add "$name"
  ip -n "$name" link set lo up
  ip -n "$bridge" link add "$port" type veth peer name eth0 netns "$name"
  ip -n "$bridge" link set "$port" gso_max_segs 1 master br0 up
  ip -n "$name" link set eth0 gso_max_segs 1 up
  ip -n "$name" addr add "$address/24" brd + dev eth0
  ip -n "$name" route add 224.0.0.0/4 dev eth0
}

# netns_lose BASE RECEIVER PERCENT: loses that share of the multicast packets that come to <base>RECEIVER, at random.
netns_lose() {
  ip netns exec "$1$2" nft -f - <<NFT
table inet loss {
  counter heard { }
  counter lost { }
  chain incoming {
    type filter hook input priority 0
    ip daddr 224.0.0.0/4 meta l4proto udp counter name heard numgen random mod 100 < $3 counter name lost drop
  }
}
NFT
}

# netns_lost BASE RECEIVER: "lost heard", in packets, since netns_lose.
netns_lost() {
  ip netns exec "$1$2" nft list counters table inet loss |
    awk '$1 == "counter" { name = $2 } $1 == "packets" { count[name] = $2 } END { print count["lost"], count["heard"] }'
}

# netns_down BASE: removes the namespaces, and first whatever still runs in them.
netns_down() {
  local name pids
  for name in $(ip netns list | awk -v base="$1" '$1 ~ "^" base "(b|s|r[0-9]+)$" { print $1 }'); do
    pids=$(ip netns pids "$name")
    # shellcheck disable=SC2086  # one word per process
    if [[ -n $pids ]]; then kill -KILL $pids 2>/dev/null || true; fi
    ip netns del "$name"
  done
}
