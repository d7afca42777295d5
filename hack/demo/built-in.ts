import { dirname, join } from 'node:path';
import { root } from '../cache.ts';
import { buildBinaries } from '../cluster/binaries.ts';
import { type Cluster, removeAccess, startCluster } from '../cluster/cluster.ts';
import { clusterName } from '../cluster/layout.ts';
import { removeCluster } from '../cluster/teardown.ts';
import { preflight } from '../setup/preflight.ts';
import type { ClusterKind, DemoCluster } from './cluster.ts';

const NODES = 2;
const KUBECONFIG = join(root, '.cluster/kubeconfig');

/** The cluster of hack/cluster: needs no container engine. */
export function builtInCluster(): ClusterKind {
  const name = clusterName('dev');
  return {
    start: async () => {
      await preflight();
      const cluster = await startCluster({ name, nodes: NODES, kubeconfig: KUBECONFIG });
      const program = await buildBinaries();
      return demoCluster(cluster, KUBECONFIG, dirname(program('kubectl')));
    },
    remove: async () => {
      await removeCluster(name);
      removeAccess(KUBECONFIG);
    },
  };
}

/** A cluster of hack/cluster as the demo sees one. */
export function demoCluster(cluster: Cluster, kubeconfig: string, kubectlFolder: string | undefined): DemoCluster {
  return {
    name: cluster.layout.name,
    kubeconfig,
    kubectlFolder,
    nodes: cluster.nodes.map((node) => node.name),
    kubectl: cluster.kubectl,
    apply: cluster.apply,
    loadImages: cluster.loadImages,
    inNetworkOf: async (name) => {
      const node = cluster.nodes.find((candidate) => candidate.name === name);
      if (node === undefined) throw new Error(`the cluster has no node ${name}`);
      return ['ip', 'netns', 'exec', node.netns];
    },
  };
}
