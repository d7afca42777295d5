import { deepStrictEqual } from 'node:assert/strict';
import fc from 'fast-check';
import { podRecord } from '../../../src/ca/kubernetes/pods.ts';
import { leanMeshNode, leanNode, leanPod, withoutManagedFields } from '../../../src/control/lean-objects.ts';
import { nodeFacts, nodeReport } from '../../../src/model/node-facts.ts';
import { podFacts } from '../../../src/model/pod-facts.ts';
import { serviceFacts } from '../../../src/model/service-facts.ts';
import { meshNode, node, pod, service } from '../model/objects.ts';

describe('a lean object', () => {
  const pods = fc
    .record(
      {
        name: fc.constantFrom('web-0', 'web-1'),
        ips: fc.uniqueArray(fc.constantFrom('10.0.0.1', 'fd00::1'), { maxLength: 2 }),
        node: fc.constantFrom('', 'node-1'),
        phase: fc.constantFrom('Pending', 'Running', 'Failed'),
        ready: fc.boolean(),
        hostNetwork: fc.boolean(),
        deleted: fc.boolean(),
        mirror: fc.boolean(),
        serviceAccount: fc.constantFrom('web', ''),
        owner: fc.constantFrom({ kind: 'ReplicaSet', name: 'web-5d' }, { kind: 'Job', name: 'j-12345678' }),
        labels: fc.dictionary(
          fc.constantFrom(
            'app',
            'version',
            'app.kubernetes.io/name',
            'app.kubernetes.io/version',
            'pod-template-hash',
            'x',
          ),
          fc.constantFrom('a', '5d'),
        ),
      },
      { requiredKeys: ['name'] },
    )
    .map(pod);

  it('says of a pod all that is read of it', () => {
    fc.assert(
      fc.property(pods, (pod) => {
        const lean = leanPod(structuredClone(pod));
        deepStrictEqual(podFacts(lean), podFacts(pod));
        deepStrictEqual(podRecord(lean), podRecord(pod));
      }),
      { numRuns: 2_000 },
    );
  });

  it('says of everything else all that is read of it', () => {
    const place = node('node-1', 'eu', 'eu-1', ['10.0.0.0/24']);
    deepStrictEqual(nodeFacts(leanNode(place)), nodeFacts(place));
    const report = meshNode('node-1', ['a', 'b'], ['c']);
    const agent = { version: '0.1.0' };
    for (const said of [report, { ...report, status: {} }, { ...report, status: { agent } }]) {
      deepStrictEqual(nodeReport(leanMeshNode(said)), nodeReport(said));
    }
    const cart = service({ name: 'cart' });
    deepStrictEqual(serviceFacts(withoutManagedFields(structuredClone(cart))), serviceFacts(cart));
  });

  it('has nothing of the bulk of a pod', () => {
    const bulky = pod({ name: 'web-0', labels: { app: 'web', bomb: 'x'.repeat(60) } });
    bulky.metadata.annotations = { note: 'x'.repeat(1000) };
    bulky.metadata.managedFields = [{ manager: 'kubelet', fieldsV1: { f: 'x'.repeat(1000) } }];
    bulky.spec = { ...bulky.spec, containers: [{ name: 'main', image: 'x'.repeat(1000) }] };
    deepStrictEqual(JSON.stringify(leanPod(bulky)).includes('xxxx'), false);
  });
});
