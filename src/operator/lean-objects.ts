import type { MeshNode, MeshNodePod } from '../api/mesh-node.ts';
import { annotations } from '../api/names.ts';
import { leanMetadata, pick, present } from '../kube/cache/lean.ts';
import type { Node } from '../kube/objects.ts';
import { osLabel } from '../render/pod-parts.ts';

/** Objects with only what the operator's controllers read of them, for its caches. */

/** Names, UIDs, age and taints, what the agents' DaemonSet selects by, and our annotation. */
export function leanNode({ apiVersion, kind, metadata, spec }: Node): Node {
  return {
    apiVersion: apiVersion ?? 'v1',
    kind: kind ?? 'Node',
    metadata: {
      ...leanMetadata(metadata),
      labels: pick(metadata.labels, [osLabel]),
      annotations: pick(metadata.annotations, [annotations.served]),
    },
    ...present({ spec: spec?.taints && { taints: spec.taints } }),
  };
}

/** How its pods stand and what it says of the node; sentences about pods, addresses and times are for people. */
export function leanMeshNode({ apiVersion, kind, metadata, status }: MeshNode): MeshNode {
  const { finalizers, ownerReferences } = metadata;
  const { agent, proxy, pods, conditions } = status ?? {};
  return {
    apiVersion,
    kind,
    metadata: { ...leanMetadata(metadata), ...present({ finalizers, ownerReferences }) },
    ...present({ status: status && { agent, proxy, pods: pods?.map(leanPod), conditions } }),
  };
}

const noAddresses: string[] = [];

function leanPod({ uid, namespace, name, captured, state, reason }: MeshNodePod): MeshNodePod {
  const forPeople = { serviceAccount: '', ips: noAddresses, message: '', existingConnections: 0, since: '' };
  return { uid, namespace, name, captured, state, reason, ...forPeople };
}
