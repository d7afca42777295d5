/** Nodes that join, restart and leave while their cluster runs. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { makeCertificates } from './certificates.ts';
import { cgroupProcesses } from './cgroups.ts';
import { type ClusterLayout, clusterLayout, maxNodes, type NodeLayout } from './layout.ts';
import { joinNetwork, leaveNetwork } from './network.ts';
import { configureNode, initPid, startNode } from './node.ts';
import { killAll, removeGroup } from './teardown.ts';
import { clusterTokens } from './tokens.ts';

/** Starts one more node; it registers with the API server by itself. It is no part of `cluster.nodes`. */
export async function addNode(cluster: ClusterLayout, binaries: string): Promise<NodeLayout> {
  const node = possibleNodes(cluster).find((candidate) => initPid(candidate) === undefined);
  if (node === undefined) throw new Error(`${cluster.name} has ${maxNodes} nodes, as many as its addresses allow`);
  const certificates = await makeCertificates(join(cluster.folder, 'pki'), []);
  configureNode(cluster, node, { certificates, token: clusterTokens(cluster) });
  await joinNetwork(cluster, node, running(cluster));
  await startNode(cluster, node, binaries);
  return node;
}

/** Takes the power from a node and gives it back: its disk is as it was, its processes, network and mounts are new. */
export async function rebootNode(cluster: ClusterLayout, node: NodeLayout, binaries: string): Promise<void> {
  await powerOff(node);
  await leaveNetwork(node);
  await joinNetwork(cluster, node, running(cluster));
  await startNode(cluster, node, binaries);
}

/** Ends a node and removes what there is of it on the machine; its Node object is for the caller to delete. */
export async function removeNode(node: NodeLayout): Promise<void> {
  await powerOff(node);
  await leaveNetwork(node);
  await removeGroup(node.cgroup);
  rmSync(node.folder, { recursive: true, force: true, maxRetries: 5 });
}

const powerOff = (node: NodeLayout) => killAll(`${node.name}’s processes`, () => cgroupProcesses(node.cgroup));

const possibleNodes = ({ name, slot }: ClusterLayout) => clusterLayout(name, slot, maxNodes).nodes;

const running = (cluster: ClusterLayout) => possibleNodes(cluster).filter((node) => initPid(node) !== undefined);
