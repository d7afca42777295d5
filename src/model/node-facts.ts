import type { MeshNode } from '../api/mesh-node.ts';
import type { Node } from '../kube/objects.ts';
import type { Locality } from './mesh.ts';

/** Where a node is; undefined when its labels do not say. */
export function nodeLocality({ metadata }: Node): Locality | undefined {
  const region = metadata.labels?.['topology.kubernetes.io/region'] ?? '';
  const zone = metadata.labels?.['topology.kubernetes.io/zone'] ?? '';
  return region === '' && zone === '' ? undefined : { region, zone };
}

/** UIDs of the pods a node's agent says it captured. */
export function capturedPods({ status }: MeshNode): ReadonlySet<string> {
  return new Set((status?.pods ?? []).filter(({ captured }) => captured === true).map(({ uid }) => uid));
}
