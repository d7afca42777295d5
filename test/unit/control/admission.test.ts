import { deepStrictEqual, rejects } from 'node:assert/strict';
import type { Caller } from '../../../src/ca/issuance/caller.ts';
import { admitNodeProxies } from '../../../src/control/admission.ts';
import { podOf, pods, proxyPod } from '../../fixtures/ca/callers.ts';

const call = { authorization: 'Bearer token', address: '10.0.0.1', peer: '10.0.0.1:1' };

/** A caller with a token bound to this pod, which is there. */
function admit(pod = proxyPod, there = [pod]) {
  const { namespace, serviceAccount = '', name, uid, node } = pod;
  const caller: Caller = { namespace, serviceAccount, pod: { name, uid }, node };
  return admitNodeProxies({ verify: async () => caller }, pods(there))(call);
}

describe('who may hear of the mesh', () => {
  it('is a node proxy, counted by its node', async () => {
    deepStrictEqual(await admit(), { name: 'node-1' });
  });

  for (const serviceAccount of ['tulle-control', 'tulle-agent', 'tulle-operator', 'default', 'tulle-proxy2']) {
    it(`R01 is not ${serviceAccount}, though it is of tulle-system too`, async () => {
      await rejects(admit({ ...proxyPod, serviceAccount }), { code: 'CallerNotPermitted' });
    });
  }

  for (const namespace of ['shop', 'kube-system', 'tulle-system2']) {
    it(`R01 is not a namesake of the proxy in ${namespace}`, async () => {
      await rejects(admit({ ...proxyPod, namespace }), { code: 'CallerNotPermitted' });
    });
  }

  it('R01 is not a proxy whose pod is gone, has ended, or is another of its name', async () => {
    for (const there of [[], [{ ...proxyPod, phase: 'Failed' }], [{ ...proxyPod, uid: 'another' }], [podOf()]]) {
      await rejects(admit(proxyPod, there), { code: 'CallerUnauthenticated' });
    }
  });
});
