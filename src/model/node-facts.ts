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

/** What a node's agent says of its pods, by UID. */
export interface NodeReport {
  readonly captured: ReadonlySet<string>;
  /** Those it could not enrol. */
  readonly failed: ReadonlySet<string>;
  /** The resourceVersion of the MeshNode. */
  readonly version: string;
}

/**
 * Undefined when no agent has said anything. An API server leaves a list out that was applied empty after it had entries: the agent's
 * name shows that it spoke.
 */
export function nodeReport({ metadata, status }: MeshNode): NodeReport | undefined {
  if (status?.pods === undefined && status?.agent === undefined) return undefined;
  const pods = status.pods ?? [];
  return {
    captured: new Set(pods.filter(({ captured }) => captured === true).map(({ uid }) => uid)),
    failed: new Set(pods.filter(({ state }) => state === 'Failed').map(({ uid }) => uid)),
    version: metadata.resourceVersion ?? '0',
  };
}
