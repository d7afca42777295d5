import { X509Certificate } from 'node:crypto';
import type { ErrorCode } from '../errors/codes.ts';
import { TulleError } from '../errors/tulle-error.ts';
import { certificateFields } from './certificate-fields.ts';
import type { Validity } from './certificate-profile.ts';
import type { DistinguishedName } from './distinguished-name.ts';
import { keyIdentifier, type P256PublicKey, publicKeyOf } from './public-key.ts';
import { type TrustDomain, trustDomainSpiffeId } from './spiffe-id.ts';

/** A self-signed signing certificate of one trust domain, checked. */
export interface RootCertificate {
  /** Its subject key identifier, lower-case hex. */
  readonly id: string;
  readonly trustDomain: TrustDomain;
  readonly certificate: X509Certificate;
  readonly subject: DistinguishedName;
  readonly publicKey: P256PublicKey;
  readonly validity: Validity;
  /** One block, in the form we write. */
  readonly pem: string;
}

/**
 * Reads a root of `trustDomain`. Whether it is valid now is not asked here: an expired root is still a root.
 * @param code of the error thrown when it is not one
 */
export function readRootCertificate(pem: string, trustDomain: TrustDomain, code: ErrorCode): RootCertificate {
  const certificate = parse(pem, code);
  const fault = (why: string) => new TulleError(code, `A root certificate cannot be used: ${why}.`);
  if (!certificate.ca) throw fault('it is not a CA certificate');
  const publicKey = readPublicKey(certificate, code);
  if (!certificate.verify(publicKey.key)) throw fault('it is not signed by its own key');
  const expected = trustDomainSpiffeId(trustDomain);
  const { subject, uris } = certificateFields(certificate, code);
  if (uris.length !== 1 || uris[0] !== expected) throw fault(`its one URI name must be ${expected}`);
  return {
    id: keyIdentifier(publicKey).toString('hex'),
    trustDomain,
    certificate,
    subject,
    publicKey,
    validity: { notBefore: certificate.validFromDate, notAfter: certificate.validToDate },
    pem: certificate.toString(),
  };
}

/** Decoding the key is put off by node:crypto until it is asked for, and may fail then. */
function readPublicKey(certificate: X509Certificate, code: ErrorCode): P256PublicKey {
  try {
    return publicKeyOf(certificate.publicKey);
  } catch (cause) {
    throw new TulleError(code, "A root certificate's public key is not ECDSA P-256.", { cause });
  }
}

/** X509Certificate takes the first block and ignores what follows, so one block is made sure of first. */
function parse(pem: string, code: ErrorCode): X509Certificate {
  if (pemBlocks(pem).length !== 1) throw new TulleError(code, 'A root certificate is not one PEM block CERTIFICATE.');
  try {
    return new X509Certificate(pem);
  } catch (cause) {
    throw new TulleError(code, 'A root certificate is not X.509.', { cause });
  }
}

/** Every CERTIFICATE block of a text, each with its markers. */
export function pemBlocks(text: string): readonly string[] {
  return text.match(/-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\n?/g) ?? [];
}
