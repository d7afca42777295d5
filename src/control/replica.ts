import type { Logger } from 'pino';
import type { MeshSpec } from '../api/mesh.ts';
import { apiGroup, components, controlDnsNames, meshName, systemNamespace } from '../api/names.ts';
import { type CertificateAuthority, createCertificateAuthority } from '../ca/authority/authority.ts';
import { createCallerVerifier } from '../ca/issuance/caller.ts';
import { certificateService } from '../ca/issuance/certificate-service.ts';
import { type ServerCertificate, serverCertificate } from '../ca/issuance/server-certificate.ts';
import { TokenKeys } from '../ca/issuance/token-keys.ts';
import { kubernetesEvidence } from '../ca/kubernetes/evidence.ts';
import { livePodLookup, watchedPodLookup } from '../ca/kubernetes/pods.ts';
import {
  kubernetesBundleStore,
  kubernetesSecretStore,
  kubernetesTokenKeys,
  kubernetesTokenReviewer,
  watchAuthority,
} from '../ca/kubernetes/stores.ts';
import { explain } from '../errors/tulle-error.ts';
import { GrpcServer } from '../grpc/server.ts';
import type { KubeClient } from '../kube/client/client.ts';
import { systemClock } from '../kube/clock.ts';
import { LeaderElection } from '../kube/controller/lease.ts';
import { EventRecorder } from '../kube/events.ts';
import { metricsAccess } from '../kube/metrics-access.ts';
import type { Pod } from '../kube/objects.ts';
import { serveTelemetry, type TelemetryServer } from '../telemetry/http.ts';
import { counter } from '../telemetry/metrics.ts';
import type { MetricsPort } from '../telemetry/metrics-port.ts';
import { MetricsServer } from '../telemetry/metrics-server.ts';
import { plainMetricsServer } from '../telemetry/plain-metrics-server.ts';
import { Publisher } from '../xds/publisher.ts';
import { addressType } from '../xds/resource.ts';
import { DiscoveryService } from '../xds/service.ts';
import { admitNodeProxies } from './admission.ts';
import { AuthorityLeadership } from './authority-leadership.ts';
import { AuthorityStatus } from './authority-status.ts';
import { ClusterFeed } from './cluster-feed.ts';
import { PeersTold } from './peers-told.ts';
import type { ControlSettings } from './settings.ts';

export interface ControlOptions {
  readonly client: KubeClient;
  readonly settings: ControlSettings;
  readonly log: Logger;
}

const certificateRequests = counter('ca_requests_total', 'Requests for a certificate, by gRPC status.', ['status']);

/** After this the connections that are left are cut, ms. */
const lastWordMs = 5_000;

/**
 * One replica of tulle-control: it makes a model of the cluster, tells proxies of it, and signs their certificates, all on
 * one gRPC server. All replicas serve; the one that leads writes the status.
 */
export class ControlReplica {
  readonly #options: ControlOptions;
  readonly #running = new AbortController();
  readonly #publisher: Publisher;
  readonly #feed: ClusterFeed;
  #server: GrpcServer | undefined;
  readonly #tasks: Promise<void>[] = [];
  #authority: CertificateAuthority | undefined;
  #discovery: DiscoveryService | undefined;
  #telemetry: TelemetryServer | undefined;
  readonly #metrics: MetricsServer;
  /** Where the Mesh wants them. */
  readonly #plainMetrics: MetricsPort | undefined;
  #grpcPort: number | undefined;
  #peersTold: PeersTold | undefined;
  #leaving = false;

