/**
 * An operator's frame: an `Operator` of @dot-i/k8s-operator whose moving parts are ours.
 *
 *   start(): init() registers reflectors and controllers → reflectors fill → synced → contend for the lease
 *                                                     │ won                          │ lost, or stop()
 *                                                     └─► controllers run ───────────┘ controllers end their pass
 *
 * What the base class does that must not happen in production, and is overridden here: it ends the process on a watch
 * error, runs every event through one queue, writes finalizers from a stale copy and swallows errors. Everything
 * started is ended by stop(): no timer, socket or promise outlives it.
 */

import pkg, { type OperatorLogger, type ResourceMeta } from '@dot-i/k8s-operator';
import type { KubeConfig } from '@kubernetes/client-node';
import { serveTelemetry, type TelemetryServer } from '../../telemetry/http.ts';
import type { Log } from '../../telemetry/log.ts';
import { type KeyPair, MetricsServer } from '../../telemetry/metrics-server.ts';
import { Reflector, type ReflectorEvent, type ReflectorOptions } from '../cache/reflector.ts';
import { KubeClient } from '../client/client.ts';
import { systemClock } from '../clock.ts';
import { metricsAccess } from '../metrics-access.ts';
import { type KubeObject, objectKey } from '../objects.ts';
import { type StatusPart, statusChange, type WithStatus } from '../status.ts';
import { Backoff } from './backoff.ts';
import { Controller, type ControllerOptions } from './controller.ts';
import { LeaderElection, type LeaseOptions } from './lease.ts';
import { cachedObjects, leading, queueDepth } from './metrics.ts';
import { ObjectEvents, type OnEvent } from './object-events.ts';
import { type Source, source } from './reconciler.ts';
import { collectionOf, metaOf, resourcePath } from './resource-path.ts';

export type ElectionOptions = Pick<LeaseOptions, 'namespace' | 'name' | 'identity'> &
  Partial<Pick<LeaseOptions, 'durationMs' | 'renewDeadlineMs' | 'retryMs'>>;

export interface OperatorOptions {
  kubeConfig: KubeConfig;
  log: Log;
  fieldManager: string;
  /** Without it this process leads from the start. */
  election?: ElectionOptions;
  /** Port of /metrics, /healthz and /readyz; 0 for any, undefined for none. */
  telemetryPort?: number;
  /** Port of /metrics for others than this pod, over TLS with this certificate; undefined for none. */
  metrics?: { port: number; keyPair: KeyPair };
}

/** What asks for a look at a watched resource's objects, besides their own changes, and how many workers look. */
export interface WatchOptions {
  /** The changes of an object that matter; all, when absent. */
  readonly concerns?: (before: WithStatus, after: WithStatus) => boolean;
  /** Other objects, whose changes ask for a look at ours. */
  readonly sources?: readonly Source[];
  readonly workers?: number;
}

/** A reflector, whatever it holds. */
interface Running {
  readonly path: string;
  readonly hasSynced: boolean;
  readonly store: { readonly size: number; get(key: string): KubeObject | undefined; list(): KubeObject[] };
  onEvent(handler: (event: ReflectorEvent<KubeObject>) => void): void;
  start(signal: AbortSignal): void;
  synced(): Promise<void>;
  stopped(): Promise<void>;
}

export abstract class KubeOperator extends pkg.default {
  readonly client: KubeClient;
  readonly log: Log;
  readonly #options: OperatorOptions;
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

  constructor(options: OperatorOptions) {
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

  /** A local copy of a collection, kept from start to stop. For `init`. */
  reflect<T extends KubeObject>(options: Omit<ReflectorOptions<T>, 'client' | 'log'>): Reflector<T> {
    const reflector = new Reflector<T>({ ...options, client: this.client, log: this.log });
    this.#reflectors.push(reflector);
    return reflector;
  }

  /**
   * The answer of the API server to what `init` must know before it can register anything, asked again until there is
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

  /** A controller, run while this replica leads. For `init`. */
  control(options: Omit<ControllerOptions, 'log'>): Controller {
    const controller = new Controller({ ...options, log: this.log });
    this.#controllers.push(controller);
    return controller;
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

  // What follows is the library's own interface, on our reflector, queue and client.

  /**
   * Looks at each object of a resource: with workers for the keys, each of which one worker has at a time. The collection's
   * reflector may be there already, with options of its own. Without `namespace` all are watched.
   */
  protected override async watchResource(
    group: string,
    version: string,
    plural: string,
    onEvent: OnEvent,
    namespace?: string,
    { concerns, sources = [], workers = 1 }: WatchOptions = {},
  ): Promise<void> {
    const path = resourcePath(group, version, plural, namespace);
    const reflector = this.#reflectorOf(path) ?? this.reflect<KubeObject>({ path });
    const { reconcile } = new ObjectEvents(reflector.store, plural, onEvent);
    const own = source(reflector, (object) => [objectKey(object)], concerns);
    this.control({ name: plural, reconcile, sources: [own, ...sources], workers });
  }

  /** @throws ApiError on a conflict: the caller's copy is stale, and its finalizers with it */
  protected override async setResourceFinalizers(meta: ResourceMeta, finalizers: string[]): Promise<void> {
    const patch = { metadata: { resourceVersion: meta.resourceVersion, finalizers } };
    const { fieldManager } = this.#options;
    await this.client.patch(`${collectionOf(meta)}/${encodeURIComponent(meta.name)}`, patch, { fieldManager });
  }

  /**
   * Applies the part of a status that is this operator's, or that of one `writer` within it, where it is not so already. What a
   * writer leaves out that it gave before is taken away.
   * @returns null when nothing had to be written
   * @throws Error for an object of a resource that is not watched
   */
  protected override async setResourceStatus(
    meta: ResourceMeta,
    part: StatusPart<WithStatus>,
    writer?: string,
  ): Promise<ResourceMeta | null> {
    const { namespace: _, ...ofAll } = meta;
    const reflector = this.#reflectorOf(collectionOf(meta)) ?? this.#reflectorOf(collectionOf(ofAll));
    if (reflector === undefined) throw new Error(`${meta.id} is not watched: its status cannot be compared`);
    const object = reflector.store.get(objectKey({ metadata: meta }));
    const change = object && statusChange<WithStatus>(object, part, systemClock.now());
    if (change === undefined) return null;
    const { fieldManager } = this.#options;
    const options = { fieldManager: writer === undefined ? fieldManager : `${fieldManager}-${writer}`, force: true };
    return metaOf(meta.id, await this.client.applyStatus(change, options));
  }

  #reflectorOf(path: string): Running | undefined {
    return this.#reflectors.find((reflector) => reflector.path === path);
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
