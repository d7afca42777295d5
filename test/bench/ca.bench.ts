import { generateKeyPairSync, sign, verify } from 'node:crypto';
import { createCallerVerifier } from '../../src/ca/issuance/caller.ts';
import { publicKeyOfRequest } from '../../src/ca/x509/certificate-request.ts';
import { parseSpiffeId } from '../../src/ca/x509/spiffe-id.ts';
import { systemClock } from '../../src/kube/clock.ts';
import { anyKeys, CountingReviewer, podOf, pods, proxyPod, tokenOf } from '../fixtures/ca/callers.ts';
import { certificateRequest, p256Key, pemRequest } from '../fixtures/ca/certificate-requests.ts';
import { type IssuingControl, startIssuingControl } from '../fixtures/ca/issuing-control.ts';
import { MemoryCluster } from '../fixtures/ca/memory-stores.ts';
import { type Figure, figure } from './figure.ts';

const rounds = 2000;
const callsAtOnce = 32;
const identity = 'spiffe://cluster.local/ns/shop/sa/cart';

/** What a certificate costs one core, against the two curve operations nobody can do without. */
export default async function measure(): Promise<Figure[]> {
  const cluster = new MemoryCluster();
  const control = await startIssuingControl({
    secrets: cluster.secrets,
    bundles: cluster.bundles,
    evidence: cluster.evidence,
    callers: createCallerVerifier({ reviewer: new CountingReviewer(), keys: anyKeys, clock: systemClock }),
    pods: pods([proxyPod, podOf()]),
  });
  try {
    const request = pemRequest(certificateRequest({ privateKey: p256Key() }));
    const id = parseSpiffeId(identity);
    const issue = () => control.authority.signWorkload(id, publicKeyOfRequest(request), 0);
    const bare = msEach(curveOperations());
    const signed = msEach(issue);
    const called = await msEachCall(control, request);
    const against = 'one P-256 signature and one verification by node:crypto';
    return [
      figure('request to certificate', 'ms', signed, { baseline: bare, against }),
      figure('request to certificate over gRPC and TLS, client included', 'ms', called, { baseline: bare, against }),
    ];
  } finally {
    control.stop();
  }
}

function curveOperations(): () => void {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const data = Buffer.alloc(400, 1);
  return () => {
    const signature = sign('sha256', data, { key: privateKey, dsaEncoding: 'der' });
    verify('sha256', data, { key: publicKey, dsaEncoding: 'der' }, signature);
  };
}

/** After as many rounds to warm up. */
function msEach(work: () => void): number {
  for (let round = 0; round < rounds; round++) work();
  const start = performance.now();
  for (let round = 0; round < rounds; round++) work();
  return (performance.now() - start) / rounds;
}

async function msEachCall(control: IssuingControl, csr: string): Promise<number> {
  const batch = async (count: number) => {
    for (let done = 0; done < count; done += callsAtOnce) {
      const calls = Array.from({ length: callsAtOnce }, () => control.ask({ token: tokenOf('c'), identity, csr }));
      for (const { refused } of await Promise.all(calls)) if (refused !== undefined) throw new Error(refused.details);
    }
  };
  await batch(rounds / 4);
  const start = performance.now();
  await batch(rounds);
  return (performance.now() - start) / rounds;
}
