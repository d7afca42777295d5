import type { X509Certificate } from 'node:crypto';
import type { ErrorCode } from '../../errors/codes.ts';
import { DerReader, derTag } from './der.ts';
import type { DistinguishedName } from './distinguished-name.ts';

/** What we read of a certificate from its own bytes, because node:crypto gives it only as text. */
export interface CertificateFields {
  readonly subject: DistinguishedName;
  /** URI names of the Subject Alternative Name. */
  readonly uris: readonly string[];
  /** pathLenConstraint, undefined where there is none. */
  readonly pathLength: number | undefined;
}

/** DER content of the OIDs 2.5.29.17 and 2.5.29.19. */
const subjectAltName = Buffer.of(0x55, 0x1d, 0x11);
const basicConstraints = Buffer.of(0x55, 0x1d, 0x13);
/** Context-specific tags: version [0] and extensions [3] of a TBSCertificate, uniformResourceIdentifier [6] of a GeneralName. */
const versionTag = 0xa0;
const extensionsTag = 0xa3;
const uriTag = 0x86;

/**
 * Reads subject, URI names and path length of a certificate. node:crypto's own `subjectAltName` is a text in which a hostile name can pretend
 * to be several, and its `subject` has lost the bytes a verifier compares.
 * @param code of the error thrown when the certificate is malformed
 */
export function certificateFields(certificate: X509Certificate, code: ErrorCode): CertificateFields {
  const read = (bytes: Buffer) => new DerReader(bytes, 'The certificate', code);
  const tbs = read(read(read(certificate.raw).read(derTag.sequence).content).read(derTag.sequence).content);
  tbs.read(versionTag);
  tbs.read(derTag.integer);
  for (const _ of ['signature', 'issuer', 'validity']) tbs.read(derTag.sequence);
  const subject = tbs.read(derTag.sequence).raw;
  const uris: string[] = [];
  let pathLength: number | undefined;
  while (!tbs.atEnd) {
    const field = tbs.next();
    if (field.tag !== extensionsTag) continue;
    const extensions = read(read(field.content).read(derTag.sequence).content);
    while (!extensions.atEnd) {
      const extension = read(extensions.read(derTag.sequence).content);
      const id = extension.read(derTag.objectIdentifier).content;
      if (id.equals(subjectAltName)) uris.push(...uriNames(extensionValue(extension), read));
      if (id.equals(basicConstraints)) pathLength = pathLengthOf(extensionValue(extension), read);
    }
  }
  return { subject, uris, pathLength };
}

type Read = (bytes: Buffer) => DerReader;

function uriNames(value: Buffer, read: Read): readonly string[] {
  const names = read(read(value).read(derTag.sequence).content);
  const found: string[] = [];
  while (!names.atEnd) {
    const name = names.next();
    if (name.tag === uriTag) found.push(name.content.toString('latin1'));
  }
  return found;
}

/** BasicConstraints ::= SEQUENCE { cA BOOLEAN DEFAULT FALSE, pathLenConstraint INTEGER (0..MAX) OPTIONAL }. */
function pathLengthOf(value: Buffer, read: Read): number | undefined {
  const fields = read(read(value).read(derTag.sequence).content);
  while (!fields.atEnd) {
    const { tag, content } = fields.next();
    if (tag === derTag.integer) return Number(`0x${content.toString('hex')}`);
  }
  return undefined;
}

/** extnValue, behind the optional `critical`. */
function extensionValue(extension: DerReader): Buffer {
  const first = extension.next();
  return first.tag === derTag.octetString ? first.content : extension.read(derTag.octetString).content;
}
