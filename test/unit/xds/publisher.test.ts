import { deepStrictEqual, notStrictEqual, ok, strictEqual } from 'node:assert/strict';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from '../../../proto/gen/envoy/service/discovery/v3/discovery_pb.js';
import { AuthorizationSchema } from '../../../proto/gen/istio/security/authorization_pb.js';
import {
  AddressSchema,
  AppProtocol,
  LoadBalancing_HealthPolicy,
  NetworkMode,
  TunnelProtocol,
  WorkloadStatus,
  WorkloadType,
} from '../../../proto/gen/istio/workload/workload_pb.js';
import type { MeshSettings } from '../../../src/model/mesh.ts';
import { MeshModel } from '../../../src/model/mesh-model.ts';
import { meshPolicies } from '../../../src/policy/mesh-policies.ts';
import { type Log, silentLog } from '../../../src/telemetry/log.ts';
import { Publisher } from '../../../src/xds/publisher.ts';
import { addressType, authorizationType } from '../../../src/xds/resource.ts';
import type { ResourceStore } from '../../../src/xds/resource-store.ts';
import { encodeResponse } from '../../../src/xds/response.ts';
import { apply, type Change, permissive } from '../model/cluster.ts';
import { meshNode, node, pod, service, slice } from '../model/objects.ts';

/** What a proxy would read of these resources. */
function read(store: ResourceStore, ...names: readonly string[]): DeltaDiscoveryResponse {
  const resources = names.map((name) => store.get(name)).filter((resource) => resource !== undefined);
  strictEqual(resources.length, names.length, `of ${names.join(', ')}`);
  const parts = encodeResponse({ type: store.type, nonce: 'n', resources, removed: ['gone'] });
  return fromBinary(DeltaDiscoveryResponseSchema, Buffer.concat(parts));
}

/** Publishes what comes out of a model. */
class MeshPublisher extends Publisher {
  readonly model: MeshModel;

  constructor(settings: MeshSettings, log: Pick<Log, 'error'> = silentLog) {
    super(log);
    this.model = new MeshModel(settings);
  }

  /** Takes in the changes, and publishes what is changed by them. */
  take(...changes: readonly Change[]): void {
    for (const change of changes) apply(this.model, change);
    this.publish(this.model.commit(), meshPolicies(this.model.settings));
  }
}

function published(settings: MeshSettings, ...changes: readonly Change[]): MeshPublisher {
  const publisher = new MeshPublisher(settings);
  publisher.take(...changes);
  return publisher;
}

const web = 'Kubernetes//Pod/shop/web-0';
const cart = 'shop/cart.shop.svc.cluster.local';
const shop: readonly Change[] = [
  {
    pod: pod({
      name: 'web-0',
      uid: 'u1',
      ips: ['10.0.0.1', 'fd00::1'],
      serviceAccount: 'web',
      owner: { kind: 'ReplicaSet', name: 'web' },
      labels: { app: 'web', version: 'v2' },
    }),
  },
  { node: node('node-1', 'eu', 'eu-1') },
  { meshNode: meshNode('node-1', ['u1']) },
  { service: service({ name: 'cart', spec: { publishNotReadyAddresses: true } }) },
  { slice: slice({ name: 's', service: 'cart', endpoints: [{ ip: '10.0.0.1', pod: 'web-0', uid: 'u1' }] }) },
];

