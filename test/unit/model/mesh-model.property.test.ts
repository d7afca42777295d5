import { deepStrictEqual, ok } from 'node:assert/strict';
import fc from 'fast-check';
import { type EndpointSlice, objectKey } from '../../../src/kube/objects.ts';
import type { Service, Workload } from '../../../src/model/mesh.ts';
import { MeshModel } from '../../../src/model/mesh-model.ts';
import { podFacts } from '../../../src/model/pod-facts.ts';
import { apply, type Change, permissive } from './cluster.ts';
import { meshNode, node, pod, type ServiceSpec, service, slice } from './objects.ts';

// A world small enough that names, addresses and UIDs meet often.
const namespaces = fc.constantFrom('shop', 'bank');
const names = fc.constantFrom('a', 'b', 'c');
const nodes = fc.constantFrom('node-1', 'node-2');
const ips = fc.constantFrom('10.0.0.1', '10.0.0.2', '10.0.0.3', 'fd00::1');
const times = fc.constantFrom('2026-01-01T00:00:00Z', '2026-01-01T00:00:01Z');

const pods = fc
  .record({
    name: names,
    namespace: namespaces,
    generation: fc.constantFrom('1', '2'),
    ips: fc.uniqueArray(ips, { maxLength: 2 }),
    node: nodes,
    created: times,
    phase: fc.constantFrom('Running', 'Running', 'Running', 'Succeeded'),
    ready: fc.boolean(),
    hostNetwork: fc.boolean(),
    deleted: fc.boolean(),
  })
  .map(({ generation, ...spec }) => pod({ ...spec, uid: `${spec.namespace}-${spec.name}-${generation}` }));

const endpoints = fc
  .record({
    ip: ips,
    pod: fc.option(names, { nil: undefined }),
    podNamespace: namespaces,
    generation: fc.constantFrom('1', '2'),
    ready: fc.boolean(),
    node: fc.option(nodes, { nil: undefined }),
  })
  .map(({ ip, ready, node, podNamespace, generation, ...of }) => ({
    ip,
    ready,
    ...(node === undefined ? {} : { node }),
    ...(of.pod === undefined ? {} : { pod: of.pod, podNamespace, uid: `${podNamespace}-${of.pod}-${generation}` }),
  }));

const changes: fc.Arbitrary<Change> = fc.oneof(
  { weight: 6, arbitrary: pods.map((pod) => ({ pod })) },
  { weight: 2, arbitrary: fc.tuple(namespaces, names).map(([ns, name]) => ({ noPod: `${ns}/${name}` })) },
  {
    weight: 3,
    arbitrary: fc
      .record({
        name: names,
        namespace: namespaces,
        service: names,
        endpoints: fc.array(endpoints, { maxLength: 3 }),
        ports: fc.constantFrom<EndpointSlice['ports'][]>(
          [{ name: 'http', port: 8080, protocol: 'TCP' }],
          [{ name: 'http', port: 9090, protocol: 'TCP' }],
          [{ name: 'other', port: 1, protocol: 'TCP' }],
        ),
        managedBy: fc.constantFrom('endpointslice-controller.k8s.io', 'somebody'),
      })
      .map((spec) => ({ slice: slice(spec) })),
  },
  { weight: 1, arbitrary: fc.tuple(namespaces, names).map(([ns, name]) => ({ noSlice: `${ns}/${name}` })) },
  {
    weight: 2,
    arbitrary: fc
      .record({
        name: names,
        namespace: namespaces,
        ports: fc.constantFrom<ServiceSpec['ports'][]>(
          [{ name: 'http', port: 80 }],
          [{ name: 'http', port: 81 }, { port: 82 }],
        ),
        spec: fc.constantFrom({}, { type: 'ExternalName' }, { publishNotReadyAddresses: true }),
      })
      .map((spec) => ({ service: service(spec) })),
  },
  { weight: 1, arbitrary: fc.tuple(namespaces, names).map(([ns, name]) => ({ noService: `${ns}/${name}` })) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(nodes, fc.array(fc.tuple(namespaces, names, fc.constantFrom('1', '2'))))
      .map(([name, uids]) => ({
        meshNode: meshNode(
          name,
          uids.map((parts) => parts.join('-')),
        ),
      })),
  },
  { weight: 1, arbitrary: nodes.map((noMeshNode) => ({ noMeshNode })) },
  { weight: 1, arbitrary: nodes.map((name) => ({ meshNode: { ...meshNode(name, []), status: {} } })) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(nodes, fc.constantFrom('', 'west'), fc.subarray(['10.0.0.0/31', '10.0.0.2/31', 'fd00::/64']))
      .map(([name, zone, ranges]) => ({ node: node(name, '', zone, ranges) })),
  },
  { weight: 1, arbitrary: nodes.map((noNode) => ({ noNode })) },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom('cluster.local', 'example.org')
      .map((trustDomain) => ({ settings: { trustDomain, strictMtls: false } })),
  },
);

/** What decides of an object: of several changes of one, the last. */
function subject(change: Change): string {
  if ('pod' in change) return `pod ${objectKey(change.pod)}`;
  if ('noPod' in change) return `pod ${change.noPod}`;
  if ('service' in change) return `service ${objectKey(change.service)}`;
  if ('noService' in change) return `service ${change.noService}`;
  if ('slice' in change) return `slice ${objectKey(change.slice)}`;
  if ('noSlice' in change) return `slice ${change.noSlice}`;
  if ('node' in change) return `node ${change.node.metadata.name}`;
  if ('noNode' in change) return `node ${change.noNode}`;
  if ('meshNode' in change) return `meshNode ${change.meshNode.metadata.name}`;
  if ('noMeshNode' in change) return `meshNode ${change.noMeshNode}`;
  return 'settings';
}

