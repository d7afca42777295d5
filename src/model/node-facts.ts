import type { MeshNode } from '../api/mesh-node.ts';
import type { Node } from '../kube/objects.ts';
import { type Cidr, parseCidr } from './cidr.ts';
import type { Locality } from './mesh.ts';

/** What the model keeps of a Node. */
export interface NodeFacts {
  /** Undefined when its labels do not say. */
  readonly locality: Locality | undefined;
  /** The ranges its pods get their addresses from, where the cluster hands them out by node; else empty. */
  readonly podRanges: readonly Cidr[];
}

export function nodeFacts({ metadata, spec }: Node): NodeFacts {
  const region = metadata.labels?.['topology.kubernetes.io/region'] ?? '';
  const zone = metadata.labels?.['topology.kubernetes.io/zone'] ?? '';
  return {
    locality: region === '' && zone === '' ? undefined : { region, zone },
    podRanges: (spec?.podCIDRs ?? []).map(parseCidr).filter((range) => range !== undefined),
  };
}

/**
 * UIDs of the pods a node's agent says it captured; undefined when no agent has said anything. An API server leaves a
 * list out that was applied empty after it had entries: the agent's name shows that it spoke.
 */
export function capturedPods({ status }: MeshNode): ReadonlySet<string> | undefined {
  if (status?.pods === undefined && status?.agent === undefined) return undefined;
  return new Set((status.pods ?? []).filter(({ captured }) => captured === true).map(({ uid }) => uid));
}
