import type { EndpointSlice } from '../kube/objects.ts';
import { canonicalIp, type IpText } from './ip.ts';

/** What the model keeps of an EndpointSlice. */
export interface SliceFacts {
  /** `namespace/name`. */
  readonly key: string;
  readonly namespace: string;
  readonly name: string;
  /** `namespace/name` of its service, always in its own namespace. */
  readonly serviceKey: string;
  /** By address. More than one at an address: host-network pods of one node. */
  readonly endpoints: ReadonlyMap<IpText, readonly EndpointFacts[]>;
  /** Port name → target port; undefined means the service's own port. TCP only. */
  readonly targetPorts: ReadonlyMap<string, number | undefined>;
}

export interface EndpointFacts {
  /** The pod it is, by `namespace/name` and UID; undefined when the slice does not say. */
  readonly pod: { readonly key: string; readonly uid: string | undefined } | undefined;
  readonly ready: boolean;
  readonly node: string;
  readonly zone: string;
}

const serviceNameLabel = 'kubernetes.io/service-name';
const managedByLabel = 'endpointslice.kubernetes.io/managed-by';

/** Undefined for a slice that belongs to no service or holds names instead of addresses. */
export function sliceFacts(slice: EndpointSlice): SliceFacts | undefined {
  const { namespace, name, labels } = slice.metadata;
  const service = labels?.[serviceNameLabel];
  if (namespace === undefined || !service || slice.addressType === 'FQDN') return undefined;
  return {
    key: `${namespace}/${name}`,
    namespace,
    name,
    serviceKey: `${namespace}/${service}`,
    endpoints: endpoints(slice, namespace),
    targetPorts: new Map(
      (slice.ports ?? [])
        .filter((port) => (port.protocol ?? 'TCP') === 'TCP' && isPort(port.port))
        .map((port) => [port.name ?? '', port.port ?? undefined]),
    ),
  };
}

/** Absent means the service's own. The API server takes any number here, also a negative one. */
function isPort(port: number | null | undefined): boolean {
  return port === undefined || port === null || (port >= 1 && port <= 65_535);
}

/**
 * Endpoints of the EndpointSlice controller that are not ready stay in: they say the same as their pod, only later, and
 * the pod's own health decides. In slices of anybody else the slice's word counts.
 */
function endpoints(slice: EndpointSlice, namespace: string): Map<IpText, EndpointFacts[]> {
  const followsPods = slice.metadata.labels?.[managedByLabel] === 'endpointslice-controller.k8s.io';
  const byAddress = new Map<IpText, EndpointFacts[]>();
  for (const { addresses, conditions, targetRef, nodeName, zone } of slice.endpoints ?? []) {
    // Further addresses of one endpoint mean nothing: discovery/v1 Endpoint.addresses.
    const ip = canonicalIp(addresses[0] ?? '');
    const ready = conditions?.ready !== false;
    const isPod = targetRef?.kind === 'Pod' && targetRef.name !== undefined;
    if (ip === undefined || (isPod && !ready && !followsPods)) continue;
    const pod = isPod
      ? { key: `${targetRef.namespace ?? namespace}/${targetRef.name}`, uid: targetRef.uid || undefined }
      : undefined;
    const others = byAddress.get(ip);
    const endpoint = { pod, ready, node: nodeName ?? '', zone: zone ?? '' };
    if (others === undefined) byAddress.set(ip, [endpoint]);
    else others.push(endpoint);
  }
  return byAddress;
}
