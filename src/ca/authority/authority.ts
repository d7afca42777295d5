/**
 * The certificate authority of one tulle-control replica. Every replica has one, and all serve the same stored state.
 *
 *   pass ─► read bundle, evidence ─► read Secret ─► decide (pure) ─┬─ create  store a new root, then pass again and read it back
 *    ▲                                                             ├─ serve   publish the bundle where it differs, then sign
 *    │                                                             └─ refuse  sign nothing, keep the bundle published, report
 *    └── every `passIntervalMs`, and at once when the Secret or the bundle changed
 *
 *                ┌──── create, serve ────┐            refuse
 *   loading ─────┤                       ├─► issuing ─────────► withheld    what is held is kept: trust bundle and discovery go on
 *      holds     └── refuse: as before ──┘      ▲                  │
 *      nothing                                  └──── serve ───────┘        restored, or a rotation that was missed
 *
 * Nothing is signed but in `issuing`. A pass that cannot look, because the API server is away, moves nothing; one that can read
 * the Secret, and neither bundle nor evidence, may still refuse. A signer that is not valid now withholds as a refusal does.
 * The bundle is published only over the one that was read before the Secret: who was overtaken looks again.
 */

import type { MeshStatus } from '../../api/mesh.ts';
import { explain, isTulleError, TulleError } from '../../errors/tulle-error.ts';
import { ApiError } from '../../kube/client/api-error.ts';
import type { Clock } from '../../kube/clock.ts';
import { Backoff } from '../../kube/controller/backoff.ts';
import type { Log } from '../../telemetry/log.ts';
import { type SignedCertificate, signCertificate } from '../x509/certificate.ts';
import {
  type AlternativeName,
  type CertificateProfile,
  leafValidity,
  serverProfile,
  workloadProfile,
} from '../x509/certificate-profile.ts';
import { emptyName } from '../x509/distinguished-name.ts';
import type { P256PublicKey } from '../x509/public-key.ts';
import { parseTrustDomain, type SpiffeId, type TrustDomain, trustDomainOf } from '../x509/spiffe-id.ts';
import { type Decision, decide, type Publication } from './decision.ts';
import { makeRootAuthority } from './root-authority.ts';
import type { ActiveSigner, AuthorityState } from './state.ts';
import { encodeAuthority } from './stored-authority.ts';
import type { BundleStore, EvidenceStore, SecretStore } from './stores.ts';
import type { TrustBundle } from './trust-bundle.ts';

export interface AuthorityOptions {
  /** The Mesh's `spec.trustDomain`. */
  readonly trustDomain: string;
  /** The Mesh's `spec.authority.rootTtlSeconds`, asked when a root is made. */
  readonly rootTtlSeconds: () => number;
  /** The Mesh's `spec.authority.leafTtlSeconds`, asked at every signature. */
  readonly leafTtlSeconds: () => number;
  readonly secrets: SecretStore;
  readonly bundles: BundleStore;
  readonly evidence: EvidenceStore;
  /** Calls `wake` whenever the Secret or the bundle may have changed, until the signal aborts. */
  readonly subscribe?: (wake: () => void, signal: AbortSignal) => void;
  readonly clock: Pick<Clock, 'now' | 'sleep'>;
  readonly log: Log;
  /** Called with every change of the report. */
  readonly onReport?: (report: AuthorityReport) => void;
}

/** How the authority stands on this replica. */
export interface AuthorityReport {
  /** Whether certificates are signed. */
  readonly issuing: boolean;
  /**
   * Why nothing is signed; or what else is wrong while certificates are signed, as when the API server cannot be asked. Its code
   * fits a condition's reason.
   */
  readonly problem: TulleError | undefined;
  /** What is held, in the form of the Mesh's `status.authority`; also while nothing is signed. */
  readonly status: MeshStatus['authority'];
}

/** A signed leaf with what a client needs to verify it. */
export interface IssuedCertificate extends SignedCertificate {
  /** One PEM an element: the leaf, what leads from it to the trust anchor, and last the trust bundle, which may hold several roots. */
  readonly chain: readonly string[];
  /** What a server shows: the leaf and what leads to the trust anchor, PEM. */
  readonly shown: string;
  /** The id of the signer. */
  readonly signer: string;
}

/** Between two looks at the stored state when nothing changed, ms. */
const passIntervalMs = 30_000;
/** Passes in a row without a wait: creating takes two, losing the race to create or to publish takes two. */
const passesInARow = 4;

export function createCertificateAuthority(options: AuthorityOptions): CertificateAuthority {
  return new CertificateAuthority(options);
}

