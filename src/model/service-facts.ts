import type { Service as ReadService } from '../kube/objects.ts';
import { canonicalIp } from './ip.ts';
import type { AppProtocol, IpFamilies, Routing, Service, ServicePort } from './mesh.ts';
import { serviceHostname, serviceResourceName } from './resource-name.ts';

/** What the model keeps of a Service: what proxies are told of it, and its ports by name. */
export interface ServiceFacts {
  /** `namespace/name`. */
  readonly key: string;
  readonly service: Service;
  /** Port name (`''` for the only port of a service that does not name it) → port. TCP only. */
  readonly portsByName: ReadonlyMap<string, ServicePort>;
}

/** A Service, with the families of its addresses. */
export type KubeService = ReadService & { readonly spec?: { readonly ipFamilies?: readonly string[] } };

type KubePort = NonNullable<NonNullable<KubeService['spec']>['ports']>[number];

/** Undefined for a service without endpoints of its own (ExternalName). */
export function serviceFacts(object: KubeService): ServiceFacts | undefined {
  const { metadata, spec } = object;
  const { namespace, name } = metadata;
  if (namespace === undefined || spec === undefined || spec.type === 'ExternalName') return undefined;
  const portsByName = new Map(
    (spec.ports ?? [])
      .filter((port) => (port.protocol ?? 'TCP') === 'TCP')
      .map((port) => [port.name ?? '', servicePort(port)]),
  );
  const addresses = (spec.clusterIPs ?? [spec.clusterIP ?? '']).map(canonicalIp).filter((ip) => ip !== undefined);
  return {
    key: `${namespace}/${name}`,
    portsByName,
    service: {
      kind: 'Service',
      resourceName: serviceResourceName(namespace, name),
      namespace,
      name,
      hostname: serviceHostname(namespace, name),
      addresses: [...new Set(addresses)],
      ports: [...portsByName.values()].sort((a, b) => a.servicePort - b.servicePort),
      ipFamilies: ipFamilies(spec.ipFamilies),
      allowsUnhealthy: spec.publishNotReadyAddresses === true,
      routing: routing(spec.internalTrafficPolicy, spec.trafficDistribution),
      affinitySeconds: affinitySeconds(spec),
    },
  };
}

function servicePort(port: KubePort): ServicePort {
  const target = port.targetPort ?? port.port;
  return {
    servicePort: port.port,
    targetPort: typeof target === 'number' ? target : 0,
    appProtocol: appProtocol(port.appProtocol ?? prefixOf(port.name)),
  };
}

/** Port names may say the protocol: `<protocol>` or `<protocol>-<anything>`. */
function prefixOf(name: string | undefined): string {
  return name?.split('-', 1)[0] ?? '';
}

/** From Service.spec.ports[].appProtocol (IANA names, and the kubernetes.io ones of KEP-3726). */
export function appProtocol(name: string): AppProtocol {
  switch (name.toLowerCase()) {
    case 'http':
    case 'kubernetes.io/ws':
      return 'Http11';
    case 'http2':
    case 'h2c':
    case 'kubernetes.io/h2c':
      return 'Http2';
    case 'grpc':
      return 'Grpc';
    case 'tls':
    case 'https':
    case 'kubernetes.io/wss':
      return 'Tls';
    case 'tcp':
      return 'Tcp';
    default:
      return 'Unknown';
  }
}

function ipFamilies(families: readonly string[] | undefined): IpFamilies {
  if (families === undefined || families.length === 0) return 'Automatic';
  if (families.length > 1) return 'Dual';
  return families[0] === 'IPv6' ? 'Ipv6Only' : 'Ipv4Only';
}

/** What the API server writes where nobody says how long. */
const defaultAffinitySeconds = 10_800;

function affinitySeconds({ sessionAffinity, sessionAffinityConfig }: NonNullable<KubeService['spec']>): number {
  return sessionAffinity === 'ClientIP'
    ? (sessionAffinityConfig?.clientIP?.timeoutSeconds ?? defaultAffinitySeconds)
    : 0;
}

/** Topology hints as KEP-2086 (internalTrafficPolicy) and KEP-4444, KEP-3015 (trafficDistribution) define them. */
function routing(internalTrafficPolicy: string | undefined, distribution: string | undefined): Routing | undefined {
  if (internalTrafficPolicy === 'Local') return { preference: ['Node'], mode: 'Strict' };
  switch (distribution) {
    case 'PreferClose':
    case 'PreferSameZone':
      return { preference: ['Network', 'Region', 'Zone'], mode: 'Failover' };
    case 'PreferSameNode':
      return { preference: ['Network', 'Region', 'Zone', 'Node'], mode: 'Failover' };
    default:
      return undefined;
  }
}
