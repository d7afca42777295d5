#!/usr/bin/env bash
# The first process of a node: gives it a root of its own (an overlay of the
# machine's), then runs containerd, kubelet and kube-proxy in it until it is killed.
# Runs in fresh mount, pid, uts, ipc, cgroup and network namespaces.
# usage: node-init.sh NODE NODE_FOLDER CLUSTER_FOLDER CACHE_FOLDER BINARIES_FOLDER
set -euo pipefail
node=$1 folder=$2 cluster=$3 cache=$4 binaries=$5

mount --make-rprivate /
hostname "$node"
hierarchies=$(ls /sys/fs/cgroup)
cgroup_type=$(stat -f -c %T /sys/fs/cgroup)

mount -t tmpfs tmpfs /run
mkdir /run/layers /run/root
mount -t tmpfs tmpfs /run/layers
mkdir /run/layers/upper /run/layers/work
mount -t overlay overlay -o lowerdir=/,upperdir=/run/layers/upper,workdir=/run/layers/work /run/root
root=/run/root

mkdir -p "$root/proc" "$root/dev" "$root/sys" "$root/run" "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t sysfs sysfs "$root/sys"
if [ "$cgroup_type" = cgroup2fs ]; then
  mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
  # A group with processes of its own cannot hand controllers down: they move one deeper.
  mkdir "$root/sys/fs/cgroup/init"
  xargs -rn1 <"$root/sys/fs/cgroup/cgroup.procs" >"$root/sys/fs/cgroup/init/cgroup.procs" || true
  sed 's/[^ ]*/+&/g' "$root/sys/fs/cgroup/cgroup.controllers" >"$root/sys/fs/cgroup/cgroup.subtree_control"
else
  mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
  for hierarchy in $hierarchies; do
    if [ ! -d "/sys/fs/cgroup/$hierarchy" ] || [ -L "/sys/fs/cgroup/$hierarchy" ]; then continue; fi
    mkdir "$root/sys/fs/cgroup/$hierarchy"
    case $hierarchy in
      unified) mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/unified" ;;
      systemd) mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd" ;;
      *) mount -t cgroup -o "$hierarchy" cgroup "$root/sys/fs/cgroup/$hierarchy" ;;
    esac
  done
fi
mount -t tmpfs tmpfs "$root/run"
mkdir "$root/run/lock" "$root/run/netns"
mount -t tmpfs tmpfs "$root/tmp"

# These are not on the overlay: containerd and kubelet need a real file system, and the machine's
# folders may lie on mounts that the overlay of / does not show.
# The CNI's folders are here because they outlive a restart of the node.
for bind in "$folder/containerd:/var/lib/containerd" "$folder/kubelet:/var/lib/kubelet" \
  "$folder/pod-logs:/var/log/pods" "$folder/cni:/etc/cni/net.d" "$folder/cni-bin:/opt/cni/bin" "$cluster:$cluster" "$cache:$cache" "$binaries:$binaries"; do
  mkdir -p "${bind%%:*}" "$root${bind#*:}"
  mount --bind "${bind%%:*}" "$root${bind#*:}"
done

mkdir "$root/run/old"
cd "$root"
pivot_root . run/old
umount -l /run/old
rmdir /run/old
mount --make-rshared /

mkdir -p /var/lib/cni
rm -rf /var/lib/cni/*
for plugin in bridge host-local portmap loopback; do cp "/usr/lib/cni/$plugin" /opt/cni/bin/; done

export PATH=$binaries:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
containerd --config "$folder/containerd.toml" >>"$folder/containerd.log" 2>&1 &
until ctr version >/dev/null 2>&1; do sleep 0.1; done
kubelet --config="$folder/kubelet.yaml" --kubeconfig="$folder/kubelet.kubeconfig" \
  --hostname-override="$node" --node-ip="$(cat "$folder/address")" \
  --node-labels="topology.kubernetes.io/zone=zone-$node" >>"$folder/kubelet.log" 2>&1 &
kube-proxy --config="$folder/kube-proxy.yaml" --hostname-override="$node" >>"$folder/kube-proxy.log" 2>&1 &
echo ready >/run/node-ready

# As process 1 it also reaps what containers leave behind.
trap 'exit 0' TERM
while true; do wait -n 2>/dev/null || sleep 1; done
