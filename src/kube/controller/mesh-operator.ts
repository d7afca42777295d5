/**
 * The operator's frame: an `Operator` of @dot-i/k8s-operator whose moving parts are ours.
 *
 *   start(): init() registers reflectors and controllers → reflectors fill → synced → contend for the lease
 *                                                     │ won                          │ lost, or stop()
 *                                                     └─► controllers run ───────────┘ controllers end their pass
 *
 * What the base class does that must not happen in production, and is overridden here: it ends the process on a watch
 * error, runs every event through one queue, writes finalizers from a stale copy and swallows errors. Everything
 * started is ended by stop(): no timer, socket or promise outlives it.
 */

import pkg, { type OperatorLogger, type ResourceEvent, type ResourceMeta } from '@dot-i/k8s-operator';
import type { KubeConfig } from '@kubernetes/client-node';
import { serveTelemetry, type TelemetryServer } from '../../telemetry/http.ts';
import type { Log } from '../../telemetry/log.ts';
import { type KeyPair, MetricsServer } from '../../telemetry/metrics-server.ts';
import { Reflector, type ReflectorOptions } from '../cache/reflector.ts';
import { KubeClient } from '../client/client.ts';
import { systemClock } from '../clock.ts';
import { metricsAccess } from '../metrics-access.ts';
import type { KubeObject } from '../objects.ts';
import { Backoff } from './backoff.ts';
import { Controller, type ControllerOptions } from './controller.ts';
import { registerCrd } from './crd.ts';
import { EventBridge } from './event-bridge.ts';
import { LeaderElection, type LeaseOptions } from './lease.ts';
import { cachedObjects, leading, queueDepth } from './metrics.ts';
import { metaOf, resourcePath } from './resource-path.ts';

export type ElectionOptions = Pick<LeaseOptions, 'namespace' | 'name' | 'identity'> &
  Partial<Pick<LeaseOptions, 'durationMs' | 'renewDeadlineMs' | 'retryMs'>>;

export interface MeshOperatorOptions {
  kubeConfig: KubeConfig;
  log: Log;
  fieldManager: string;
  /** Registers reflectors and controllers: called once, when the operator starts. */
  setup: (operator: MeshOperator) => void | Promise<void>;
  /** Without it this process leads from the start. */
  election?: ElectionOptions;
  /** Port of /metrics, /healthz and /readyz; 0 for any, undefined for none. */
  telemetryPort?: number;
  /** Port of /metrics for others than this pod, over TLS with this certificate; undefined for none. */
  metrics?: { port: number; keyPair: KeyPair };
}

/** A reflector, whatever it holds. */
interface Running {
  readonly path: string;
  readonly hasSynced: boolean;
  readonly store: { readonly size: number };
  start(signal: AbortSignal): void;
  synced(): Promise<void>;
  stopped(): Promise<void>;
}

export class MeshOperator extends pkg.default {
  readonly client: KubeClient;
  readonly log: Log;
  readonly #options: MeshOperatorOptions;
  readonly #stopping = new AbortController();
  readonly #reflectors: Running[] = [];
  readonly #controllers: Controller[] = [];
  readonly #election: LeaderElection | undefined;
  readonly #led = Promise.withResolvers<void>();
  #telemetry: TelemetryServer | undefined;
  #metrics: MetricsServer | undefined;
  #leading: Promise<void> = Promise.resolve();
  #stopped: Promise<void> | undefined;
  #started = false;

  constructor(options: MeshOperatorOptions) {
    super(loggerOf(options.log));
    this.#options = options;
    this.kubeConfig = options.kubeConfig;
    this.log = options.log;
    this.client = new KubeClient(options.kubeConfig, { userAgent: options.fieldManager });
    this.#election =
      options.election && new LeaderElection({ ...options.election, client: this.client, log: options.log });
  }

