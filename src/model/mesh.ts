/** What the mesh is made of, validated: the values that go to proxies. All of them are immutable. */

import type { Transition } from './enrolment.ts';
import type { IpText } from './ip.ts';

export type AppProtocol = 'Unknown' | 'Http11' | 'Http2' | 'Grpc' | 'Tcp' | 'Tls';
export type WorkloadType = 'Deployment' | 'CronJob' | 'Pod' | 'Job';
export type IpFamilies = 'Automatic' | 'Ipv4Only' | 'Ipv6Only' | 'Dual';

/** Where clients should go first. */
export type RoutingScope = 'Region' | 'Zone' | 'Node' | 'Network';

export interface ServicePort {
  readonly servicePort: number;
  /** 0 on a service whose target port is a name: each workload says its own. */
  readonly targetPort: number;
  readonly appProtocol: AppProtocol;
}

export interface Locality {
  readonly region: string;
  readonly zone: string;
}

/** A pod, or an endpoint that is not a pod. */
export interface Workload {
  readonly kind: 'Workload';
  /** Also its `uid` on the wire. */
  readonly resourceName: string;
  readonly namespace: string;
  readonly name: string;
  /** Empty when it has none; it is not tunnelled to then. */
  readonly serviceAccount: string;
  readonly node: string;
  /** Never empty. */
  readonly addresses: readonly IpText[];
  /** Peers tunnel to it (HBONE): its node captured it. */
  readonly tunnel: boolean;
  readonly transition: Transition | undefined;
  readonly trustDomain: string;
  readonly canonicalName: string;
  readonly canonicalRevision: string;
  readonly workloadType: WorkloadType;
  readonly workloadName: string;
  readonly healthy: boolean;
  /** Its addresses are shared with others: they do not say which workload is meant. */
  readonly sharesAddress: boolean;
  readonly locality: Locality | undefined;
  /** Resource name of a service it backs → the ports it serves it on. Sorted by name. */
  readonly services: ReadonlyMap<string, readonly ServicePort[]>;
}

export interface Service {
  readonly kind: 'Service';
  readonly resourceName: string;
  readonly namespace: string;
  readonly name: string;
  readonly hostname: string;
  /** Virtual addresses; none for a headless service. */
  readonly addresses: readonly IpText[];
  readonly ports: readonly ServicePort[];
  readonly ipFamilies: IpFamilies;
  /** publishNotReadyAddresses: unhealthy workloads are used like healthy ones. */
  readonly allowsUnhealthy: boolean;
  readonly routing: Routing | undefined;
  /** sessionAffinity ClientIP: how long after its last connection a client keeps its endpoint, s; 0 for none. */
  readonly affinitySeconds: number;
}

export interface Routing {
  readonly preference: readonly RoutingScope[];
  /** Strict: nowhere else. Failover: elsewhere when there is nobody near. */
  readonly mode: 'Strict' | 'Failover';
}

/** The administrator's settings that shape what proxies are told. */
export interface MeshSettings {
  readonly trustDomain: string;
  readonly strictMtls: boolean;
}
