import type { Mesh, MeshSpec } from '../api/mesh.ts';
import type { MeshNode } from '../api/mesh-node.ts';
import { meshesPath, meshName, meshNodesPath } from '../api/names.ts';
import { Reflector, type ReflectorOptions } from '../kube/cache/reflector.ts';
import type { KubeClient } from '../kube/client/client.ts';
import {
  type EndpointSlice,
  type KubeObject,
  type Namespace,
  type Node,
  objectKey,
  type Pod,
} from '../kube/objects.ts';
import { isMemberNamespace } from '../model/membership.ts';
import { MeshModel } from '../model/mesh-model.ts';
import { nodeFacts, nodeReport } from '../model/node-facts.ts';
import { podFacts } from '../model/pod-facts.ts';
import { type KubeService, serviceFacts } from '../model/service-facts.ts';
import { sliceFacts } from '../model/slice-facts.ts';
import { meshPolicies } from '../policy/mesh-policies.ts';
import type { Log } from '../telemetry/log.ts';
import type { Publisher } from '../xds/publisher.ts';
import { Batcher } from './batcher.ts';
import { leanMeshNode, leanNamespace, leanNode, leanPod, withoutManagedFields } from './lean-objects.ts';
import { type MeshInForce, meshDecision } from './mesh-in-force.ts';
import { modelServices, modelWorkloads } from './metrics.ts';
import { PodsByNode } from './pods-by-node.ts';
import { Told } from './told.ts';

/**
 * Of some kinds there is always one: the pod this runs in and its node, the API server's own Service. Without them
 * proxies would know of no address, and speak plaintext to all of them.
 */
const neverEmpty = Number.POSITIVE_INFINITY;

/** Others end one by one, as watch events; a list without any is more likely a mistake for so long, ms. */
const emptyMustLastMs = 5 * 60_000;

export interface ClusterFeedOptions {
  readonly client: Pick<KubeClient, 'list' | 'watch'>;
  readonly publisher: Publisher;
  /** Of what this replica signs. */
  readonly trustDomain: string;
  /** Of Tulle that this replica is. */
  readonly version: string;
  readonly log: Log;
}

/**
 * Keeps a model of the mesh equal to the cluster, and has its changes published. Nothing is published before every collection is known in full, since
 * half of a mesh is a wrong mesh, nor before a usable Mesh was read: a proxy that is told of no policy drops the one it
 * has. After that a burst of changes is published as one. What is known stays while the API server is away: reflectors
 * delete on its word only.
 */
export class ClusterFeed {
  /** The one Mesh that takes effect, under its name. */
  readonly meshes: Reflector<Mesh>;
  readonly pods: PodsByNode;
  readonly model: MeshModel;
  readonly #publisher: Publisher;
  readonly #version: string;
  readonly #log: Log;
  readonly #batcher: Batcher;
  readonly #reflectors: readonly Pick<Reflector<KubeObject>, 'path' | 'start' | 'synced' | 'stopped' | 'hasSynced'>[];
  readonly #told = new Told();
  readonly #meshNodes: Pick<Reflector<MeshNode>, 'version'>;
  #onPublish = () => {};
  readonly #firstSpec = Promise.withResolvers<MeshSpec>();
  #inForce: MeshInForce | undefined;
  #published = false;

  constructor({ client, publisher, trustDomain, version, log }: ClusterFeedOptions) {
    this.model = new MeshModel({ trustDomain, strictMtls: false });
    this.#publisher = publisher;
    this.#version = version;
    this.#log = log;
    this.#firstSpec.promise.catch(() => {});
    this.#batcher = new Batcher({ flush: () => this.#publish() });
    const { model } = this;
    const reflect = <T extends KubeObject>(
      options: Pick<ReflectorOptions<T>, 'path' | 'transform' | 'query' | 'emptyMustLastMs'>,
      take: (key: string, object: T | undefined) => void,
    ) => {
      const reflector = new Reflector<T>({ client, log, ...options });
      reflector.onEvent(({ type, object }) => {
        take(objectKey(object), type === 'deleted' ? undefined : object);
        if (this.#published) this.#batcher.touch();
      });
      return reflector;
    };
    const pods = reflect<Pod>({ path: '/api/v1/pods', transform: leanPod, emptyMustLastMs: neverEmpty }, (key, pod) =>
      model.setPod(key, pod && podFacts(pod)),
    );
    this.pods = new PodsByNode(pods);
    this.meshes = reflect<Mesh>(
      { path: meshesPath, query: { fieldSelector: `metadata.name=${meshName}` } },
      (_, mesh) => this.#takeMesh(mesh),
    );
    const meshNodes = reflect<MeshNode>(
      { path: meshNodesPath, transform: leanMeshNode, emptyMustLastMs },
      (name, node) => model.setNodeReport(name, node && nodeReport(node)),
    );
    this.#meshNodes = meshNodes;
    this.#reflectors = [
      pods,
      this.meshes,
      reflect<KubeService>(
        { path: '/api/v1/services', transform: withoutManagedFields, emptyMustLastMs: neverEmpty },
        (key, service) => model.setService(key, service && serviceFacts(service)),
      ),
      reflect<EndpointSlice>(
        { path: '/apis/discovery.k8s.io/v1/endpointslices', transform: withoutManagedFields, emptyMustLastMs },
        (key, slice) => model.setSlice(key, slice && sliceFacts(slice)),
      ),
      reflect<Node>({ path: '/api/v1/nodes', transform: leanNode, emptyMustLastMs: neverEmpty }, (name, node) =>
        model.setNode(name, node && nodeFacts(node)),
      ),
      meshNodes,
      reflect<Namespace>(
        { path: '/api/v1/namespaces', transform: leanNamespace, emptyMustLastMs: neverEmpty },
        (name, namespace) => model.setNamespace(name, namespace !== undefined && isMemberNamespace(namespace.metadata)),
      ),
    ];
  }

