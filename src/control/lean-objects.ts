import type { MeshNode } from '../api/mesh-node.ts';
import { labels } from '../api/names.ts';
import { leanMetadata, pick, present } from '../kube/cache/lean.ts';
import type { EndpointSlice, Namespace, Node, Pod, Service } from '../kube/objects.ts';
import { mirrorAnnotation } from '../kube/service-account.ts';

/**
 * Objects with only what is read of them, for caches: a pod of several kilobytes becomes one of some hundred bytes. They
 * stay objects, so that whoever reads a cache reads them like any other.
 */

/** What reflectors, the model and identity decisions read of a pod. */
export function leanPod({ metadata, spec, status }: Pod): Pod {
  const ready = status?.conditions?.find(({ type }) => type === 'Ready');
  const controller = metadata.ownerReferences?.find((reference) => reference.controller === true);
  return {
    metadata: {
      ...leanMetadata(metadata),
      labels: pick(metadata.labels, podLabels),
      ...(metadata.annotations?.[mirrorAnnotation] === undefined ? {} : { annotations: { [mirrorAnnotation]: '' } }),
      ownerReferences: controller === undefined ? [] : [controller],
    },
    spec: {
      ...present({ nodeName: spec?.nodeName, serviceAccountName: spec?.serviceAccountName }),
      hostNetwork: spec?.hostNetwork === true,
    },
    status: {
      ...present({ phase: status?.phase, podIP: status?.podIP, podIPs: status?.podIPs }),
      conditions: ready === undefined ? [] : [{ type: ready.type, status: ready.status }],
    },
  };
}

export function leanNamespace({ metadata }: Namespace): Namespace {
  return { metadata: { ...leanMetadata(metadata), labels: pick(metadata.labels, [labels.mode]) } };
}

export function leanNode({ metadata, spec }: Node): Node {
  return {
    metadata: { ...leanMetadata(metadata), labels: pick(metadata.labels, nodeLabels) },
    spec: { podCIDRs: spec?.podCIDRs ?? [] },
  };
}

/** Who looks after a pod is what counts of a MeshNode here; the rest of its status is for people. */
export function leanMeshNode({ apiVersion, kind, metadata, status }: MeshNode): MeshNode {
  const pods = status?.pods?.map((pod) => ({ ...pod, message: '', ips: [] }));
  return {
    apiVersion,
    kind,
    metadata: leanMetadata(metadata),
    status: present({ agent: status?.agent, pods }),
  };
}

/** The object without the bookkeeping of who wrote which field, often half of it. */
export function withoutManagedFields<T extends Service | EndpointSlice>(object: T): T {
  delete object.metadata.managedFields;
  delete object.metadata.annotations;
  return object;
}

const podLabels = [
  labels.mode,
  'app.kubernetes.io/name',
  'app.kubernetes.io/version',
  'app',
  'version',
  'pod-template-hash',
] as const;

const nodeLabels = ['topology.kubernetes.io/region', 'topology.kubernetes.io/zone'] as const;