export class CertificateAuthority {
  readonly trustDomain: TrustDomain;
  readonly #options: AuthorityOptions;
  readonly #ready = Promise.withResolvers<void>();
  #held: AuthorityState | undefined;
  /** Why nothing is signed, undefined when there is no reason against it. */
  #withheld: TulleError | undefined;
  #problem: TulleError | undefined;
  #reportedIssuing = false;
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
    const held = this.#held;
    return { issuing: this.#isIssuing(), problem: this.#withheld ?? this.#problem, status: held && statusOf(held) };
  }

  /** What clients should trust, undefined until something is held. */
  bundle(): TrustBundle | undefined {
    return this.#held?.bundle;
  }

  /** The id of the signer that is held, which changes when another becomes active; undefined until something is held. */
  signer(): string | undefined {
    return this.#held?.active.id;
  }

  /**
   * Signs a workload's certificate. Whether the caller may have it was decided before.
   * @param requestedSeconds 0 for as long as the Mesh allows
   * @throws TulleError AuthorityNotLoaded, AuthorityWithheld, AuthorityExpired, CertificateProfileInvalid
   */
  signWorkload(id: SpiffeId, publicKey: P256PublicKey, requestedSeconds: number): IssuedCertificate {
    if (trustDomainOf(id) !== this.trustDomain) {
      throw new TulleError('CertificateProfileInvalid', `${id} is not in the trust domain ${this.trustDomain}.`);
    }
    return this.#sign(workloadProfile, [{ type: 'uri', value: id }], publicKey, requestedSeconds);
  }

  /**
   * Signs the certificate of a server of ours, which is known by DNS names.
   * @throws TulleError AuthorityNotLoaded, AuthorityWithheld, AuthorityExpired
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
        if (await this.#act(await this.#look())) return this.#isIssuing();
      }
      throw overwritten();
    } catch (error) {
      this.#report(isTulleError(error) ? error : notRead(error));
      return false;
    }
  }

  async #look(): Promise<Decision> {
    const { bundles, evidence, secrets } = this.#options;
    const known = { trustDomain: this.trustDomain, held: this.#held };
    // The Secret is read last: see Observation.
    const beside = await Promise.all([bundles.read(), evidence.read()]).catch((error: unknown) => ({ error }));
    if (Array.isArray(beside)) {
      const [published, told] = beside;
      return decide({ ...known, published, evidence: told, stored: await secrets.read() });
    }
    // What a replica holds is enough to see that the Secret is another one or gone, and not to go on with another state.
    if (this.#held === undefined) throw beside.error;
    const nothingTold = { published: undefined, evidence: { reported: undefined, acknowledged: [] } };
    const decision = decide({ ...known, ...nothingTold, stored: await secrets.read() });
    if (decision.action !== 'refuse') throw beside.error;
    return { ...decision, publish: undefined };
  }

  /** @returns whether it is done; otherwise something has changed since the look, and it takes another */
  async #act(decision: Decision): Promise<boolean> {
    switch (decision.action) {
      case 'create':
        return this.#create();
      case 'serve':
        return this.#serve(decision.state, decision.publish);
      case 'refuse':
        return this.#refuse(decision.problem, decision.publish);
    }
  }

  /** Stores a new root and forgets it: the next pass reads what is really stored, which may be another replica's. */
  async #create(): Promise<false> {
    const { rootTtlSeconds, clock, secrets, log } = this.#options;
    const { trustAnchor, signer } = makeRootAuthority(this.trustDomain, rootTtlSeconds(), clock.now(), 'active');
    const stored = encodeAuthority(this.trustDomain, { trustAnchors: [trustAnchor], signers: [signer] });
    const outcome = await secrets.create(stored);
    const message = outcome === 'created' ? 'authority created' : 'authority exists already';
    log.info({ authority: trustAnchor.id, outcome }, message);
    return false;
  }

  async #serve(state: AuthorityState, publish: Publication | undefined): Promise<boolean> {
    const isSwitch = this.#held !== undefined && this.#held.active.id !== state.active.id;
    const isNew = isSwitch || this.#held?.bundle.sha256 !== state.bundle.sha256;
    const over = this.#isValidNow(state) ? undefined : expired(state.active);
    // Should the bundle not be published, the signer from before signs no more and the next one not yet.
    this.#withheld = isSwitch ? switching(state) : over;
    if (publish !== undefined && !(await this.#publish(state.bundle, publish))) return false;
    this.#held = state;
    this.#withheld = over;
    const { id, anchor, validity } = state.active;
    const fields = { authority: anchor.root.id, signer: id, notAfter: validity.notAfter.toISOString() };
    if (isNew) this.#options.log.info(fields, 'authority served');
    this.#report(over, isNew);
    if (over === undefined) this.#ready.resolve();
    return true;
  }

  /** Signing ends before anything else is tried. */
  async #refuse(problem: TulleError, publish: Publication | undefined): Promise<boolean> {
    this.#withheld = problem;
    this.#report(problem);
    if (publish === undefined || this.#held === undefined) return true;
    // The problem is the Secret: that the bundle cannot be written either is no other one to report.
    await this.#publish(this.#held.bundle, publish).catch((err: unknown) => {
      this.#options.log.warn({ err }, 'the trust bundle cannot be put back');
    });
    return true;
  }

  /** @returns whether it was published: not where another replica wrote since the bundle was read, whose word may be newer */
  async #publish({ pem, sha256 }: TrustBundle, { over }: Publication): Promise<boolean> {
    const { bundles, log } = this.#options;
    const outcome = await bundles.publish({ pem, sha256 }, over).catch((cause: unknown) => {
      throw unpublished(cause);
    });
    const published = outcome === 'published';
    log.info(
      { bundleSha256: sha256, outcome },
      published ? 'trust bundle published' : 'trust bundle changed meanwhile',
    );
    return published;
  }

  #isIssuing(): boolean {
    return this.#held !== undefined && this.#withheld === undefined;
  }

  /** Logs and reports a problem, or that there is none, once: not at every pass that finds the same again. */
  #report(problem: TulleError | undefined, isNew = false): void {
    const { log, onReport } = this.#options;
    const issuing = this.#isIssuing();
    if (!isNew && problem?.message === this.#problem?.message && issuing === this.#reportedIssuing) return;
    this.#problem = problem;
    this.#reportedIssuing = issuing;
    if (problem !== undefined) log.error({ code: problem.code, issuing }, explain(problem));
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
    const validity = leafValidity(clock.now(), requestedSeconds, leafTtlSeconds(), active.validity);
    if (validity === undefined) throw expired(active);
    const content = {
      profile,
      subject: emptyName,
      issuer: active.issuer.subject,
      alternativeNames,
      publicKey,
      issuerPublicKey: active.issuer.publicKey,
      validity,
    };
    const certificate = signCertificate(content, active.key);
    const shown = [certificate.pem, ...active.chain.map(({ pem }) => pem)];
    return { ...certificate, chain: [...shown, bundle.pem], shown: shown.join(''), signer: active.id };
  }

  #isValidNow({ active }: AuthorityState): boolean {
    const { clock, leafTtlSeconds } = this.#options;
    return leafValidity(clock.now(), 0, leafTtlSeconds(), active.validity) !== undefined;
  }

  #loaded(): AuthorityState {
    const reason = this.#withheld ?? this.#problem;
    const why = reason === undefined ? '' : ` ${explain(reason)}`;
    if (this.#held === undefined) {
      throw new TulleError('AuthorityNotLoaded', `No authority is loaded on this replica.${why}`);
    }
    if (this.#withheld !== undefined) throw new TulleError('AuthorityWithheld', `Nothing is signed now.${why}`);
    return this.#held;
  }
}

