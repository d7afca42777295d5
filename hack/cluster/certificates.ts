import { generateKeyPairSync } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../process.ts';

export interface ClusterCertificates {
  /** The cluster's CA; clients of the API server trust it. */
  readonly ca: string;
  readonly apiserverCert: string;
  readonly apiserverKey: string;
  /** With these the API server calls kubelets. */
  readonly kubeletClientCert: string;
  readonly kubeletClientKey: string;
  /** Signs ServiceAccount tokens. */
  readonly serviceAccountKey: string;
  readonly serviceAccountPublicKey: string;
}

/**
 * Makes the certificates of one test cluster in `folder`, for an API server reached at these IP addresses.
 * Valid for ten years: the cluster does not live as long.
 */
export async function makeCertificates(folder: string, addresses: readonly string[]): Promise<ClusterCertificates> {
  const path = (name: string) => join(folder, name);
  const files: ClusterCertificates = {
    ca: path('ca.crt'),
    apiserverCert: path('apiserver.crt'),
    apiserverKey: path('apiserver.key'),
    kubeletClientCert: path('kubelet-client.crt'),
    kubeletClientKey: path('kubelet-client.key'),
    serviceAccountKey: path('service-account.key'),
    serviceAccountPublicKey: path('service-account.pub'),
  };
  if (existsSync(files.serviceAccountPublicKey)) return files;
  mkdirSync(folder, { recursive: true });
  const openssl = (...args: string[]) => run('openssl', args);
  const key = (file: string) => {
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    writeFileSync(file, pair.privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    return pair.publicKey.export({ type: 'spki', format: 'pem' });
  };
  key(path('ca.key'));
  await openssl(
    ...['req', '-x509', '-new', '-key', path('ca.key'), '-subj', '/CN=cluster-ca', '-days', '3650', '-out', files.ca],
    ...['-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign,cRLSign'],
  );
  const issue = async (keyFile: string, certFile: string, subject: string, extensions: string) => {
    key(keyFile);
    const request = path('request.csr');
    const config = path('request.cnf');
    writeFileSync(config, extensions);
    await openssl('req', '-new', '-key', keyFile, '-subj', subject, '-out', request);
    await openssl(
      ...['x509', '-req', '-in', request, '-CA', files.ca, '-CAkey', path('ca.key'), '-CAcreateserial'],
      ...['-days', '3650', '-extfile', config, '-out', certFile],
    );
  };
  const names = ['kubernetes', 'kubernetes.default', 'kubernetes.default.svc', 'kubernetes.default.svc.cluster.local'];
  const san = [...names.map((name) => `DNS:${name}`), ...addresses.map((address) => `IP:${address}`)].join(',');
  await issue(
    files.apiserverKey,
    files.apiserverCert,
    '/CN=kube-apiserver',
    `extendedKeyUsage=serverAuth\nsubjectAltName=${san}\n`,
  );
  await issue(
    files.kubeletClientKey,
    files.kubeletClientCert,
    '/O=system:masters/CN=kube-apiserver-kubelet-client',
    'extendedKeyUsage=clientAuth\n',
  );
  chmodSync(path('ca.key'), 0o600);
  const publicKey = key(files.serviceAccountKey);
  writeFileSync(files.serviceAccountPublicKey, publicKey);
  return files;
}
