import { generateKeyPairSync } from 'node:crypto';
import { signCertificate } from '../x509/certificate.ts';
import { rootProfile, skewAllowanceMs } from '../x509/certificate-profile.ts';
import { distinguishedName } from '../x509/distinguished-name.ts';
import { keyIdentifier, publicKeyOf } from '../x509/public-key.ts';
import { type TrustDomain, trustDomainSpiffeId } from '../x509/spiffe-id.ts';
import type { StoredSigner, StoredTrustAnchor } from './stored-authority.ts';

/** A root that is its own signer. */
export interface RootAuthority {
  readonly trustAnchor: StoredTrustAnchor;
  readonly signer: StoredSigner;
}

/**
 * Makes a new root: a P-256 key and its self-signed certificate, in the form the Secret holds. Nobody may sign with it before it
 * is stored.
 *
 * Its name carries its key identifier, because a verifier finds an issuer by name and two roots of one trust domain may be
 * trusted at once.
 * @param now ms since the epoch
 */
export function makeRootAuthority(
  trustDomain: TrustDomain,
  rootTtlSeconds: number,
  now: number,
  state: 'active' | 'prepared',
): RootAuthority {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const publicKey = publicKeyOf(privateKey);
  const id = keyIdentifier(publicKey).toString('hex');
  const subject = distinguishedName('Tulle', `root ${id}`);
  const { pem } = signCertificate(
    {
      profile: rootProfile,
      subject,
      issuer: subject,
      alternativeNames: [{ type: 'uri', value: trustDomainSpiffeId(trustDomain) }],
      publicKey,
      issuerPublicKey: publicKey,
      validity: { notBefore: new Date(now - skewAllowanceMs), notAfter: new Date(now + rootTtlSeconds * 1000) },
    },
    privateKey,
  );
  const key = privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
  return {
    trustAnchor: { id, state, certificate: pem },
    signer: { id, state, trustAnchor: id, chain: [], privateKey: key },
  };
}
