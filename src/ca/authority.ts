/**
 * The certificate authority of one tulle-control replica. Every replica has one, and all serve the same stored state.
 *
 *   pass ─► read bundle ─► read Secret ─► decide (pure) ─┬─ create  store a new root, then pass again and read it back
 *    ▲                                                   ├─ serve   publish the bundle where it differs, then sign with this state
 *    │                                                   └─ refuse  keep what is served, report the problem
 *    └── every `passIntervalMs`, and at once when the Secret or the bundle changed
 *
 * A pass that fails because the API server is away changes nothing: what is served is served on.
 */

import type { MeshStatus } from '../api/mesh.ts';
import { explain, isTulleError, TulleError } from '../errors/tulle-error.ts';
import { Backoff } from '../kube/backoff.ts';
import type { Clock } from '../kube/clock.ts';
import type { Log } from '../kube/log.ts';
import { type Decision, decide } from './authority-decision.ts';
import { type ActiveAuthority, type AuthorityState, encodeAuthorityState } from './authority-state.ts';
import { type SignedCertificate, signCertificate } from './certificate.ts';
import {
  type AlternativeName,
  type CertificateProfile,
  leafValidity,
  serverProfile,
  workloadProfile,
} from './certificate-profile.ts';
import { emptyName } from './distinguished-name.ts';
import type { P256PublicKey } from './public-key.ts';
import { makeRootAuthority } from './root-authority.ts';
import { parseTrustDomain, type SpiffeId, type TrustDomain, trustDomainOf } from './spiffe-id.ts';
import type { BundleStore, SecretStore } from './stores.ts';
import type { TrustBundle } from './trust-bundle.ts';

export interface AuthorityOptions {
  /** The Mesh's `spec.trustDomain`. */
  readonly trustDomain: string;
  /** The Mesh's `spec.authority.rootTtlSeconds`; used when a root is made. */
  readonly rootTtlSeconds: number;
  /** The Mesh's `spec.authority.leafTtlSeconds`, asked at every signature. */
  readonly leafTtlSeconds: () => number;
  readonly secrets: SecretStore;
  readonly bundles: BundleStore;
  /** Calls `wake` whenever the Secret or the bundle may have changed, until the signal aborts. */
  readonly subscribe?: (wake: () => void, signal: AbortSignal) => void;
  readonly clock: Pick<Clock, 'now' | 'sleep'>;
  readonly log: Log;
  /** Called with every change of the report. */
  readonly onReport?: (report: AuthorityReport) => void;
}

/** How the authority stands on this replica. */
export interface AuthorityReport {
  /** Whether certificates can be signed. */
  readonly serving: boolean;
  /** What is wrong; when `serving`, the state from before goes on. Its code fits a condition's reason. */
  readonly problem: TulleError | undefined;
  /** What is served, in the form of the Mesh's `status.authority`. */
  readonly status: MeshStatus['authority'];
}

/** A signed leaf with what a client needs to verify it. */
export interface IssuedCertificate extends SignedCertificate {
  /** One PEM an element: the leaf, and last the trust bundle, which may hold several roots. */
  readonly chain: readonly string[];
}

/** Between two looks at the stored state when nothing changed, ms. */
const passIntervalMs = 30_000;
/** Passes in a row without a wait: creating takes two, losing the race to create takes two. */
const passesInARow = 4;

export function createCertificateAuthority(options: AuthorityOptions): CertificateAuthority {
  return new CertificateAuthority(options);
}

export class CertificateAuthority {
  readonly trustDomain: TrustDomain;
  readonly #options: AuthorityOptions;
  readonly #ready = Promise.withResolvers<void>();
  #served: AuthorityState | undefined;
  #problem: TulleError | undefined;
  #nap = new AbortController();

  /** @throws TulleError TrustDomainInvalid */
  constructor(options: AuthorityOptions) {
    this.trustDomain = parseTrustDomain(options.trustDomain);
    this.#options = options;
  }

  /** Resolves when certificates can be signed for the first time. */
  ready(): Promise<void> {
    return this.#ready.promise;
  }

