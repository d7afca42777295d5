import { buildImages, version } from '../../hack/images/images.ts';
import type { MeshCluster } from '../fixtures/mesh-cluster.ts';

const image = `tulle.dev/attack:${version}`;

export interface AttackerOptions {
  readonly name: string;
  readonly namespace: string;
  readonly node: string;
  readonly hostNetwork?: boolean;
  /** What the program does from its start on; it waits to be asked where nothing is said. */
  readonly does?: readonly string[];
}

/** Brings the program that attacks onto the cluster's nodes. */
export async function loadAttackImage(mesh: MeshCluster): Promise<void> {
  await mesh.loadImages(await buildImages(['attack']));
}

/** A container that attacks: root with the capabilities that the container runtime gives everybody, and no others. */
export function attackContainer(does: readonly string[] = ['idle']): object {
  return { name: 'attack', image, imagePullPolicy: 'IfNotPresent', args: does };
}

export function attacker({ name, namespace, node, hostNetwork = false, does }: AttackerOptions): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, labels: { app: name } },
    spec: { nodeName: node, hostNetwork, terminationGracePeriodSeconds: 1, containers: [attackContainer(does)] },
  };
}

/** Runs one attack in the pod and returns what the program prints. */
export async function attack(mesh: MeshCluster, namespace: string, pod: string, ...args: string[]): Promise<string> {
  const output = await mesh.kubectl('-n', namespace, 'exec', pod, '-c', 'attack', '--', '/attack', ...args);
  return output.trim();
}
