import { verify } from 'node:crypto';
import { TulleError } from '../../errors/tulle-error.ts';
import { DerReader, derTag } from './der.ts';
import { type P256PublicKey, p256PublicKey } from './public-key.ts';

/** A P-256 request with a URI SAN of 2,048 bytes is under 4 KiB of PEM; nothing honest is near this, in characters. */
export const maximumRequestLength = 8192;

/** DER contents of the signature algorithms taken (RFC 5758, section 3.2), and the digest each uses. */
const signatureDigests: ReadonlyMap<string, string> = new Map([
  ['2a8648ce3d040302', 'sha256'],
  ['2a8648ce3d040303', 'sha384'],
  ['2a8648ce3d040304', 'sha512'],
]);

/**
 * The public key of a PKCS #10 request (RFC 2986), once the request's own signature has shown that its sender holds the private
 * key. Nothing else of the request is looked at, so nothing else of it can reach a certificate: subject, attributes and
 * requested extensions are skipped as opaque bytes.
 * @param pem one PEM block, at most `maximumRequestLength` characters
 * @throws TulleError CsrInvalid
 */
export function publicKeyOfRequest(pem: string): P256PublicKey {
  const outer = new DerReader(decodePem(pem), 'The request', 'CsrInvalid');
  const request = outer.read(derTag.sequence);
  outer.end();

  const fields = new DerReader(request.content, 'The request', 'CsrInvalid');
  const info = fields.read(derTag.sequence);
  const algorithm = fields.read(derTag.sequence);
  const signature = fields.read(derTag.bitString);
  fields.end();

  const publicKey = p256PublicKey(subjectPublicKeyInfo(info.content));
  if (!isSigned(info.raw, digestOf(algorithm.content), publicKey, signature.content)) {
    throw new TulleError('CsrInvalid', "The request's signature does not verify with its own public key.");
  }
  return publicKey;
}

/** CertificationRequestInfo: version, subject, subjectPKInfo, attributes. */
function subjectPublicKeyInfo(info: Buffer): Buffer {
  const fields = new DerReader(info, 'The request', 'CsrInvalid');
  const version = fields.read(derTag.integer);
  if (!version.content.equals(Buffer.of(0))) throw new TulleError('CsrInvalid', 'The request is not of version 1.');
  fields.read(derTag.sequence);
  return fields.read(derTag.sequence).raw;
}

function digestOf(algorithm: Buffer): string {
  const fields = new DerReader(algorithm, "The request's signature algorithm", 'CsrInvalid');
  const digest = signatureDigests.get(fields.read(derTag.objectIdentifier).content.toString('hex'));
  fields.end();
  if (digest === undefined) {
    throw new TulleError('CsrInvalid', 'The request is not signed with ECDSA and SHA-256, SHA-384 or SHA-512.');
  }
  return digest;
}

function isSigned(data: Buffer, digest: string, publicKey: P256PublicKey, bitString: Buffer): boolean {
  // The first byte of a BIT STRING counts unused bits; a signature has none.
  if (bitString[0] !== 0) return false;
  return verify(digest, data, { key: publicKey.key, dsaEncoding: 'der' }, bitString.subarray(1));
}

function decodePem(pem: string): Buffer {
  if (pem.length > maximumRequestLength) {
    throw new TulleError('CsrInvalid', `The request is longer than ${maximumRequestLength} characters.`);
  }
  const body =
    /^\s*-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----([A-Za-z0-9+/=\s]*)-----END (?:NEW )?CERTIFICATE REQUEST-----\s*$/.exec(
      pem,
    )?.[1];
  if (body === undefined) throw new TulleError('CsrInvalid', 'The request is not one PEM block CERTIFICATE REQUEST.');
  return Buffer.from(body, 'base64');
}