  constructor(options: ControlOptions) {
    this.#options = options;
    const { client, log, settings } = options;
    this.#publisher = new Publisher(log);
    this.#metrics = new MetricsServer({
      port: settings.metricsPort,
      authorize: metricsAccess(client, systemClock, log),
    });
    const plain = settings.plaintextMetricsPort;
    this.#plainMetrics = plain === undefined ? undefined : plainMetricsServer(plain);
    this.#feed = new ClusterFeed({
      client,
      publisher: this.#publisher,
      trustDomain: settings.trustDomain,
      version: settings.version,
      log,
    });
  }

  /** The port of the gRPC server, undefined until it listens. */
  get grpcPort(): number | undefined {
    return this.#grpcPort;
  }

  /** The port of /metrics, undefined until it listens. */
  get metricsPort(): number | undefined {
    return this.#metrics.port;
  }

  /** The port of /metrics without TLS, undefined until it listens, or where there is none. */
  get plaintextMetricsPort(): number | undefined {
    return this.#plainMetrics?.port;
  }

  get httpPort(): number | undefined {
    return this.#telemetry?.port;
  }

  /** Resolves when everything is served, or `stop` came first. */
  async start(): Promise<void> {
    try {
      await this.#start(this.#running.signal);
    } catch (error) {
      if (!this.#leaving) throw error;
    }
  }

  async #start(signal: AbortSignal): Promise<void> {
    this.#telemetry = await serveTelemetry({ port: this.#options.settings.httpPort, ready: this.#readiness() });
    await Promise.all([this.#metrics.listen(), this.#plainMetrics?.listen()]);
    const unlessStopped = <T>(wait: Promise<T>) => Promise.race([wait, stopped(signal)]);
    const known = this.#feed.start(signal);
    // It is awaited last; a stop may come before.
    known.catch(() => {});
    const authority = this.#startAuthority(await unlessStopped(this.#feed.specInForce()), signal);
    const certificate = this.#startCertificate(authority, signal);
    const server = this.#makeServer(authority, signal);
    certificate.onChange((pair) => {
      server.setCertificate(pair);
      this.#metrics.setCertificate(pair);
    });
    await unlessStopped(authority.ready());
    certificate.renewIfDue();
    this.#grpcPort = await this.#listen(server);
    await known;
    await this.#startPeersTold(signal);
    this.#options.log.info({ grpcPort: this.#grpcPort, httpPort: this.httpPort }, 'serving');
  }

  /**
   * Leaves in order: not ready any more, then after a while no new calls, streams ended one after another, connections
   * closed (GOAWAY), and only then the rest.
   */
  async stop(): Promise<void> {
    const { leaveMs } = this.#options.settings;
    this.#leaving = true;
    await systemClock.sleep(leaveMs);
    const closed = this.#server?.close();
    await this.#discovery?.drain(leaveMs);
    const cut = setTimeout(() => this.#server?.destroy(), lastWordMs);
    await closed;
    clearTimeout(cut);
    this.#running.abort();
    await Promise.allSettled([...this.#tasks, this.#feed.stopped()]);
    await Promise.all([this.#metrics.close(), this.#plainMetrics?.close(), this.#telemetry?.close()]);
  }

  /** What keeps this replica from getting requests, by part. */
  #readiness() {
    return {
      model: () => (this.#feed.ready ? undefined : `not known yet: ${this.#feed.missing().join(', ')}`),
      authority: () => (this.#authority?.bundle() === undefined ? this.#authorityProblem() : undefined),
      issuance: () => (this.#authority?.report().issuing === true ? undefined : this.#authorityProblem()),
      server: () => (this.#grpcPort === undefined ? 'does not listen yet' : undefined),
      leaving: () => (this.#leaving ? 'this replica is going away' : undefined),
    };
  }

  #authorityProblem(): string {
    const problem = this.#authority?.report().problem;
    return problem === undefined ? 'no certificate can be signed yet' : explain(problem);
  }

  #startAuthority(spec: () => MeshSpec, signal: AbortSignal): CertificateAuthority {
    const { client, log, settings } = this.#options;
    const authority = createCertificateAuthority({
      trustDomain: settings.trustDomain,
      rootTtlSeconds: () => spec().authority.rootTtlSeconds,
      leafTtlSeconds: () => spec().authority.leafTtlSeconds,
      secrets: kubernetesSecretStore(client),
      bundles: kubernetesBundleStore(client),
      evidence: kubernetesEvidence(client),
      subscribe: watchAuthority(client, log),
      clock: systemClock,
      log,
      onReport: () => leadership.wake(),
    });
    this.#authority = authority;
    const leadership = this.#leadership(authority);
    this.#feed.meshes.onEvent(() => leadership.wake());
    this.#tasks.push(authority.run(signal), leadership.run(signal));
    return authority;
  }

  #leadership(authority: CertificateAuthority): AuthorityLeadership {
    const { client, log, settings } = this.#options;
    const { instance } = settings;
    const report = () => authority.report();
    const name = components.control;
    const election = new LeaderElection({ client, log, namespace: systemNamespace, name, identity: instance });
    const status = new AuthorityStatus({
      client,
      events: new EventRecorder({ client, controller: `${apiGroup}/${components.control}`, instance, log }),
      mesh: () => this.#feed.meshes.store.get(meshName),
      report,
      vacant: () => election.vacant(),
      clock: systemClock,
      log,
    });
    return new AuthorityLeadership({ election, status, report });
  }

  #startCertificate(authority: CertificateAuthority, signal: AbortSignal): ServerCertificate {
    const { log } = this.#options;
    const certificate = serverCertificate({ authority, dnsNames: controlDnsNames, clock: systemClock, log });
    this.#tasks.push(certificate.run(signal));
    return certificate;
  }

  #makeServer(authority: CertificateAuthority, signal: AbortSignal): GrpcServer {
    const { client, log } = this.#options;
    const keys = new TokenKeys({ read: kubernetesTokenKeys(client), clock: systemClock, log });
    this.#tasks.push(keys.run(signal));
    const callers = createCallerVerifier({ reviewer: kubernetesTokenReviewer(client), keys, clock: systemClock });
    const pods = watchedPodLookup(this.#feed.pods, livePodLookup(client));
    const onOutcome = (status: string) => certificateRequests.inc({ status });
    const certificates = certificateService({ authority, callers, pods, log, onOutcome });
    const discovery = new DiscoveryService({
      stores: this.#publisher.stores,
      admit: admitNodeProxies(callers, pods),
      ready: () => this.#feed.ready && this.#peersTold !== undefined,
      onTold: () => this.#peersTold?.check(),
      log,
    });
    this.#discovery = discovery;
    this.#server = new GrpcServer({ methods: [certificates, discovery.method], log });
    return this.#server;
  }

  async #startPeersTold(signal: AbortSignal): Promise<void> {
    const { client, log, settings } = this.#options;
    const { enrolment } = this.#feed.model;
    const peersTold = new PeersTold({
      client,
      instance: settings.instance,
      isThere: (instance) => isRunning(this.#feed.pods.get(`${systemNamespace}/${instance}`)),
      own: () => this.#feed.shown(this.#discovery?.told(addressType) ?? -1),
      awaited: () => ({ versions: enrolment.awaited, deadline: enrolment.deadline }),
      settle: (version) => this.#feed.peersToldOf(version),
      clock: systemClock,
      log,
    });
    this.#feed.onPublish(() => peersTold.check());
    await peersTold.start(signal);
    this.#tasks.push(peersTold.stopped());
    this.#peersTold = peersTold;
  }

  /** Dual stack where the machine has it: `::` takes IPv4 too. */
  async #listen(server: GrpcServer): Promise<number> {
    const { grpcPort } = this.#options.settings;
    return server.listen(grpcPort, '::').catch(() => server.listen(grpcPort, '0.0.0.0'));
  }
}

/** Rejects when the signal aborts. */
function stopped(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const stop = () => reject(new Error('stopped before everything was served'));
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
}

/** Whether it may serve: an evicted pod stays as an object for long. */
function isRunning(pod: Pod | undefined): boolean {
  return pod !== undefined && pod.status?.phase !== 'Failed' && pod.status?.phase !== 'Succeeded';
}
