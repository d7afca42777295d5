import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict';
import { NetworkMode, TunnelProtocol, WorkloadStatus } from '../../proto/gen/istio/workload/workload_pb.js';
import { addressType, authorizationType } from '../../src/xds/resource.ts';
import { ControlCluster } from './control-cluster.ts';
import { XdsProxy } from './xds-proxy.ts';

const web = 'Kubernetes//Pod/shop/web';
const cart = 'shop/cart.shop.svc.cluster.local';

describe('tulle-control, on a real API server and with its own rights only', function () {
  this.timeout(120_000);
  let cluster: ControlCluster;
  let port: number;
  let httpPort: number | undefined;
  let roots: string;
  let token: string;
  let webUid: string;
  const proxies: XdsProxy[] = [];

  before(async () => {
    cluster = await ControlCluster.start();
    await cluster.mesh({});
    const replica = await cluster.replica();
    await replica.start();
    ok(replica.grpcPort !== undefined);
    port = replica.grpcPort;
    httpPort = replica.httpPort;
    roots = await cluster.roots();
    token = await cluster.proxyToken();
  });

  afterEach(() => {
    for (const proxy of proxies.splice(0)) proxy.close();
  });

  after(async () => {
    await cluster?.stop();
  });

  function proxy(options: { token?: string | undefined; acknowledges?: boolean } = {}): XdsProxy {
    const made = new XdsProxy({ port, roots, token, ...options });
    proxies.push(made);
    return made;
  }

  /** A proxy that has been told everything. */
  async function synced(): Promise<XdsProxy> {
    const made = proxy();
    void made.open();
    made.subscribe();
    await made.until('both types', () => made.versions.size === 2);
    return made;
  }

  it('answers both types, also the one that is empty', async () => {
    const all = await synced();
    strictEqual(all.answersOf(authorizationType)[0]?.resources.length, 0);
    ok(all.services.has('default/kubernetes.default.svc.cluster.local'));
  });

  it('tells of an endpoint that is no pod, as the API server itself is one', async () => {
    const all = await synced();
    await cluster.admin.create('/api/v1/namespaces/shop/services', {
      metadata: { name: 'legacy' },
      spec: { ports: [{ port: 5432 }] },
    });
    await cluster.admin.create('/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices', {
      metadata: { name: 'legacy-1', labels: { 'kubernetes.io/service-name': 'legacy' } },
      addressType: 'IPv4',
      ports: [{ port: 15432 }],
      endpoints: [{ addresses: ['203.0.113.7'] }],
    });
    const name = 'Kubernetes/discovery.k8s.io/EndpointSlice/shop/legacy-1/203.0.113.7';
    await all.until('the endpoint', () => all.workloads.has(name));
    const endpoint = all.workloads.get(name);
    strictEqual(endpoint?.tunnelProtocol, TunnelProtocol.NONE);
    strictEqual(endpoint.networkMode, NetworkMode.HOST_NETWORK);
    strictEqual(endpoint.services['shop/legacy.shop.svc.cluster.local']?.ports[0]?.targetPort, 15432);
  });

  it('tells of a new pod, of its labels and of its address as they change', async () => {
    const all = await synced();
    webUid = await cluster.pod({ name: 'web', ip: '10.1.0.1', labels: { app: 'shopfront' } });
    await all.until('the pod is told', () => all.workloads.has(web));
    const told = all.workloads.get(web);
    deepStrictEqual(
      told?.addresses.map((address) => [...address]),
      [[10, 1, 0, 1]],
    );
    strictEqual(told.canonicalName, 'shopfront');
    strictEqual(told.locality?.zone, 'zone-of-node-1');
    strictEqual(told.status, WorkloadStatus.HEALTHY);
    await cluster.admin.patch('/api/v1/namespaces/shop/pods/web', { metadata: { labels: { app: 'front' } } });
    await all.until('its new name', () => all.workloads.get(web)?.canonicalName === 'front');
    await cluster.podStatus('shop', 'web', '10.1.0.2', false);
    await all.until('its new address', () => all.workloads.get(web)?.addresses[0]?.[3] === 2);
    strictEqual(all.workloads.get(web)?.status, WorkloadStatus.UNHEALTHY);
    await cluster.podStatus('shop', 'web', '10.1.0.1');
    await all.until('it is as before', () => all.workloads.get(web)?.status === WorkloadStatus.HEALTHY);
  });

  it('tells peers to tunnel in the very push that follows the capture, and not when another node says so', async () => {
    const all = await synced();
    await cluster.report('node-2', { [webUid]: true });
    await cluster.report('node-1', { [webUid]: true });
    const { resources } = await all.next();
    deepStrictEqual(
      resources.map(({ name }) => name),
      [web],
    );
    strictEqual(all.workloads.get(web)?.tunnelProtocol, TunnelProtocol.HBONE);
    await cluster.report('node-1', { [webUid]: false });
    await all.next();
    strictEqual(all.workloads.get(web)?.tunnelProtocol, TunnelProtocol.NONE);
    await cluster.report('node-1', { [webUid]: true });
    await all.next();
  });

  it('tells of a service, and of the pods behind it by the ports they serve', async () => {
    const all = await synced();
    await cluster.admin.create('/api/v1/namespaces/shop/services', {
      metadata: { name: 'cart' },
      spec: { ports: [{ name: 'http', port: 80, targetPort: 'web' }] },
    });
    await cluster.admin.create('/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices', {
      metadata: { name: 'cart-1', labels: { 'kubernetes.io/service-name': 'cart' } },
      addressType: 'IPv4',
      ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
      endpoints: [{ addresses: ['10.1.0.1'], targetRef: { kind: 'Pod', namespace: 'shop', name: 'web', uid: webUid } }],
    });
    await all.until('the service has its pod', () => all.workloads.get(web)?.services[cart] !== undefined);
    strictEqual(all.workloads.get(web)?.services[cart]?.ports[0]?.targetPort, 8080);
    const service = all.services.get(cart);
    strictEqual(service?.ports[0]?.servicePort, 80);
    strictEqual(service.addresses[0]?.address.length, 4);
  });

  it('gives a client that asks by address what is there, and says what is not', async () => {
    const some = proxy();
    void some.open();
    some.send({ resourceNamesSubscribe: ['*'], resourceNamesUnsubscribe: ['*'] });
    strictEqual((await some.next()).resources.length, 0);
    some.send({ resourceNamesSubscribe: ['/10.1.0.1', '/10.9.9.9'] });
    const { resources, removedResources } = await some.next();
    deepStrictEqual(
      resources.map(({ name, aliases }) => [name, aliases]),
      [[web, ['/10.1.0.1']]],
    );
    deepStrictEqual(removedResources, ['/10.9.9.9']);
    await cluster.pod({ name: 'late', ip: '10.9.9.9', node: 'node-2' });
    await some.until('the pod that came there', () => some.workloads.has('Kubernetes//Pod/shop/late'));
  });

  it('sends one that comes back only what it missed', async () => {
    const all = await synced();
    const before = all.answers.length;
    all.disconnect();
    await cluster.removePod('shop', 'late');
    await cluster.pod({ name: 'newer', ip: '10.1.0.9' });
    await (await synced()).until(
      'it is known',
      () => proxies.at(-1)?.workloads.has('Kubernetes//Pod/shop/newer') === true,
    );
    void all.open();
    all.subscribe();
    await all.until('both types again', () => all.answers.length >= before + 2);
    const again = all.answersOf(addressType).at(-1);
    deepStrictEqual(
      again?.resources.map(({ name }) => name),
      ['Kubernetes//Pod/shop/newer'],
    );
    deepStrictEqual(again.removedResources, ['Kubernetes//Pod/shop/late']);
  });

  it('makes Strict a policy, and Permissive none', async () => {
    const all = await synced();
    await cluster.mesh({ mtls: { mode: 'Strict' } });
    await all.until('the policy', () => all.policies.has('tulle-system/strict-mtls'));
    await cluster.mesh({ mtls: { mode: 'Permissive' } });
    await all.until('no policy', () => all.policies.size === 0);
  });

  it('lets nobody in without a token, with a bad one, or with that of anybody but a node proxy', async () => {
    const refusals: [token: string | undefined, status: string][] = [
      [undefined, 'UNAUTHENTICATED'],
      ['not.a.token', 'UNAUTHENTICATED'],
      [await cluster.token('tulle-system', 'tulle-proxy', { audiences: ['tulle-ca'] }), 'UNAUTHENTICATED'],
      [await cluster.token('tulle-system', 'tulle-proxy', {}), 'UNAUTHENTICATED'],
      [await cluster.proxyToken('web', 'default', 'shop'), 'PERMISSION_DENIED'],
    ];
    for (const [token, expected] of refusals) {
      const stranger = proxy({ token });
      const end = stranger.open();
      stranger.subscribe();
      const { status, details } = await end;
      strictEqual(status, expected, details);
      strictEqual(stranger.answers.length, 0);
      if (token !== undefined) ok(!details.includes(token), 'no token in an answer');
    }
  });

  it('lets nobody in with the token of a pod that is gone', async () => {
    await cluster.pod({
      name: 'proxy-old',
      namespace: 'tulle-system',
      serviceAccount: 'tulle-proxy',
      ip: '10.255.0.9',
    });
    const old = await cluster.proxyToken('proxy-old');
    const known = await synced();
    await known.until('its pod is known', () => known.workloads.has('Kubernetes//Pod/tulle-system/proxy-old'));
    const first = proxy({ token: old });
    void first.open();
    first.subscribe();
    await first.until('let in', () => first.answers.length > 0);
    await cluster.removePod('tulle-system', 'proxy-old');
    await known.until('its pod is gone', () => !known.workloads.has('Kubernetes//Pod/tulle-system/proxy-old'));
    const { status } = await proxy({ token: old }).open();
    strictEqual(status, 'UNAUTHENTICATED');
  });

  it('keeps a node from opening streams without end, and other nodes from noticing', async () => {
    const flooding = await cluster.proxyToken('proxy-node-2');
    const streams = Array.from({ length: 12 }, () => proxy({ token: flooding }));
    const ends = streams.map((stream) => {
      const end = stream.open();
      stream.subscribe();
      return end;
    });
    const { status } = await Promise.race(ends);
    strictEqual(status, 'RESOURCE_EXHAUSTED');
    await synced();
  });

  it('does not let a client that never acknowledges keep others from hearing', async () => {
    const silent = proxy({ acknowledges: false });
    void silent.open();
    silent.subscribe();
    await silent.until('its first answer', () => silent.answers.length === 1);
    const all = await synced();
    for (const ip of ['10.1.0.21', '10.1.0.22', '10.1.0.23']) {
      await cluster.podStatus('shop', 'newer', ip);
      const last = Number(ip.split('.').at(-1));
      await all.until(
        `${ip} is told`,
        () => all.workloads.get('Kubernetes//Pod/shop/newer')?.addresses[0]?.[3] === last,
      );
    }
    strictEqual(silent.answers.length, 1);
  });

  it('R20 names no pod, namespace, address or identity on its metrics port, which everybody can reach', async () => {
    const all = await synced();
    ok(all.workloads.has(web), 'it knows of a workload');
    for (const path of ['/metrics', '/healthz', '/readyz']) {
      const text = await (await fetch(`http://127.0.0.1:${httpPort}${path}`)).text();
      ok(text.length > 0);
      for (const secret of ['shop', 'web', 'cart', 'node-1', '10.1.0.', '203.0.113', 'spiffe', 'BEGIN', token]) {
        ok(!text.includes(secret), `${path} says ${secret}`);
      }
    }
  });

  it('reports the authority in the status of the Mesh', async () => {
    const mesh = await cluster.admin.get<{ status?: Record<string, unknown> }>(
      '/apis/mesh.tulle.dev/v1alpha1/meshes/default',
    );
    const text = JSON.stringify(mesh.status);
    match(text, /"trustDomain":"cluster.local"/);
    match(text, /"bundleSha256":"[0-9a-f]{64}"/);
    match(text, /"state":"active"/);
    match(text, /"type":"AuthorityReady"/);
  });
});
