import { isDeepStrictEqual } from 'node:util';
import { isOlder } from '../kube/client/resource-version.ts';
import { AddressIndex } from './address-index.ts';
import { CaptureIndex } from './capture-index.ts';
import { contains } from './cidr.ts';
import { Enrolment, type Transition } from './enrolment.ts';
import type { IpText } from './ip.ts';
import { isMember } from './membership.ts';
import type { MeshSettings, Service, Workload } from './mesh.ts';
import { MultiMap } from './multi-map.ts';
import type { NodeFacts, NodeReport } from './node-facts.ts';
import type { PodFacts } from './pod-facts.ts';
import { podResourceName } from './resource-name.ts';
import type { ServiceFacts } from './service-facts.ts';
import type { EndpointFacts, SliceFacts } from './slice-facts.ts';
import { SliceIndex } from './slice-index.ts';
import { endpointWorkload, type Membership, podWorkload } from './workload.ts';

/** What came out of a commit, by resource name; undefined means gone. Values may equal what was there before. */
export interface ModelDelta {
  readonly workloads: ReadonlyMap<string, Workload | undefined>;
  readonly services: ReadonlyMap<string, Service | undefined>;
}

/**
 * The mesh, kept incrementally: `set…` takes the facts of one object (undefined: it is gone) and marks what depends on
 * it; `commit` derives the marked resources anew. The outcome, but for transitions, is a function of the present facts and of the last words
 * of nodes that fell silent (see CaptureIndex), whatever the order they came in (property-tested against a rebuild).
 *
 *   pod ─────────► its workload; whoever else has one of its addresses; slices with an endpoint there
 *   slice ───────► its endpoints' workloads, those that changed; pods at those addresses
 *   service ─────► itself; everything its slices list
 *   node ────────► the workloads on it (locality); who owns their addresses
 *   MeshNode ────► the workloads about which its word changed (tunnel, transition)
 *   Namespace ───► its pods' workloads (transition)
 *   Mesh ────────► everything
 */
export class MeshModel {
  #settings: MeshSettings;
  readonly #pods = new Map<string, PodFacts>();
  readonly #podsByUid = new Map<string, PodFacts>();
  readonly #podsByNode = new MultiMap<string, PodFacts>();
  readonly #services = new Map<string, ServiceFacts>();
  readonly #nodes = new Map<string, NodeFacts>();
  readonly #addresses = new AddressIndex((ip, node) => this.#belongs(ip, node));
  readonly #slices = new SliceIndex();
  readonly #captures = new CaptureIndex();
  readonly #podsByNamespace = new MultiMap<string, PodFacts>();
  /** Those whose label says that they are in the mesh. */
  readonly #memberNamespaces = new Set<string>();
  /** The resourceVersion of the MeshNodes so far. */
  #nodesVersion = '0';
  readonly #now: () => number;
  readonly enrolment = new Enrolment();

  readonly #dirtyPods = new Set<string>();
  readonly #dirtySlices = new Set<string>();
  readonly #dirtyServices = new Set<string>();
  /** Resource names of the endpoint workloads a slice gave at the last commit. */
  readonly #endpointNames = new Map<string, ReadonlySet<string>>();

  readonly #workloads = new Map<string, Workload>();
  #tunnelled = 0;
  /** Service key → resource, as of the last commit. */
  readonly #emittedServices = new Map<string, Service>();

  /** @param now monotonic, ms */
  constructor(settings: MeshSettings, now: () => number = performance.now.bind(performance)) {
    this.#settings = settings;
    this.#now = now;
  }

  /** As of the last commit, by resource name. */
  get workloads(): ReadonlyMap<string, Workload> {
    return this.#workloads;
  }

  /** As of the last commit, by `namespace/name`. */
  get services(): ReadonlyMap<string, Service> {
    return this.#emittedServices;
  }

  /** How many of the workloads peers tunnel to. */
  get tunnelled(): number {
    return this.#tunnelled;
  }

  get settings(): MeshSettings {
    return this.#settings;
  }

