import { deepStrictEqual, strictEqual } from 'node:assert/strict';
import type { MeshModel, ModelDelta } from '../../../src/model/mesh-model.ts';
import { maxPortsOfWorkload, maxServicesOfWorkload } from '../../../src/model/workload.ts';
import { encodeService, encodeWorkload } from '../../../src/xds/encode-address.ts';
import { apply, type Change, modelOf } from './cluster.ts';
import { meshNode, node, pod, service, slice } from './objects.ts';

const web = 'Kubernetes//Pod/shop/web-0';
const cart = 'shop/cart.shop.svc.cluster.local';

describe('a pod in the model', () => {
  it('is tunnelled to when its own node captured it, and to be reached in plaintext when that is over', () => {
    const model = modelOf({ pod: pod({ name: 'web-0', uid: 'u1' }) }, { meshNode: meshNode('node-1', ['u1']) });
    strictEqual(model.workloads.get(web)?.tunnel, true);
    apply(model, { meshNode: meshNode('node-1', [], ['u1']) });
    strictEqual(model.commit().workloads.get(web)?.tunnel, false);
  });

  it('is not announced by a node it does not run on', () => {
    const model = modelOf(
      { pod: pod({ name: 'web-0', uid: 'u1', node: 'node-1' }) },
      { meshNode: meshNode('node-2', ['u1']) },
    );
    strictEqual(model.workloads.get(web)?.tunnel, false);
  });

  it('is not taken out of the mesh by a node it does not run on', () => {
    const model = modelOf(
      { pod: pod({ name: 'web-0', uid: 'u1', node: 'node-1' }) },
      { meshNode: meshNode('node-1', ['u1']) },
      { meshNode: meshNode('node-2', ['u1']) },
    );
    apply(model, { meshNode: meshNode('node-2', [], ['u1']) });
    model.commit();
    strictEqual(model.workloads.get(web)?.tunnel, true);
  });

  const captured = [{ pod: pod({ name: 'web-0', uid: 'u1' }) }, { meshNode: meshNode('node-1', ['u1']) }];
  const newMeshNode = { meshNode: { ...meshNode('node-1', []), status: {} } };
  const tunnelAfter = (...changes: readonly Change[]) => {
    const model = modelOf(...captured);
    for (const change of changes) apply(model, change);
    model.commit();
    return model.workloads.get(web)?.tunnel;
  };

  it('stays tunnelled to when its MeshNode is deleted, and made anew: nobody said that it was let go', () => {
    strictEqual(tunnelAfter({ noMeshNode: 'node-1' }), true);
    strictEqual(tunnelAfter({ noMeshNode: 'node-1' }, newMeshNode), true);
    strictEqual(tunnelAfter(newMeshNode), true);
    strictEqual(tunnelAfter({ noMeshNode: 'node-1' }, { pod: pod({ name: 'web-0', uid: 'u1', ready: false }) }), true);
  });

  it('is let go by the word of its node, before a silence or after', () => {
    const gone = { noMeshNode: 'node-1' };
    const emptied = { meshNode: { ...meshNode('node-1', []), status: { agent: { version: '0.1.0' } } } };
    for (const word of [{ meshNode: meshNode('node-1', []) }, { meshNode: meshNode('node-1', [], ['u1']) }, emptied]) {
      strictEqual(tunnelAfter(word), false);
      strictEqual(tunnelAfter(word, gone), false);
      strictEqual(tunnelAfter(gone, newMeshNode, word), false);
    }
  });

  it('takes its node’s last word with it when it ends', () => {
    const again = { pod: pod({ name: 'web-0', uid: 'u1' }) };
    strictEqual(tunnelAfter({ noMeshNode: 'node-1' }, { noPod: 'shop/web-0' }, again), false);
    strictEqual(tunnelAfter({ noPod: 'shop/web-0' }, { noMeshNode: 'node-1' }, again), false);
  });

  it('does not inherit the tunnel of its predecessor of the same name', () => {
    const model = modelOf({ pod: pod({ name: 'web-0', uid: 'u1' }) }, { meshNode: meshNode('node-1', ['u1']) });
    apply(model, { pod: pod({ name: 'web-0', uid: 'u2' }) });
    strictEqual(model.commit().workloads.get(web)?.tunnel, false);
  });

  it('loses an address to a newer pod, and is no workload any more without one', () => {
    const model = modelOf({ pod: pod({ name: 'web-0', created: '2026-01-01T00:00:00Z' }) });
    apply(model, { pod: pod({ name: 'late', created: '2026-01-01T00:00:01Z' }) });
    const { workloads } = model.commit();
    strictEqual(workloads.has(web) && workloads.get(web), undefined);
    deepStrictEqual(workloads.get('Kubernetes//Pod/shop/late')?.addresses, ['10.0.0.1']);
    apply(model, { noPod: 'shop/late' });
    deepStrictEqual(model.commit().workloads.get(web)?.addresses, ['10.0.0.1']);
  });

  it('keeps its address when a host-network pod is newer there', () => {
    const model = modelOf(
      { pod: pod({ name: 'web-0' }) },
      { pod: pod({ name: 'host', hostNetwork: true, created: '2026-02-01T00:00:00Z' }) },
    );
    deepStrictEqual(model.workloads.get(web)?.addresses, ['10.0.0.1']);
    strictEqual(model.workloads.get(web)?.sharesAddress, false);
    strictEqual(model.workloads.get('Kubernetes//Pod/shop/host')?.sharesAddress, true);
  });

  it('keeps an address of its own node’s range, whatever a pod of another node claims, and however new it is', () => {
    const model = modelOf(
      { pod: pod({ name: 'web-0', node: 'node-1' }) },
      { node: node('node-1', '', '', ['10.0.0.0/24']) },
      { node: node('node-2', '', '', ['10.0.1.0/24']) },
      { pod: pod({ name: 'thief', node: 'node-2', created: '2026-02-01T00:00:00Z' }) },
    );
    deepStrictEqual([...model.workloads.keys()], [web]);
    apply(model, { node: node('node-1', '', '', []) });
    model.commit();
    deepStrictEqual([...model.workloads.keys()], ['Kubernetes//Pod/shop/thief']);
  });

  it('is never tunnelled to in the host network, whatever its node says', () => {
    const model = modelOf(
      { pod: pod({ name: 'web-0', uid: 'u1', hostNetwork: true }) },
      { meshNode: meshNode('node-1', ['u1']) },
    );
    strictEqual(model.workloads.get(web)?.tunnel, false);
  });

  it('is never tunnelled to without a ServiceAccount, nor as a mirror pod: it has no identity to prove', () => {
    for (const spec of [{ serviceAccount: '' }, { serviceAccount: 'web', mirror: true }]) {
      const model = modelOf(
        { pod: pod({ name: 'web-0', uid: 'u1', ...spec }) },
        { meshNode: meshNode('node-1', ['u1']) },
      );
      strictEqual(model.workloads.get(web)?.tunnel, false);
      strictEqual(model.workloads.get(web)?.serviceAccount, '');
    }
  });

  it('is where its node is', () => {
    const model = modelOf({ pod: pod({ name: 'web-0' }) }, { node: node('node-1', 'eu', 'eu-1') });
    deepStrictEqual(model.workloads.get(web)?.locality, { region: 'eu', zone: 'eu-1' });
  });
});

