import { join } from 'node:path';
import { root } from '../cache.ts';
import { hasCommand, run } from '../process.ts';
import { step } from '../steps.ts';
import { type ClusterKind, type DemoCluster, kubectlOf } from './cluster.ts';

const NAME = 'tulle-demo';
const KUBECONFIG = join(root, '.cluster/kubeconfig');

/** Pods run on two workers; the control plane of kind takes none. */
const CONFIG = `kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
  - role: control-plane
  - role: worker
  - role: worker
`;

/** A cluster made by `kind`, for machines with Docker. Not tried on a machine of ours yet. */
export function kindCluster(): ClusterKind {
  return {
    start: async () => {
      await needs('docker', 'kind', 'kubectl', 'nsenter', 'tcpdump');
      return step(`Cluster ${NAME} by kind`, async (report) => {
        report('removing an earlier one');
        await remove();
        report('creating nodes');
        const args = ['create', 'cluster', '--name', NAME, '--kubeconfig', KUBECONFIG, '--wait', '120s'];
        await run('kind', [...args, '--config', '-'], { input: CONFIG, onLine: (line) => report(line.trim()) });
        return demoCluster();
      });
    },
    remove,
  };
}

async function needs(...tools: readonly string[]): Promise<void> {
  for (const tool of tools) {
    if (await hasCommand(tool)) continue;
    throw new Error(
      `CLUSTER=kind needs ${tool}, which is not installed: install it, or leave CLUSTER out for the cluster that comes with Tulle`,
    );
  }
}

async function remove(): Promise<void> {
  await needs('kind');
  await run('kind', ['delete', 'cluster', '--name', NAME, '--kubeconfig', KUBECONFIG]);
}

function demoCluster(): DemoCluster {
  const kubectl = kubectlOf('kubectl', KUBECONFIG);
  return {
    name: NAME,
    kubeconfig: KUBECONFIG,
    kubectlFolder: undefined,
    nodes: [`${NAME}-worker`, `${NAME}-worker2`],
    kubectl: (...args) => kubectl(args),
    apply: (manifests) => kubectl(['apply', '--server-side', '--force-conflicts', '-f', '-'], manifests),
    loadImages: async (images) => {
      for (const image of images) await run('kind', ['load', 'image-archive', image.archive, '--name', NAME]);
    },
    // The node images hold no tcpdump: the machine's own runs in the network of the node's container.
    inNetworkOf: async (node) => {
      const pid = (await run('docker', ['inspect', '--format', '{{.State.Pid}}', node])).trim();
      return ['nsenter', `--net=/proc/${pid}/ns/net`];
    },
  };
}
