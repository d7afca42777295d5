import type { MeshNode, MeshNodePod } from '../api/mesh-node.ts';
import { annotations } from '../api/names.ts';
import type { Node, ObjectMeta } from '../kube/objects.ts';
import { osLabel } from '../render/pod-parts.ts';

/** Objects with only what the operator's controllers read of them, for its caches. */

/** Names, UIDs, age and taints, what the agents' DaemonSet selects by, and our annotation. */
export function leanNode({ apiVersion, kind, metadata, spec }: Node): Node {
  const os = metadata.labels?.[osLabel];
  const served = metadata.annotations?.[annotations.served];
  return {
    apiVersion: apiVersion ?? 'v1',
    kind: kind ?? 'Node',
    metadata: {
      ...leanMetadata(metadata),
      ...(os === undefined ? {} : { labels: { [osLabel]: os } }),
      ...(served === undefined ? {} : { annotations: { [annotations.served]: served } }),
    },
    ...(spec?.taints === undefined ? {} : { spec: { taints: spec.taints } }),
  };
}

/** How its pods stand and what it says of the node; sentences about pods, addresses and times are for people. */
export function leanMeshNode({ apiVersion, kind, metadata, status }: MeshNode): MeshNode {
  const { finalizers, ownerReferences } = metadata;
  const { agent, proxy, pods, conditions } = status ?? {};
  return {
    apiVersion,
    kind,
    metadata: {
      ...leanMetadata(metadata),
      ...(finalizers === undefined ? {} : { finalizers }),
      ...(ownerReferences === undefined ? {} : { ownerReferences }),
    },
    ...(status === undefined ? {} : { status: { agent, proxy, pods: pods?.map(leanPod), conditions } }),
  };
}

const noAddresses: string[] = [];

function leanPod({ uid, namespace, name, captured, state, reason }: MeshNodePod): MeshNodePod {
  const forPeople = { serviceAccount: '', ips: noAddresses, message: '', olderConnections: 0, since: '' };
  return { uid, namespace, name, captured, state, reason, ...forPeople };
}

function leanMetadata({ name, uid, resourceVersion, creationTimestamp, deletionTimestamp }: Readonly<ObjectMeta>) {
  return {
    name,
    ...(uid === undefined ? {} : { uid }),
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
    ...(creationTimestamp === undefined ? {} : { creationTimestamp }),
    ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }),
  };
}