  /**
   * Resolves once the caches are filled and this replica leads or stands by. Throws when init() fails or it is
   * stopped meanwhile.
   */
  override async start(): Promise<void> {
    if (this.#started) throw new Error('the operator was started twice');
    this.#started = true;
    await this.#serveTelemetry();
    await this.#serveMetrics();
    await this.init();
    for (const reflector of this.#reflectors) reflector.start(this.#stopping.signal);
    await Promise.all(this.#reflectors.map((reflector) => reflector.synced()));
    this.log.info({ collections: this.#reflectors.length }, 'the caches are filled');
    const lead = (signal: AbortSignal) => this.#lead(signal);
    this.#leading = this.#election?.run(this.#stopping.signal, lead) ?? lead(this.#stopping.signal);
  }

  /**
   * Ends everything and resolves when nothing runs any more; the lease is given up. It may be called at any time, and
   * again.
   */
  override stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  /** Whether this replica writes. */
  get isLeading(): boolean {
    return this.#election?.leading ?? this.#started;
  }

  /** Resolves when this replica has come to lead and looked at everything there was to look at. */
  async settled(): Promise<void> {
    await this.#led.promise;
    for (const controller of this.#controllers) await controller.idle();
  }

  /** The port /metrics is served on for others than this pod. */
  get metricsPort(): number | undefined {
    return this.#metrics?.port;
  }

  /** The port of /healthz and /readyz. */
  get telemetryPort(): number | undefined {
    return this.#telemetry?.port;
  }

  /** A local copy of a collection, kept from start to stop. For `setup`. */
  reflect<T extends KubeObject>(options: Omit<ReflectorOptions<T>, 'client' | 'log'>): Reflector<T> {
    const reflector = new Reflector<T>({ ...options, client: this.client, log: this.log });
    this.#reflectors.push(reflector);
    return reflector;
  }

  /**
   * The answer of the API server to what `setup` must know before it can register anything, asked again until there is
   * one. Throws when the operator is stopped meanwhile.
   */
  async ask<T>(what: string, question: (client: KubeClient) => Promise<T>): Promise<T> {
    const { signal } = this.#stopping;
    const backoff = new Backoff({ baseMs: 500, maxMs: 5_000 });
    for (;;) {
      signal.throwIfAborted();
      try {
        return await question(this.client);
      } catch (error) {
        this.log.warn({ err: error, attempt: backoff.failures + 1 }, `the API server does not say ${what}`);
        await systemClock.sleep(backoff.next(), signal);
      }
    }
  }

  /** A controller, run while this replica leads. For `setup`. */
  control(options: Omit<ControllerOptions, 'log'>): Controller {
    const controller = new Controller({ ...options, log: this.log });
    this.#controllers.push(controller);
    return controller;
  }

  protected override async init(): Promise<void> {
    await this.#options.setup(this);
  }

  async #lead(signal: AbortSignal): Promise<void> {
    const running = this.#controllers.map((controller) => controller.run(signal));
    this.#led.resolve();
    await Promise.all(running);
  }

  async #stop(): Promise<void> {
    this.#stopping.abort(new Error('the operator stops'));
    await this.#leading;
    for (const controller of this.#controllers) controller.close();
    await Promise.all(this.#reflectors.map((reflector) => reflector.stopped()));
    await Promise.all([this.#metrics?.close(), this.#telemetry?.close()]);
    await this.client.close();
    this.log.info({}, 'stopped');
  }

  async #serveTelemetry(): Promise<void> {
    const port = this.#options.telemetryPort;
    if (port === undefined) return;
    const caches = () => {
      const waiting = this.#reflectors.filter((reflector) => !reflector.hasSynced).map(({ path }) => path);
      return waiting.length === 0 ? undefined : `waiting for the first list of ${waiting.join(', ')}`;
    };
    const setup = () => (this.#reflectors.length === 0 ? 'not set up yet' : undefined);
    this.#telemetry = await serveTelemetry({ port, ready: { setup, caches }, beforeMetrics: () => this.#measure() });
  }

  async #serveMetrics(): Promise<void> {
    if (this.#options.metrics === undefined) return;
    const { port, keyPair } = this.#options.metrics;
    const authorize = metricsAccess(this.client, systemClock, this.log);
    this.#metrics = new MetricsServer({ port, authorize, beforeMetrics: () => this.#measure() });
    this.#metrics.setCertificate(keyPair);
    await this.#metrics.listen();
  }

  #measure(): void {
    leading.set(this.isLeading ? 1 : 0);
    for (const controller of this.#controllers) queueDepth.set({ controller: controller.name }, controller.depth);
    for (const { path, store } of this.#reflectors) cachedObjects.set({ path }, store.size);
  }

  // What follows is the base class's own interface, on our reflector, queue and client.

  protected override getCustomResourceApiUri(
    group: string,
    version: string,
    plural: string,
    namespace?: string,
  ): string {
    return resourcePath(group, version, plural, namespace);
  }

  /**
   * Events of a resource, each key's in order and one at a time; an `onEvent` that throws gets its event again, with
   * backoff.
   */
  protected override async watchResource(
    group: string,
    version: string,
    plural: string,
    onEvent: (event: ResourceEvent) => Promise<void>,
    namespace?: string,
  ): Promise<void> {
    const reflector = this.reflect<KubeObject>({ path: resourcePath(group, version, plural, namespace) });
    const bridge = new EventBridge(reflector, plural, onEvent);
    this.control({ name: `${plural}.${group || 'core'}`, reconcile: bridge.reconcile, sources: [bridge.source] });
  }

  /** Throws on a conflict: the caller's copy is stale, and its finalizers with it. */
  protected override async setResourceFinalizers(meta: ResourceMeta, finalizers: string[]): Promise<void> {
    const patch = { metadata: { resourceVersion: meta.resourceVersion, finalizers } };
    await this.client.patch(this.#path(meta), patch, { fieldManager: this.#options.fieldManager });
  }

  protected override async setResourceStatus(meta: ResourceMeta, status: unknown): Promise<ResourceMeta | null> {
    const { apiVersion, kind, name, namespace, resourceVersion } = meta;
    const object = { apiVersion, kind, metadata: { name, namespace, resourceVersion }, status };
    return metaOf(meta.id, await this.client.replace<KubeObject>(`${this.#path(meta)}/status`, object));
  }

  protected override async patchResourceStatus(meta: ResourceMeta, status: unknown): Promise<ResourceMeta | null> {
    const patch = { metadata: { resourceVersion: meta.resourceVersion }, status };
    return metaOf(meta.id, await this.client.patch<KubeObject>(`${this.#path(meta)}/status`, patch));
  }

  /** Applies the definition in `crdFile` (YAML) and waits until the API server serves it. */
  protected override async registerCustomResourceDefinition(crdFile: string) {
    return registerCrd(this.client, crdFile, this.#options.fieldManager, this.#stopping.signal);
  }

  #path(meta: ResourceMeta): string {
    const [plural = ''] = meta.id.split('.', 1);
    const [group, version] = meta.apiVersion.includes('/') ? meta.apiVersion.split('/', 2) : ['', meta.apiVersion];
    const collection = resourcePath(group ?? '', version ?? '', plural, meta.namespace);
    return `${collection}/${encodeURIComponent(meta.name)}`;
  }
}

function loggerOf(log: Log): OperatorLogger {
  return {
    debug: (message) => log.debug({}, message),
    info: (message) => log.info({}, message),
    warn: (message) => log.warn({}, message),
    error: (message) => log.error({}, message),
  };
}