describe('a service in the model', () => {
  const parts = [
    { pod: pod({ name: 'web-0' }) },
    { service: service({ name: 'cart' }) },
    { slice: slice({ name: 'cart-x', service: 'cart', endpoints: [{ ip: '10.0.0.1', pod: 'web-0' }] }) },
  ];
  const ports = (...targets: number[]) =>
    targets.map((targetPort) => ({ servicePort: 80, targetPort, appProtocol: 'Http11' }));

  it('is backed by the pods its slices name, with the ports of those slices by name', () => {
    const model = modelOf(...parts);
    deepStrictEqual([...(model.workloads.get(web)?.services ?? [])], [[cart, ports(8080)]]);
  });

  it('gives its pods a new target port when only the slice’s ports change', () => {
    const model = modelOf(...parts);
    const endpoints = [{ ip: '10.0.0.1', pod: 'web-0' }];
    apply(model, {
      slice: slice({ name: 'cart-x', service: 'cart', endpoints, ports: [{ name: 'http', port: 9090 }] }),
    });
    deepStrictEqual(model.commit().workloads.get(web)?.services.get(cart), ports(9090));
  });

  it('is not backed by the successor of a pod whose slice is older', () => {
    const model = modelOf(...parts);
    apply(model, { pod: pod({ name: 'web-0', uid: 'successor' }) });
    strictEqual(model.commit().workloads.get(web)?.services.size, 0);
  });

  it('is not backed by a pod that the slice puts at another pod’s address', () => {
    const model = modelOf(...parts, { pod: pod({ name: 'victim', ips: ['10.0.0.9'] }) });
    apply(model, { slice: slice({ name: 'lie', service: 'cart', endpoints: [{ ip: '10.0.0.9', pod: 'web-0' }] }) });
    strictEqual(model.commit().workloads.get('Kubernetes//Pod/shop/victim')?.services.size, 0);
  });

  it('reaches an endpoint that is no pod in plaintext, by its service only', () => {
    const model = modelOf(
      { service: service({ name: 'kubernetes', namespace: 'default', ports: [{ name: 'https', port: 443 }] }) },
      {
        slice: slice({
          name: 'kubernetes',
          namespace: 'default',
          service: 'kubernetes',
          ports: [{ name: 'https', port: 6443 }],
          endpoints: [{ ip: '172.16.0.1' }],
        }),
      },
    );
    const endpoint = model.workloads.get('Kubernetes/discovery.k8s.io/EndpointSlice/default/kubernetes/172.16.0.1');
    strictEqual(endpoint?.tunnel, false);
    strictEqual(endpoint?.sharesAddress, true);
    deepStrictEqual([...(endpoint?.services.keys() ?? [])], ['default/kubernetes.default.svc.cluster.local']);
  });

  it('never makes a plaintext endpoint of a pod’s address: the pod itself is meant', () => {
    const model = modelOf(...parts, { meshNode: meshNode('node-1', ['uid-shop-web-0']) });
    const lie = { name: 'lie', namespace: 'evil', service: 'trap', endpoints: [{ ip: '10.0.0.1' }] };
    apply(model, { service: service({ name: 'trap', namespace: 'evil' }) });
    apply(model, { slice: slice(lie) });
    model.commit();
    deepStrictEqual([...model.workloads.keys()], [web]);
    strictEqual(model.workloads.get(web)?.tunnel, true);
  });

  it('gives way at an endpoint’s address to a pod that comes there, and takes it back after', () => {
    const lone = { slice: slice({ name: 's', service: 'cart', endpoints: [{ ip: '10.0.0.5' }] }) };
    const name = 'Kubernetes/discovery.k8s.io/EndpointSlice/shop/s/10.0.0.5';
    const model = modelOf({ service: service({ name: 'cart' }) }, lone);
    strictEqual(model.workloads.has(name), true);
    apply(model, { pod: pod({ name: 'web-0', ips: ['10.0.0.5'] }) });
    model.commit();
    deepStrictEqual([...model.workloads.keys()], [web]);
    apply(model, { noPod: 'shop/web-0' });
    model.commit();
    deepStrictEqual([...model.workloads.keys()], [name]);
  });

  it('leaves out of its own slice what somebody else says is not ready', () => {
    const endpoints = [{ ip: '10.0.0.1', pod: 'web-0', ready: false }];
    const model = modelOf(...parts, { slice: slice({ name: 'cart-x', service: 'cart', endpoints, managedBy: 'me' }) });
    strictEqual(model.workloads.get(web)?.services.size, 0);
  });

  it('does not let others of its namespace grow a pod’s resource without bound', () => {
    const strangers = Array.from({ length: maxServicesOfWorkload + 5 }, (_, index) => [
      { service: service({ name: `s${index}` }) },
      {
        slice: slice({
          name: `s${index}`,
          service: `s${index}`,
          endpoints: [{ ip: '10.0.0.1', pod: 'web-0' }],
        }),
      },
    ]);
    const services = modelOf(...parts, ...strangers.flat()).workloads.get(web)?.services;
    strictEqual(services?.size, maxServicesOfWorkload);
    strictEqual(services.has(cart), true);
  });
});

