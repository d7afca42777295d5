import { run } from '../process.ts';
import type { ClusterLayout, NodeLayout } from './layout.ts';

/** Lays the cluster's network: a bridge on the machine, per node a namespace, a link and routes to all pods. */
export async function createNetwork(cluster: ClusterLayout): Promise<void> {
  const machine = [
    `link add ${cluster.bridge} type bridge`,
    `addr add ${cluster.address}/24 dev ${cluster.bridge}`,
    `link set ${cluster.bridge} up`,
  ];
  for (const node of cluster.nodes) {
    await run('ip', ['netns', 'add', node.netns]);
    machine.push(
      `link add ${node.link} type veth peer name eth0 netns ${node.netns}`,
      `link set ${node.link} master ${cluster.bridge} up`,
      `route add ${node.podCidr} via ${node.address}`,
    );
  }
  await run('ip', ['-batch', '-'], { input: `${machine.join('\n')}\n` });
  for (const node of cluster.nodes) await createNodeNetwork(cluster, node);
}

async function createNodeNetwork(cluster: ClusterLayout, node: NodeLayout): Promise<void> {
  const inside = [
    'link set lo up',
    `addr add ${node.address}/24 dev eth0`,
    'link set eth0 up',
    `route add default via ${cluster.address}`,
    ...cluster.nodes
      .filter((other) => other !== node)
      .map((other) => `route add ${other.podCidr} via ${other.address}`),
  ];
  await run('ip', ['-netns', node.netns, '-batch', '-'], { input: `${inside.join('\n')}\n` });
  await run('ip', ['netns', 'exec', node.netns, 'sysctl', '-qw', 'net.ipv4.ip_forward=1']);
}

/** Removes the network; rules, routes and addresses go with their namespaces and links. */
export async function removeNetwork(slot: number, cluster: string): Promise<void> {
  const netns = (await run('ip', ['netns', 'list'])).split('\n').map((line) => line.split(' ')[0] ?? '');
  for (const name of netns.filter((name) => name.startsWith(`tulle-${cluster}-node-`))) {
    await run('ip', ['netns', 'delete', name]);
  }
  const links = (await run('ip', ['-o', 'link', 'show'])).split('\n').map((line) => line.split(/[:@ ]+/)[1] ?? '');
  const ours = links.filter((link) => link === `tulle${slot}` || link.startsWith(`tulle${slot}n`));
  // A veth pair whose namespace is just being taken down may go by itself meanwhile.
  for (const link of ours) await run('ip', ['link', 'delete', link]).catch(() => {});
}
