import type { SpiffeId } from './spiffe-id.ts';

/** A Subject Alternative Name we put into certificates. */
export type AlternativeName =
  | { readonly type: 'uri'; readonly value: SpiffeId }
  | { readonly type: 'dns'; readonly value: string };

/** What a certificate may be used for: everything that differs between the certificates we sign. */
export interface CertificateProfile {
  /** Undefined for a leaf, which signs nothing. */
  readonly ca: { readonly pathLength: number } | undefined;
  /** Bits of keyUsage (RFC 5280, section 4.2.1.3). */
  readonly keyUsage: readonly ('digitalSignature' | 'keyCertSign' | 'cRLSign')[];
  readonly extendedKeyUsage: readonly ('serverAuth' | 'clientAuth')[];
}

/**
 * A root: signs leaves, and may sign an intermediate that signs leaves (pathLenConstraint 1), for a root lives for years and what
 * it may sign cannot be changed later. That a leaf never becomes an authority is said in the leaf.
 * X509-SVID, section 4.1 and RFC 5280, section 4.2.1.9.
 */
export const rootProfile: CertificateProfile = {
  ca: { pathLength: 1 },
  keyUsage: ['keyCertSign', 'cRLSign'],
  extendedKeyUsage: [],
};

/** A workload, at either end of a connection. X509-SVID, sections 4.1 to 4.4. */
export const workloadProfile: CertificateProfile = {
  ca: undefined,
  keyUsage: ['digitalSignature'],
  extendedKeyUsage: ['serverAuth', 'clientAuth'],
};

/** tulle-control's own gRPC server: no SPIFFE ID and no clientAuth, so that no proxy takes it for a workload. */
export const serverProfile: CertificateProfile = {
  ca: undefined,
  keyUsage: ['digitalSignature'],
  extendedKeyUsage: ['serverAuth'],
};

/**
 * How far the clocks of two machines may be apart, ms: a certificate is dated back by this much, so that it is valid at once on a
 * machine whose clock is behind.
 */
export const skewAllowanceMs = 120_000;

export interface Validity {
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** When all of a chain is valid; never, its end before its begin, where its certificates have no time in common. */
export function commonValidity(chain: readonly Validity[]): Validity {
  return {
    notBefore: new Date(Math.max(...chain.map(({ notBefore }) => notBefore.getTime()))),
    notAfter: new Date(Math.min(...chain.map(({ notAfter }) => notAfter.getTime()))),
  };
}

/**
 * The validity of a leaf: what is asked for, at most what the Mesh allows, never outside the signer's.
 * @param requestedSeconds 0 for the most there is
 * @param maximumSeconds the Mesh's `spec.authority.leafTtlSeconds`
 * @returns undefined when the signer itself is not valid now
 */
export function leafValidity(
  now: number,
  requestedSeconds: number,
  maximumSeconds: number,
  signer: Validity,
): Validity | undefined {
  const wanted = requestedSeconds > 0 ? Math.min(requestedSeconds, maximumSeconds) : maximumSeconds;
  const notBefore = Math.max(now - skewAllowanceMs, signer.notBefore.getTime());
  const notAfter = Math.min(now + wanted * 1000, signer.notAfter.getTime());
  if (now < signer.notBefore.getTime() || notAfter <= now) return undefined;
  return { notBefore: new Date(notBefore), notAfter: new Date(notAfter) };
}
