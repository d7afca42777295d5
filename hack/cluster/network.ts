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
    machine.push(...linkTo(cluster, node));
  }
  await batch([], machine);
  for (const node of cluster.nodes) await createNodeNetwork(cluster, node, cluster.nodes);
}

/** Connects one more node with the machine and with the nodes that run, and those with its pods. */
export async function joinNetwork(
  cluster: ClusterLayout,
  node: NodeLayout,
  others: readonly NodeLayout[],
): Promise<void> {
  await run('ip', ['netns', 'add', node.netns]);
  await batch([], linkTo(cluster, node));
  await createNodeNetwork(cluster, node, others);
  for (const other of others) await batch(['-netns', other.netns], [routeToPodsOf(node)]);
}

/** Removes a node's namespace and link. Routes to its pods stay, and lead nowhere until a node has its address again. */
export async function leaveNetwork(node: NodeLayout): Promise<void> {
  // With this end the other goes at once, while the kernel takes its time to end the namespace.
  await run('ip', ['link', 'delete', node.link]);
  await run('ip', ['netns', 'delete', node.netns]);
}

const routeToPodsOf = (node: NodeLayout) => `route replace ${node.podCidr} via ${node.address}`;

const linkTo = (cluster: ClusterLayout, node: NodeLayout) => [
  `link add ${node.link} type veth peer name eth0 netns ${node.netns}`,
  `link set ${node.link} master ${cluster.bridge} up`,
  routeToPodsOf(node),
];

async function createNodeNetwork(cluster: ClusterLayout, node: NodeLayout, all: readonly NodeLayout[]): Promise<void> {
  await batch(
    ['-netns', node.netns],
    [
      'link set lo up',
      `addr add ${node.address}/24 dev eth0`,
      'link set eth0 up',
      `route add default via ${cluster.address}`,
      ...all.filter((other) => other.name !== node.name).map(routeToPodsOf),
    ],
  );
  await run('ip', ['netns', 'exec', node.netns, 'sysctl', '-qw', 'net.ipv4.ip_forward=1']);
}

async function batch(where: readonly string[], commands: readonly string[]): Promise<void> {
  await run('ip', [...where, '-batch', '-'], { input: `${commands.join('\n')}\n` });
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
