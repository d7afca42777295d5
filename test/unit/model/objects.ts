/** Kubernetes objects as an API server has them, with what a test does not care about filled in. */

import type { MeshNode } from '../../../src/api/mesh-node.ts';
import type { EndpointSlice, Node, Pod, Service } from '../../../src/kube/objects.ts';

export interface PodSpec {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly ips?: readonly string[];
  readonly node?: string;
  readonly created?: string;
  readonly phase?: string;
  readonly ready?: boolean;
  readonly hostNetwork?: boolean;
  readonly deleted?: boolean;
  /** `default` when nothing is said; empty for none. */
  readonly serviceAccount?: string;
  readonly labels?: Record<string, string>;
  /** Stands for a pod a kubelet runs from its own configuration. */
  readonly mirror?: boolean;
  readonly owner?: { kind: string; name: string };
}

export function pod(spec: PodSpec): Pod {
  const { name, namespace = 'shop', uid = `uid-${namespace}-${name}`, ips = ['10.0.0.1'], node = 'node-1' } = spec;
  return {
    metadata: {
      name,
      namespace,
      uid,
      creationTimestamp: spec.created ?? '2026-01-01T00:00:00Z',
      labels: spec.labels ?? {},
      ...(spec.mirror === true ? { annotations: { 'kubernetes.io/config.mirror': 'hash' } } : {}),
      ...(spec.deleted === true ? { deletionTimestamp: '2026-01-02T00:00:00Z' } : {}),
      ...(spec.owner === undefined
        ? {}
        : { ownerReferences: [{ apiVersion: 'v1', uid: 'owner', controller: true, ...spec.owner }] }),
    },
    spec: {
      nodeName: node,
      hostNetwork: spec.hostNetwork === true,
      ...(spec.serviceAccount === '' ? {} : { serviceAccountName: spec.serviceAccount ?? 'default' }),
    },
    status: {
      phase: spec.phase ?? 'Running',
      ...(ips[0] === undefined ? {} : { podIP: ips[0] }),
      podIPs: ips.map((ip) => ({ ip })),
      conditions: [{ type: 'Ready', status: spec.ready === false ? 'False' : 'True' }],
    },
  };
}

export interface ServiceSpec {
  readonly name: string;
  readonly namespace?: string;
  readonly clusterIPs?: readonly string[];
  readonly ports?: NonNullable<Service['spec']>['ports'];
  readonly spec?: Partial<NonNullable<Service['spec']>> & {
    readonly ipFamilies?: string[];
    readonly externalIPs?: readonly string[];
    readonly loadBalancerIP?: string;
  };
  /** Addresses a load balancer is said to have. */
  readonly ingress?: readonly string[];
}

export function service({
  name,
  namespace = 'shop',
  clusterIPs = ['10.96.0.1'],
  ports,
  spec,
  ingress = [],
}: ServiceSpec): Service {
  const status = { loadBalancer: { ingress: ingress.map((ip) => ({ ip, ipMode: 'VIP' })) } };
  return {
    metadata: { name, namespace, uid: `uid-${name}` },
    ...(ingress.length === 0 ? {} : { status }),
    spec: {
      type: 'ClusterIP',
      clusterIP: clusterIPs[0] ?? 'None',
      clusterIPs: [...clusterIPs],
      ports: ports ?? [{ name: 'http', port: 80, targetPort: 8080, protocol: 'TCP' }],
      ...spec,
    },
  };
}

export interface EndpointSpec {
  readonly ip: string;
  readonly pod?: string;
  readonly uid?: string;
  readonly podNamespace?: string;
  readonly ready?: boolean;
  readonly node?: string;
}

export interface SliceSpec {
  readonly name: string;
  readonly service: string;
  readonly namespace?: string;
  readonly endpoints: readonly EndpointSpec[];
  readonly ports?: EndpointSlice['ports'];
  /** Who keeps the slice; the EndpointSlice controller when nothing is said. */
  readonly managedBy?: string;
}

export function slice({ name, namespace = 'shop', endpoints, ports, ...spec }: SliceSpec): EndpointSlice {
  return {
    metadata: {
      name,
      namespace,
      labels: {
        'kubernetes.io/service-name': spec.service,
        'endpointslice.kubernetes.io/managed-by': spec.managedBy ?? 'endpointslice-controller.k8s.io',
      },
    },
    addressType: 'IPv4',
    ports: ports ?? [{ name: 'http', port: 8080, protocol: 'TCP' }],
    endpoints: endpoints.map(({ ip, pod, uid, podNamespace = namespace, ready = true, node }) => ({
      addresses: [ip],
      conditions: { ready },
      ...(node === undefined ? {} : { nodeName: node }),
      ...(pod === undefined
        ? {}
        : {
            targetRef: { kind: 'Pod', namespace: podNamespace, name: pod, uid: uid ?? `uid-${podNamespace}-${pod}` },
          }),
    })),
  };
}

export function node(name: string, region = '', zone = '', podCIDRs: string[] = []): Node {
  return {
    spec: { podCIDRs },
    metadata: {
      name,
      labels: { 'topology.kubernetes.io/region': region, 'topology.kubernetes.io/zone': zone },
    },
  };
}

export function meshNode(name: string, captured: readonly string[], others: readonly string[] = []): MeshNode {
  const entry = (uid: string, isCaptured: boolean) => ({
    uid,
    namespace: 'shop',
    name: uid,
    serviceAccount: 'default',
    ips: [],
    captured: isCaptured,
    state: isCaptured ? ('Secured' as const) : ('Pending' as const),
    reason: '',
    message: '',
    existingConnections: 0,
    since: '2026-01-01T00:00:00Z',
  });
  return {
    apiVersion: 'mesh.tulle.dev/v1alpha1',
    kind: 'MeshNode',
    metadata: { name },
    status: { pods: [...captured.map((uid) => entry(uid, true)), ...others.map((uid) => entry(uid, false))] },
  };
}
