import { generateKeyPairSync } from 'node:crypto';
import { signCertificate } from './certificate.ts';
import { serverProfile, skewAllowanceMs } from './certificate-profile.ts';
import { distinguishedName } from './distinguished-name.ts';
import { publicKeyOf } from './public-key.ts';

/** Longer than a process lives, ms. */
const lifetimeMs = 10 * 365 * 24 * 60 * 60_000;

/** A key and a certificate signed by itself, PEM: for a server whose clients do not verify it. The key stays in memory. */
export function selfSigned(dnsName: string, now: number): { certificate: string; privateKey: string } {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const publicKey = publicKeyOf(privateKey);
  const name = distinguishedName('Tulle', dnsName);
  const { pem } = signCertificate(
    {
      profile: serverProfile,
      subject: name,
      issuer: name,
      alternativeNames: [{ type: 'dns', value: dnsName }],
      publicKey,
      issuerPublicKey: publicKey,
      validity: { notBefore: new Date(now - skewAllowanceMs), notAfter: new Date(now + lifetimeMs) },
    },
    privateKey,
  );
  return { certificate: pem, privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
}
