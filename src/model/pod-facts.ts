import type { ObjectMeta, OwnerReference, Pod } from '../kube/objects.ts';
import { serviceAccountOf } from '../kube/service-account.ts';
import { canonicalIp, type IpText } from './ip.ts';
import { type Mode, modeOf } from './membership.ts';
import type { WorkloadType } from './mesh.ts';

/** What the model keeps of a pod: a few hundred bytes instead of the whole object. */
export interface PodFacts {
  /** `namespace/name`. */
  readonly key: string;
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
  /** Undefined when it has none, as a mirror pod: it has no identity then. */
  readonly serviceAccount: string | undefined;
  readonly hostNetwork: boolean;
  /** Never empty, without repetitions. */
  readonly ips: readonly IpText[];
  /** RFC 3339, as the API server wrote it: UTC, whole seconds, so that text order is time order. */
  readonly created: string;
  readonly healthy: boolean;
  /** Whether its own label says that it is in the mesh; undefined where its namespace's decides. */
  readonly mode: Mode | undefined;
  readonly canonicalName: string;
  readonly canonicalRevision: string;
  readonly workloadType: WorkloadType;
  readonly workloadName: string;
}

/** The facts of a pod that is a workload; undefined when it is none: finished, not placed on a node, or without an address. */
export function podFacts(pod: Pod): PodFacts | undefined {
  const { metadata, spec, status } = pod;
  const { namespace, uid } = metadata;
  if (status?.phase === 'Succeeded' || status?.phase === 'Failed') return undefined;
  const ips = addressesOf(pod);
  if (namespace === undefined || uid === undefined || !spec?.nodeName || ips.length === 0) return undefined;
  const owner = ownerOf(metadata);
  const named = metadata.labels ?? {};
  return {
    key: `${namespace}/${metadata.name}`,
    uid,
    namespace,
    name: metadata.name,
    node: spec.nodeName,
    serviceAccount: serviceAccountOf(pod),
    hostNetwork: spec.hostNetwork === true,
    ips,
    created: metadata.creationTimestamp ?? '',
    healthy: isHealthy(pod),
    mode: modeOf(metadata),
    canonicalName: named['app.kubernetes.io/name'] || named.app || owner.name,
    canonicalRevision: named['app.kubernetes.io/version'] || named.version || 'latest',
    workloadType: owner.type,
    workloadName: owner.name,
  };
}

function addressesOf({ status }: Pod): IpText[] {
  const texts = status?.podIPs?.map(({ ip }) => ip) ?? [];
  if (status?.podIP !== undefined) texts.unshift(status.podIP);
  return [...new Set(texts.map(canonicalIp).filter((ip) => ip !== undefined))];
}

/** Ready, and not on its way out: a pod that is being deleted keeps its Ready condition while its last requests finish. */
function isHealthy({ metadata, status }: Pod): boolean {
  if (metadata.deletionTimestamp !== undefined) return false;
  return status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false;
}

interface Owner {
  readonly type: WorkloadType;
  readonly name: string;
}

/**
 * The workload a pod belongs to, from its controller's reference alone. A ReplicaSet's name is its Deployment's and the
 * pod's `pod-template-hash`; a CronJob's Job ends in the minute it was scheduled for.
 */
function ownerOf(metadata: ObjectMeta): Owner {
  const controller = metadata.ownerReferences?.find((reference) => reference.controller === true);
  if (controller === undefined) return { type: 'Pod', name: metadata.name };
  switch (controller.kind) {
    case 'ReplicaSet':
      return { type: 'Deployment', name: withoutSuffix(controller, metadata.labels?.['pod-template-hash']) };
    case 'Job':
      return jobOwner(controller.name);
    default:
      return { type: 'Pod', name: controller.name };
  }
}

function withoutSuffix({ name }: OwnerReference, hash: string | undefined): string {
  return hash !== undefined && hash !== '' && name.endsWith(`-${hash}`) ? name.slice(0, -hash.length - 1) : name;
}

function jobOwner(name: string): Owner {
  const cronJob = /^(.+)-[0-9]{8,10}$/.exec(name)?.[1];
  return cronJob === undefined ? { type: 'Job', name } : { type: 'CronJob', name: cronJob };
}