  /** Whether everything is known and published. */
  get ready(): boolean {
    return this.#published;
  }

  /** Resolves with the first Mesh that can be used, to what gives the spec in force from then on; rejects as `start` does. */
  async specInForce(): Promise<() => MeshSpec> {
    const first = await this.#firstSpec.promise;
    return () => this.#inForce?.spec ?? first;
  }

  /** What is not known yet: paths of collections, or the Mesh. */
  missing(): readonly string[] {
    const paths = this.#reflectors.filter(({ hasSynced }) => !hasSynced).map(({ path }) => path);
    if (this.#inForce !== undefined || !this.meshes.hasSynced) return paths;
    return [
      ...paths,
      this.meshes.store.size === 0 ? `there is no Mesh ${meshName}` : `the Mesh ${meshName} cannot be used`,
    ];
  }

  /** Resolves when everything is known and published for the first time; rejects when the signal aborts before. */
  async start(signal: AbortSignal): Promise<void> {
    for (const reflector of this.#reflectors) reflector.start(signal);
    signal.addEventListener('abort', () => this.#batcher.stop(), { once: true });
    const aborted = () => this.#firstSpec.reject(new Error('stopped before there was a Mesh'));
    signal.addEventListener('abort', aborted, { once: true });
    await Promise.all([this.#firstSpec.promise, ...this.#reflectors.map((reflector) => reflector.synced())]);
    this.#published = true;
    this.#publish();
    const { model } = this;
    this.#log.info({ workloads: model.workloads.size, services: model.services.size }, 'the mesh is known');
  }

  /** Called after each publication. */
  onPublish(listener: () => void): void {
    this.#onPublish = listener;
  }

  /** The resourceVersion of MeshNodes that all have been told of whom all changes up to `revision` of the addresses were told. */
  shown(revision: number): string | undefined {
    return this.#told.through(revision);
  }

  /** All peers, of every replica, have been told of what MeshNodes said up to `version`; undefined: of nothing. */
  peersToldOf(version: string | undefined): void {
    if (this.#published && this.model.peersToldOf(version)) this.#batcher.touch();
  }

  #publish(): void {
    this.#publisher.publish(this.model.commit(), meshPolicies(this.model.settings));
    this.#measure();
    this.#told.mark(this.#publisher.addresses.revision, this.#meshNodes.version ?? '0');
    this.#onPublish();
  }

  #measure(): void {
    const { services, tunnelled, workloads } = this.model;
    modelServices.set(services.size);
    modelWorkloads.set({ tunnel: 'hbone' }, tunnelled);
    modelWorkloads.set({ tunnel: 'none' }, workloads.size - tunnelled);
  }

  /** Resolves when, after the signal, nothing runs any more. */
  async stopped(): Promise<void> {
    await Promise.all(this.#reflectors.map((reflector) => reflector.stopped()));
  }

  /**
   * A Mesh that is gone changes nothing: pods are still captured. The trust domain never changes while a replica runs: what it
   * signs is bound to it.
   */
  #takeMesh(mesh: Mesh | undefined): void {
    if (mesh === undefined) return;
    const { name } = mesh.metadata;
    const { inForce, problem } = meshDecision(mesh, this.#inForce, this.#version);
    if (problem !== undefined) this.#log.error({ mesh: name, why: problem }, 'the last usable Mesh stays in force');
    if (inForce === undefined || inForce === this.#inForce) return;
    const { model } = this;
    const { trustDomain: ours } = model.settings;
    const { trustDomain } = inForce.spec;
    if (trustDomain !== ours) {
      this.#log.error(
        { mesh: name, trustDomain, ours },
        'the Mesh has another trust domain than this replica was started with',
      );
    }
    model.setSettings({ ...model.settings, strictMtls: inForce.strictMtls });
    this.#inForce = inForce;
    this.#firstSpec.resolve(inForce.spec);
  }
}
