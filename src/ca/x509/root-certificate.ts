import type { ErrorCode } from '../../errors/codes.ts';
import { TulleError } from '../../errors/tulle-error.ts';
import { readSigningCertificate, type SigningCertificate } from './signing-certificate.ts';
import type { TrustDomain } from './spiffe-id.ts';

/** A self-signed signing certificate of one trust domain, checked. */
export type RootCertificate = SigningCertificate;

/**
 * Reads a root of `trustDomain`.
 * @param code of the error thrown when it is not one
 */
export function readRootCertificate(pem: string, trustDomain: TrustDomain, code: ErrorCode): RootCertificate {
  const root = readSigningCertificate(pem, trustDomain, { called: 'root', code });
  if (root.certificate.verify(root.publicKey.key)) return root;
  throw new TulleError(code, 'A certificate that is to be a root cannot be used: it is not signed by its own key.');
}
