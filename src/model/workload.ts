import type { Transition } from './enrolment.ts';
import type { IpText } from './ip.ts';
import type { Locality, MeshSettings, ServicePort, Workload } from './mesh.ts';
import type { PodFacts } from './pod-facts.ts';
import { endpointResourceName, podResourceName } from './resource-name.ts';
import type { ServiceFacts } from './service-facts.ts';
import type { EndpointFacts, SliceFacts } from './slice-facts.ts';

/** One service a workload backs, through one slice. */
export interface Membership {
  readonly service: ServiceFacts;
  readonly slice: SliceFacts;
}

/**
 * More services, and ports of them, than one workload backs in earnest. Whoever may write Services and EndpointSlices can
 * put any pod behind any number of their own; the pod's resource, which goes to every proxy, must not grow without bound.
 */
export const maxServicesOfWorkload = 256;
export const maxPortsOfWorkload = 4096;

export interface PodSurroundings {
  /** Not empty. */
  readonly addresses: readonly IpText[];
  readonly captured: boolean;
  readonly transition: Transition | undefined;
  readonly locality: Locality | undefined;
  readonly memberships: readonly Membership[];
  readonly settings: MeshSettings;
}

/** The workload a pod is, given what is around it. */
export function podWorkload(pod: PodFacts, around: PodSurroundings): Workload {
  return {
    kind: 'Workload',
    resourceName: podResourceName(pod.namespace, pod.name),
    namespace: pod.namespace,
    name: pod.name,
    serviceAccount: pod.serviceAccount ?? '',
    node: pod.node,
    addresses: around.addresses,
    transition: around.transition,
    // A host-network pod shares its node's network namespace, which is never captured; one without an identity can prove
    // none in a tunnel.
    tunnel: around.captured && !pod.hostNetwork && pod.serviceAccount !== undefined,
    trustDomain: around.settings.trustDomain,
    canonicalName: pod.canonicalName,
    canonicalRevision: pod.canonicalRevision,
    workloadType: pod.workloadType,
    workloadName: pod.workloadName,
    healthy: pod.healthy,
    sharesAddress: pod.hostNetwork,
    locality: around.locality,
    services: servicesOf(around.memberships),
  };
}

/**
 * The workload of an endpoint that is no pod of this cluster: reached in plaintext, through its service only. It shares
 * its address so that nobody can claim a pod's address for plaintext by writing it into an EndpointSlice.
 */
export function endpointWorkload(
  ip: IpText,
  endpoint: EndpointFacts,
  membership: Membership,
  locality: Locality | undefined,
  settings: MeshSettings,
): Workload {
  const { namespace, name } = membership.slice;
  return {
    kind: 'Workload',
    resourceName: endpointResourceName(namespace, name, ip),
    namespace,
    name,
    serviceAccount: 'default',
    node: endpoint.node,
    addresses: [ip],
    transition: undefined,
    tunnel: false,
    trustDomain: settings.trustDomain,
    canonicalName: membership.service.service.name,
    canonicalRevision: 'latest',
    workloadType: 'Pod',
    workloadName: membership.service.service.name,
    healthy: endpoint.ready,
    sharesAddress: true,
    locality: locality ?? (endpoint.zone === '' ? undefined : { region: '', zone: endpoint.zone }),
    services: servicesOf([membership]),
  };
}

/** Sorted by name. */
function servicesOf(memberships: readonly Membership[]): Map<string, readonly ServicePort[]> {
  const bySlice = memberships.toSorted((a, b) => (a.slice.key < b.slice.key ? -1 : 1));
  const ports = new Map<string, ServicePort[]>();
  for (const { service, slice } of bySlice) {
    const name = service.service.resourceName;
    const known = ports.get(name) ?? [];
    ports.set(name, merged(known, targetPorts(service, slice)));
  }
  return bounded(ports);
}

function bounded(ports: ReadonlyMap<string, readonly ServicePort[]>) {
  const sorted = [...ports].sort(([a], [b]) => (a < b ? -1 : 1));
  let room = maxPortsOfWorkload;
  const kept = sorted.slice(0, maxServicesOfWorkload).filter(([, { length }]) => {
    const fits = length <= room;
    if (fits) room -= length;
    return fits;
  });
  return new Map(kept);
}

/** A service's ports with the targets a slice gives them, by port name. */
function targetPorts(service: ServiceFacts, slice: SliceFacts): ServicePort[] {
  return [...service.portsByName].flatMap(([name, port]) => {
    if (!slice.targetPorts.has(name)) return [];
    return [{ ...port, targetPort: slice.targetPorts.get(name) ?? port.servicePort }];
  });
}

function merged(known: readonly ServicePort[], more: readonly ServicePort[]): ServicePort[] {
  const added = more.filter((port) => !known.some(({ servicePort }) => servicePort === port.servicePort));
  return [...known, ...added].sort((a, b) => a.servicePort - b.servicePort);
}