/** What each node said last: of the pods that are there, once it is silent. Told of every change, in order. */
class LastWords {
  readonly #words = new Map<string, { readonly captured: ReadonlySet<string>; readonly silent: boolean }>();
  readonly #pods = new Map<string, string>();

  hear(change: Change): void {
    const name = 'meshNode' in change ? change.meshNode.metadata.name : 'noMeshNode' in change ? change.noMeshNode : '';
    if ('pod' in change) {
      const facts = podFacts(change.pod);
      this.#pods.set(objectKey(change.pod), facts === undefined ? '' : `${facts.node} ${facts.uid}`);
    } else if ('noPod' in change) this.#pods.delete(change.noPod);
    const said = 'meshNode' in change ? change.meshNode.status?.pods : undefined;
    if (said !== undefined) {
      const captured = said.filter(({ captured }) => captured).map(({ uid }) => uid);
      this.#words.set(name, { captured: new Set(captured), silent: false });
    } else if (name !== '') {
      this.#words.set(name, { captured: this.of(name), silent: true });
    }
    const there = new Set(this.#pods.values());
    for (const [node, { captured, silent }] of this.#words) {
      const kept = new Set([...captured].filter((uid) => there.has(`${node} ${uid}`)));
      if (silent) this.#words.set(node, { captured: kept, silent });
    }
  }

  of(node: string): ReadonlySet<string> {
    return this.#words.get(node)?.captured ?? new Set();
  }

  /** The last state of the cluster in which every node says aloud what it said last. */
  aloud(change: Change): Change {
    if ('noMeshNode' in change) return { meshNode: meshNode(change.noMeshNode, [...this.of(change.noMeshNode)]) };
    if (!('meshNode' in change)) return change;
    const { name } = change.meshNode.metadata;
    return { meshNode: meshNode(name, [...this.of(name)]) };
  }
}

function lastWords(history: readonly Change[]): LastWords {
  const words = new LastWords();
  for (const change of history) words.hear(change);
  return words;
}

/** What somebody knows who only ever heard of the differences. */
class Listener {
  readonly workloads = new Map<string, Workload>();
  readonly services = new Map<string, Service>();

  hear(model: MeshModel): void {
    const delta = model.commit();
    for (const [name, value] of delta.workloads) take(this.workloads, name, value);
    for (const [name, value] of delta.services) take(this.services, name, value);
  }
}

function take<T>(known: Map<string, T>, name: string, value: T | undefined): void {
  if (value === undefined) known.delete(name);
  else known.set(name, value);
}

/** Without what follows from the way there: a transition. */
const settled = (known: ReadonlyMap<string, Workload>) =>
  sorted(known).map(([name, workload]) => [name, { ...workload, transition: undefined }] as const);

const sorted = <T>(known: ReadonlyMap<string, T>) => [...known].sort(([a], [b]) => (a < b ? -1 : 1));

describe('the mesh model, kept incrementally', () => {
  it('is what a rebuild from the last state of every object and the last word of every node gives, in whatever order', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(changes, fc.boolean()), { maxLength: 60, size: 'max' }),
        fc.infiniteStream(fc.double({ min: 0, max: 1, noNaN: true })),
        (history, random) => {
          const model = new MeshModel(permissive);
          const listener = new Listener();
          for (const [change, commit] of history) {
            apply(model, change);
            if (commit) listener.hear(model);
          }
          listener.hear(model);

          const last = new Map(history.map(([change]) => [subject(change), change]));
          const shuffled = [...last.values()]
            .map((change) => ({ change, at: random.next().value ?? 0 }))
            .sort((a, b) => a.at - b.at);
          const rebuilt = new MeshModel(permissive);
          const words = lastWords(history.map(([change]) => change));
          for (const { change } of shuffled) apply(rebuilt, words.aloud(change));
          rebuilt.commit();

          deepStrictEqual(settled(listener.workloads), settled(rebuilt.workloads));
          deepStrictEqual(sorted(model.workloads), sorted(listener.workloads));
          const services = [...rebuilt.services.values()].map((service) => [service.resourceName, service] as const);
          deepStrictEqual(sorted(listener.services), sorted(new Map(services)));
        },
      ),
      { numRuns: 3_000 },
    );
  });

  it('gives an address to at most one workload, and a tunnel only where the own node captured the pod', () => {
    fc.assert(
      fc.property(fc.array(changes, { maxLength: 60, size: 'max' }), (history) => {
        const model = new MeshModel(permissive);
        for (const change of history) apply(model, change);
        model.commit();
        const last = new Map(history.map((change) => [subject(change), change]));
        const words = lastWords(history);
        const owned = [...model.workloads.values()].filter(({ sharesAddress }) => !sharesAddress);
        const addresses = owned.flatMap(({ addresses }) => addresses);
        deepStrictEqual(addresses.length, new Set(addresses).size);
        for (const workload of model.workloads.values()) {
          if (!workload.tunnel) continue;
          const of = last.get(`pod ${workload.namespace}/${workload.name}`);
          ok(of !== undefined && 'pod' in of);
          ok(words.of(workload.node).has(of.pod.metadata.uid ?? ''));
          ok(of.pod.spec?.hostNetwork !== true);
        }
        deepStrictEqual(model.tunnelled, [...model.workloads.values()].filter(({ tunnel }) => tunnel).length);
      }),
      { numRuns: 2_000 },
    );
  });
});
