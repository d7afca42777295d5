import { deepStrictEqual, match, notStrictEqual, ok, strictEqual } from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { decodeJwt, decodeProtectedHeader, generateKeyPair, SignJWT } from 'jose';
import { implicit, octetString, oid, sequence, toDer } from '../../src/ca/x509/asn1.ts';
import { CertificateClient } from '../fixtures/ca/certificate-client.ts';
import { certificateRequest, p256Key, pemRequest } from '../fixtures/ca/certificate-requests.ts';
import { ControlCluster } from './control-cluster.ts';
import { XdsProxy } from './xds-proxy.ts';

const identityOf = (namespace: string, serviceAccount: string) =>
  `spiffe://cluster.local/ns/${namespace}/sa/${serviceAccount}`;
const cart = identityOf('shop', 'cart');
const ledger = identityOf('bank', 'ledger');

describe('who gets which certificate from a real replica, with tokens of real pods', function () {
  this.timeout(120_000);
  let cluster: ControlCluster;
  let client: CertificateClient;
  /** A node proxy, which hears what the replica knows of pods. */
  let observer: XdsProxy;
  let port: number;
  const proxyTokens: Record<string, string> = {};

  before(async () => {
    cluster = await ControlCluster.start();
    await cluster.mesh({});
    await cluster.namespace('shop', 'cart', 'web', 'tulle-proxy');
    await cluster.namespace('bank', 'ledger');
    await cluster.pod({ name: 'cart-0', serviceAccount: 'cart', ip: '10.1.0.1' });
    await cluster.pod({ name: 'web-0', serviceAccount: 'web', node: 'node-2', ip: '10.1.0.2' });
    for (const part of ['control', 'agent']) {
      await cluster.pod({ name: `${part}-0`, namespace: 'tulle-system', serviceAccount: `tulle-${part}` });
    }
    for (const node of ['node-1', 'node-2']) proxyTokens[node] = await cluster.proxyToken(`proxy-${node}`);
    const replica = await cluster.replica();
    await replica.start();
    ok(replica.grpcPort !== undefined);
    port = replica.grpcPort;
    const roots = await cluster.roots();
    client = new CertificateClient(port, roots);
    observer = new XdsProxy({ port, roots, token: proxyTokens['node-1'] });
    void observer.open();
    observer.subscribe();
  });

  after(async () => {
    observer?.close();
    client?.close();
    await cluster?.stop();
  });

  /** How many tokens the API server has reviewed so far. */
  async function reviews(): Promise<number> {
    const metrics = await cluster.api.kubectl('get', '--raw', '/metrics');
    const counts = metrics.matchAll(/^apiserver_request_total\{[^}]*resource="tokenreviews"[^}]*\} (\d+)$/gm);
    return [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
  }

  type Ask = Parameters<CertificateClient['ask']>[0];

  async function refused(ask: Ask, status: string, details?: RegExp): Promise<void> {
    const answer = await client.ask(ask);
    strictEqual(answer.refused?.status, status, answer.refused?.details);
    if (details !== undefined) match(answer.refused.details, details);
    if (ask.token !== undefined) ok(!answer.refused.details.includes(ask.token), 'no token in an error');
  }

  /** The names in the certificate that is given. */
  async function given(ask: Ask): Promise<string | undefined> {
    const { chain, refused: refusal } = await client.ask(ask);
    ok(chain, refusal?.details);
    strictEqual(chain.length, 2);
    const leaf = new X509Certificate(chain[0] ?? '');
    ok(leaf.verify(new X509Certificate(chain[1] ?? '').publicKey));
    return leaf.subjectAltName;
  }

  /** Resolves when the replica has heard that this pod is there, or is gone. */
  function heard(namespace: string, name: string, there: boolean): Promise<void> {
    const workload = `Kubernetes//Pod/${namespace}/${name}`;
    return observer.until(`${workload} ${there}`, () => observer.workloads.has(workload) === there);
  }

  it('R01 a proxy gets the identity of a pod that runs on its node', async () => {
    strictEqual(await given({ token: proxyTokens['node-1'], identity: cart }), `URI:${cart}`);
  });

  it('R01 a proxy does not get that of a pod on another node', async () => {
    await refused({ token: proxyTokens['node-2'], identity: cart }, 'PERMISSION_DENIED', /shop\/sa\/cart.*node-2/);
    await refused({ token: proxyTokens['node-1'], identity: identityOf('shop', 'web') }, 'PERMISSION_DENIED');
  });

  it('R01 a proxy does not get one that no pod has, of another namespace, or of another trust domain', async () => {
    const token = proxyTokens['node-1'];
    await refused({ token, identity: ledger }, 'PERMISSION_DENIED');
    await refused({ token, identity: identityOf('bank', 'cart') }, 'PERMISSION_DENIED');
    await refused({ token, identity: cart.replace('cluster.local', 'other.example') }, 'PERMISSION_DENIED');
  });

  it('R01 a proxy does not get that of the control plane, which runs on its node and is never in the mesh', async () => {
    for (const part of ['control', 'agent']) {
      const identity = identityOf('tulle-system', `tulle-${part}`);
      await refused({ token: proxyTokens['node-1'], identity }, 'PERMISSION_DENIED', /never in the mesh/);
    }
  });

  it('R01 a proxy does not get that of a pod that has ended, was deleted, or shares the network of the node', async () => {
    const token = proxyTokens['node-1'];
    await cluster.pod({ name: 'ledger-0', namespace: 'bank', serviceAccount: 'ledger', ip: '10.1.0.3' });
    strictEqual(await given({ token, identity: ledger }), `URI:${ledger}`);
    await heard('bank', 'ledger-0', true);
    await cluster.admin.patch('/api/v1/namespaces/bank/pods/ledger-0/status', { status: { phase: 'Succeeded' } });
    await heard('bank', 'ledger-0', false);
    await refused({ token, identity: ledger }, 'PERMISSION_DENIED');
    await cluster.pod({ name: 'ledger-1', namespace: 'bank', serviceAccount: 'ledger', ip: '10.1.0.4' });
    await heard('bank', 'ledger-1', true);
    await cluster.removePod('bank', 'ledger-1');
    await heard('bank', 'ledger-1', false);
    await refused({ token, identity: ledger }, 'PERMISSION_DENIED');
    await cluster.pod({ name: 'ledger-2', namespace: 'bank', serviceAccount: 'ledger', hostNetwork: true });
    await refused({ token, identity: ledger }, 'PERMISSION_DENIED');
  });

  it('R01 a token is good for nothing once its pod is gone, also one that was taken just before', async () => {
    await cluster.pod({
      name: 'proxy-old',
      namespace: 'tulle-system',
      serviceAccount: 'tulle-proxy',
      ip: '10.255.0.8',
    });
    const [used, unused] = [await cluster.proxyToken('proxy-old'), await cluster.proxyToken('proxy-old')];
    strictEqual(await given({ token: used, identity: cart }), `URI:${cart}`);
    await heard('tulle-system', 'proxy-old', true);
    await cluster.removePod('tulle-system', 'proxy-old');
    await heard('tulle-system', 'proxy-old', false);
    for (const token of [used, unused]) {
      await refused({ token, identity: cart }, 'UNAUTHENTICATED');
      await refused({ token }, 'UNAUTHENTICATED');
    }
  });

  it('R01 a token is good for nothing once its pod was replaced by another of its name', async () => {
    const again = { name: 'proxy-again', namespace: 'tulle-system', serviceAccount: 'tulle-proxy' };
    const first = await cluster.pod({ ...again, ip: '10.255.0.9' });
    const token = await cluster.proxyToken('proxy-again');
    strictEqual(await given({ token, identity: cart }), `URI:${cart}`);
    await heard('tulle-system', 'proxy-again', true);
    await cluster.removePod('tulle-system', 'proxy-again');
    await heard('tulle-system', 'proxy-again', false);
    notStrictEqual(await cluster.pod({ ...again, ip: '10.255.0.9' }), first);
    await heard('tulle-system', 'proxy-again', true);
    await refused({ token, identity: cart }, 'UNAUTHENTICATED', new RegExp(first));
  });

  it('R01 tokens are taken of audience tulle-ca and istio-ca, bound to a pod, and no others', async () => {
    const bound = (audiences: string[]) =>
      cluster.token('tulle-system', 'tulle-proxy', {
        audiences,
        boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: 'proxy-node-1' },
      });
    strictEqual(await given({ token: await bound(['istio-ca']), identity: cart }), `URI:${cart}`);
    const others = [
      await bound(['vault']),
      await bound([]),
      await cluster.token('tulle-system', 'tulle-proxy', { audiences: ['tulle-ca'] }),
      cluster.api.adminToken,
      'forged.token.here',
      undefined,
    ];
    for (const token of others) await refused({ token, identity: cart }, 'UNAUTHENTICATED');
  });

  describe('an ordinary pod, with its own token,', () => {
    const own = `URI:${cart}`;
    let token: string;

    before(async () => {
      await cluster.pod({ name: 'web-1', serviceAccount: 'web', ip: '10.1.0.5' });
      token = await cluster.proxyToken('cart-0', 'cart', 'shop');
    });

    it('R01 gets its own identity, asked for or not', async () => {
      deepStrictEqual([await given({ token }), await given({ token, identity: cart })], [own, own]);
    });

    const others: readonly (readonly [string, string])[] = [
      ['of a pod of its namespace, on its node', identityOf('shop', 'web')],
      ['of its own name in another namespace', identityOf('bank', 'cart')],
      ['of the node proxy', identityOf('tulle-system', 'tulle-proxy')],
      ['of the control plane', identityOf('tulle-system', 'tulle-control')],
      ['of another trust domain', cart.replace('cluster.local', 'other.example')],
    ];
    for (const [what, identity] of others) {
      it(`R01 gets none ${what}`, () =>
        refused({ token, identity }, 'PERMISSION_DENIED', /only tulle-system\/tulle-proxy/));
    }

    const malformed: readonly (readonly [string, string])[] = [
      ['by a path that climbs', 'spiffe://cluster.local/ns/shop/sa/cart/../web'],
      ['by an escaped path', 'spiffe://cluster.local/ns/shop/sa/%77eb'],
      ['by other letters of its trust domain', 'spiffe://CLUSTER.local/ns/shop/sa/web'],
      ['by an empty text', ''],
    ];
    for (const [what, identity] of malformed) {
      it(`R01 gets none ${what}`, () => refused({ token, identity }, 'INVALID_ARGUMENT'));
    }

    it('R01 gets none by several at once', () =>
      refused({ token, metadata: { ImpersonatedIdentity: [identityOf('shop', 'web')] } }, 'INVALID_ARGUMENT'));

    it('R01 gets its own whatever its request says of names, of a CA, or under another key', async () => {
      const web = identityOf('shop', 'web');
      const name = toDer(sequence(implicit(6, Buffer.from(web))));
      const extensions = [
        sequence(oid('2.5.29.17'), octetString(name)),
        sequence(oid('2.5.29.19'), octetString(Buffer.from('30030101ff', 'hex'))),
      ];
      const csr = pemRequest(certificateRequest({ privateKey: p256Key(), commonName: web, extensions }));
      strictEqual(await given({ token, csr }), own);
      strictEqual(await given({ token, metadata: { impersonatedidentity: web, ImpersonatedIdentities: web } }), own);
    });

    it('R01 gets none as a namesake of the proxy in its own namespace', async () => {
      await cluster.pod({ name: 'fake-proxy', serviceAccount: 'tulle-proxy', ip: '10.1.0.6' });
      const namesake = await cluster.proxyToken('fake-proxy', 'tulle-proxy', 'shop');
      await refused({ token: namesake, identity: cart }, 'PERMISSION_DENIED', /only tulle-system\/tulle-proxy/);
    });

    it('R37 hears nothing of the mesh, nor does any part of Tulle but the node proxy', async () => {
      const roots = await cluster.roots();
      const tokens = [
        token,
        await cluster.proxyToken('control-0', 'tulle-control'),
        await cluster.proxyToken('agent-0', 'tulle-agent'),
      ];
      for (const stranger of tokens.map((each) => new XdsProxy({ port, roots, token: each }))) {
        const end = stranger.open();
        stranger.subscribe();
        strictEqual((await end).status, 'PERMISSION_DENIED');
        strictEqual(stranger.answers.length, 0);
        stranger.close();
      }
    });

    it('R37 keeps no proxy waiting by taking certificates as fast as it can', async () => {
      const [total, atOnce] = [2_000, 16];
      const greedy = new CertificateClient(port, await cluster.roots());
      const csr = pemRequest(certificateRequest({ privateKey: p256Key() }));
      let asked = 0;
      let taken = 0;
      const take = async () => {
        while (asked++ < total) if ((await greedy.ask({ token, csr })).chain) taken++;
      };
      const flood = Promise.all(Array.from({ length: atOnce }, take));
      for (let turn = 0; turn < 20; turn++) {
        strictEqual(await given({ token: proxyTokens['node-1'], identity: cart }), own);
      }
      ok(taken < total / 2, `20 certificates of the proxy took as long as ${taken} of the pod`);
      await flood;
      strictEqual(taken, total);
      greedy.close();
    });

    it('R37 has no forged token reviewed by sending many, and keeps no proxy waiting', async () => {
      const [total, atOnce] = [2_000, 16];
      const { kid = '' } = decodeProtectedHeader(token);
      const { privateKey } = await generateKeyPair('RS256');
      const forge = (jti: string) =>
        new SignJWT({ ...decodeJwt(token), jti }).setProtectedHeader({ alg: 'RS256', kid }).sign(privateKey);
      const forger = new CertificateClient(port, await cluster.roots());
      const reviewed = await reviews();
      const answers = new Set<string | undefined>();
      let asked = 0;
      const send = async () => {
        while (asked++ < total) answers.add((await forger.ask({ token: await forge(String(asked)) })).refused?.status);
      };
      const flood = Promise.all(Array.from({ length: atOnce }, send));
      for (let turn = 0; turn < 20; turn++) {
        strictEqual(await given({ token: proxyTokens['node-1'], identity: cart }), own);
      }
      ok(asked < total / 2, `20 certificates of the proxy took as long as ${asked} forgeries`);
      await flood;
      forger.close();
      // Where too many are refused, their connection is closed.
      deepStrictEqual(answers, new Set(['UNAUTHENTICATED', 'UNAVAILABLE']));
      const after = await reviews();
      ok(after <= reviewed + 1, `${after - reviewed} reviews, the proxy’s own at most`);
    });
  });
});