describe('what a proxy reads', () => {
  it('of a pod is all it needs to reach it', () => {
    const { resources, typeUrl, nonce, removedResources } = read(published(permissive, ...shop).addresses, web);
    deepStrictEqual([typeUrl, nonce, removedResources], [addressType, 'n', ['gone']]);
    const [resource] = resources;
    strictEqual(resource?.name, web);
    strictEqual(resource.resource?.typeUrl, addressType);
    deepStrictEqual(resource.aliases, ['/10.0.0.1', '/fd00:0:0:0:0:0:0:1']);
    const { type } = fromBinary(AddressSchema, resource.resource.value);
    ok(type.case === 'workload');
    const { services, addresses, locality, ...workload } = type.value;
    deepStrictEqual(
      addresses.map((address) => address.length),
      [4, 16],
    );
    deepStrictEqual([locality?.region, locality?.zone], ['eu', 'eu-1']);
    deepStrictEqual(
      services[cart]?.ports.map(({ servicePort, targetPort, appProtocol }) => [servicePort, targetPort, appProtocol]),
      [[80, 8080, AppProtocol.HTTP11]],
    );
    const expected = {
      uid: web,
      name: 'web-0',
      namespace: 'shop',
      network: '',
      tunnelProtocol: TunnelProtocol.HBONE,
      trustDomain: '',
      serviceAccount: 'web',
      node: 'node-1',
      canonicalName: 'web',
      canonicalRevision: 'v2',
      workloadType: WorkloadType.DEPLOYMENT,
      workloadName: 'web',
      status: WorkloadStatus.HEALTHY,
      clusterId: 'Kubernetes',
      networkMode: NetworkMode.STANDARD,
    };
    for (const [field, value] of Object.entries(expected)) {
      strictEqual(Object.entries(workload).find(([name]) => name === field)?.[1], value, field);
    }
  });

  it('of a service is its addresses and ports', () => {
    const [resource] = read(published(permissive, ...shop).addresses, cart).resources;
    const { type } = fromBinary(AddressSchema, resource?.resource?.value ?? new Uint8Array());
    ok(type.case === 'service');
    strictEqual(type.value.hostname, 'cart.shop.svc.cluster.local');
    deepStrictEqual(
      type.value.addresses.map(({ address, network }) => [[...address], network]),
      [[[10, 96, 0, 1], '']],
    );
    strictEqual(type.value.loadBalancing?.healthPolicy, LoadBalancing_HealthPolicy.ALLOW_ALL);
  });

  it('of a service with session affinity is how long it lasts, beside all that others read of it', () => {
    const sticky = service({ name: 'cart', spec: { sessionAffinity: 'ClientIP' } });
    const [before, after] = [service({ name: 'cart' }), sticky].map((each) => {
      const [resource] = read(published(permissive, ...shop, { service: each }).addresses, cart).resources;
      return resource?.resource?.value ?? new Uint8Array();
    });
    ok(before !== undefined && after !== undefined);
    const { type } = fromBinary(AddressSchema, after);
    ok(type.case === 'service');
    strictEqual(type.value.clientAffinitySeconds, 10_800);
    strictEqual(type.value.loadBalancing, undefined);
    // Tag and value of the field come last; who does not know it reads what it read before.
    type.value.clientAffinitySeconds = 0;
    deepStrictEqual(
      toBinary(AddressSchema, fromBinary(AddressSchema, before)),
      toBinary(AddressSchema, create(AddressSchema, { type })),
    );
  });

  it('of a trust domain of its own is its name', () => {
    const { addresses } = published({ trustDomain: 'example.org', strictMtls: false }, ...shop);
    const { type } = fromBinary(AddressSchema, read(addresses, web).resources[0]?.resource?.value ?? new Uint8Array());
    ok(type.case === 'workload');
    strictEqual(type.value.trustDomain, 'example.org');
  });

  it('of Strict is a policy that denies whoever has no identity', () => {
    const publisher = published({ ...permissive, strictMtls: true });
    const [resource] = read(publisher.authorizations, 'tulle-system/strict-mtls').resources;
    strictEqual(resource?.resource?.typeUrl, authorizationType);
    const policy = fromBinary(AuthorizationSchema, resource.resource.value);
    deepStrictEqual(
      [policy.namespace, policy.name, policy.scope, policy.action],
      ['tulle-system', 'strict-mtls', 0, 1],
    );
    const [match] = policy.rules[0]?.clauses[0]?.matches ?? [];
    deepStrictEqual(
      match?.notPrincipals.map(({ matchType }) => matchType.case),
      ['presence'],
    );
    publisher.model.setSettings(permissive);
    publisher.take();
    strictEqual(publisher.authorizations.size, 0);
  });
});

