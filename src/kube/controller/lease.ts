/**
 * Leader election on a coordination.k8s.io Lease.
 *
 * Clocks of different machines are never compared: a candidate notes by its own clock when it last saw the Lease
 * change, and takes over only when it has seen no change for the Lease's whole duration. A leader that could not
 * renew for `renewDeadlineMs` (shorter than the duration) stops leading before anybody else can start. All writes are
 * compare-and-swap by resourceVersion.
 */

import type { Log } from '../../telemetry/log.ts';
import { isConflict, isNotFound } from '../client/api-error.ts';
import type { KubeClient } from '../client/client.ts';
import { type Clock, systemClock } from '../clock.ts';
import type { Lease } from '../objects.ts';

export interface LeaseOptions {
  client: Pick<KubeClient, 'get' | 'create' | 'replace'>;
  namespace: string;
  name: string;
  /** Unique to this process, for example the pod's name. */
  identity: string;
  log: Log;
  /** How long a silent leader is respected, ms; whole seconds. */
  durationMs?: number;
  renewDeadlineMs?: number;
  /** Time between attempts to acquire or renew, ms; up to a fifth longer at random. */
  retryMs?: number;
  clock?: Clock;
  random?: () => number;
}

/** Giving the Lease up may take so long, twice, ms. */
const RELEASE_MS = 2_000;

interface Observed {
  lease: Lease;
  /** When this version of the Lease was first seen, by our monotonic clock. */
  at: number;
}

export class LeaderElection {
  readonly #options: LeaseOptions;
  readonly #path: string;
  readonly #clock: Clock;
  readonly #durationMs: number;
  readonly #renewDeadlineMs: number;
  #observed: Observed | undefined;
  #lastAttempt: Promise<boolean> = Promise.resolve(false);
  #leading = false;

  constructor(options: LeaseOptions) {
    this.#options = options;
    this.#path = `/apis/coordination.k8s.io/v1/namespaces/${options.namespace}/leases`;
    this.#clock = options.clock ?? systemClock;
    this.#durationMs = options.durationMs ?? 15_000;
    this.#renewDeadlineMs = options.renewDeadlineMs ?? 10_000;
    if (this.#renewDeadlineMs >= this.#durationMs) throw new Error('renewDeadlineMs must be less than durationMs');
  }

  get leading(): boolean {
    return this.#leading;
  }

  /** Who leads, as last seen. */
  get holder(): string | undefined {
    return this.#observed?.lease.spec?.holderIdentity;
  }

  /**
   * Whether nobody leads, as far as this process can tell: the Lease is free, or has been seen unchanged for its whole
   * duration, which a second call at least that long after the first finds out. Only reads.
   */
  async vacant(): Promise<boolean> {
    const lease = await this.#read();
    if (lease === undefined) return true;
    this.#observe(lease);
    return this.#mayHold(lease);
  }

  /**
   * Contends until `signal` aborts. While this process leads, `lead` runs; its signal aborts when leadership is lost
   * or `signal` aborts, and only after it has returned does the process contend again. On a clean end the Lease is
   * given up at once.
   */
  async run(signal: AbortSignal, lead: (signal: AbortSignal) => Promise<void>): Promise<void> {
    while (!signal.aborted) {
      const startedAt = this.#clock.monotonic();
      const held = await this.#within(this.#renewDeadlineMs, this.#attempt(), signal);
      if (held) await this.#reign(startedAt, signal, lead);
      // Also after a term: one that fails at once must not acquire and release without a pause.
      await this.#pause(signal);
    }
    // An attempt that was under way when the signal aborted may have won.
    await this.#release();
  }

  /** `heldFrom`: when the attempt that won began; others may count the Lease's duration from then on. */
  async #reign(heldFrom: number, signal: AbortSignal, lead: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { log, identity, name } = this.#options;
    const term = new AbortController();
    const end = () => term.abort();
    signal.addEventListener('abort', end, { once: true });
    if (signal.aborted) end();
    this.#leading = true;
    log.info({ lease: name, identity }, 'this replica leads');
    const led = lead(term.signal).catch((error: unknown) => {
      log.error({ lease: name, err: error }, 'leading failed, giving up the lease');
    });
    await Promise.race([this.#renew(heldFrom, term.signal), led]);
    end();
    signal.removeEventListener('abort', end);
    this.#leading = false;
    await led;
    await this.#release();
  }

  /** Returns when the term ended or could not be renewed in time. */
  async #renew(heldFrom: number, term: AbortSignal): Promise<void> {
    let renewedAt = heldFrom;
    while (!term.aborted) {
      await this.#pause(term);
      if (term.aborted) return;
      const left = renewedAt + this.#renewDeadlineMs - this.#clock.monotonic();
      const startedAt = this.#clock.monotonic();
      if (left > 0 && (await this.#within(left, this.#attempt(), term))) {
        renewedAt = startedAt;
      } else if (this.#clock.monotonic() - renewedAt >= this.#renewDeadlineMs || this.#heldByAnother()) {
        const { log, name } = this.#options;
        log.warn({ lease: name, holder: this.holder }, 'the lease was lost, this replica stops leading');
        return;
      }
    }
  }

  /** False when the attempt takes longer than `ms` or the signal aborts: a call that hangs holds nobody up. */
  async #within(ms: number, attempt: Promise<boolean>, signal?: AbortSignal): Promise<boolean> {
    const timer = new AbortController();
    const over = signal === undefined ? timer.signal : AbortSignal.any([timer.signal, signal]);
    const late = this.#clock.sleep(ms, over).then(() => false);
    const result = await Promise.race([attempt, late]);
    timer.abort();
    return result;
  }

  #heldByAnother(): boolean {
    const holder = this.holder;
    return holder !== undefined && holder !== '' && holder !== this.#options.identity;
  }

