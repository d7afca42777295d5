import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import {
  AddressSchema,
  AppProtocol,
  IPFamilies,
  LoadBalancing_HealthPolicy,
  LoadBalancing_Mode,
  LoadBalancing_Scope,
  type LoadBalancingSchema,
  NetworkMode,
  type PortSchema,
  TunnelProtocol,
  WorkloadStatus,
  WorkloadType,
} from '../../proto/gen/istio/workload/workload_pb.js';
import { ipBytes } from '../model/ip.ts';
import type { Routing, Service, ServicePort, Workload } from '../model/mesh.ts';
import { addressAlias, clusterId, network } from '../model/resource-name.ts';
import { policyName } from '../policy/authorization.ts';
import { strictMtls } from '../policy/mesh-policies.ts';
import { addressType, encodeResource, type Resource } from './resource.ts';

/** A workload as a resource. Equal workloads give equal bytes: the order of everything repeated is the model's. */
export function encodeWorkload(workload: Workload): Resource {
  const message = create(AddressSchema, {
    type: {
      case: 'workload',
      value: {
        uid: workload.resourceName,
        name: workload.name,
        namespace: workload.namespace,
        addresses: workload.addresses.map(ipBytes),
        network,
        tunnelProtocol: workload.tunnel ? TunnelProtocol.HBONE : TunnelProtocol.NONE,
        trustDomain: workload.trustDomain === defaultTrustDomain ? '' : workload.trustDomain,
        serviceAccount: workload.serviceAccount === defaultServiceAccount ? '' : workload.serviceAccount,
        node: workload.node,
        canonicalName: workload.canonicalName,
        canonicalRevision: workload.canonicalRevision,
        workloadType: workloadTypes[workload.workloadType],
        workloadName: workload.workloadName,
        status: workload.healthy ? WorkloadStatus.HEALTHY : WorkloadStatus.UNHEALTHY,
        clusterId,
        networkMode: workload.sharesAddress ? NetworkMode.HOST_NETWORK : NetworkMode.STANDARD,
        ...transition(workload),
        ...(workload.locality === undefined ? {} : { locality: workload.locality }),
        services: Object.fromEntries([...workload.services].map(([name, ports]) => [name, { ports: ports.map(port) }])),
      },
    },
  });
  return encodeResource(addressType, {
    name: workload.resourceName,
    value: toBinary(AddressSchema, message),
    // An address that several share does not name any of them.
    aliases: workload.sharesAddress ? [] : workload.addresses.map(addressAlias),
    memberOf: [...workload.services.keys()],
  });
}

/** Meanwhile plaintext is let in, in Strict too (docs/adr/0015). */
function transition({ transition }: Workload) {
  if (transition === undefined) return {};
  return { transition: { exemptPolicies: [policyName(strictMtls)], leaving: transition === 'Leaving' } };
}

export function encodeService(service: Service): Resource {
  const message = create(AddressSchema, {
    type: {
      case: 'service',
      value: {
        name: service.name,
        namespace: service.namespace,
        hostname: service.hostname,
        addresses: service.addresses.map((ip) => ({ network, address: ipBytes(ip) })),
        ports: service.ports.map(port),
        ipFamilies: ipFamilies[service.ipFamilies],
        ...loadBalancing(service),
        clientAffinitySeconds: service.affinitySeconds,
      },
    },
  });
  return encodeResource(addressType, {
    name: service.resourceName,
    value: toBinary(AddressSchema, message),
    aliases: service.addresses.map(addressAlias),
    memberOf: [],
  });
}

/** What an empty field stands for on the wire. */
const defaultTrustDomain = 'cluster.local';
const defaultServiceAccount = 'default';

function port({ servicePort, targetPort, appProtocol }: ServicePort): MessageInitShape<typeof PortSchema> {
  return { servicePort, targetPort, appProtocol: appProtocols[appProtocol] };
}

function loadBalancing({ routing, allowsUnhealthy }: Service): {
  loadBalancing?: MessageInitShape<typeof LoadBalancingSchema>;
} {
  if (routing === undefined && !allowsUnhealthy) return {};
  return {
    loadBalancing: {
      routingPreference: routing?.preference.map((scope) => scopes[scope]) ?? [],
      mode: routing === undefined ? LoadBalancing_Mode.UNSPECIFIED_MODE : modes[routing.mode],
      healthPolicy: allowsUnhealthy ? LoadBalancing_HealthPolicy.ALLOW_ALL : LoadBalancing_HealthPolicy.ONLY_HEALTHY,
    },
  };
}

const workloadTypes = {
  Deployment: WorkloadType.DEPLOYMENT,
  CronJob: WorkloadType.CRONJOB,
  Pod: WorkloadType.POD,
  Job: WorkloadType.JOB,
} satisfies Record<Workload['workloadType'], WorkloadType>;

const appProtocols = {
  Unknown: AppProtocol.UNKNOWN,
  Http11: AppProtocol.HTTP11,
  Http2: AppProtocol.HTTP2,
  Grpc: AppProtocol.GRPC,
  Tcp: AppProtocol.TCP,
  Tls: AppProtocol.TLS,
} satisfies Record<ServicePort['appProtocol'], AppProtocol>;

const ipFamilies = {
  Automatic: IPFamilies.AUTOMATIC,
  Ipv4Only: IPFamilies.IPV4_ONLY,
  Ipv6Only: IPFamilies.IPV6_ONLY,
  Dual: IPFamilies.DUAL,
} satisfies Record<Service['ipFamilies'], IPFamilies>;

const scopes = {
  Region: LoadBalancing_Scope.REGION,
  Zone: LoadBalancing_Scope.ZONE,
  Node: LoadBalancing_Scope.NODE,
  Network: LoadBalancing_Scope.NETWORK,
} satisfies Record<Routing['preference'][number], LoadBalancing_Scope>;

const modes = {
  Strict: LoadBalancing_Mode.STRICT,
  Failover: LoadBalancing_Mode.FAILOVER,
} satisfies Record<Routing['mode'], LoadBalancing_Mode>;