function statusOf(state: AuthorityState): NonNullable<MeshStatus['authority']> {
  return {
    trustDomain: state.bundle.trustDomain,
    bundleSha256: state.bundle.sha256,
    authorities: state.anchors.map(({ root, phase }) => ({
      id: root.id,
      state: phase,
      notAfter: root.validity.notAfter.toISOString(),
    })),
  };
}

function switching({ active }: AuthorityState): TulleError {
  const message = `The signer ${active.id} is to sign from now on, and its trust bundle is not published yet.`;
  return new TulleError('AuthorityWithheld', message, { fix: mayWriteBundle });
}

function expired({ id, validity: { notBefore, notAfter } }: ActiveSigner): TulleError {
  return new TulleError(
    'AuthorityExpired',
    `The signer ${id} is valid from ${notBefore.toISOString()} to ${notAfter.toISOString()}, not now.`,
    {
      fix:
        'Check the clock of the node tulle-control runs on. To start over with a new root when this one has really expired, ' +
        'delete the Mesh and create it again.',
    },
  );
}

const mayWriteBundle = 'See whether tulle-control may write the ConfigMap tulle-trust-bundle in tulle-system.';

function unpublished(cause: unknown): TulleError {
  const message = `The trust bundle cannot be published: ${explain(cause)}`;
  return new TulleError('TrustBundleNotPublished', message, { fix: mayWriteBundle, cause });
}

function overwritten(): TulleError {
  const message = 'The trust bundle cannot be published: somebody else changed it each time.';
  return new TulleError('TrustBundleNotPublished', message, {
    fix: 'See who writes the ConfigMap tulle-trust-bundle in tulle-system.',
  });
}

function notRead(cause: unknown): TulleError {
  const message = `The stored authority, or what the mesh remembers of it, cannot be read or written: ${explain(cause)}`;
  if (!(cause instanceof ApiError)) return new TulleError('KubernetesUnreachable', message, { cause });
  const fix = 'See whether the rights of tulle-control are as installed.';
  return new TulleError('KubernetesRequestFailed', message, { fix, cause });
}
