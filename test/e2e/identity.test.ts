import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { connect } from 'node:tls';
import { systemNamespace } from '../../src/api/names.ts';
import { makeRootAuthority } from '../../src/ca/authority/root-authority.ts';
import type { AuthorityState } from '../../src/ca/authority/state.ts';
import { encodeAuthority, parseAuthority } from '../../src/ca/authority/stored-authority.ts';
import { signCertificate } from '../../src/ca/x509/certificate.ts';
import { workloadProfile } from '../../src/ca/x509/certificate-profile.ts';
import { emptyName } from '../../src/ca/x509/distinguished-name.ts';
import { publicKeyOf } from '../../src/ca/x509/public-key.ts';
import { parseSpiffeId, parseTrustDomain } from '../../src/ca/x509/spiffe-id.ts';
import type { MeshCluster } from '../fixtures/mesh-cluster.ts';
import { meshCluster } from './suite.ts';
import { createNamespace, httpServer, pod, podAddress, waitReady } from './workloads.ts';

const NS = 'identity';
const HTTP2_PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0', 'latin1');
const MINUTE = 60_000;

describe('R06 the tunnel port of an enrolled pod', () => {
  let mesh: MeshCluster;
  let server: string;
  let authority: AuthorityState;

  before(async function () {
    this.timeout(900_000);
    mesh = await meshCluster();
    await createNamespace(mesh, NS, 'ambient');
    await mesh.apply([pod({ name: 'server', namespace: NS, node: 'node-2', script: httpServer(), probePort: 8080 })]);
    await waitReady(mesh, NS, 'server');
    await mesh.untilSecured(NS, 1);
    server = await podAddress(mesh, NS, 'server');
    const secret = await mesh.json<{ data: Record<string, string> }>(
      '-n',
      systemNamespace,
      'get',
      'secret',
      'tulle-ca',
    );
    const state = Buffer.from(secret.data['authority.json'] ?? '', 'base64').toString();
    authority = parseAuthority(state, parseTrustDomain('cluster.local'));
  });

  after(() => mesh?.kubectl('delete', 'namespace', NS, '--wait=false'));

  /** A client's key and certificate, signed by the mesh's own authority unless told otherwise. */
  function clientCertificate(options: { id?: string; from?: number; to?: number; signer?: AuthorityState } = {}) {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const signer = (options.signer ?? authority).active;
    const now = Date.now();
    const { pem } = signCertificate(
      {
        profile: workloadProfile,
        subject: emptyName,
        issuer: signer.issuer.subject,
        alternativeNames: [
          { type: 'uri', value: parseSpiffeId(options.id ?? 'spiffe://cluster.local/ns/identity/sa/client') },
        ],
        publicKey: publicKeyOf(privateKey),
        issuerPublicKey: signer.issuer.publicKey,
        validity: {
          notBefore: new Date(options.from ?? now - MINUTE),
          notAfter: new Date(options.to ?? now + 10 * MINUTE),
        },
      },
      signer.key,
    );
    return { cert: pem, key: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString() };
  }

  /** Connects as an HTTP/2 client would; resolves with what the server sends first, or undefined when it refuses. */
  function firstBytes(identity: { cert?: string; key?: string }): Promise<Buffer | undefined> {
    return new Promise((resolve) => {
      const socket = connect({
        host: server,
        port: 15008,
        ALPNProtocols: ['h2'],
        minVersion: 'TLSv1.3',
        rejectUnauthorized: false,
        ...identity,
      });
      socket.setTimeout(10_000, () => socket.destroy());
      socket.on('secureConnect', () => socket.write(HTTP2_PREFACE));
      socket.once('data', (data) => {
        resolve(data);
        socket.destroy();
      });
      socket.on('error', () => resolve(undefined));
      socket.on('close', () => resolve(undefined));
    });
  }

  it('R06 talks HTTP/2 to a peer of the mesh', async () => {
    const first = await firstBytes(clientCertificate());
    assert.equal(first?.[3], 4, 'a SETTINGS frame');
  });

  it('R06 refuses a peer without a certificate', async () => {
    assert.equal(await firstBytes({}), undefined);
  });

  it('R06 refuses a certificate of another authority', async () => {
    const trustDomain = parseTrustDomain('cluster.local');
    const { trustAnchor, signer } = makeRootAuthority(trustDomain, 86_400, Date.now(), 'active');
    const foreign = encodeAuthority(trustDomain, { trustAnchors: [trustAnchor], signers: [signer] });
    const state = parseAuthority(foreign, trustDomain);
    assert.equal(await firstBytes(clientCertificate({ signer: state })), undefined);
  });

  it('R06 refuses another trust domain, even signed by the mesh’s own authority', async () => {
    assert.equal(
      await firstBytes(clientCertificate({ id: 'spiffe://elsewhere.example/ns/identity/sa/client' })),
      undefined,
    );
  });

  it('R06 refuses an expired certificate', async () => {
    const now = Date.now();
    assert.equal(await firstBytes(clientCertificate({ from: now - 60 * MINUTE, to: now - 10 * MINUTE })), undefined);
  });

  it('R06 refuses a certificate that is not valid yet', async () => {
    const now = Date.now();
    assert.equal(await firstBytes(clientCertificate({ from: now + 20 * MINUTE, to: now + 60 * MINUTE })), undefined);
  });

  it('R06 offers no session to resume', async () => {
    const tickets = await new Promise<number>((resolve) => {
      let count = 0;
      const socket = connect({
        host: server,
        port: 15008,
        ALPNProtocols: ['h2'],
        rejectUnauthorized: false,
        ...clientCertificate(),
      });
      socket.on('session', () => {
        count += 1;
      });
      socket.on('secureConnect', () => socket.write(HTTP2_PREFACE));
      socket.once('data', () => socket.destroy());
      socket.on('error', () => {});
      socket.on('close', () => resolve(count));
    });
    assert.equal(tickets, 0);
  });
});
