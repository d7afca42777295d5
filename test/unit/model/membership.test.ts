import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../../../hack/cache.ts';
import { isMember, isMemberNamespace } from '../../../src/model/membership.ts';
import { podFacts } from '../../../src/model/pod-facts.ts';
import { pod } from './objects.ts';

interface Case {
  podLabel: string | null;
  namespaceLabel: string | null;
  /** `shop` when absent. */
  namespace?: string;
  hostNetwork?: boolean;
  hasEnded?: boolean;
  /** The agent's. */
  decision: string;
}

const cases: Case[] = JSON.parse(readFileSync(join(root, 'test/cases/membership.json'), 'utf8'));
const labels = (mode: string | null) => (mode === null ? {} : { 'mesh.tulle.dev/mode': mode });

describe('who is in the mesh, as control decides it', () => {
  for (const each of cases.filter(({ hasEnded }) => hasEnded !== true)) {
    const { podLabel, namespaceLabel, namespace = 'shop', hostNetwork = false, decision } = each;
    const where = `${namespace}${hostNetwork ? ', on the network of the node' : ''}`;
    it(`a pod labelled ${podLabel} in a namespace labelled ${namespaceLabel} (${where}): ${decision}`, () => {
      const object = pod({ name: 'cart', namespace, labels: labels(podLabel), hostNetwork });
      const facts = podFacts(object);
      assert.ok(facts);
      const isAsked = isMemberNamespace({ name: namespace, labels: labels(namespaceLabel) });
      assert.equal(isMember(facts, isAsked), decision === 'Enrol');
    });
  }

  it('nobody without a service account, who has no identity', () => {
    const facts = podFacts(pod({ name: 'mirror', serviceAccount: '' }));
    assert.ok(facts);
    assert.equal(isMember(facts, true), false);
  });
});

const namespace = (name: string, mode?: string) => ({
  name,
  ...(mode === undefined ? {} : { labels: labels(mode) }),
});

describe('the pods of a namespace', () => {
  it('are in the mesh when its label says so in the very word, and not otherwise', () => {
    assert.deepEqual(
      [undefined, 'ambient', 'Ambient', 'none', ''].map((mode) => isMemberNamespace(namespace('shop', mode))),
      [false, true, false, false, false],
    );
  });

  it('of the cluster or of the mesh itself are never in it, whatever its label says', () => {
    assert.deepEqual(
      ['kube-system', 'tulle-system', 'kube-public', 'default'].map((name) =>
        isMemberNamespace(namespace(name, 'ambient')),
      ),
      [false, false, true, true],
    );
  });
});
