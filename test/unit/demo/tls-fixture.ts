import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer } from 'node:net';
import * as tls from 'node:tls';
import forge from 'node-forge';

/** What each side of a TLS connection sent. */
export interface Conversation {
  readonly client: Buffer;
  readonly server: Buffer;
}

const credentials = selfSigned();

/** Records a real mutual TLS connection over which the client sends `text` and the server echoes it. */
export async function recordTls(version: 'TLSv1.2' | 'TLSv1.3', text: string): Promise<Conversation> {
  const server = tls.createServer(
    { ...credentials, requestCert: true, rejectUnauthorized: false, maxVersion: version, ALPNProtocols: ['h2'] },
    (socket) => socket.pipe(socket),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const sent: { client: Buffer[]; server: Buffer[] } = { client: [], server: [] };
  const relay = createServer((near) => {
    const far = connect(portOf(server.address()), '127.0.0.1');
    near.on('data', (chunk: Buffer) => sent.client.push(chunk));
    far.on('data', (chunk: Buffer) => sent.server.push(chunk));
    near.pipe(far).pipe(near);
  });
  relay.listen(0, '127.0.0.1');
  await once(relay, 'listening');

  const client = tls.connect({
    ...credentials,
    port: portOf(relay.address()),
    host: '127.0.0.1',
    rejectUnauthorized: false,
    maxVersion: version,
    ALPNProtocols: ['h2'],
  });
  await once(client, 'secureConnect');
  let echoed = 0;
  client.on('data', (chunk: Buffer) => {
    echoed += chunk.length;
    if (echoed === text.length) client.end();
  });
  client.write(text);
  await once(client, 'close');
  relay.close();
  server.close();
  await Promise.all([once(relay, 'close'), once(server, 'close')]);
  return { client: Buffer.concat(sent.client), server: Buffer.concat(sent.server) };
}

function portOf(address: string | AddressInfo | null): number {
  if (address === null || typeof address === 'string') throw new Error('not a TCP server');
  return address.port;
}

function selfSigned(): { key: string; cert: string } {
  const keys = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  const certificate = forge.pki.createCertificate();
  certificate.publicKey = forge.pki.publicKeyFromPem(keys.publicKey);
  certificate.serialNumber = '01';
  certificate.validity.notBefore = new Date(Date.now() - 60_000);
  certificate.validity.notAfter = new Date(Date.now() + 3_600_000);
  const name = [{ name: 'commonName', value: 'a certificate that anyone could read on the wire' }];
  certificate.setSubject(name);
  certificate.setIssuer(name);
  certificate.sign(forge.pki.privateKeyFromPem(keys.privateKey), forge.md.sha256.create());
  return { key: keys.privateKey, cert: forge.pki.certificateToPem(certificate) };
}
