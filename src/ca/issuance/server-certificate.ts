import { generateKeyPairSync } from 'node:crypto';
import { explain } from '../../errors/tulle-error.ts';
import type { Clock } from '../../kube/clock.ts';
import type { Log } from '../../telemetry/log.ts';
import type { CertificateAuthority } from '../authority/authority.ts';
import { publicKeyOf } from '../x509/public-key.ts';

export interface ServerCertificateOptions {
  readonly authority: Pick<CertificateAuthority, 'signServer' | 'signer'>;
  /** What clients may call the server. */
  readonly dnsNames: readonly string[];
  readonly clock: Pick<Clock, 'now' | 'sleep'>;
  readonly log: Log;
}

/** A server's key and certificate, in memory only. */
export interface ServerKeyPair {
  /** The leaf and what leads to the trust anchor, PEM. Clients have the trust anchor. */
  readonly certificate: string;
  /** PKCS #8, PEM. */
  readonly privateKey: string;
  readonly issuedAt: number;
  /** ms since the epoch. */
  readonly notAfter: number;
  /** The id of what signed it. */
  readonly signer: string;
}

/** How often the age of the certificate and the authority are looked at, ms. */
const lookIntervalMs = 10_000;
/** The same while there is no certificate yet, ms. */
const firstLookIntervalMs = 200;

/**
 * The TLS certificate of this replica's own gRPC server, signed by the authority the clients trust.
 *
 * The key is new with every certificate and never leaves the process. A certificate is renewed at half of its life, and at once
 * when another signer becomes active: the one from before is on its way out. Connections that are open go on with the one they began with.
 */
export function serverCertificate(options: ServerCertificateOptions): ServerCertificate {
  return new ServerCertificate(options);
}

export class ServerCertificate {
  readonly #options: ServerCertificateOptions;
  readonly #listeners = new Set<(pair: ServerKeyPair) => void>();
  #current: ServerKeyPair | undefined;
  /** Why the last look could not renew: logged once, not at every look. */
  #failure: string | undefined;

  constructor(options: ServerCertificateOptions) {
    this.#options = options;
  }

  /** Undefined until the authority is loaded. */
  current(): ServerKeyPair | undefined {
    return this.#current;
  }

  /** Calls `listener` with what there is, and with every renewal. */
  onChange(listener: (pair: ServerKeyPair) => void): () => void {
    this.#listeners.add(listener);
    if (this.#current !== undefined) listener(this.#current);
    return () => this.#listeners.delete(listener);
  }

  /** Renews until the signal aborts; resolves then and never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.renewIfDue();
      await this.#options.clock.sleep(this.#current === undefined ? firstLookIntervalMs : lookIntervalMs, signal);
    }
  }

  /** One look: makes a new certificate when there is none, it is half used up, or another signer is active. */
  renewIfDue(): void {
    const { authority, clock, dnsNames, log } = this.#options;
    const signer = authority.signer();
    if (signer === undefined || !isDue(this.#current, signer, clock.now())) return;
    try {
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const issued = authority.signServer(dnsNames, publicKeyOf(privateKey));
      this.#current = {
        certificate: issued.shown,
        privateKey: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
        issuedAt: clock.now(),
        notAfter: issued.validity.notAfter.getTime(),
        signer: issued.signer,
      };
      this.#failure = undefined;
      log.info(
        { serial: issued.serial, notAfter: issued.validity.notAfter.toISOString() },
        'server certificate issued',
      );
    } catch (error) {
      const failure = explain(error);
      if (failure !== this.#failure) log.error({ err: error }, `the server certificate cannot be renewed: ${failure}`);
      this.#failure = failure;
      return;
    }
    for (const listener of this.#listeners) listener(this.#current);
  }
}

function isDue(current: ServerKeyPair | undefined, signer: string, now: number): boolean {
  if (current === undefined || current.signer !== signer) return true;
  return now >= current.issuedAt + (current.notAfter - current.issuedAt) / 2;
}