describe('a service with more than it needs', () => {
  const endpoints = [{ ip: '10.0.0.1', pod: 'web-0' }];
  const many = (count: number) => Array.from({ length: count }, (_, port) => ({ name: `p${port}`, port: port + 1 }));

  it('does not grow its pods’ resources without bound, nor push another service out', () => {
    const model = modelOf(
      { pod: pod({ name: 'web-0' }) },
      { service: service({ name: 'bomb', ports: many(maxPortsOfWorkload + 1) }) },
      { slice: slice({ name: 'bomb', service: 'bomb', endpoints, ports: many(maxPortsOfWorkload + 1) }) },
      { service: service({ name: 'cart' }) },
      { slice: slice({ name: 'cart', service: 'cart', endpoints }) },
    );
    deepStrictEqual([...(model.workloads.get(web)?.services.keys() ?? [])], [cart]);
  });

  it('has no port that is none', () => {
    const ports = [0, -1, 65_536, 2_147_483_647].map((port) => ({ name: 'http', port }));
    for (const port of ports) {
      const model = modelOf(
        { pod: pod({ name: 'web-0' }) },
        { service: service({ name: 'cart' }) },
        { slice: slice({ name: 'cart', service: 'cart', endpoints, ports: [port] }) },
      );
      deepStrictEqual(model.workloads.get(web)?.services.get(cart), []);
    }
  });
});