  report(): AuthorityReport {
    const served = this.#served;
    return { serving: served !== undefined, problem: this.#problem, status: served && statusOf(served) };
  }

  /** What clients should trust, undefined until something is served. */
  bundle(): TrustBundle | undefined {
    return this.#served?.bundle;
  }

  /**
   * Signs a workload's certificate. Whether the caller may have it was decided before.
   * @param requestedSeconds 0 for as long as the Mesh allows
   * @throws TulleError AuthorityNotLoaded, AuthorityExpired, CertificateProfileInvalid
   */
  signWorkload(id: SpiffeId, publicKey: P256PublicKey, requestedSeconds: number): IssuedCertificate {
    if (trustDomainOf(id) !== this.trustDomain) {
      throw new TulleError('CertificateProfileInvalid', `${id} is not in the trust domain ${this.trustDomain}.`);
    }
    return this.#sign(workloadProfile, [{ type: 'uri', value: id }], publicKey, requestedSeconds);
  }

  /**
   * Signs the certificate of a server of ours, which is known by DNS names.
   * @throws TulleError AuthorityNotLoaded, AuthorityExpired
   */
  signServer(dnsNames: readonly string[], publicKey: P256PublicKey): IssuedCertificate {
    const names = dnsNames.map((value) => ({ type: 'dns', value }) as const);
    return this.#sign(serverProfile, names, publicKey, 0);
  }

  /** Passes until the signal aborts; the promise resolves then and never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const backoff = new Backoff({ baseMs: 500, maxMs: passIntervalMs });
    this.#options.subscribe?.(() => this.#nap.abort(), signal);
    while (!signal.aborted) {
      // Made before the pass, so that a change during the pass ends the sleep after it.
      this.#nap = new AbortController();
      const settled = await this.reconcile();
      if (settled) backoff.reset();
      const pauseMs = settled ? passIntervalMs : backoff.next();
      await this.#options.clock.sleep(pauseMs, AbortSignal.any([signal, this.#nap.signal]));
    }
  }

  /**
   * Brings this replica in line with what is stored; at most one may run at a time.
   * @returns whether the stored state is served and published
   */
  async reconcile(): Promise<boolean> {
    try {
      for (let pass = 0; pass < passesInARow; pass++) {
        const decision = await this.#look();
        await this.#act(decision);
        if (decision.action !== 'create') return decision.action === 'serve';
      }
      return false;
    } catch (error) {
      this.#report(isTulleError(error) ? error : unreachable(error));
      return false;
    }
  }

  async #look(): Promise<Decision> {
    const { bundles, secrets } = this.#options;
    // In this order: see Observation.
    const published = await bundles.read();
    const stored = await secrets.read();
    return decide({ trustDomain: this.trustDomain, served: this.#served, published, stored });
  }

  async #act(decision: Decision): Promise<void> {
    switch (decision.action) {
      case 'create':
        return this.#create();
      case 'serve':
        return this.#serve(decision.state, decision.publish);
      case 'refuse':
        return this.#report(decision.problem);
    }
  }

  /** Stores a new root and forgets it: the next pass reads what is really stored, which may be another replica's. */
  async #create(): Promise<void> {
    const { rootTtlSeconds, clock, secrets, log } = this.#options;
    const root = makeRootAuthority(this.trustDomain, rootTtlSeconds, clock.now(), 'active');
    const outcome = await secrets.create(encodeAuthorityState(this.trustDomain, [root]));
    log.info({ authority: root.id, outcome }, outcome === 'created' ? 'authority created' : 'authority exists already');
  }

  async #serve(state: AuthorityState, publish: boolean): Promise<void> {
    const { bundles, log } = this.#options;
    if (publish) {
      await bundles.publish({ pem: state.bundle.pem, sha256: state.bundle.sha256 });
      log.info({ bundleSha256: state.bundle.sha256 }, 'trust bundle published');
    }
    const changed = this.#served?.bundle.sha256 !== state.bundle.sha256 || this.#activeId() !== state.active.root.id;
    this.#served = state;
    if (changed) log.info({ authority: state.active.root.id, notAfter: notAfter(state.active) }, 'authority served');
    if (changed || this.#problem !== undefined) this.#report(undefined);
    this.#ready.resolve();
  }

  #activeId(): string | undefined {
    return this.#served?.active.root.id;
  }

  /** Logs and reports a problem once, not at every pass that finds it again. */
  #report(problem: TulleError | undefined): void {
    const { log, onReport } = this.#options;
    if (problem !== undefined && problem.message === this.#problem?.message) return;
    this.#problem = problem;
    if (problem !== undefined) {
      log.error({ code: problem.code, serving: this.#served !== undefined }, explain(problem));
    }
    onReport?.(this.report());
  }

  #sign(
    profile: CertificateProfile,
    alternativeNames: readonly AlternativeName[],
    publicKey: P256PublicKey,
    requestedSeconds: number,
  ): IssuedCertificate {
    const { active, bundle } = this.#loaded();
    const { clock, leafTtlSeconds } = this.#options;
    const validity = leafValidity(clock.now(), requestedSeconds, leafTtlSeconds(), active.root.validity);
    if (validity === undefined) throw expired(active);
    const content = {
      profile,
      subject: emptyName,
      issuer: active.root.subject,
      alternativeNames,
      publicKey,
      issuerPublicKey: active.root.publicKey,
      validity,
    };
    const certificate = signCertificate(content, active.signingKey);
    return { ...certificate, chain: [certificate.pem, bundle.pem] };
  }

  #loaded(): AuthorityState {
    if (this.#served !== undefined) return this.#served;
    const why = this.#problem === undefined ? '' : ` ${explain(this.#problem)}`;
    throw new TulleError('AuthorityNotLoaded', `No authority is loaded on this replica.${why}`);
  }
}

function statusOf(state: AuthorityState): NonNullable<MeshStatus['authority']> {
  return {
    trustDomain: state.bundle.trustDomain,
    bundleSha256: state.bundle.sha256,
    authorities: state.authorities.map(({ root, phase }) => ({
      id: root.id,
      state: phase,
      notAfter: root.validity.notAfter.toISOString(),
    })),
  };
}

function notAfter(authority: ActiveAuthority): string {
  return authority.root.validity.notAfter.toISOString();
}

function expired(active: ActiveAuthority): TulleError {
  const { notBefore, notAfter } = active.root.validity;
  return new TulleError(
    'AuthorityExpired',
    `The root ${active.root.id} is valid from ${notBefore.toISOString()} to ${notAfter.toISOString()}, not now.`,
    { mend: 'Check the clock of the node tulle-control runs on.' },
  );
}

function unreachable(cause: unknown): TulleError {
  return new TulleError('KubernetesUnreachable', `The stored authority cannot be read: ${explain(cause)}`, { cause });
}
