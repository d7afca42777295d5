import { createHash } from 'node:crypto';
import { TulleError } from '../../errors/tulle-error.ts';
import { type RootCertificate, readRootCertificate } from '../x509/root-certificate.ts';
import { pemBlocks } from '../x509/signing-certificate.ts';
import type { TrustDomain } from '../x509/spiffe-id.ts';

/** The roots of one trust domain. Bundles of two domains are two bundles: there is no operation that joins them. */
export interface TrustBundle {
  readonly trustDomain: TrustDomain;
  readonly roots: readonly RootCertificate[];
  /** All roots, PEM, in the order they were made. */
  readonly pem: string;
  /** SHA-256 of `pem`, lower-case hex: what proxies report and the ConfigMap's annotation says. */
  readonly sha256: string;
}

/** A bundle is read from a ConfigMap, which holds at most 1 MiB; eight roots are under 8 KiB. */
const maximumBundleLength = 65_536;

/**
 * @throws TulleError TrustBundleInvalid for no roots, or one of another trust domain
 */
export function trustBundle(trustDomain: TrustDomain, roots: readonly RootCertificate[]): TrustBundle {
  if (roots.length === 0) throw new TulleError('TrustBundleInvalid', 'A trust bundle has no roots.');
  const foreign = roots.find((root) => root.trustDomain !== trustDomain);
  if (foreign !== undefined) {
    throw new TulleError(
      'TrustBundleInvalid',
      `A root of trust domain ${foreign.trustDomain} has no place in the bundle of ${trustDomain}.`,
    );
  }
  const pem = roots.map((root) => root.pem).join('');
  return { trustDomain, roots, pem, sha256: bundleSha256(pem) };
}

/**
 * Reads a bundle from its PEM text.
 * @throws TulleError TrustBundleInvalid for anything that is not a root of `trustDomain`
 */
export function parseTrustBundle(trustDomain: TrustDomain, pem: string): TrustBundle {
  if (pem.length > maximumBundleLength) {
    throw new TulleError('TrustBundleInvalid', `A trust bundle is longer than ${maximumBundleLength} characters.`);
  }
  return trustBundle(
    trustDomain,
    pemBlocks(pem).map((block) => readRootCertificate(block, trustDomain, 'TrustBundleInvalid')),
  );
}

/** SHA-256 of a bundle's exact text, lower-case hex. */
export function bundleSha256(pem: string): string {
  return createHash('sha256').update(pem).digest('hex');
}