describe('a change in the model', () => {
  it('touches what depends on it and nothing else', () => {
    const many = Array.from({ length: 50 }, (_, index) => ({
      pod: pod({ name: `p${index}`, ips: [`10.0.1.${index}`] }),
    }));
    const model = modelOf(...many, { service: service({ name: 'cart' }) });
    const touched = ({ workloads, services }: ModelDelta) => [...workloads.keys(), ...services.keys()];
    apply(model, { pod: pod({ name: 'p7', ips: ['10.0.1.7'], ready: false }) });
    deepStrictEqual(touched(model.commit()), ['Kubernetes//Pod/shop/p7']);
    apply(model, { meshNode: meshNode('node-1', ['uid-shop-p3']) });
    deepStrictEqual(touched(model.commit()), ['Kubernetes//Pod/shop/p3']);
    apply(model, { slice: slice({ name: 's', service: 'cart', endpoints: [{ ip: '10.0.1.9', pod: 'p9' }] }) });
    deepStrictEqual(touched(model.commit()), ['Kubernetes//Pod/shop/p9']);
    strictEqual(model.dirty, false);
  });
});

describe('what the model does not do', () => {
  it('R38 make anything anew for an object that says what it said before', () => {
    const endpoints = Array.from({ length: 50 }, (_, index) => ({ ip: `10.0.1.${index}`, pod: `web-${index}` }));
    const pods = endpoints.map(({ ip, pod: name }) => ({ pod: pod({ name, ips: [ip] }) }));
    const same: Change[] = [
      ...pods,
      { service: service({ name: 'cart' }) },
      { slice: slice({ name: 'cart-1', service: 'cart', endpoints }) },
      { node: node('node-1', 'r', 'z') },
    ];
    const model = modelOf(...same);
    strictEqual(model.workloads.get('Kubernetes//Pod/shop/web-7')?.services.has(cart), true);
    for (const change of same) apply(model, change);
    strictEqual(model.dirty, false);
  });

  it('R38 let a slice speak for a pod of another namespace, named or by its address', () => {
    for (const endpoint of [{ ip: '10.0.0.1' }, { ip: '10.0.0.1', pod: 'web-0', podNamespace: 'shop' }]) {
      const model = modelOf(
        { pod: pod({ name: 'web-0' }) },
        { service: service({ name: 'cart', namespace: 'bank' }) },
        { slice: slice({ name: 'cart-1', namespace: 'bank', service: 'cart', endpoints: [endpoint] }) },
      );
      deepStrictEqual([...(model.workloads.get(web)?.services.keys() ?? [])], []);
      strictEqual(model.workloads.size, 1, 'nor be another workload at its address');
    }
  });

  describe('R38 let a Service take an address over by calling it its own', () => {
    const [podIp, nodeIp, clusterIp] = ['10.0.0.1', '192.0.2.1', '10.96.0.1'];
    const theirs: readonly Change[] = [
      { pod: pod({ name: 'web-0', ips: [podIp], uid: 'u1' }) },
      { meshNode: meshNode('node-1', ['u1']) },
      { pod: pod({ name: 'agent', namespace: 'kube-system', ips: [nodeIp], hostNetwork: true }) },
      { service: service({ name: 'cart', clusterIPs: [clusterIp] }) },
      { slice: slice({ name: 'cart-1', service: 'cart', endpoints: [{ ip: podIp, pod: 'web-0' }] }) },
    ];
    const ports = [{ name: 'tunnel', port: 15008, targetPort: 1, protocol: 'TCP' }];
    const claim = { name: 'claim', namespace: 'evil', clusterIPs: ['10.96.0.66'], ports };
    const holders = (model: MeshModel, ip: string) => {
      const resources = [
        ...[...model.workloads.values()].map(encodeWorkload),
        ...[...model.services.values()].map(encodeService),
      ];
      return resources.filter(({ aliases }) => aliases.includes(`/${ip}`)).map(({ name }) => name);
    };
    for (const ip of [podIp, nodeIp, clusterIp]) {
      for (const [how, claiming] of [
        ['an external IP', service({ ...claim, spec: { externalIPs: [ip] } })],
        [
          'what its load balancer is said to have',
          service({ ...claim, ingress: [ip], spec: { type: 'LoadBalancer' } }),
        ],
        ['what it asks a load balancer for', service({ ...claim, spec: { type: 'LoadBalancer', loadBalancerIP: ip } })],
      ] as const) {
        it(`R38 ${ip}, as ${how}, whoever came first`, () => {
          const [without, before, after] = [
            modelOf(...theirs),
            modelOf({ service: claiming }, ...theirs),
            modelOf(...theirs, { service: claiming }),
          ];
          for (const model of [before, after]) {
            deepStrictEqual(holders(model, ip), holders(without, ip));
            deepStrictEqual(new Map(model.workloads), new Map(without.workloads));
            deepStrictEqual(model.services.get('shop/cart'), without.services.get('shop/cart'));
            deepStrictEqual(model.services.get('evil/claim')?.addresses, ['10.96.0.66']);
          }
        });
      }
      it(`R38 ${ip}, as its endpoint, whoever came first`, () => {
        const endpoint = slice({ name: 'claim-1', namespace: 'evil', service: 'claim', endpoints: [{ ip }] });
        const claiming = [{ service: service(claim) }, { slice: endpoint }];
        for (const model of [modelOf(...claiming, ...theirs), modelOf(...theirs, ...claiming)]) {
          const without = modelOf(...theirs);
          strictEqual(model.workloads.get(web)?.tunnel, true);
          deepStrictEqual(model.workloads.get(web), without.workloads.get(web));
          deepStrictEqual(holders(model, ip), holders(without, ip));
        }
      });
    }
  });
});
