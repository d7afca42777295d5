import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import { TulleError } from '../../errors/tulle-error.ts';

/**
 * The SubjectPublicKeyInfo of every P-256 key with an uncompressed point starts with these bytes (RFC 5480, section 2): algorithm
 * id-ecPublicKey, parameters secp256r1, a BIT STRING of 65 bytes, the mark of the uncompressed form.
 */
const spkiPrefix = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d030107034200' + '04', 'hex');
const spkiLength = 91;
/** Where the point (the subjectPublicKey's bits) starts in it. */
const pointOffset = spkiPrefix.length - 1;

/** A P-256 public key whose point is known to lie on the curve. */
export interface P256PublicKey {
  readonly key: KeyObject;
  /** SubjectPublicKeyInfo, DER, 91 bytes. */
  readonly spki: Buffer;
}

/**
 * Takes a SubjectPublicKeyInfo only in the one form a P-256 key is written in: any other algorithm, curve, explicit curve
 * parameters and compressed points differ in the prefix.
 * @throws TulleError CsrInvalid
 */
export function p256PublicKey(spki: Buffer): P256PublicKey {
  if (spki.length !== spkiLength || !spki.subarray(0, spkiPrefix.length).equals(spkiPrefix)) {
    throw new TulleError('CsrInvalid', 'The public key is not an ECDSA P-256 key with an uncompressed point.', {
      fix: 'Make the request with a P-256 (prime256v1) key.',
    });
  }
  try {
    return { key: createPublicKey({ key: spki, format: 'der', type: 'spki' }), spki };
  } catch (cause) {
    throw new TulleError('CsrInvalid', 'The public key is not a point on the curve P-256.', { cause });
  }
}

/** The key identifier of a P-256 public key: RFC 7093, section 2, method 1 (160 bits of SHA-256 over the point). */
export function keyIdentifier(publicKey: P256PublicKey): Buffer {
  return createHash('sha256').update(publicKey.spki.subarray(pointOffset)).digest().subarray(0, 20);
}

/** A P-256 key of our own, public or private, as a public key. */
export function publicKeyOf(key: KeyObject): P256PublicKey {
  const publicKey = key.type === 'private' ? createPublicKey(key) : key;
  return p256PublicKey(publicKey.export({ format: 'der', type: 'spki' }));
}
