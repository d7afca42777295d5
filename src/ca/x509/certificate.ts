import { type KeyObject, randomBytes, sign } from 'node:crypto';
import {
  type Asn1,
  bitString,
  boolean,
  explicit,
  implicit,
  integer,
  octetString,
  oid,
  ready,
  sequence,
  time,
  toDer,
} from './asn1.ts';
import type { AlternativeName, CertificateProfile, Validity } from './certificate-profile.ts';
import { type DistinguishedName, emptyName } from './distinguished-name.ts';
import { keyIdentifier, type P256PublicKey } from './public-key.ts';

/** Object identifiers as RFC 5280, section 4.2.1 and RFC 5758, section 3.2 give them. */
const oids = {
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyIdentifier: '2.5.29.35',
  extKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
} as const;

/** Bit numbers of keyUsage. */
const keyUsageBits: Record<CertificateProfile['keyUsage'][number], number> = {
  digitalSignature: 0,
  keyCertSign: 5,
  cRLSign: 6,
};

/** Everything that goes into a certificate. */
export interface CertificateContent {
  readonly profile: CertificateProfile;
  readonly subject: DistinguishedName;
  readonly issuer: DistinguishedName;
  readonly alternativeNames: readonly AlternativeName[];
  readonly publicKey: P256PublicKey;
  readonly issuerPublicKey: P256PublicKey;
  readonly validity: Validity;
}

export interface SignedCertificate {
  readonly pem: string;
  /** Lower-case hex, as other tools print it. */
  readonly serial: string;
  readonly validity: Validity;
}

/**
 * Builds a certificate (RFC 5280) and signs it with ECDSA P-256 and SHA-256. Certificates know whole seconds only: the validity
 * is cut to them, and returned as it is written.
 * @param random gives that many random bytes; tests pass their own
 */
export function signCertificate(
  content: CertificateContent,
  signingKey: KeyObject,
  random: (size: number) => Buffer = randomBytes,
): SignedCertificate {
  const serial = serialNumber(random);
  const validity = {
    notBefore: wholeSeconds(content.validity.notBefore),
    notAfter: wholeSeconds(content.validity.notAfter),
  };
  const tbs = tbsCertificate({ ...content, validity }, serial);
  const signature = sign('sha256', toDer(tbs), { key: signingKey, dsaEncoding: 'der' });
  const der = toDer(sequence(tbs, signatureAlgorithm(), bitString(0, signature)));
  return { pem: toPem(der), serial: serial.toString('hex'), validity };
}

/** TBSCertificate, RFC 5280, section 4.1.2. */
function tbsCertificate(content: CertificateContent, serial: Buffer): Asn1 {
  const version3 = integer(Buffer.of(2));
  return sequence(
    explicit(0, version3),
    positive(serial),
    signatureAlgorithm(),
    ready(content.issuer),
    sequence(time(content.validity.notBefore), time(content.validity.notAfter)),
    ready(content.subject),
    ready(content.publicKey.spki),
    explicit(3, sequence(...extensions(content))),
  );
}

function extensions(content: CertificateContent): readonly Asn1[] {
  const { profile, alternativeNames, publicKey, issuerPublicKey, subject } = content;
  const extendedKeyUsage = sequence(...profile.extendedKeyUsage.map((use) => oid(oids[use])));
  return [
    extension(oids.basicConstraints, true, basicConstraints(profile)),
    extension(oids.keyUsage, true, keyUsage(profile)),
    ...(profile.extendedKeyUsage.length > 0 ? [extension(oids.extKeyUsage, false, extendedKeyUsage)] : []),
    extension(oids.subjectKeyIdentifier, false, octetString(keyIdentifier(publicKey))),
    extension(oids.authorityKeyIdentifier, false, sequence(implicit(0, keyIdentifier(issuerPublicKey)))),
    // RFC 5280, section 4.2.1.6: critical if and only if the subject is empty.
    extension(oids.subjectAltName, subject.equals(emptyName), sequence(...alternativeNames.map(generalName))),
  ];
}

/** `critical` is DEFAULT FALSE and so absent when false (X.690, section 11.5). */
function extension(id: string, critical: boolean, value: Asn1): Asn1 {
  return sequence(oid(id), ...(critical ? [boolean(true)] : []), octetString(toDer(value)));
}

/** `cA` is DEFAULT FALSE. */
function basicConstraints({ ca }: CertificateProfile): Asn1 {
  return ca === undefined ? sequence() : sequence(boolean(true), integer(Buffer.of(ca.pathLength)));
}

/** A named bit list: trailing zero bits are left out (X.690, section 11.2.2). */
function keyUsage(profile: CertificateProfile): Asn1 {
  const bits = profile.keyUsage.map((use) => keyUsageBits[use]);
  let byte = 0;
  for (const bit of bits) byte |= 0x80 >> bit;
  return bitString(7 - Math.max(...bits), Buffer.of(byte));
}

/** GeneralName: dNSName is [2], uniformResourceIdentifier is [6], both IA5String. */
function generalName(alternative: AlternativeName): Asn1 {
  return implicit(alternative.type === 'dns' ? 2 : 6, Buffer.from(alternative.value, 'latin1'));
}

function wholeSeconds(date: Date): Date {
  return new Date(Math.floor(date.getTime() / 1000) * 1000);
}

/** 128 random bits as a number over 0, big-endian, without leading zeros. */
function serialNumber(random: (size: number) => Buffer): Buffer {
  for (;;) {
    const bits = random(16);
    const start = bits.findIndex((byte) => byte !== 0);
    if (start !== -1) return bits.subarray(start);
  }
}

/** A number over 0 as an INTEGER: a first byte of 0x80 or more would make it negative. */
function positive(value: Buffer): Asn1 {
  const [first = 0] = value;
  return integer(first < 0x80 ? value : Buffer.concat([Buffer.of(0), value]));
}

function signatureAlgorithm(): Asn1 {
  return sequence(oid(oids.ecdsaWithSha256));
}

/** RFC 7468. */
function toPem(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}
