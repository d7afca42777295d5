import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { type Asn1, boolean, octetString, oid, sequence, toDer, utf8String } from '../../../src/ca/x509/asn1.ts';
import { maximumRequestLength, publicKeyOfRequest } from '../../../src/ca/x509/certificate-request.ts';
import { isTulleError } from '../../../src/errors/tulle-error.ts';
import { certificateRequest, p256Key, pemRequest, type RequestShape } from '../../fixtures/ca/certificate-requests.ts';

describe('R02 certificate requests', () => {
  const privateKey = p256Key();
  const honest = certificateRequest({ privateKey });
  const ownSpki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });

  it('R02 takes the public key of an honest request', () => {
    assert.deepEqual(publicKeyOfRequest(pemRequest(honest)).spki, ownSpki);
  });

  it('R02 takes the request of another implementation (openssl, SHA-384, subject and SAN set)', () => {
    assert.equal(publicKeyOfRequest(opensslRequest).spki.length, 91);
  });

  for (const [what, shape] of hostileShapes()) {
    it(`R02 takes nothing but the public key of a request with ${what}`, () => {
      const request = certificateRequest({ privateKey, ...shape });
      assert.deepEqual(publicKeyOfRequest(pemRequest(request)).spki, ownSpki);
    });
  }

  for (const [what, key] of foreignKeys()) {
    it(`R02 refuses ${what}`, () => {
      refuses(pemRequest(certificateRequest({ privateKey: key })), /P-256/);
    });
  }

  it('R02 refuses a P-256 point that is compressed, written with explicit parameters, or not on the curve', () => {
    const compressed = Buffer.concat([
      Buffer.from('3039301306072a8648ce3d020106082a8648ce3d030107032200', 'hex'),
      Buffer.of(2),
      ownSpki.subarray(27, 59),
    ]);
    const offCurve = Buffer.from(ownSpki);
    offCurve.fill(0x11, 27);
    for (const spki of [compressed, offCurve]) {
      const request = Buffer.from(
        honest.toString('latin1').replace(ownSpki.toString('latin1'), spki.toString('latin1')),
        'latin1',
      );
      refuses(pemRequest(request));
    }
    const explicit = generateKeyPairSync('ec', { namedCurve: 'P-256', paramEncoding: 'explicit' }).privateKey;
    refuses(pemRequest(certificateRequest({ privateKey: explicit })), /P-256/);
  });

  it("R02 refuses a request for somebody else's public key", () => {
    refuses(pemRequest(certificateRequest({ privateKey, publicKey: p256Key() })), /signature/);
  });

  it('R02 refuses a request of another version, signed with another algorithm, or with bytes after its end', () => {
    refuses(pemRequest(certificateRequest({ privateKey, version: 1 })), /version/);
    refuses(pemRequest(certificateRequest({ privateKey, signatureOid: '1.2.840.113549.1.1.11' })), /ECDSA/);
    refuses(pemRequest(certificateRequest({ privateKey, unusedBits: 1 })), /signature/);
    refuses(pemRequest(Buffer.concat([honest, Buffer.of(0)])), /after its end/);
  });

  it('R02 refuses what is not one PEM block of a request, and more than a request can be', () => {
    const pem = pemRequest(honest);
    for (const text of [
      '',
      'x',
      pem.replace('BEGIN', 'BEGUN'),
      pem + pem,
      `junk ${pem}`,
      pem.replaceAll('REQUEST', 'X'),
    ]) {
      refuses(text, /PEM/);
    }
    refuses(pem + ' '.repeat(maximumRequestLength), /longer/);
  });

  it('R02 refuses nesting and lengths made to exhaust a parser', () => {
    refuses(pemRequest(Buffer.alloc(5000, 0x30)));
    refuses(pemRequest(Buffer.alloc(5000, Buffer.from([0x30, 0x80]))));
    refuses(pemRequest(Buffer.from('30847fffffff', 'hex')));
    refuses(pemRequest(Buffer.from('3085ffffffffff', 'hex')));
    refuses(pemRequest(Buffer.from('3f8080808001', 'hex')));
  });

  it('R02 refuses non-minimal lengths, which DER does not know', () => {
    refuses(
      pemRequest(Buffer.concat([Buffer.from('30820003', 'hex'), Buffer.from('020100', 'hex')])),
      /more bytes than it needs/,
    );
    refuses(
      pemRequest(Buffer.concat([Buffer.from('308103', 'hex'), Buffer.from('020100', 'hex')])),
      /more bytes than it needs/,
    );
  });

  it('R02 gives out the true key or refuses, whatever bytes of the request are changed (fuzz)', () => {
    const mutation = fc.record({
      at: fc.nat(honest.length - 1),
      remove: fc.nat(8),
      insert: fc.uint8Array({ maxLength: 8 }),
    });
    let refusals = 0;
    fc.assert(
      fc.property(fc.array(mutation, { minLength: 1, maxLength: 4 }), (mutations) => {
        let bytes = honest;
        for (const { at, remove, insert } of mutations) {
          bytes = Buffer.concat([bytes.subarray(0, at), insert, bytes.subarray(at + remove)]);
        }
        const key = keyOrRefusal(pemRequest(bytes));
        if (key === undefined) refusals += 1;
        else assert.deepEqual(key, ownSpki);
      }),
      { numRuns: 3000 },
    );
    assert.ok(refusals > 1000, `${refusals} of 3000 mutants were refused`);
  });

  it('R02 refuses random bytes and random text (fuzz)', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        assert.equal(keyOrRefusal(pemRequest(Buffer.from(bytes))), undefined);
      }),
      { numRuns: 3000 },
    );
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 400 }), (text) => assert.equal(keyOrRefusal(text), undefined)),
    );
  });
});