describe('what cannot be told whole', () => {
  /** No API server would let it pass; one day one might. */
  const unusable: Change = { service: service({ name: 'cart', ports: [{ name: 'http', port: -1 }] }) };

  function publishedWith(changes: readonly Change[]) {
    const named: unknown[] = [];
    const publisher = new MeshPublisher(permissive, { error: (fields) => void named.push(fields) });
    publisher.take(...changes);
    return { publisher, named: () => JSON.stringify(named) };
  }

  function readAddress(publisher: MeshPublisher, name: string) {
    const [resource] = read(publisher.addresses, name).resources;
    return fromBinary(AddressSchema, resource?.resource?.value ?? new Uint8Array()).type;
  }

  it('R33 is told by what decides whether it is refused: an address nobody knows is spoken to in plaintext', () => {
    const { publisher, named } = publishedWith([...shop, unusable]);
    const workload = readAddress(publisher, web);
    ok(workload.case === 'workload');
    strictEqual(workload.value.tunnelProtocol, TunnelProtocol.HBONE);
    deepStrictEqual(
      [workload.value.serviceAccount, workload.value.addresses.length, Object.keys(workload.value.services)],
      ['web', 2, []],
    );
    const unportable = readAddress(publisher, cart);
    ok(unportable.case === 'service');
    deepStrictEqual([unportable.value.addresses.length, unportable.value.ports], [1, []]);
    for (const name of [web, cart]) ok(named().includes(name), `${name} is named in the log`);
  });

  it('R33 is not told as it was before it was captured', () => {
    const uncaptured = shop.filter((change) => !('meshNode' in change));
    const { publisher } = publishedWith(uncaptured);
    publisher.take(unusable, { meshNode: meshNode('node-1', ['u1']) });
    const workload = readAddress(publisher, web);
    ok(workload.case === 'workload');
    strictEqual(workload.value.tunnelProtocol, TunnelProtocol.HBONE);
  });

  it('hinders nothing else, and is told whole again once it can be', () => {
    const { publisher } = publishedWith([...shop, unusable, { pod: pod({ name: 'other', ips: ['10.0.0.7'] }) }]);
    ok(publisher.addresses.get('Kubernetes//Pod/shop/other'));
    publisher.take(...shop);
    strictEqual(publisher.addresses.get(web)?.version, published(permissive, ...shop).addresses.get(web)?.version);
  });
});

describe('the order of a publication', () => {
  it('R33 is a new policy, then addresses, then the end of a policy', () => {
    const publisher = published(permissive, ...shop);
    const told: string[] = [];
    for (const store of publisher.stores)
      store.onChange(() => told.push(store === publisher.addresses ? 'addresses' : 'policies'));
    publisher.model.setSettings({ ...permissive, strictMtls: true });
    publisher.take({ meshNode: meshNode('node-1', []) });
    deepStrictEqual(told.splice(0), ['policies', 'addresses']);
    publisher.model.setSettings(permissive);
    publisher.take({ meshNode: meshNode('node-1', ['u1']) });
    deepStrictEqual(told, ['addresses', 'policies']);
  });
});

describe('a version', () => {
  it('is the same in every replica and after every restart, whatever the order things came in', () => {
    const version = (changes: readonly Change[]) => published(permissive, ...changes).addresses.get(web)?.version;
    strictEqual(version(shop), version(shop.toReversed()));
  });

  it('is another when anything is', () => {
    const publisher = published(permissive, ...shop);
    const before = publisher.addresses.get(web)?.version;
    publisher.take({ meshNode: meshNode('node-1', []) });
    notStrictEqual(publisher.addresses.get(web)?.version, before);
  });
});

describe('a change', () => {
  it('of nothing a proxy is told of is not told', () => {
    const publisher = published(permissive, ...shop);
    const told: string[] = [];
    publisher.addresses.onChange(({ names }) => told.push(...names));
    apply(publisher.model, { slice: slice({ name: 'other', service: 'nobody', endpoints: [{ ip: '10.0.0.1' }] }) });
    publisher.take(...shop);
    deepStrictEqual(told, []);
  });

  it('leaves the bytes of everything else alone', () => {
    const publisher = published(permissive, ...shop);
    const before = publisher.addresses.get(cart)?.encoded;
    publisher.take({ meshNode: meshNode('node-1', []) });
    strictEqual(publisher.addresses.get(cart)?.encoded, before);
  });
});
