import { X509Certificate } from 'node:crypto';
import type { ErrorCode } from '../../errors/codes.ts';
import { TulleError } from '../../errors/tulle-error.ts';
import { certificateFields } from './certificate-fields.ts';
import type { Validity } from './certificate-profile.ts';
import type { DistinguishedName } from './distinguished-name.ts';
import { keyIdentifier, type P256PublicKey, publicKeyOf } from './public-key.ts';
import { type TrustDomain, trustDomainSpiffeId } from './spiffe-id.ts';

/** A certificate that may sign others, a root's or an intermediate's, read but not yet verified. */
export interface SigningCertificate {
  /** Its subject key identifier, lower-case hex. */
  readonly id: string;
  readonly trustDomain: TrustDomain;
  readonly certificate: X509Certificate;
  readonly subject: DistinguishedName;
  readonly publicKey: P256PublicKey;
  readonly validity: Validity;
  /** How many signing certificates may follow below it; undefined for any number. */
  readonly pathLength: number | undefined;
  /** One block, in the form we write. */
  readonly pem: string;
}

/** What a certificate is called in errors. */
type Called = 'root' | 'intermediate';

/**
 * Reads a CA certificate with a P-256 key which, where it names a trust domain, names this one (X509-SVID, section 4.1). Whether
 * it is valid now is not asked here: an expired root is still a root.
 * @param code of the error thrown when it is not one
 */
export function readSigningCertificate(
  pem: string,
  trustDomain: TrustDomain,
  { called, code }: { readonly called: Called; readonly code: ErrorCode },
): SigningCertificate {
  const fault = (why: string, cause?: unknown) =>
    new TulleError(code, `A certificate that is to be ${nounOf(called)} cannot be used: ${why}.`, { cause });
  const certificate = parse(pem, fault);
  if (!certificate.ca) throw fault('it is not a CA certificate');
  const publicKey = readPublicKey(certificate, fault);
  const { subject, uris, pathLength } = certificateFields(certificate, code);
  const expected = trustDomainSpiffeId(trustDomain);
  const named = uris.length === 1 && uris[0] === expected;
  if (!named && (called === 'root' || uris.length > 0)) throw fault(`its one URI name must be ${expected}`);
  return {
    id: keyIdentifier(publicKey).toString('hex'),
    trustDomain,
    certificate,
    subject,
    publicKey,
    validity: { notBefore: certificate.validFromDate, notAfter: certificate.validToDate },
    pathLength,
    pem: certificate.toString(),
  };
}

/** Every CERTIFICATE block of a text, each with its markers. */
export function pemBlocks(text: string): readonly string[] {
  return text.match(/-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\n?/g) ?? [];
}

type Fault = (why: string, cause?: unknown) => TulleError;

/** X509Certificate takes the first block and ignores what follows, so one block is made sure of first. */
function parse(pem: string, fault: Fault): X509Certificate {
  if (pemBlocks(pem).length !== 1) throw fault('it is not one PEM block CERTIFICATE');
  try {
    return new X509Certificate(pem);
  } catch (cause) {
    throw fault('it is not X.509', cause);
  }
}

/** Decoding the key is put off by node:crypto until it is asked for, and may fail then. */
function readPublicKey(certificate: X509Certificate, fault: Fault): P256PublicKey {
  try {
    return publicKeyOf(certificate.publicKey);
  } catch (cause) {
    throw fault('its public key is not ECDSA P-256', cause);
  }
}

function nounOf(called: Called): string {
  return called === 'root' ? 'a root' : 'an intermediate';
}
