import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { isSuccessor } from '../../../src/ca/authority/state.ts';
import { encodeAuthority, parseAuthority } from '../../../src/ca/authority/stored-authority.ts';
import { signCertificate } from '../../../src/ca/x509/certificate.ts';
import { rootProfile } from '../../../src/ca/x509/certificate-profile.ts';
import { readRootCertificate } from '../../../src/ca/x509/root-certificate.ts';
import { parseTrustDomain, trustDomainSpiffeId } from '../../../src/ca/x509/spiffe-id.ts';
import { intermediateOf } from '../../fixtures/ca/intermediates.ts';
import { encoded, type StoredRoot, storedRoot } from '../../fixtures/ca/stored-authorities.ts';

const trustDomain = parseTrustDomain('cluster.local');
const parse = (...roots: StoredRoot[]) => parseAuthority(encoded(...roots), trustDomain);

describe('the moves of an authority', () => {
  const a = storedRoot();
  const b = storedRoot('prepared');
  const active = parse(a);
  const prepared = parse(a, b);
  const switched = parse({ ...a, state: 'retiring' }, { ...b, state: 'active' });
  const gone = parse({ ...b, state: 'active' });

  /** One anchor with two signers, each at the phase that is given. */
  const { trustAnchors, signers } = JSON.parse(encoded({ ...a, signers: [...a.signers, intermediateOf(a)] }));
  const under = (...phases: string[]) => {
    const moved = phases.map((state, index) => ({ ...signers[index], state }));
    return parseAuthority(encodeAuthority(trustDomain, { trustAnchors, signers: moved }), trustDomain);
  };

  it('may go on along the state machine, in one look or several', () => {
    for (const [before, after] of [
      [active, active],
      [active, prepared],
      [prepared, switched],
      [active, switched],
      [switched, gone],
      [prepared, active],
      [active, under('active', 'prepared')],
      [active, under('retiring', 'active')],
      [under('active', 'prepared'), under('retiring', 'active')],
    ] as const) {
      assert.ok(isSuccessor(before, after));
    }
  });

  it('R15 may not go back, nor lose or replace the one that signed', () => {
    for (const [before, after] of [
      [switched, prepared],
      [active, gone],
      [prepared, gone],
      [switched, active],
      [active, parse(storedRoot())],
      [active, parse({ ...a, certificate: renewed(a) })],
      [under('retiring', 'active'), under('active', 'prepared')],
      [under('retiring', 'active'), active],
    ] as const) {
      assert.ok(!isSuccessor(before, after));
    }
  });
});

/** Another root certificate for the same key. */
function renewed(root: StoredRoot): string {
  const key = createPrivateKey(root.signers[0]?.privateKey ?? '');
  const { subject, publicKey, validity } = readRootCertificate(root.certificate, trustDomain, 'AuthorityStateInvalid');
  const content = {
    profile: rootProfile,
    subject,
    issuer: subject,
    alternativeNames: [{ type: 'uri', value: trustDomainSpiffeId(trustDomain) } as const],
    publicKey,
    issuerPublicKey: publicKey,
    validity: { ...validity, notAfter: new Date(validity.notAfter.getTime() + 1000) },
  };
  return signCertificate(content, key).pem;
}