/** Everything that is not a refusal with a code of ours is a bug. */
function keyOrRefusal(pem: string): Buffer | undefined {
  try {
    return publicKeyOfRequest(pem).spki;
  } catch (error) {
    if (isTulleError(error, 'CsrInvalid')) return undefined;
    throw error;
  }
}

function refuses(pem: string, message: RegExp = /./): void {
  assert.throws(() => publicKeyOfRequest(pem), { code: 'CsrInvalid', message });
}

function hostileShapes(): readonly (readonly [string, Partial<RequestShape>])[] {
  const extension = (id: string, value: Asn1): Asn1 => sequence(oid(id), boolean(true), octetString(toDer(value)));
  return [
    ['a subject', { commonName: 'system:masters' }],
    ['cA=true', { extensions: [extension('2.5.29.19', sequence(boolean(true)))] }],
    [
      'extra alternative names',
      { extensions: [extension('2.5.29.17', sequence(utf8String('spiffe://cluster.local/ns/kube-system/sa/admin')))] },
    ],
    ['every key usage', { extensions: [extension('2.5.29.15', octetString(Buffer.of(0xff)))] }],
    ['an unknown critical extension', { extensions: [extension('1.2.3.4', utf8String('x'.repeat(500)))] }],
    ['an extension that is not even well-formed', { extensions: [octetString(Buffer.alloc(64, 0xff))] }],
  ];
}

function foreignKeys() {
  return [
    ['an RSA key', generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey],
    ['a P-384 key', generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey],
    ['a P-521 key', generateKeyPairSync('ec', { namedCurve: 'P-521' }).privateKey],
    ['a secp256k1 key, of the same size', generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey],
  ] as const;
}

/** openssl req -new -sha384 -subj /O=acme/CN=someone -addext subjectAltName=URI:…,DNS:… with a prime256v1 key. */
const opensslRequest = `-----BEGIN CERTIFICATE REQUEST-----
MIIBJzCBzwIBADAhMQ0wCwYDVQQKDARhY21lMRAwDgYDVQQDDAdzb21lb25lMFkw
EwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEo7F2hgtsjxvFOtDrcFWnYEwbzx6GyMbT
WYM8fTveMsO5r1MEvoSarTx48ylMdMm3dFxR4Pla62W8M715ijKve6BMMEoGCSqG
SIb3DQEJDjE9MDswOQYDVR0RBDIwMIYgc3BpZmZlOi8vY2x1c3Rlci5sb2NhbC9u
cy9hL3NhL2KCDGV2aWwuZXhhbXBsZTAKBggqhkjOPQQDAwNHADBEAiBkY/jVz7Pn
nQYaZhZvI0ADVm+ZWqbrqq/D/LQSEA/RKQIgDqNPIQFD1NgFkZ51zbecqhc1X8sh
3kZdUNpMJhil9dY=
-----END CERTIFICATE REQUEST-----
`;