  setSettings(settings: MeshSettings): void {
    const renamed = settings.trustDomain !== this.#settings.trustDomain;
    this.#settings = settings;
    if (!renamed) return;
    for (const key of this.#pods.keys()) this.#dirtyPods.add(key);
    for (const slice of this.#slices.all()) this.#dirtySlices.add(slice.key);
  }

  setPod(key: string, next: PodFacts | undefined): void {
    const previous = this.#pods.get(key);
    if (isDeepStrictEqual(previous, next)) return;
    this.#dirtyPods.add(key);
    this.#markAddresses(previous);
    if (previous !== undefined) {
      this.#podsByNode.delete(previous.node, previous);
      this.#podsByUid.delete(previous.uid);
      this.#podsByNamespace.delete(previous.namespace, previous);
      if (next?.uid !== previous.uid) this.enrolment.forget(previous.uid);
      if (next?.uid !== previous.uid || next.node !== previous.node) this.#captures.forget(previous.uid, previous.node);
      this.#pods.delete(key);
    }
    this.#addresses.replace(previous, next);
    if (next !== undefined) {
      this.#podsByNode.add(next.node, next);
      this.#podsByUid.set(next.uid, next);
      this.#podsByNamespace.add(next.namespace, next);
      this.#pods.set(key, next);
    }
    this.#markAddresses(next);
  }

  setService(key: string, next: ServiceFacts | undefined): void {
    if (isDeepStrictEqual(this.#services.get(key), next)) return;
    if (next === undefined) this.#services.delete(key);
    else this.#services.set(key, next);
    this.#dirtyServices.add(key);
    for (const slice of this.#slices.ofService(key)) {
      this.#dirtySlices.add(slice.key);
      this.#markPodsAt(slice.endpoints.keys());
    }
  }

  setSlice(key: string, next: SliceFacts | undefined): void {
    if (isDeepStrictEqual(this.#slices.get(key), next)) return;
    this.#dirtySlices.add(key);
    this.#markPodsAt(this.#slices.replace(key, next));
  }

  setNode(name: string, next: NodeFacts | undefined): void {
    if (isDeepStrictEqual(this.#nodes.get(name), next)) return;
    if (next === undefined) this.#nodes.delete(name);
    else this.#nodes.set(name, next);
    for (const pod of this.#podsByNode.get(name)) {
      this.#dirtyPods.add(pod.key);
      this.#markAddresses(pod);
    }
    for (const slice of this.#slices.all()) if (hasEndpointOn(slice, name)) this.#dirtySlices.add(slice.key);
  }

  /** Whether its label says that its pods are in the mesh. */
  setNamespace(name: string, isMember: boolean): void {
    if (this.#memberNamespaces.has(name) === isMember) return;
    if (isMember) this.#memberNamespaces.add(name);
    else this.#memberNamespaces.delete(name);
    for (const pod of this.#podsByNamespace.get(name)) this.#dirtyPods.add(pod.key);
  }

  /** What a node's agent says of its pods; undefined when it says nothing, or nothing any more. */
  setNodeReport(node: string, report: NodeReport | undefined): void {
    this.enrolment.setFailed(node, report?.failed ?? new Set());
    if (report === undefined) {
      this.#captures.fallSilent(node, (uid) => this.#podsByUid.get(uid)?.node === node);
      return;
    }
    if (!isOlder(report.version, this.#nodesVersion)) this.#nodesVersion = report.version;
    for (const uid of this.#captures.replace(node, report.captured)) this.#markPod(uid);
  }

  /**
   * Takes in that all peers have been told of what MeshNodes said up to `version`; undefined: of nothing. Returns whether a commit has
   * something to do.
   */
  peersToldOf(version: string | undefined): boolean {
    for (const uid of this.enrolment.settle(version, this.#now())) this.#markPod(uid);
    return this.dirty;
  }

  /** Whether a commit would have anything to do. */
  get dirty(): boolean {
    return this.#dirtyPods.size + this.#dirtySlices.size + this.#dirtyServices.size > 0;
  }

  commit(): ModelDelta {
    this.enrolment.beginCommit();
    const workloads = new Map<string, Workload | undefined>();
    const services = new Map<string, Service | undefined>();
    for (const key of this.#dirtyServices) this.#commitService(key, services);
    for (const key of this.#dirtySlices) this.#commitSlice(key, workloads);
    for (const key of this.#dirtyPods) this.#commitPod(key, workloads);
    this.#dirtyServices.clear();
    this.#dirtySlices.clear();
    this.#dirtyPods.clear();
    for (const [name, workload] of workloads) this.#keep(name, workload);
    return { workloads, services };
  }

  #keep(name: string, workload: Workload | undefined): void {
    this.#tunnelled += Number(workload?.tunnel ?? false) - Number(this.#workloads.get(name)?.tunnel ?? false);
    if (workload === undefined) this.#workloads.delete(name);
    else this.#workloads.set(name, workload);
  }

  #belongs(ip: IpText, node: string): boolean {
    return this.#nodes.get(node)?.podRanges.some((range) => contains(range, ip)) ?? false;
  }

  #markPod(uid: string): void {
    const pod = this.#podsByUid.get(uid);
    if (pod !== undefined) this.#dirtyPods.add(pod.key);
  }

  #markAddresses(pod: PodFacts | undefined): void {
    if (pod === undefined) return;
    this.#markPodsAt(pod.ips);
    for (const ip of pod.ips) for (const slice of this.#slices.at(ip)) this.#dirtySlices.add(slice.key);
  }

  #markPodsAt(ips: Iterable<IpText>): void {
    for (const ip of ips) for (const pod of this.#addresses.podsAt(ip)) this.#dirtyPods.add(pod.key);
  }

  #commitService(key: string, out: Map<string, Service | undefined>): void {
    const previous = this.#emittedServices.get(key);
    const next = this.#services.get(key)?.service;
    if (previous !== undefined) out.set(previous.resourceName, undefined);
    if (next !== undefined) out.set(next.resourceName, next);
    if (next === undefined) this.#emittedServices.delete(key);
    else this.#emittedServices.set(key, next);
  }

  #commitPod(key: string, out: Map<string, Workload | undefined>): void {
    const pod = this.#pods.get(key);
    const addresses = pod === undefined ? [] : this.#addresses.addressesOf(pod);
    if (pod === undefined || addresses.length === 0) {
      if (pod !== undefined) this.enrolment.forget(pod.uid);
      const [namespace = '', name = ''] = key.split('/');
      out.set(podResourceName(namespace, name), undefined);
      return;
    }
    const captured = this.#captures.isCaptured(pod.uid, pod.node);
    const workload = podWorkload(pod, {
      addresses,
      captured,
      transition: this.#transition(pod, captured),
      locality: this.#nodes.get(pod.node)?.locality,
      memberships: this.#membershipsOf(pod, addresses),
      settings: this.#settings,
    });
    out.set(workload.resourceName, workload);
  }

  #transition(pod: PodFacts, captured: boolean): Transition | undefined {
    const { uid, node, namespace, name } = pod;
    const before = this.#workloads.get(podResourceName(namespace, name));
    const standing = {
      uid,
      node,
      isMember: isMember(pod, this.#memberNamespaces.has(namespace)),
      captured,
      announced: before?.tunnel === false,
    };
    return this.enrolment.update(standing, this.#nodesVersion, this.#now());
  }

  #membershipsOf(pod: PodFacts, addresses: readonly IpText[]): Membership[] {
    const slices = new Set(addresses.flatMap((ip) => [...this.#slices.at(ip)].filter(isOf(pod.namespace))));
    return [...slices].flatMap((slice) => {
      const endpoints = addresses.flatMap((ip) => slice.endpoints.get(ip) ?? []);
      const service = this.#services.get(slice.serviceKey);
      return service !== undefined && endpoints.some((endpoint) => isPod(endpoint, pod)) ? [{ service, slice }] : [];
    });
  }

  /** The endpoints of a slice that name no pod and are at no pod's address. */
  #commitSlice(key: string, out: Map<string, Workload | undefined>): void {
    for (const name of this.#endpointNames.get(key) ?? []) out.set(name, undefined);
    this.#endpointNames.delete(key);
    const slice = this.#slices.get(key);
    const service = slice && this.#services.get(slice.serviceKey);
    if (slice === undefined || service === undefined) return;
    const names = new Set<string>();
    for (const [ip, endpoints] of slice.endpoints) {
      const endpoint = endpoints.find(({ pod }) => pod === undefined);
      if (endpoint === undefined || this.#addresses.owner(ip) !== undefined) continue;
      const locality = this.#nodes.get(endpoint.node)?.locality;
      const workload = endpointWorkload(ip, endpoint, { service, slice }, locality, this.#settings);
      names.add(workload.resourceName);
      out.set(workload.resourceName, workload);
    }
    if (names.size > 0) this.#endpointNames.set(key, names);
  }
}

/**
 * An endpoint that names its pod means that one only; one that does not means the pod that owns its address. A slice speaks for pods
 * of its own namespace: whoever may write one must not have others' pods serve what he chooses.
 */
function isPod(endpoint: EndpointFacts, pod: PodFacts): boolean {
  if (endpoint.pod === undefined) return !pod.hostNetwork;
  return endpoint.pod.key === pod.key && (endpoint.pod.uid ?? pod.uid) === pod.uid;
}

function isOf(namespace: string) {
  return (slice: SliceFacts): boolean => slice.namespace === namespace;
}

function hasEndpointOn(slice: SliceFacts, node: string): boolean {
  for (const endpoints of slice.endpoints.values()) {
    if (endpoints.some((endpoint) => endpoint.pod === undefined && endpoint.node === node)) return true;
  }
  return false;
}