  /** Acquires or renews if that is our right. Never throws: whatever goes wrong, we do not hold the Lease. */
  #attempt(): Promise<boolean> {
    this.#lastAttempt = this.#tryOnce();
    return this.#lastAttempt;
  }

  async #tryOnce(): Promise<boolean> {
    try {
      const lease = await this.#read();
      if (lease === undefined) return await this.#create();
      this.#observe(lease);
      if (!this.#mayHold(lease)) return false;
      const next = this.#successor(lease);
      this.#observe(await this.#options.client.replace<Lease>(`${this.#path}/${this.#options.name}`, next));
      return true;
    } catch (error) {
      const { log, name } = this.#options;
      if (isConflict(error)) log.debug({ lease: name }, 'another replica was quicker');
      else log.warn({ lease: name, err: error }, 'cannot acquire or renew the lease');
      return false;
    }
  }

  async #read(): Promise<Lease | undefined> {
    try {
      return await this.#options.client.get<Lease>(`${this.#path}/${this.#options.name}`);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  async #create(): Promise<boolean> {
    const { namespace, name, client } = this.#options;
    const lease = {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { name, namespace },
      spec: this.#term(0),
    };
    this.#observe(await client.create<Lease>(this.#path, lease));
    return true;
  }

  #observe(lease: Lease): void {
    if (this.#observed?.lease.metadata.resourceVersion === lease.metadata.resourceVersion) return;
    this.#observed = { lease, at: this.#clock.monotonic() };
  }

  #mayHold(lease: Lease): boolean {
    const { holderIdentity = '', leaseDurationSeconds } = lease.spec ?? {};
    if (holderIdentity === '' || holderIdentity === this.#options.identity) return true;
    const durationMs = leaseDurationSeconds === undefined ? this.#durationMs : leaseDurationSeconds * 1000;
    const seenAt = this.#observed?.at ?? this.#clock.monotonic();
    return this.#clock.monotonic() - seenAt > durationMs;
  }

  #successor(lease: Lease): Lease {
    const ours = lease.spec?.holderIdentity === this.#options.identity;
    const transitions = (lease.spec?.leaseTransitions ?? 0) + (ours ? 0 : 1);
    const spec = this.#term(transitions);
    return { ...lease, spec: ours ? { ...spec, acquireTime: lease.spec?.acquireTime ?? spec.acquireTime } : spec };
  }

  #term(leaseTransitions: number) {
    const now = microTime(this.#clock.now());
    return {
      holderIdentity: this.#options.identity,
      leaseDurationSeconds: Math.ceil(this.#durationMs / 1000),
      acquireTime: now,
      renewTime: now,
      leaseTransitions,
    };
  }

  /** Lets the next leader start at once; best effort, since the Lease runs out anyway. */
  async #release(): Promise<void> {
    // A renewal still under way would make our write a conflict, or come after it.
    await this.#within(RELEASE_MS, this.#lastAttempt);
    const lease = this.#observed?.lease;
    if (lease?.spec?.holderIdentity !== this.#options.identity) return;
    const spec = { ...lease.spec, holderIdentity: '', renewTime: microTime(this.#clock.now()) };
    const released = this.#options.client.replace<Lease>(`${this.#path}/${this.#options.name}`, { ...lease, spec });
    await this.#within(
      RELEASE_MS,
      released.then(
        (answer) => {
          this.#observe(answer);
          return true;
        },
        () => false,
      ),
    );
  }

  async #pause(signal: AbortSignal): Promise<void> {
    const { retryMs = 2_000, random = Math.random } = this.#options;
    await this.#clock.sleep(retryMs * (1 + random() / 5), signal);
  }
}

/** RFC 3339 with microseconds, the form of MicroTime. */
function microTime(ms: number): string {
  return new Date(ms).toISOString().replace('Z', '000Z');
}
